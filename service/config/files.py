"""The only module that reads files named by settings; an error names the setting."""

from __future__ import annotations

import stat
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from service.config.load import ConfigError

_LARGEST: Final = 1 << 20


def read_text(path: str, setting: str, source: str = "environment") -> str:
    """A small text file. Raises ConfigError, which never repeats its content."""
    try:
        file = Path(path)
        if file.is_dir():
            raise ConfigError(setting, path, source, "cannot be read: it is a directory")
        with file.open("rb") as stream:
            raw = stream.read(_LARGEST + 1)
    except (OSError, ValueError) as error:
        raise ConfigError(setting, path, source, f"cannot be read: {_why(error)}") from None
    if len(raw) > _LARGEST:
        raise ConfigError(setting, path, source, "is larger than 1 MiB")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ConfigError(setting, path, source, "is not UTF-8 text") from None


def read_secret(path: str, setting: str, source: str = "environment") -> str:
    """A file's text without the line end at its end. Raises ConfigError if it cannot be read or is empty."""
    secret = read_text(path, setting, source).removesuffix("\n").removesuffix("\r")
    if not secret:
        raise ConfigError(setting, path, source, "the file is empty")
    return secret


def file_stamp(path: str) -> tuple[int, ...] | None:
    """Differs once the file has changed, also where links lead to another one; None if it is not there."""
    try:
        found = Path(path).stat()
    except (OSError, ValueError):
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def mode_for_others(path: str) -> str | None:
    """The mode of a file that every user of the machine can read, such as 0644; None if they cannot, or where
    that cannot be told. A folder on the way that is closed to them protects it."""
    try:
        real = Path(path).resolve(strict=True)
        mode = real.stat().st_mode
        reached = all(folder.stat().st_mode & stat.S_IXOTH for folder in real.parents)
    except (OSError, ValueError, RuntimeError):
        return None
    return f"{stat.S_IMODE(mode):04o}" if reached and mode & stat.S_IROTH else None


def check_readable(path: str, setting: str, source: str) -> None:
    """Raises ConfigError unless the file can be opened for reading now."""
    try:
        if not stat.S_ISDIR(Path(path).stat().st_mode):
            with Path(path).open("rb"):
                return
        why = "it is a directory"
    except (OSError, ValueError) as error:
        why = _why(error)
    raise ConfigError(setting, path, source, f"cannot be read: {why}")


def with_secret_files(environ: Mapping[str, str], secrets: Iterable[str]) -> dict[str, str]:
    """The environment, each NAME_FILE of a secret read into NAME. One line end at the file's end is dropped.

    Raises ConfigError if the file cannot be read or is empty, or if NAME is set as well.
    """
    variables = dict(environ)
    for name in secrets:
        setting = f"{name}_FILE"
        path = environ.get(setting, "").strip()
        if not path:
            continue
        if environ.get(name):
            raise ConfigError(setting, path, "environment", f"{name} is set too: keep one of them")
        variables[name] = read_secret(path, setting)
    return variables


def _why(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror[:1].lower() + error.strerror[1:]
    return "not a path"
