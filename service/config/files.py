"""The only module that reads files named by settings; an error names the setting."""

from __future__ import annotations

import errno
import os
import select
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from service.clock import Deadline
from service.config.load import ConfigError

_LARGEST: Final = 1 << 20
_READ: Final = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_PIPE_SECONDS: Final = 5.0  # in which whoever writes to a pipe has to be done, as with `--config <(...)`


def read_text(path: str, setting: str, source: str = "environment") -> str:
    """A small text file. Raises ConfigError, which never repeats its content."""
    try:
        file = Path(path)
        if file.is_dir():
            raise ConfigError(setting, path, source, "cannot be read: it is a directory")
        raw = read_start(file, Deadline.after(_PIPE_SECONDS))
    except (OSError, ValueError) as error:
        raise ConfigError(setting, path, source, f"cannot be read: {_why(error)}") from None
    if len(raw) > _LARGEST:
        raise ConfigError(setting, path, source, "is larger than 1 MiB")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ConfigError(setting, path, source, "is not UTF-8 text") from None


def read_start(path: Path, pipe: Deadline | None = None) -> bytes:
    """The content, of a large file the first MiB and a byte. A pipe is read until it ends or `pipe` is over.
    Raises OSError, without `pipe` for anything but a regular file: nothing is waited for."""
    descriptor = os.open(path, _READ)
    try:
        regular = stat.S_ISREG(os.fstat(descriptor).st_mode)
        if pipe is None and not regular:
            raise OSError(errno.EINVAL, "it is not a regular file")
        parts, left = [], _LARGEST + 1
        while left > 0:
            if pipe is not None and not regular:
                poll = select.poll()  # not select, which knows no descriptor above 1,023
                poll.register(descriptor, select.POLLIN)
                poll.poll(1000 * max(0.0, pipe.remaining()))
                if pipe.passed():
                    raise OSError(errno.ETIMEDOUT, "it does not end")
            if not (part := os.read(descriptor, left)):
                break
            parts.append(part)
            left -= len(part)
    finally:
        os.close(descriptor)
    return b"".join(parts)


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
            os.close(os.open(path, _READ))  # not waiting for who writes to a pipe
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
