"""The API keys as of now: a key that a file has is read again when the file changes."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

from pydantic import SecretStr

from service.api.settings import ApiSettings, key_problem
from service.config.files import read_secret
from service.config.load import ConfigError
from service.files.from_files import FromFiles


class KeyPair(NamedTuple):
    """The full key and the one that may only read."""

    full: str | None
    read: str | None


class ApiKeys:
    """For any thread. A file without an acceptable key leaves the last one in force."""

    def __init__(self, settings: ApiSettings) -> None:
        self.rotate = bool(settings.key_file or settings.read_key_file)
        self._full = _of(settings.key, "api.key_file", settings.key_file)
        self._read = _of(settings.read_key, "api.read_key_file", settings.read_key_file)

    def current(self) -> KeyPair:
        """Where both are the same, as one of two files may be replaced first, it may only read."""
        full, read = self._full.current(), self._read.current()
        return KeyPair(None if full == read else full, read)

    def own(self) -> str | None:
        """The one that this process shows to the other one."""
        full, read = self.current()
        return full or read


def _of(key: SecretStr | None, setting: str, path: str | None) -> FromFiles[str | None]:
    return FromFiles(
        [path], partial(_acceptable, setting, path or ""), key.get_secret_value() if key is not None else None
    )


def _acceptable(setting: str, path: str) -> str:
    """Raises ConfigError."""
    key = read_secret(path, setting)
    if (why := key_problem(SecretStr(key))) is not None:
        raise ConfigError(setting, path, "file", f"the key {why}")
    return key
