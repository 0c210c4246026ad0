from __future__ import annotations

import os
from pathlib import Path

import pytest

from service.files.regular_file import FileTooLargeError, read_regular_file

pytestmark = [pytest.mark.fault, pytest.mark.timeout(5)]


def test_a_file_and_what_a_link_leads_to_are_read(tmp_path: Path) -> None:
    path, link = tmp_path / "state", tmp_path / "link"
    path.write_bytes(b"x" * 3_000_000)
    link.symlink_to(path)
    assert read_regular_file(path, 3_000_000) == read_regular_file(link, 4_000_000) == path.read_bytes()


def test_what_is_no_regular_file_is_an_error_and_no_hang(tmp_path: Path) -> None:
    fifo, link = tmp_path / "fifo", tmp_path / "link"
    os.mkfifo(fifo)
    link.symlink_to("/dev/zero")
    for path in (fifo, link, tmp_path, Path("/dev/null")):
        with pytest.raises(OSError, match="it is not a regular file"):
            read_regular_file(path, 1 << 20)
    with pytest.raises(FileNotFoundError):
        read_regular_file(tmp_path / "none", 1 << 20)


def test_a_huge_file_is_not_read_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "state"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(FileTooLargeError, match="larger than 2 MiB"):
        read_regular_file(path, 2 << 20)
