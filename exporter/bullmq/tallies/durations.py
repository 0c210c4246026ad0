"""Durations that are counted as jobs go: a histogram in whole ms, and its native form. No I/O, no clock."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from exporter.bullmq.tallies.native_tally import NativeTally
from exporter.snapshot.histogram import Histogram, NativeHistogram


class Durations:
    """A histogram to which durations are added, in whole ms so that its sum is exact; and its native form."""

    __slots__ = ("_bounds", "_counts", "_frozen", "_histogram", "_native", "_tally", "_total_ms")

    def __init__(self, bounds: tuple[float, ...], *, native: bool) -> None:
        self._bounds = bounds
        self._counts: array[int] | None = None  # most outcomes of most queues have none
        self._total_ms = 0
        self._histogram: Histogram | None = None
        self._native = native
        self._tally: NativeTally | None = None
        self._frozen: NativeHistogram | None = None

    def add(self, ms: int, bounds_ms: tuple[float, ...]) -> None:
        """A duration in whole ms; below 0 it is 0. `bounds_ms` are the bounds in ms."""
        ms = max(0, ms)
        counts = self._counts
        if counts is None:
            counts = self._counts = array("q", empty_histogram(self._bounds).counts)
        counts[bisect_left(bounds_ms, ms)] += 1
        self._total_ms += ms
        self._histogram = None
        if self._native:
            self._tally = self._tally or NativeTally()
            self._tally.add(ms)
            self._frozen = None

    def dump(self) -> list[int]:
        """The sum in ms, and the count of each bucket."""
        return [self._total_ms, *(self._counts or empty_histogram(self._bounds).counts)]

    def dump_native(self) -> list[int]:
        """As `NativeTally.dump`."""
        return (self._tally or NativeTally()).dump()

    def restore(self, dumped: Sequence[int], native: Sequence[int] | None) -> None:
        """Continue from both dumps. Raises ValueError, TypeError or OverflowError; nothing changes then."""
        total_ms, *counts = map(int, dumped)
        if len(counts) != len(self._bounds) + 1:
            raise ValueError("another number of buckets")
        tally = NativeTally.restored(native or ()) if self._native else None
        if tally is not None and tally.total() != sum(counts):
            raise ValueError("native buckets with other durations")
        self._tally, self._frozen = tally, None
        self._total_ms, self._counts, self._histogram = total_ms, array("q", counts), None

    def histogram(self) -> Histogram:
        """The same object until a duration is added."""
        if self._counts is None:
            return empty_histogram(self._bounds)
        if self._histogram is None:
            self._histogram = Histogram(self._bounds, tuple(self._counts), self._total_ms / 1000)
        return self._histogram

    def native(self) -> NativeHistogram:
        """The same object until a duration is added, too."""
        if self._tally is None:
            return _NO_NATIVE
        if self._frozen is None:
            self._frozen = self._tally.histogram()
        return self._frozen


_NO_NATIVE: Final = NativeTally().histogram()


@lru_cache(maxsize=16)
def empty_histogram(bounds: tuple[float, ...]) -> Histogram:
    """Without a duration; the same object for the same bounds."""
    return Histogram(bounds, (0,) * (len(bounds) + 1), 0.0)


@lru_cache(maxsize=16)
def in_ms(bounds: tuple[float, ...]) -> tuple[float, ...]:
    """Bounds in seconds as ms."""
    return tuple(bound * 1000 for bound in bounds)
