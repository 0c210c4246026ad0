from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from service.atomic_file import check_folder, replace_file


def test_the_content_is_replaced_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "state"
    path.write_text("old")
    path.chmod(0o644)
    status = replace_file(path, b"new")
    assert path.read_bytes() == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]
    now = path.stat()
    assert (status.st_ino, status.st_mtime_ns, status.st_size) == (now.st_ino, now.st_mtime_ns, now.st_size)


def test_what_an_interrupted_write_left_is_no_obstacle_and_keeps_no_mode(tmp_path: Path) -> None:
    path, left = tmp_path / "state", tmp_path / "state.new"
    left.write_text("half of something longer")
    left.chmod(0o644)
    replace_file(path, b"new")
    assert path.read_bytes() == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_the_old_content_stays_when_the_new_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "state"
    path.write_text("old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        replace_file(path, b"new")
    assert path.read_text() == "old"


def test_the_folder_is_synced_after_the_rename(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    fsync = os.fsync

    def recording(descriptor: int) -> None:
        kind = "folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file"
        synced.append(f"{kind} {(tmp_path / 'state').exists()}")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", recording)
    replace_file(tmp_path / "state", b"x")
    assert synced == ["file False", "folder True"]


def test_a_folder_that_is_not_one(tmp_path: Path) -> None:
    assert check_folder(tmp_path / "state") is None
    problem = f"{tmp_path}/none is not a folder that can be written to"
    assert check_folder(tmp_path / "none" / "state") == problem
