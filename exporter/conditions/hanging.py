"""Jobs that do not end, and queues that stand still for them: their workers are alive, and all hang."""

from __future__ import annotations

from typing import Final

from exporter.bullmq.streams.rates import WINDOW
from exporter.bullmq.work import runnable_jobs, stopped
from exporter.conditions.measured import NOTHING_KNOWN, once_a_state
from exporter.conditions.queue_limits import queue_limits
from exporter.config.health import HealthSettings, WorkThresholds
from exporter.snapshot.histogram import histogram_quantile, total_of
from exporter.snapshot.queues import BullMQState, QueueId, QueueState

_LEAST_JOBS: Final = 20  # ended ones, from which on their times say what is usual
_SHARE: Final = 0.99
_STARTS: Final = 6  # times no_start_seconds: a job may be long on purpose, and others wait behind it


@once_a_state
def hanging_queues(state: BullMQState, settings: HealthSettings) -> dict[QueueId, float]:
    """Queues of which no job ended lately, although some wait, as one is active for very long; for how many
    seconds. Other slots may be free of it: then jobs end."""
    limits, found = queue_limits(settings), {}
    least = _STARTS * (limits.least("no_start_seconds") or 0.0)
    for queue in state.queues:
        active = queue.longest_active
        if active is None or active < least or not runnable_jobs(queue):
            continue
        own = limits.of(queue.id.name)
        if own is not None and _jobs_hang(state, queue, active, own):
            found[queue.id] = active
    return found


def stands_for_hanging(queue: QueueState, state: BullMQState) -> bool:
    """Whether a queue that stands still does so behind jobs that do not end."""
    return state.work is not None and state.work.get(queue.id, NOTHING_KNOWN).standing is None


def hanging_seconds(limits: WorkThresholds) -> float:
    """For how long a job must be active, and another one wait."""
    return _STARTS * limits.no_start_seconds


def _jobs_hang(state: BullMQState, queue: QueueState, active: float, limits: WorkThresholds) -> bool:
    if stopped(queue) is not False or queue.rate_limit_ttl or queue.id in state.unlocked:
        return False
    if min(active, queue.oldest_waiting or 0.0) < hanging_seconds(limits):
        return False
    rates = state.rates.get(queue.id)
    if rates is None or rates.completed_per_minute != 0 or rates.failed_per_minute != 0:
        return False  # jobs end, or nobody knows
    usual = usual_seconds(state, queue.id)
    # In a time shorter than that of a usual job, other slots may work and end none.
    if usual is None or rates.seconds < max(usual, WINDOW):
        return False
    return active > max(limits.active_seconds, limits.active_ratio * usual)


def usual_seconds(state: BullMQState, queue: QueueId) -> float | None:
    """How long 99 % of a queue's jobs were active at most, since it is known; None where too few ended, or
    where that is more than the histogram can tell."""
    events = (state.events or {}).get(queue)
    if events is None:
        return None
    by_outcome = events.counters.processing.values()
    ended = sum([sum(each.counts) for each in by_outcome])
    if ended < _LEAST_JOBS or (times := total_of(by_outcome)).counts[-1] > (1 - _SHARE) * ended:
        return None
    return histogram_quantile(times, _SHARE)
