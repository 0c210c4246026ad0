"""Conditions that may be there or not, as what is known of the work began too recently."""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import Final

from exporter.bullmq.work import runnable_jobs, stopped, waits_for
from exporter.conditions.measured import Measure, measured_work
from exporter.conditions.queue_limits import queue_limits
from exporter.config.health import HealthSettings, WorkThresholds
from exporter.snapshot.queues import QueueState, Work
from exporter.snapshot.whole import Snapshot
from service.outcome import value_or_none


def not_known_yet(snapshot: Snapshot, settings: HealthSettings, there: Container[str]) -> dict[str, float]:
    """Conditions that may be there or not, and in how many seconds that is known at the latest: a queue was
    so at the first look, and nothing tells since when. `there`: all that are known to be there, at any queue:
    of the others no queue needs to be asked whether it is so."""
    state = value_or_none(snapshot.bullmq)
    if state is None or state.work is None:
        return {}
    known_in: dict[str, float] = {}
    for name, (clock, without, measure) in _OPEN.items():
        if name in there:
            continue
        seconds = measured_work(state, settings, measure, of=clock, without=without)
        if seconds:
            known_in[name] = max(seconds.values())
    limits = queue_limits(settings)
    for queue in state.unlocked if "active_without_lock" not in there else ():
        own = limits.of(queue.name)
        if own is not None and state.watched_seconds <= own.no_lock_seconds:
            left = own.no_lock_seconds - state.watched_seconds
            known_in["active_without_lock"] = max(left, known_in.get("active_without_lock", 0.0))
    return known_in


def _may_stand(queue: QueueState, work: Work, limits: WorkThresholds) -> float | None:
    if not work.standing_before:
        return None
    waits = waits_for(queue)
    limit = limits.no_worker_seconds if queue.workers == 0 else limits.no_start_seconds
    if waits is not None and waits < limit:
        return None
    # An age over no_start_seconds is believed after no_worker_seconds; without one that has to pass.
    patience = (
        limits.no_worker_seconds if queue.workers == 0 or waits is not None else limits.no_start_seconds
    )
    return _left(patience, work.standing)


def _may_lack_workers(queue: QueueState, work: Work, limits: WorkThresholds) -> float | None:
    known = queue.workers != 0 or stopped(queue) is not False or work.standing is not None
    if known or not work.without_workers_before:
        return None
    return _left(limits.without_workers_seconds, work.without_workers)


def _may_be_paused(queue: QueueState, work: Work, limits: WorkThresholds) -> float | None:
    if not work.paused_before or not stopped(queue) or not runnable_jobs(queue):
        return None
    return _left(limits.paused_seconds, work.paused)


def _left(limit: float, seconds: float | None) -> float:
    return max(0.0, limit - (seconds or 0.0))


_OPEN: Final[Mapping[str, tuple[str, str, Measure]]] = {
    "queue_standing_still": ("standing_before", "", _may_stand),
    "queue_without_workers": ("without_workers_before", "standing", _may_lack_workers),
    "paused_long": ("paused_before", "", _may_be_paused),
}
"""Which conditions, the field of `Work` that says that it was so at the first look, the one that excludes it,
and in how many seconds it is known."""
