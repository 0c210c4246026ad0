"""Conditions that may be there or not, as what is known of the work began too recently."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from exporter.bullmq.work import runnable_jobs, stopped, waits_for
from exporter.conditions.measured import Measure, measured_work
from exporter.conditions.queue_limits import queue_limits
from exporter.conditions.standing import stands
from exporter.conditions.work import lacks_workers, pause_lasts
from exporter.config.settings import HealthSettings, WorkThresholds
from exporter.snapshot.queues import QueueState, Work
from exporter.snapshot.whole import Snapshot
from service.outcome import value_or_none


def not_known_yet(snapshot: Snapshot, settings: HealthSettings) -> frozenset[str]:
    """Conditions that may be there or not: a queue was so at the first look, and nothing tells since when."""
    state = value_or_none(snapshot.bullmq)
    if state is None or state.work is None:
        return frozenset()
    names = {
        name for name, (clock, measure) in _OPEN.items() if measured_work(state, settings, measure, of=clock)
    }
    limits = queue_limits(settings)
    for queue in state.unlocked:
        own = limits.of(queue.name)
        if own is not None and state.watched_seconds <= own.no_lock_seconds:
            names.add("active_without_lock")
    return frozenset(names)


def _may_stand(queue: QueueState, work: Work, limits: WorkThresholds) -> float | None:
    if not work.standing_before or stands(queue, work, limits) is not None:
        return None
    waits = waits_for(queue)
    limit = limits.no_worker_seconds if queue.workers == 0 else limits.no_start_seconds
    return work.standing if waits is None or waits >= limit else None


def _may_lack_workers(queue: QueueState, work: Work, limits: WorkThresholds) -> float | None:
    known = queue.workers != 0 or stopped(queue) is not False or work.standing is not None
    if known or not work.without_workers_before or lacks_workers(queue, work, limits) is not None:
        return None
    return work.without_workers


def _may_be_paused(queue: QueueState, work: Work, limits: WorkThresholds) -> float | None:
    known = not stopped(queue) or not runnable_jobs(queue)
    if known or not work.paused_before or pause_lasts(queue, work, limits) is not None:
        return None
    return work.paused


_OPEN: Final[Mapping[str, tuple[str, Measure]]] = {
    "queue_standing_still": ("standing_before", _may_stand),
    "queue_without_workers": ("without_workers_before", _may_lack_workers),
    "paused_long": ("paused_before", _may_be_paused),
}
"""Which conditions, the field of `Work` that says that it was so at the first look, and the measure."""
