"""Takes a running process what it needs, by its limits, and gives it back."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

_LITTLE_MEMORY = 4 << 20  # bytes beyond what it has: less than the stack of a thread


@contextmanager
def without_descriptors(pid: int) -> Iterator[None]:
    """Not one more than it has open now."""
    highest = max(int(link.name) for link in Path(f"/proc/{pid}/fd").iterdir())
    with _limited(pid, resource.RLIMIT_NOFILE, highest + 1):
        yield


@contextmanager
def without_memory(pid: int) -> Iterator[None]:
    """No room for another thread, and little for anything else."""
    with _limited(pid, resource.RLIMIT_AS, psutil.Process(pid).memory_info().vms + _LITTLE_MEMORY):
        yield


@contextmanager
def without_disk(pid: int) -> Iterator[None]:
    """No file may become larger than a byte, as on a disk that is full."""
    with _limited(pid, resource.RLIMIT_FSIZE, 1):
        yield


@contextmanager
def _limited(pid: int, kind: int, limit: int) -> Iterator[None]:
    _, hard = before = resource.prlimit(pid, kind)
    resource.prlimit(pid, kind, (limit, hard))
    try:
        yield
    finally:
        resource.prlimit(pid, kind, before)
