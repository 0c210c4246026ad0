from __future__ import annotations

import os
from pathlib import Path

import pytest

from service.config.reload import ContentWatch


def test_content_counts_and_not_the_time(tmp_path: Path) -> None:
    file = tmp_path / "settings.yml"
    file.write_text("a: 1")
    watch = ContentWatch([file])
    assert not watch.changed([file])
    file.write_text("a: 1")
    os.utime(file, (1, 1))
    assert not watch.changed([file])
    file.write_text("a: 2")
    assert watch.changed([file])
    assert not watch.changed([file])


def test_a_link_that_leads_elsewhere_is_a_change(tmp_path: Path) -> None:
    for version in ("1", "2"):
        (tmp_path / version).write_text(version)
    link = tmp_path / "current"
    link.symlink_to("1")
    watch = ContentWatch([link])
    link.unlink()
    link.symlink_to("2")
    assert watch.changed([link])


def test_a_file_that_goes_or_comes_is_a_change(tmp_path: Path) -> None:
    file = tmp_path / "settings.yml"
    watch = ContentWatch([file])
    assert not watch.changed([file])
    file.write_text("")
    assert watch.changed([file])
    file.unlink()
    assert watch.changed([file])


def test_bytes_that_move_from_one_file_to_the_next_are_a_change(tmp_path: Path) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    first.write_text("xy")
    second.write_text("z")
    watch = ContentWatch([first, second])
    first.write_text("x")
    second.write_text("yz")
    assert watch.changed([first, second])


@pytest.mark.fault
def test_a_fifo_is_not_waited_for_and_a_huge_file_is_not_read_to_its_end(tmp_path: Path) -> None:
    file, fifo = tmp_path / "settings.yml", tmp_path / "fifo"
    file.write_text("a: 1")
    watch = ContentWatch([file])
    os.mkfifo(fifo)
    assert watch.changed([fifo])
    assert not watch.changed([fifo])
    os.truncate(file, 1 << 40)
    assert watch.changed([file])
