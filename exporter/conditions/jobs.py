"""Conditions of jobs: active ones that nobody works on or that do not end, stalled ones, failures."""

from __future__ import annotations

from itertools import chain
from shlex import quote

from exporter.bullmq.keys import base
from exporter.conditions.failures import advice_where_removed
from exporter.conditions.finding import (
    AffectedQueues,
    Finding,
    any_redis_cli,
    by_value,
    queue_label,
    texts_of_worst,
)
from exporter.conditions.hanging import hanging_queues, usual_seconds
from exporter.conditions.queue_limits import queue_limits
from exporter.conditions.standing import standing_queues
from exporter.conditions.work import advice_for_hung
from exporter.config.health import HealthSettings
from exporter.snapshot.queues import QueueId, Rates, Unlocked, Work
from exporter.snapshot.whole import Snapshot
from service.i18n import Message
from service.outcome import value_or_none
from service.units import duration, percent, plain, readable


def active_without_lock(snapshot: Snapshot, settings: HealthSettings) -> Finding | None:
    """Active jobs whose lock is gone: no worker has them, and no stalled check gives them back. Where the
    queue stands still, that says it."""
    state = value_or_none(snapshot.bullmq)
    if state is None or not state.unlocked or state.work is None:  # one look proves no duration
        return None
    limits = queue_limits(settings)
    gone = {
        queue: unlocked.seconds
        for queue, unlocked in state.unlocked.items()
        if (own := limits.of(queue.name)) is not None and unlocked.seconds > own.no_lock_seconds
    }
    still = standing_queues(state, settings) if gone else {}
    gone = {queue: seconds for queue, seconds in gone.items() if queue not in still}
    if not gone:
        return None
    worst = by_value(gone)
    first = worst[0]
    measured = texts_of_worst(
        worst,
        lambda queue: _how_many(state.unlocked[queue], queue_label(queue, state), gone[queue]),
    )
    known = state.by_id.get(first)
    label = queue_label(first, state)
    if known is not None and known.workers == 0:
        advice = Message("issue.active_without_lock.recommendation_no_worker", queue=label)
    elif known is not None and known.workers and (state.work.get(first) or Work()).standing is not None:
        advice = advice_for_hung(known, label, snapshot)
    else:
        command = f"{any_redis_cli(snapshot)} -c lrange {quote(readable(base(first)) + 'active')} -10 -1"
        advice = Message("issue.active_without_lock.recommendation", queue=label, command=command)
    own = limits.of(first.name) or settings.thresholds
    return Finding(
        "bullmq",
        Message("issue.active_without_lock.title"),
        Message("issue.text", text=measured),
        Message("issue.at_most", limit=duration(own.no_lock_seconds)),
        advice,
        AffectedQueues(worst, gone),
    )


def _how_many(unlocked: Unlocked, label: str, seconds: float) -> Message:
    jobs, time = unlocked.jobs, duration(seconds)
    if unlocked.more:
        return Message("issue.active_without_lock.queue_at_least", queue=label, count=jobs, time=time)
    return Message("issue.active_without_lock.queue", queue=label, count=jobs, time=time)


def active_too_long(snapshot: Snapshot, settings: HealthSettings) -> Finding | None:
    """A job is active for far longer than nearly all of its queue's jobs were. Where the queue stands still
    for it, that says it."""
    state = value_or_none(snapshot.bullmq)
    limits = queue_limits(settings)
    least = limits.least("active_seconds") or 0.0
    found: dict[QueueId, tuple[float, float]] = {}
    for queue in state.queues if state else ():
        active = queue.longest_active
        if state is None or active is None or active < least or queue.id in state.unlocked:
            continue
        own = limits.of(queue.id.name)
        if own is None or active <= own.active_seconds:
            continue
        usual = usual_seconds(state, queue.id)
        if usual is not None and active > own.active_ratio * usual:
            found[queue.id] = active, usual
    if state is not None and found:
        hanging = hanging_queues(state, settings)
        found = {queue: times for queue, times in found.items() if queue not in hanging}
    if state is None or not found:
        return None
    seconds = {queue: active for queue, (active, _) in found.items()}
    worst = by_value(seconds)
    first = worst[0]
    own = limits.of(first.name) or settings.thresholds
    measured = texts_of_worst(
        worst,
        lambda queue: Message(
            "issue.active_too_long.queue",
            queue=queue_label(queue, state),
            time=duration(found[queue][0]),
            usual=_seconds(found[queue][1]),
        ),
    )
    return Finding(
        "bullmq",
        Message("issue.active_too_long.title"),
        Message("issue.text", text=measured),
        Message(
            "issue.active_too_long.threshold",
            limit=duration(own.active_seconds),
            ratio=plain(own.active_ratio),
        ),
        Message(
            "issue.active_too_long.recommendation",
            queue=queue_label(first, state),
            command=f"{any_redis_cli(snapshot)} -c lindex {quote(readable(base(first)) + 'active')} -1",
        ),
        AffectedQueues(worst, seconds),
    )


def jobs_stalled(snapshot: Snapshot, settings: HealthSettings) -> Finding | None:
    """Jobs whose worker lost them, again and again within the hour."""
    state = value_or_none(snapshot.bullmq)
    if state is None:
        return None
    limits = queue_limits(settings)
    stalled = {
        queue: float(rates.stalled_last_hour)
        for queue, rates in state.lively_rates
        if rates.stalled_last_hour
        and (own := limits.of(queue.name)) is not None
        and rates.stalled_last_hour > own.stalled_jobs
    }
    if not stalled:
        return None
    worst = by_value(stalled)
    measured = texts_of_worst(
        worst,
        lambda queue: Message(
            "issue.jobs_stalled.queue", queue=queue_label(queue, state), count=int(stalled[queue])
        ),
    )
    own = limits.of(worst[0].name) or settings.thresholds
    return Finding(
        "bullmq",
        Message("issue.jobs_stalled.title"),
        Message("issue.text", text=measured),
        Message("issue.jobs_stalled.threshold", limit=own.stalled_jobs),
        Message("issue.jobs_stalled.recommendation", queue=queue_label(worst[0], state)),
        AffectedQueues(worst, stalled),
    )


def failures_rising(snapshot: Snapshot, settings: HealthSettings) -> Finding | None:
    """The share of the last hour's jobs that failed for good, of each queue and of all together; and queues
    of which none completed while attempts are retried: those jobs may not fail for good before tomorrow."""
    state = value_or_none(snapshot.bullmq)
    if state is None:
        return None
    limits = queue_limits(settings)
    shares: dict[QueueId, float] = {}
    completed = failed = 0
    for queue, rates in state.lively_rates:
        if not (rates.failed_last_hour or rates.completed_last_hour or rates.retried_last_hour):
            continue
        own = limits.of(queue.name)
        if own is None:
            continue
        if _only_retries(rates) and _attempts(rates) >= own.failed_ratio_jobs:
            shares[queue] = 1.0
        ended = rates.completed_last_hour + rates.failed_last_hour
        completed, failed = completed + rates.completed_last_hour, failed + rates.failed_last_hour
        if ended >= own.failed_ratio_jobs and rates.failed_last_hour > own.failed_ratio * ended:
            shares[queue] = rates.failed_last_hour / ended
    common = settings.thresholds
    ended = completed + failed
    in_all = ended >= common.failed_ratio_jobs and failed > common.failed_ratio * ended
    if not shares and not in_all:
        return None
    if not shares:  # no queue alone has enough jobs
        shares = {
            queue: rates.failed_last_hour / (rates.completed_last_hour + rates.failed_last_hour)
            for queue, rates in state.lively_rates
            if rates.failed_last_hour and limits.of(queue.name) is not None
        }
    worst = by_value(shares)
    parts = texts_of_worst(
        worst,
        lambda queue: _how_many_fail(queue_label(queue, state), state.rates[queue], shares[queue]),
    )
    total = (
        [Message("issue.failures_rising.all", ratio=percent(failed / ended), count=ended)] if in_all else []
    )
    own = limits.of(worst[0].name) or common
    cli, keys = any_redis_cli(snapshot), readable(base(worst[0]))
    newest = f"zrevrange {quote(keys + 'failed')} 0 0"
    if not state.rates[worst[0]].failed_last_hour:
        newest = f"zrange {quote(keys + 'delayed')} 0 0"
    return Finding(
        "bullmq",
        Message("issue.failures_rising.title"),
        Message("issue.text", text=tuple(chain(parts, total))),
        Message(
            "issue.failures_rising.threshold", ratio=percent(own.failed_ratio), jobs=own.failed_ratio_jobs
        ),
        advice_where_removed(worst[0], state, snapshot)
        or Message(
            "issue.failures_rising.recommendation",
            job_command=f"{cli} -c {newest}",
            reason_command=f"hget {quote(keys + 'ID')} failedReason",
        ),
        AffectedQueues(worst, shares),
    )


def _only_retries(rates: Rates) -> bool:
    return rates.retried_last_hour > 0 and rates.completed_last_hour == 0


def _attempts(rates: Rates) -> int:
    return rates.retried_last_hour + rates.failed_last_hour


def _how_many_fail(label: str, rates: Rates, share: float) -> Message:
    if _only_retries(rates):
        return Message("issue.failures_rising.retries", queue=label, count=_attempts(rates))
    ended = rates.completed_last_hour + rates.failed_last_hour
    return Message("issue.failures_rising.queue", queue=label, ratio=percent(share), count=ended)


def _seconds(seconds: float) -> str:
    """With fractions where there is little else."""
    return duration(seconds) if seconds >= 10 else f"{seconds:.2g} s"
