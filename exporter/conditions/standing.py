"""Which queues stand still, and for how long: jobs could be taken, and nothing takes them."""

from __future__ import annotations

from typing import Final

from exporter.bullmq.work import held_back, runnable_jobs, waits_for
from exporter.conditions.hanging import hanging_queues
from exporter.conditions.measured import measured_queues, measured_work, once_a_state
from exporter.config.health import HealthSettings, WorkThresholds
from exporter.snapshot.queues import BullMQState, QueueId, QueueState, Work

_ONE_LOOK: Final = Work(standing_before=True, without_workers_before=True)


@once_a_state
def standing_queues(state: BullMQState, settings: HealthSettings) -> dict[QueueId, float]:
    """The queues that stand still, and for how many seconds."""
    if state.work is None:
        return measured_queues(state, settings, _proved_at_once, state.queues)
    return hanging_queues(state, settings) | measured_work(state, settings, stands, of="standing")


def stands(queue: QueueState, work: Work, limits: WorkThresholds) -> float | None:
    """By its own clock alone, not behind jobs that do not end. Of thousands of queues that stand still, each
    comes here in each scrape."""
    standing = work.standing
    if standing is None:
        return None
    if work.standing_before and (before := _stood_before(queue, work, limits)) is not None:
        return max(standing, before)
    if standing >= limits.no_start_seconds:
        return standing
    if queue.workers != 0 or standing < limits.no_worker_seconds:
        return None
    # Both must have lasted: where workers come with the first job, it waits until they are there.
    return standing if (work.without_workers or 0.0) >= limits.no_worker_seconds else None


def _stood_before(queue: QueueState, work: Work, limits: WorkThresholds) -> float | None:
    """A queue that stood at the first look: by what that look proves, or the age of its jobs. Workers that
    take others first (LIFO, priority) would be seen to start one soon."""
    waits = waits_for(queue)
    if waits is None or waits < limits.no_start_seconds:
        return None
    if queue.workers == 0 and work.without_workers_before and waits >= limits.no_worker_seconds:
        return waits
    return waits if (work.standing or 0.0) >= limits.no_worker_seconds else None


def _proved_at_once(queue: QueueState, _: Work, limits: WorkThresholds) -> float | None:
    """One look: no worker, and the oldest job waits for longer than a start of workers may take."""
    if queue.workers != 0 or held_back(queue) or not runnable_jobs(queue):
        return None
    return _stood_before(queue, _ONE_LOOK, limits)
