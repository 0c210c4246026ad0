from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.redis.protocol import MAX_COMMANDS, Reply, Request, in_pieces, whole_of


@given(st.lists(st.integers(0, MAX_COMMANDS + 2), max_size=20))
def test_parts_are_joined_in_their_order_and_never_divided(sizes: list[int]) -> None:
    parts = [Request(b"%d," % number, size) for number, size in enumerate(sizes)]
    pieces, numbers = in_pieces(parts)
    assert b"".join(piece.packed for piece in pieces) == b"".join(part.packed for part in parts)
    assert (len(pieces), sum(numbers)) == (len(numbers), len(parts))
    start = 0
    for piece, number in zip(pieces, numbers, strict=True):
        joined = sizes[start : start + number]
        assert piece.replies == sum(joined)
        assert piece.replies <= MAX_COMMANDS or number == 1 or joined.count(0) == number - 1
        start += number


@pytest.mark.parametrize(
    ("reply", "number"),
    [
        (b"0", 0),
        (b"18446744073709551616", 18446744073709551616),
        (b"9" * 21, None),
        (b"9" * 5000, None),
        ("\u00b2".encode(), None),
        (b"-1", None),
        (b"", None),
        (7, None),
        (None, None),
        ([b"7"], None),
    ],
)
def test_a_text_is_a_number_that_a_series_can_show_or_none(reply: Reply, number: int | None) -> None:
    assert whole_of(reply) == number
