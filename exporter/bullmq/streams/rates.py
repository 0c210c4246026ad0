"""Rates and quantiles of the last minutes, from the same counters and histograms as /metrics. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import inf
from typing import Final, NamedTuple

from exporter.snapshot.queues import Events, JobCounters, QueueId, Rates, Window

WINDOW: Final = 300.0
"""Seconds that rates and quantiles cover, once the history is long enough."""
HOUR: Final = 3600.0
_WINDOW_STEP: Final = 15.0  # seconds between two samples of the window
_HOUR_STEP: Final = 120.0  # seconds between two samples of the hour
_MIN_SECONDS: Final = 10.0  # the shortest time that a rate may cover


class _Sample(NamedTuple):
    """A sample of a queue in the window: its counters, and what is missing in them."""

    at: float
    counters: JobCounters
    missing: tuple[int, int, int]


class _Totals(NamedTuple):
    """A sample of a queue in the history of an hour."""

    at: float
    failed: int
    lost: int
    completed: int
    stalled: int
    retried: int = 0


@dataclass
class _History:
    """One queue's samples, the oldest first, all since the same start of its counters."""

    since: float
    window: deque[_Sample] = field(default_factory=deque)
    hour: deque[_Totals] = field(default_factory=deque)


class RateHistory:
    """At most 22 samples of a queue for the window and 32 for the hour, however often `record` is called."""

    def __init__(self) -> None:
        self._queues: dict[QueueId, _History] = {}
        self._recorded_at: float | None = None

    def due(self, at: float) -> bool:
        """Whether it is time for the next sample."""
        return self._recorded_at is None or at - self._recorded_at >= _WINDOW_STEP

    def record(self, at: float, events: Mapping[QueueId, Events], *, unix: float = inf) -> None:
        """Take a sample at `at` (monotonic s), `unix` in unix s. Queues not in `events` are forgotten.

        Counters that began within the hour have all that they count from it: a queue that is new to us may
        have had failures before its first sample. Without `unix` they may be of any age.
        """
        if not self.due(at):
            return
        self._recorded_at = at
        self._queues = {queue: self._recorded(queue, at, latest, unix) for queue, latest in events.items()}

    def rates(self, at: float, events: Mapping[QueueId, Events]) -> dict[QueueId, Rates]:
        """The rates of the queues that have been known long enough."""
        result = {}
        for queue, latest in events.items():
            history = self._queues.get(queue)
            if history is not None and history.since == latest.since:
                rates = _rates(history, at, latest)
                if rates is not None:
                    result[queue] = rates
        return result

    def _recorded(self, queue: QueueId, at: float, events: Events, unix: float) -> _History:
        history = self._queues.get(queue)
        if history is None or history.since != events.since:
            history = _History(events.since)
            if 0 <= unix - events.since < HOUR:
                history.hour.append(_Totals(at - (unix - events.since), 0, 0, 0, 0))
        history.window.append(_Sample(at, events.counters, _missing(events)))
        # One sample older than the window stays: a rate covers the whole window.
        while len(history.window) > 1 and history.window[1].at <= at - WINDOW:
            history.window.popleft()
        if not history.hour or at - history.hour[-1].at >= _HOUR_STEP:
            now = events.counters
            history.hour.append(_Totals(at, now.failed, events.lost, now.completed, now.stalled, now.retried))
            while len(history.hour) > 1 and history.hour[1].at <= at - HOUR:
                history.hour.popleft()
        return history


def _rates(history: _History, at: float, events: Events) -> Rates | None:
    began, before, missing = history.window[0]
    seconds = at - began
    if seconds < _MIN_SECONDS:
        return None
    now, oldest = events.counters, history.hour[0]
    completed, failed = now.completed - before.completed, now.failed - before.failed
    ended = completed + failed
    whole = missing == _missing(events)  # else jobs ended that are not in the counters, nobody knows how many
    return Rates(
        seconds,
        completed * 60 / seconds if whole else None,
        failed * 60 / seconds if whole else None,
        failed / ended if ended and whole else None,
        now.failed - oldest.failed,
        events.lost - oldest.lost,
        now.completed - oldest.completed,
        now.stalled - oldest.stalled,
        now.retried - oldest.retried,
        Window(before, now),
    )


def _missing(events: Events) -> tuple[int, int, int]:
    """What changes when the counters are no longer all that happened, or more than that."""
    return events.lost, events.undone, events.gaps
