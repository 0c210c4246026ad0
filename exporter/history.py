"""The last hour as points for the plots of the page. Bounded, in memory, lost when the process ends."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final, NamedTuple

from exporter.assessment import Assessment
from exporter.derived import waiting_jobs
from service.outcome import value_or_none

HISTORY_SECONDS: Final = 3600.0
_INTERVAL_SECONDS: Final = 10.0
_MAX_POINTS: Final = int(HISTORY_SECONDS / _INTERVAL_SECONDS) + 1


class Point(NamedTuple):
    """The state at a time (unix s); None: unknown then. `done` is in jobs per minute, `wait` in seconds.

    `known_waiting` and `known_workers` are those of the queues of which it is known: at least so many.
    """

    at: float
    score: float
    waiting: float | None
    done: float | None
    wait: float | None
    workers: float | None
    known_waiting: float | None = None
    known_workers: float | None = None


class History:
    """Points at least ten seconds apart, and the latest. One thread adds points, any thread may read them."""

    def __init__(self) -> None:
        self._points: deque[Point] = deque(maxlen=_MAX_POINTS)
        self._latest: Assessment | None = None

    def add(self, assessment: Assessment) -> None:
        """Add a point; it is kept unless the last one is less than ten seconds old."""
        self._latest, at = assessment, assessment.snapshot.taken_at
        while self._points and self._points[-1].at > at:  # by a clock that was ahead
            self._points.pop()
        if not self._points or at - self._points[-1].at >= _INTERVAL_SECONDS:
            self._points.append(point_of(assessment))

    def points(self, now: float) -> tuple[Point, ...]:
        """The points of the last hour, the oldest first; the last is what the tables show."""
        points, latest = tuple(self._points), self._latest
        if points and latest is not None and latest.snapshot.taken_at > points[-1].at:
            points = (*points, point_of(latest))  # not in `add`: most scrapes are followed by no look at it
        return tuple(point for point in points if point.at >= now - HISTORY_SECONDS)


def point_of(assessment: Assessment) -> Point:
    """The values of an assessment that the plots show."""
    at, score = assessment.snapshot.taken_at, assessment.health.score
    state = value_or_none(assessment.snapshot.bullmq)
    if state is None or state.blind or not state.discovered:
        return Point(at, score, None, None, None, None)
    waiting = [waiting_jobs(queue.jobs) for queue in state.queues]
    workers = [queue.workers for queue in state.queues]
    known = _known(waiting), _known(workers)
    if state.unread:
        return Point(at, score, None, None, None, None, *known)
    lively = [rates for _, rates in state.lively_rates]  # of the others no job ended, and none waited
    done = _sum([rates.completed_per_minute for rates in lively]) if state.rates else None
    waits = [wait for rates in lively if (wait := rates.wait_p95) is not None]
    return Point(at, score, _sum(waiting), done, max(waits, default=None), _sum(workers), *known)


def _sum(numbers: Sequence[float | None]) -> float | None:
    """The sum; None if any number is unknown, as a partial sum would be too low."""
    known = [number for number in numbers if number is not None]
    return float(sum(known)) if len(known) == len(numbers) else None


def _known(numbers: Sequence[float | None]) -> float | None:
    """The sum of those that are known; None if none is."""
    known = [number for number in numbers if number is not None]
    return float(sum(known)) if known else None
