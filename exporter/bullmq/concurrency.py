"""The concurrency of a queue's workers, as measured: Redis does not know what they are set to. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from exporter.derived import waiting_jobs
from exporter.snapshot.queues import QueueId, QueueState

MEASURED_SECONDS: Final = 3600.0
"""Seconds that a measurement counts."""
_STEP: Final = 300.0  # seconds that share one maximum
_WAITS_SECONDS: Final = 1.0  # so long, and a job is not just about to be taken
_SETTLE: Final = (
    60.0  # seconds after the number of workers fell: jobs of those that ended may still be active
)


@dataclass
class _Measured:
    """Maxima of active jobs per worker, each with the time its step began, the oldest first."""

    maxima: deque[tuple[float, float]] = field(default_factory=deque)
    workers: int | None = None
    fell_at: float | None = None


class ConcurrencyHistory:
    """The most active jobs per worker that each queue had in the last hour while jobs waited.

    Workers that leave jobs waiting run as many as they can, so that it is at least this.
    """

    def __init__(self) -> None:
        self._queues: dict[QueueId, _Measured] = {}

    def measured(self, at: float, queues: Iterable[QueueState]) -> list[QueueState]:
        """The queues, each with what was measured up to now (`at`, monotonic seconds). Queues that are not
        among these are forgotten."""
        states = list(queues)
        self._queues = {queue.id: self._queues.get(queue.id) or _Measured() for queue in states}
        return [_with(queue, _observe(self._queues[queue.id], at, queue)) for queue in states]


def active_per_worker(queue: QueueState) -> float | None:
    """Active jobs per worker of a queue whose workers are at their limit; None where they are not, where
    something else limits them, or where a part is not known. A job that waits for a moment shows no limit: a
    worker that is free is about to take it."""
    limited = queue.paused or queue.concurrency_limit is not None or bool(queue.rate_limit_ttl)
    if limited or not queue.workers or not queue.jobs.active or not waiting_jobs(queue.jobs):
        return None
    if queue.oldest_waiting is None or queue.oldest_waiting < _WAITS_SECONDS:
        return None
    return queue.jobs.active / queue.workers


def _with(queue: QueueState, concurrency: float | None) -> QueueState:
    return queue if concurrency is None else queue._replace(measured_concurrency=concurrency)


def _observe(measured: _Measured, at: float, queue: QueueState) -> float | None:
    if queue.workers is not None:
        if measured.workers is not None and queue.workers < measured.workers:
            measured.fell_at = at
        measured.workers = queue.workers
    while measured.maxima and measured.maxima[0][0] <= at - MEASURED_SECONDS:
        measured.maxima.popleft()
    seen = active_per_worker(queue)
    if seen is not None and (measured.fell_at is None or at - measured.fell_at >= _SETTLE):
        if measured.maxima and at - measured.maxima[-1][0] < _STEP:
            began, highest = measured.maxima.pop()
            measured.maxima.append((began, max(highest, seen)))
        else:
            measured.maxima.append((at, seen))
    return max((highest for _, highest in measured.maxima), default=None)
