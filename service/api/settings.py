"""The settings of the API keys."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Final, Self

from pydantic import Field, SecretStr

from service.config.load import ConfigError, Loaded, M
from service.config.model import Model

MIN_KEY_LENGTH: Final = 12
_SAMPLES: Final = frozenset({"your-secure-api-key", "your-api-key", "changeme-changeme"})


class ApiSettings(Model):
    """Without a key the API refuses every request: there is no default key."""

    key: SecretStr | None = Field(None, description="API key that may read and change everything")
    key_file: str | None = Field(None, description="file with this key, read again when it changes")
    read_key: SecretStr | None = Field(None, description="second API key, which may only read")
    read_key_file: str | None = Field(
        None, description="file with the second key, read again when it changes"
    )

    def without_rotating_keys(self) -> Self:
        """To compare settings: what a file has may change without a restart."""
        update = {"key": None} if self.key_file else {}
        return self.model_copy(update=update | ({"read_key": None} if self.read_key_file else {}))


def key_files(settings: ApiSettings) -> dict[str, str | None]:
    """The files of the keys, by setting."""
    return {"api.key_file": settings.key_file, "api.read_key_file": settings.read_key_file}


def key_problem(key: SecretStr) -> str | None:
    """Why it is not acceptable as a key; None if it is."""
    text = key.get_secret_value()
    if text in _SAMPLES:
        return "is the key of an example: create your own"
    if len(text) < MIN_KEY_LENGTH:
        return f"is shorter than {MIN_KEY_LENGTH} characters"
    if not text.isascii() or any(not "!" <= sign <= "~" for sign in text):
        return "should be printable ASCII without spaces: it travels in a header"
    return None


def check_keys(loaded: Loaded[M], notify: Callable[[str], None] | None = None) -> Loaded[M]:
    """The settings, whose keys are acceptable. Raises ConfigError, which does not contain the key.

    A command can do without a key: it passes `notify`, which is told instead, and gets no key then.
    """
    api: ApiSettings = loaded.model.api  # type: ignore[attr-defined]
    errors = list(_key_errors(loaded, api))
    if not errors:
        return loaded
    if notify is None:
        raise errors[0]
    for error in errors:
        notify(f"{error}; no key is sent")
    keyless = api.model_copy(update={"key": None, "read_key": None})
    return replace(loaded, model=loaded.model.model_copy(update={"api": keyless}))


def _key_errors(loaded: Loaded[M], api: ApiSettings) -> Iterator[ConfigError]:
    for name, key in (("key", api.key), ("read_key", api.read_key)):
        why = key_problem(key) if key is not None else None
        if why:
            yield loaded.error(f"api.{name}", why)
    if api.key is not None and api.key == api.read_key:
        yield loaded.error("api.read_key", "is the same as the full key")
