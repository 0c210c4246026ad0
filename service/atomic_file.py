"""Replaces a file as a whole: whoever reads it sees the old content or the new, also after a power
failure."""

from __future__ import annotations

import os
from pathlib import Path


def check_folder(path: Path) -> str | None:
    """Why no file can be replaced at this path; None where one can."""
    folder = path.parent
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        return f"{folder} is not a folder that can be written to"
    return None


def replace_file(path: Path, content: bytes) -> os.stat_result:
    """Write NAME.new with mode 0600, sync it, rename it to NAME, sync the folder.

    The status of just what was written: whatever replaces it later has another. Raises OSError.
    """
    new = path.with_name(f"{path.name}.new")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        os.fchmod(file.fileno(), 0o600)  # one that was left behind may have another mode
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
        status = os.fstat(file.fileno())
    new.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    return status
