"""Durations tallied in exponential buckets, as Prometheus' native histograms have them. No I/O, no clock."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Sequence
from typing import Final

from exporter.snapshot.histogram import NativeHistogram

SCHEMA: Final = 3
"""Eight buckets for each doubling: each bound is 9 % above the one before."""
MAX_BUCKETS: Final = 160
"""Buckets of a histogram that may have counts, else the schema is reduced: those of a millisecond to 17
minutes at schema 3, to 12 days at 2."""

_PER_DOUBLING: Final = 1 << SCHEMA
_FIRST: Final = -10 * _PER_DOUBLING + 1  # of the bucket that has 1 ms: it begins at 2^-10 s
_LONGEST: Final = 64  # doublings, more than a stream id has
_BOUNDS_MS: Final = [
    2 ** (index / _PER_DOUBLING) * 1000 for index in range(_FIRST, _FIRST + _LONGEST * _PER_DOUBLING)
]


class NativeTally:
    """One histogram. The counts are kept from the first bucket in use to the last."""

    __slots__ = ("_counts", "_first", "_schema", "_used", "_zero")

    def __init__(self) -> None:
        self._schema = SCHEMA
        self._zero = self._used = self._first = 0
        self._counts = array("Q")

    def add(self, ms: int) -> None:
        """Count a duration in whole ms; below 1 it is in the zero bucket."""
        if ms < 1:
            self._zero += 1
            return
        reduced = SCHEMA - self._schema
        index = -(-(_FIRST + bisect_left(_BOUNDS_MS, ms)) >> reduced)
        place, counts = index - self._first, self._counts
        if not counts:
            self._first, place = index, 0
            counts.append(0)
        elif place < 0:
            self._counts = counts = array("Q", bytes(8 * -place)) + counts
            self._first, place = index, 0
        elif place >= len(counts):
            counts.extend([0] * (place + 1 - len(counts)))
        counts[place] += 1
        if counts[place] == 1:
            self._used += 1
            while self._used > MAX_BUCKETS:
                self._reduce()

    def histogram(self) -> NativeHistogram:
        """As it is now."""
        return NativeHistogram(self._schema, self._zero, self._first, self._counts[:])

    def dump(self) -> list[int]:
        """As JSON types, for `restored`."""
        return [self._schema, self._zero, self._first, *self._counts]

    @classmethod
    def restored(cls, dumped: Sequence[int]) -> NativeTally:
        """From `dump`. Raises ValueError, TypeError or OverflowError for anything else."""
        tally = cls()
        schema, zero, first, *counts = map(int, dumped)
        used = sum(count > 0 for count in counts)
        known = 0 <= schema <= SCHEMA and zero >= 0 and abs(first) <= len(_BOUNDS_MS)
        if not known or used > MAX_BUCKETS or len(counts) > len(_BOUNDS_MS):
            raise ValueError("not a native histogram")
        tally._schema, tally._zero, tally._first, tally._used = schema, zero, first, used
        tally._counts = array("Q", counts)
        return tally

    def total(self) -> int:
        """How many durations."""
        return self._zero + sum(self._counts)

    def _reduce(self) -> None:
        """Halve the resolution: a bucket of the next schema has two of this one."""
        self._schema -= 1
        first = _half(self._first)
        counts = array("Q", bytes(8 * (_half(self._first + len(self._counts) - 1) - first + 1)))
        for index, count in enumerate(self._counts, self._first):
            counts[_half(index) - first] += count
        self._first, self._counts = first, counts
        self._used = sum(count > 0 for count in counts)


def _half(index: int) -> int:
    """Of the bucket that has this one in it."""
    return (index + 1) >> 1
