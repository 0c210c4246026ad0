from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaler.targets.lines import MAX_LINE_BYTES, Lines


@given(st.lists(st.binary(max_size=20)))
def test_lines_do_not_depend_on_how_they_are_cut(pieces: list[bytes]) -> None:
    lines, whole = Lines(), Lines()
    read = [line for piece in pieces for line in lines.pieces(piece)] + lines.end()
    assert read == whole.pieces(b"".join(pieces)) + whole.end()


def test_a_line_without_an_end_waits_for_it_or_for_the_end() -> None:
    lines = Lines()
    assert lines.feed(b"one\r\n\ntw") == ["one", ""]
    assert lines.feed(b"o\nthree") == ["two"]
    assert lines.end() == [b"three"]
    assert lines.end() == []


@pytest.mark.parametrize("piece", [1000, 10 * MAX_LINE_BYTES])
def test_a_long_line_is_cut(piece: int) -> None:
    lines, text = Lines(), b"x" * (2 * MAX_LINE_BYTES + 1)
    read = [line for at in range(0, len(text), piece) for line in lines.feed(text[at : at + piece])]
    assert [len(line) for line in read + lines.feed(b"\nshort\n")] == [MAX_LINE_BYTES, MAX_LINE_BYTES, 1, 5]


def test_invalid_utf8_is_replaced() -> None:
    assert Lines().feed("ß".encode("latin-1") + b"\n") == ["\ufffd"]


def test_after_what_is_left_out_comes_a_whole_line() -> None:
    lines = Lines()
    assert lines.feed(b"one\nhalf of ") == ["one"]
    lines.skip(b"a line\nand the beginning")
    assert lines.feed(b" of another, and") == []
    assert lines.feed(b" its end\ntwo\n") == ["two"]
    lines.skip(b"three\n")
    assert lines.feed(b"four\n") == ["four"]
    lines.skip(b"five")
    assert lines.end() == []
