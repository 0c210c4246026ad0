"""A folder in memory for inputs that are read from a file."""

from __future__ import annotations

import atexit
import shutil
from functools import cache
from pathlib import Path
from tempfile import mkdtemp


@cache
def scratch() -> Path:
    """The same for the whole process, and removed at its end."""
    memory = Path("/dev/shm")
    folder = Path(mkdtemp(prefix="oxherd-fuzz-", dir=memory if memory.is_dir() else None))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder
