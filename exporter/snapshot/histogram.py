"""Durations, as counts by bucket, and what follows from them."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping
from itertools import accumulate
from typing import Final, NamedTuple

ZERO_THRESHOLD: Final = 2.0**-10
"""Seconds up to which a duration is in the zero bucket of a native histogram: what a clock of ms calls 0."""


class Histogram(NamedTuple):
    """Durations: upper bounds in seconds, the count of each bucket and of +Inf, and their sum in seconds."""

    bounds: tuple[float, ...]
    counts: tuple[int, ...]
    total: float


class NativeHistogram(NamedTuple):
    """Durations by buckets of which each bound is 2^(2^-schema) times the one before, as in Prometheus'
    native histograms: bucket `index` has those above 2^((index - 1) / 2^schema) s, and not above
    2^(index / 2^schema) s.

    `counts` are those of the buckets from `first` on; `zero_count` has what is shorter than any of them.
    """

    schema: int
    zero_count: int
    first: int
    counts: array[int]

    @property
    def buckets(self) -> list[tuple[int, int]]:
        """The index and the count of each bucket that has some, in ascending order."""
        return [(index, count) for index, count in enumerate(self.counts, self.first) if count]


class NativeDurations(NamedTuple):
    """How long jobs waited, and how long attempts ran, by outcome."""

    wait: NativeHistogram
    processing: Mapping[str, NativeHistogram]


def histogram_quantile(histogram: Histogram, share: float) -> float | None:
    """The quantile in seconds for `share` (0 to 1), interpolated like PromQL's histogram_quantile.

    Linear within a bucket; values above all bounds count as the last bound. None for an empty histogram.
    """
    cumulative = list(accumulate(histogram.counts))
    if not cumulative[-1]:
        return None
    rank = share * cumulative[-1]
    bucket = next(n for n, value in enumerate(cumulative) if value >= rank and histogram.counts[n])
    if bucket == len(histogram.bounds):
        return histogram.bounds[-1]
    start = histogram.bounds[bucket - 1] if bucket else 0.0
    before = cumulative[bucket - 1] if bucket else 0
    return start + (histogram.bounds[bucket] - start) * (rank - before) / histogram.counts[bucket]


def difference(now: Histogram, before: Histogram) -> Histogram:
    """The observations between the two histograms, whose sums are of whole ms."""
    counts = tuple(new - old for new, old in zip(now.counts, before.counts, strict=True))
    return Histogram(now.bounds, counts, (_ms(now.total) - _ms(before.total)) / 1000)


def average(histogram: Histogram) -> float | None:
    """The average in seconds, exact: sum / count. None for an empty histogram."""
    count = sum(histogram.counts)
    return histogram.total / count if count else None


def total_of(histograms: Iterable[Histogram]) -> Histogram:
    """The observations of all of them, of which there is one at least; their bounds are the same."""
    listed = list(histograms)
    counts = tuple(map(sum, zip(*(each.counts for each in listed), strict=True)))
    return Histogram(listed[0].bounds, counts, sum(each.total for each in listed))


def pack_histogram(histogram: Histogram) -> bytes:
    """Its counts and its sum in whole ms, without the bounds."""
    return array("q", (*histogram.counts, _ms(histogram.total))).tobytes()


def unpack_histogram(packed: bytes, bounds: tuple[float, ...]) -> Histogram:
    """The histogram that was packed."""
    *counts, ms = array("q", packed)
    return Histogram(bounds, tuple(counts), ms / 1000)


def _ms(seconds: float) -> int:
    return round(seconds * 1000)
