"""The concurrency of a queue's workers, as measured: Redis does not know what they are set to. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Final, NamedTuple

from exporter.derived import waiting_jobs
from exporter.snapshot.queues import QueueId, QueueState

MEASURED_SECONDS: Final = 3600.0
"""Seconds that a measurement counts."""
_STEP: Final = 300.0  # seconds that share one maximum
_WAITS_SECONDS: Final = 1.0  # so long, and a job is not just about to be taken
_SETTLE: Final = (
    60.0  # seconds after the number of workers fell: jobs of those that ended may still be active
)


class _Measured(NamedTuple):
    """Maxima of active jobs per worker, each with the time its step began, the oldest first."""

    maxima: tuple[tuple[float, float], ...] = ()
    workers: int | None = None
    fell_at: float | None = None


_NOTHING: Final = _Measured()


class ConcurrencyHistory:
    """The most active jobs per worker that each queue had in the last hour while jobs waited.

    Workers that leave jobs waiting run as many as they can, so that it is at least this. Only those queues
    are looked at of which something changed, or may be measured, or was.
    """

    def __init__(self) -> None:
        self._queues: dict[QueueId, _Measured] = {}
        self._going_on: set[QueueId] = set()

    def measured(
        self, at: float, states: Mapping[QueueId, QueueState], changed: Iterable[QueueId]
    ) -> dict[QueueId, float]:
        """What was measured up to now (`at`, monotonic seconds) of those of these queues of which something
        was. `changed`: those of which more than an age is not as at the last call, or that came or are gone;
        the latter are forgotten."""
        queues, going_on = self._queues, set()
        for queue in self._going_on.union(changed):
            state = states.get(queue)
            if state is None:
                queues.pop(queue, None)
                continue
            now = queues[queue] = _observed(queues.get(queue, _NOTHING), at, state)
            if now.maxima or now.fell_at is not None or _at_limit(state) is not None:
                going_on.add(queue)
        self._going_on = going_on
        return {
            queue: max(highest for _, highest in maxima)
            for queue in going_on
            if (maxima := queues[queue].maxima)
        }


def active_per_worker(queue: QueueState) -> float | None:
    """Active jobs per worker of a queue whose workers are at their limit; None where they are not, where
    something else limits them, or where a part is not known. A job that waits for a moment shows no limit: a
    worker that is free is about to take it."""
    if queue.oldest_waiting is None or queue.oldest_waiting < _WAITS_SECONDS:
        return None
    return _at_limit(queue)


def _at_limit(queue: QueueState) -> float | None:
    """The same, however short the jobs have waited: while nothing changes, only that does."""
    limited = queue.paused or queue.concurrency_limit is not None or bool(queue.rate_limit_ttl)
    if limited or not queue.workers or not queue.jobs.active or not waiting_jobs(queue.jobs):
        return None
    return queue.jobs.active / queue.workers


def _observed(measured: _Measured, at: float, queue: QueueState) -> _Measured:
    maxima, workers, fell_at = measured
    if queue.workers is not None:
        if workers is not None and queue.workers < workers:
            fell_at = at
        workers = queue.workers
    if fell_at is not None and at - fell_at >= _SETTLE:
        fell_at = None  # else each queue would be looked at for ever after the first time its workers fell
    while maxima and maxima[0][0] <= at - MEASURED_SECONDS:
        maxima = maxima[1:]
    seen = active_per_worker(queue)
    if seen is not None and fell_at is None:
        if maxima and at - maxima[-1][0] < _STEP:
            began, highest = maxima[-1]
            maxima = (*maxima[:-1], (began, max(highest, seen)))
        else:
            maxima = (*maxima, (at, seen))
    if not maxima and fell_at is None:
        return _unmeasured(workers)
    return _Measured(maxima, workers, fell_at)


@lru_cache(maxsize=256)
def _unmeasured(workers: int | None) -> _Measured:
    """One object for most of ten thousand queues."""
    return _Measured(workers=workers)
