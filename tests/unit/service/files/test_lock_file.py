from __future__ import annotations

import fcntl
import os
import stat
from pathlib import Path

import pytest

from service.clock import monotonic
from service.files.lock_file import acquire_lock

pytestmark = [pytest.mark.fault, pytest.mark.timeout(5)]


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_lock_is_waited_for_a_bounded_time(tmp_path: Path) -> None:
    path = tmp_path / "state.lock"
    held = acquire_lock(path, 0.0, beside=path)
    begun = monotonic()
    with pytest.raises(BlockingIOError, match="another process holds it"):
        acquire_lock(path, 0.1, beside=path)
    assert 0.1 <= monotonic() - begun < 2
    os.close(held)
    os.close(acquire_lock(path, 0.0, beside=path))


def test_the_file_of_a_lock_is_for_its_owner_only(tmp_path: Path) -> None:
    """Whoever may open it may lock it: one of an earlier version too."""
    new, old = tmp_path / "new", tmp_path / "old"
    old.touch()
    old.chmod(0o644)
    for path in (new, old):
        os.close(acquire_lock(path, 0.0, beside=path))
        assert mode(path) == 0o600


def test_a_link_or_a_fifo_is_no_lock(tmp_path: Path) -> None:
    target, link, fifo = tmp_path / "target", tmp_path / "link", tmp_path / "fifo"
    target.touch()
    target.chmod(0o644)
    link.symlink_to(target)
    os.mkfifo(fifo)
    for path in (link, fifo):
        with pytest.raises(OSError, match=r"symbolic links|regular file"):
            acquire_lock(path, 0.0, beside=path)
    assert mode(target) == 0o644
    with target.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # nobody holds it
