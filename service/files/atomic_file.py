"""Replaces a file as a whole: a reader sees the old content or the new one, also after a power failure."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


def check_folder(path: Path) -> str | None:
    """Why no file can be replaced at this path; None if one can."""
    folder = path.parent
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        return f"{folder} is not a folder that can be written to"
    return None


def replace_file(path: Path, content: bytes) -> os.stat_result:
    """Write a temporary file of mode 0600 beside it, sync it, rename it, sync the folder.

    Writers may overlap: one of the contents stays. A symbolic link stays, and its target is replaced. Root
    leaves the file to its owner (`keep_owner`). Returns the status of what was written. Raises OSError.
    """
    target = Path(os.path.realpath(path))
    descriptor, name = tempfile.mkstemp(prefix=f"{target.name}.new-", dir=target.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            keep_owner(file.fileno(), target)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
            status = os.fstat(file.fileno())
        Path(name).replace(target)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    return status


def keep_owner(descriptor: int, path: Path) -> None:
    """As root, give the open file the owner of `path`, or else of its folder: a command run as root must not
    lock the daemon out of its own state. Raises OSError."""
    if os.geteuid() != 0:
        return
    try:
        owner = path.stat()
    except FileNotFoundError:
        owner = path.parent.stat()
    os.fchown(descriptor, owner.st_uid, owner.st_gid)
