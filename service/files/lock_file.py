"""A lock between processes, held for a bounded time by who may write to the folder, and by nobody else."""

from __future__ import annotations

import errno
import fcntl
import os
import threading
from contextlib import suppress
from pathlib import Path
from typing import Final

from service.clock import Deadline, wait
from service.files.atomic_file import keep_owner
from service.files.regular_file import check_regular

_TRY_SECONDS: Final = 0.02


def acquire_lock(path: Path, seconds: float, *, beside: Path) -> int:
    """A descriptor that holds the lock of this file until it is closed; the file is made if it is not there.

    As root it gets the owner of `beside`. Raises OSError, with EWOULDBLOCK if another process holds the lock
    for so many seconds.
    """
    descriptor = _open(path)
    try:
        keep_owner(descriptor, beside)
        _wait_for(descriptor, Deadline.after(seconds))
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _open(path: Path) -> int:
    """Whoever may open the file may lock it: it is for its owner only, also one of an earlier version."""
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    descriptor = os.open(path, flags, 0o600)
    try:
        check_regular(descriptor)
        if os.fstat(descriptor).st_mode & 0o077:
            with suppress(PermissionError):
                os.fchmod(descriptor, 0o600)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _wait_for(descriptor: int, deadline: Deadline) -> None:
    never = threading.Event()
    while not _taken(descriptor):
        if deadline.passed():
            raise OSError(errno.EWOULDBLOCK, "another process holds it")
        wait(never, _TRY_SECONDS)


def _taken(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
