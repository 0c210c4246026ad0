"""The last hour in points, for the page's plots. Bounded, in memory, gone with the process."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final, NamedTuple

from exporter.assessment import Assessment
from exporter.derived import waiting_jobs
from service.outcome import value_or_none

HISTORY_SECONDS: Final = 3600.0
_APART: Final = 10.0
_MOST: Final = int(HISTORY_SECONDS / _APART) + 1


class Point(NamedTuple):
    """At a time (unix s): None is what was not known then. Rates a minute, waits in seconds."""

    at: float
    score: float
    waiting: float | None
    done: float | None
    wait: float | None
    workers: float | None


class History:
    """Points at least ten seconds apart. One thread notes, any may read."""

    def __init__(self) -> None:
        self._points: deque[Point] = deque(maxlen=_MOST)

    def note(self, assessment: Assessment) -> None:
        """Keep it, unless the last one was just now."""
        at = assessment.snapshot.taken_at
        if self._points and at - self._points[-1].at < _APART:
            return
        self._points.append(point_of(assessment))

    def points(self, now: float) -> tuple[Point, ...]:
        """Those of the last hour, the oldest first."""
        return tuple(one for one in tuple(self._points) if one.at >= now - HISTORY_SECONDS)


def point_of(assessment: Assessment) -> Point:
    """What the plots show of it."""
    at, score = assessment.snapshot.taken_at, assessment.health.score
    state = value_or_none(assessment.snapshot.bullmq)
    if state is None or state.blind or not state.discovered or state.unread:
        return Point(at, score, None, None, None, None)
    waiting = sum(waiting_jobs(queue.jobs) for queue in state.queues)
    rates = list(state.rates.values())
    done = sum(one.completed_per_minute for one in rates) if rates else None
    waits = [one.wait_p95 for one in rates if one.wait_p95 is not None]
    workers = _sum([queue.workers for queue in state.queues])
    return Point(at, score, waiting, done, max(waits, default=None), workers)


def _sum(numbers: Sequence[int | None]) -> float | None:
    """None where one is not known: a part is not the whole."""
    return None if any(one is None for one in numbers) else float(sum(one or 0 for one in numbers))
