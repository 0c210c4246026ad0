from __future__ import annotations

import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from service.files.atomic_file import check_folder, replace_file


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


@pytest.mark.fault
def test_a_symbolic_link_stays_and_its_target_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    target, link = tmp_path / "data" / "state", tmp_path / "state"
    link.symlink_to(target)
    for content in (b"first", b"second"):
        replace_file(link, content)
        assert (link.is_symlink(), target.read_bytes()) == (True, content)


def test_writers_that_overlap_never_show_a_mixture(tmp_path: Path) -> None:
    path = tmp_path / "state"
    contents = [bytes([letter]) * 50_000 for letter in b"abc"]
    read: set[bytes] = set()

    def write(content: bytes) -> None:
        for _ in range(20):
            replace_file(path, content)
            read.add(path.read_bytes())

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(write, contents))
    assert read <= set(contents)
    assert list(tmp_path.iterdir()) == [path]


def test_root_leaves_the_file_to_its_owner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    owners: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(os, "fchown", lambda _, user, group: owners.append((user, group)))
    path = tmp_path / "state"
    replace_file(path, b"as the folder")
    replace_file(path, b"as the file")
    assert owners == [(status.st_uid, status.st_gid) for status in (tmp_path.stat(), path.stat())]
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    replace_file(path, b"as the user")
    assert len(owners) == 2


@pytest.mark.fault
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
    assert list(tmp_path.iterdir()) == [path]


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
