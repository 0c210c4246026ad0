"""Reads a file of state within a bound: what is no file, or a huge one, is an error, and never a hang."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import Final

_PIECE: Final = 1 << 20


class FileTooLargeError(Exception):
    """The file has more bytes than its reader takes; the text says how many that are."""


def read_regular_file(path: Path, most_bytes: int) -> bytes:
    """The content; a link is followed. Raises FileTooLargeError, and OSError also for anything but a file:
    a FIFO would be waited for without an end, and a device may never end."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        check_regular(descriptor)
        parts, left = [], most_bytes + 1
        while left > 0 and (part := os.read(descriptor, min(left, _PIECE))):
            parts.append(part)
            left -= len(part)
    finally:
        os.close(descriptor)
    if left <= 0:
        raise FileTooLargeError(f"it is larger than {most_bytes >> 20} MiB")
    return b"".join(parts)


def check_regular(descriptor: int) -> None:
    """Raises OSError for an open descriptor of anything but a regular file."""
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        raise OSError(errno.EINVAL, "it is not a regular file")
