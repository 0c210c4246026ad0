"""Rates and quantiles of the last minutes, from the same counters and histograms that /metrics has. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Final, NamedTuple

from exporter.snapshot import Events, Histogram, QueueId, Rates, Tallies

WINDOW: Final = 300.0
"""Seconds that rates and quantiles are of, once so much is known."""
HOUR: Final = 3600.0
_FINE: Final = 15.0  # seconds between two samples of the window
_COARSE: Final = 120.0  # and between two of the hour
_LEAST: Final = 10.0  # seconds that a rate must be of


class _Totals(NamedTuple):
    """What an hour's history holds of a queue."""

    at: float
    failed: int
    lost: int


@dataclass
class _History:
    """One queue's samples, the oldest first; all of one count, which never went back."""

    since: float
    window: deque[tuple[float, Tallies]] = field(default_factory=deque)
    hour: deque[_Totals] = field(default_factory=deque)


class RateHistory:
    """At most 22 samples of a queue for the window and 32 for the hour, however often `note` is called."""

    def __init__(self) -> None:
        self._queues: dict[QueueId, _History] = {}
        self._noted_at: float | None = None

    def due(self, at: float) -> bool:
        """Whether the last sample is so old that another is worth taking."""
        return self._noted_at is None or at - self._noted_at >= _FINE

    def note(self, at: float, events: Mapping[QueueId, Events]) -> None:
        """What is known at `at` (monotonic seconds). Queues that are not named any more are forgotten."""
        if not self.due(at):
            return
        self._noted_at = at
        self._queues = {queue: self._noted(queue, at, one) for queue, one in events.items()}

    def rates(self, at: float, events: Mapping[QueueId, Events]) -> dict[QueueId, Rates]:
        """Those of the queues that are known for a while."""
        found = {}
        for queue, one in events.items():
            history = self._queues.get(queue)
            if history is not None and history.since == one.since:
                rates = _rates(history, at, one)
                if rates is not None:
                    found[queue] = rates
        return found

    def _noted(self, queue: QueueId, at: float, one: Events) -> _History:
        history = self._queues.get(queue)
        if history is None or history.since != one.since:
            history = _History(one.since)
        history.window.append((at, one.tallies))
        # One sample older than the window stays: a rate is of the whole of it.
        while len(history.window) > 1 and history.window[1][0] <= at - WINDOW:
            history.window.popleft()
        if not history.hour or at - history.hour[-1].at >= _COARSE:
            history.hour.append(_Totals(at, one.tallies.failed, one.lost))
            while len(history.hour) > 1 and history.hour[1].at <= at - HOUR:
                history.hour.popleft()
        return history


def histogram_quantile(one: Histogram, share: float) -> float | None:
    """Seconds below which that share of all lies, as PromQL's histogram_quantile interpolates it.

    Linear within a bucket; what is above all bounds counts as the last of them. None of an empty histogram.
    """
    below = list(accumulate(one.counts))
    if not below[-1]:
        return None
    rank = share * below[-1]
    place = next(n for n, value in enumerate(below) if value >= rank and one.counts[n])
    if place == len(one.bounds):
        return one.bounds[-1]
    start = one.bounds[place - 1] if place else 0.0
    before = below[place - 1] if place else 0
    return start + (one.bounds[place] - start) * (rank - before) / one.counts[place]


def difference(now: Histogram, before: Histogram) -> Histogram:
    """What was observed in between."""
    counts = tuple(new - old for new, old in zip(now.counts, before.counts, strict=True))
    return Histogram(now.bounds, counts, now.total - before.total)


def _rates(history: _History, at: float, one: Events) -> Rates | None:
    began, before = history.window[0]
    seconds = at - began
    if seconds < _LEAST:
        return None
    now = one.tallies
    completed, failed = now.completed - before.completed, now.failed - before.failed
    ended = completed + failed
    wait = difference(now.wait, before.wait)
    run = _sum([difference(each, before.processing[outcome]) for outcome, each in now.processing.items()])
    oldest = history.hour[0]
    return Rates(
        seconds,
        completed * 60 / seconds,
        failed * 60 / seconds,
        failed / ended if ended else None,
        histogram_quantile(wait, 0.5),
        histogram_quantile(wait, 0.95),
        histogram_quantile(run, 0.5),
        histogram_quantile(run, 0.95),
        now.failed - oldest.failed,
        one.lost - oldest.lost,
    )


def _sum(histograms: list[Histogram]) -> Histogram:
    counts = tuple(map(sum, zip(*(one.counts for one in histograms), strict=True)))
    return Histogram(histograms[0].bounds, counts, sum(one.total for one in histograms))
