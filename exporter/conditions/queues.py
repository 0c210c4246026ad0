"""Conditions of the queues."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from shlex import quote
from typing import get_args

from exporter.bullmq.keys import base
from exporter.bullmq.streams.budget import DEFAULT_LENGTH, needed_length
from exporter.conditions.advice import Context, first_advice
from exporter.conditions.failures import advice_where_removed
from exporter.conditions.finding import (
    NAMED,
    Affected,
    AffectedQueues,
    Finding,
    any_node,
    any_redis_cli,
    by_value,
    first_few,
    queue_label,
)
from exporter.conditions.redis.nodes import cluster_node_unhealthy, redis_unreachable
from exporter.config.health import HealthSettings
from exporter.snapshot.queues import BullMQState, LeftOut, LeftOutReason, QueueId, Search
from exporter.snapshot.whole import Snapshot
from service.i18n import Message
from service.outcome import Failed, value_or_none
from service.units import count, readable


def queue_system_down(snapshot: Snapshot, settings: HealthSettings) -> Finding | None:
    outcome = snapshot.bullmq
    if outcome is None:
        return None
    contexts: list[Context] = []
    affected: Sequence[Affected] = ()
    if isinstance(outcome, Failed):
        failures = [outcome.message]
        contexts = [Context(outcome.kind, outcome.message, any_node(snapshot))]
        measured = Message("issue.text", text=outcome.message)
    elif outcome.value.up:
        return None
    elif outcome.value.blind:
        failures = [readable(problem) for problem in outcome.value.problems]
        contexts = [Context("refused", failure, any_node(snapshot)) for failure in failures]
        measured = Message("issue.queue_system_down.measured_search", problems=first_few(failures))
    else:
        unread = outcome.value.unread
        affected = AffectedQueues([*unread], dict.fromkeys(unread, 1.0))
        failures = [
            f"{queue_label(queue, outcome.value)}: {failed.message}" for queue, failed in unread.items()
        ]
        contexts = [
            Context(failed.kind, failed.message, any_node(snapshot), key=readable(base(queue)))
            for queue, failed in unread.items()
        ]
        measured = Message(
            "issue.queue_system_down.measured",
            unread=len(unread),
            count=len(unread) + len(outcome.value.queues),
            failures=first_few(failures),
        )
    # Queues follow their node: what is wrong with it has a recommendation of its own.
    of_nodes = all(context.kind in ("unreachable", "timeout", "moved") for context in contexts)
    unhealthy = cluster_node_unhealthy(snapshot, settings) if of_nodes else None
    command = f"{any_redis_cli(snapshot)} slowlog get 10"
    if redis_unreachable(snapshot, settings) or unhealthy:
        recommendation = Message("issue.queue_system_down.recommendation_redis")
    else:
        recommendation = first_advice(contexts) or Message(
            "issue.queue_system_down.recommendation", command=command
        )
    return Finding(
        "bullmq",
        Message("issue.queue_system_down.title"),
        measured,
        Message("issue.queue_system_down.threshold"),
        recommendation,
        affected,
    )


def queue_partly_unread(snapshot: Snapshot, _: HealthSettings) -> Finding | None:
    """A queue whose counts are served, but for a part that could not be read."""
    state = value_or_none(snapshot.bullmq)
    odd = [queue for queue in (state.queues if state else ()) if queue.odd]
    if state is None or not odd:
        return None
    failures = [f"{queue_label(queue.id, state)}: {readable('; '.join(queue.odd))}" for queue in odd]
    worst = odd[0].odd[0]
    keys = readable(base(odd[0].id))
    if worst.startswith(("concurrency", "rate limit")):
        recommendation = Message(
            "issue.queue_partly_unread.recommendation_setting",
            command=f"{any_redis_cli(snapshot)} -c hgetall {quote(keys + 'meta')}",
        )
    elif "NOPERM" in worst:
        recommendation = Message(
            "issue.queue_system_down.recommendation_acl", command=f"{any_redis_cli(snapshot)} acl log"
        )
    else:
        recommendation = Message(
            "issue.queue_partly_unread.recommendation",
            command=f"{any_redis_cli(snapshot)} -c type {quote(keys + worst.partition(':')[0])}",
        )
    return Finding(
        "bullmq",
        Message("issue.queue_partly_unread.title"),
        Message("issue.text", text=first_few(failures)),
        Message("issue.queue_partly_unread.threshold"),
        recommendation,
        _most_first({queue.id: float(len(queue.odd)) for queue in odd}),
    )


def candidates_refused(snapshot: Snapshot, _: HealthSettings) -> Finding | None:
    """Keys with names of a queue's that Redis does not let the exporter read, beside queues that it does."""
    state = value_or_none(snapshot.bullmq)
    refused = state.search.refused if state else {}
    if not refused:
        return None
    failures = [readable(f"{':'.join(queue)}: {why}") for queue, why in sorted(refused.items())]
    return Finding(
        "bullmq",
        Message("issue.candidates_refused.title"),
        Message("issue.text", text=first_few(failures)),
        Message("issue.candidates_refused.threshold"),
        Message("issue.candidates_refused.recommendation", command=f"{any_redis_cli(snapshot)} acl log"),
        AffectedQueues(sorted(refused), dict.fromkeys(refused, 1.0)),
    )


def queues_left_out(snapshot: Snapshot, _: HealthSettings) -> Finding | None:
    """More queues than are watched, or names that are too long: of these nothing is known."""
    state = value_or_none(snapshot.bullmq)
    search = state.search if state else Search()
    left = search.not_watched
    if not left.number:
        return None
    too_many, too_long = (search.left_out.get(reason, LeftOut()).number for reason in get_args(LeftOutReason))
    reasons = [
        *([Message("issue.queues_left_out.too_many", count=too_many)] if too_many else []),
        *([Message("issue.queues_left_out.too_long", count=too_long)] if too_long else []),
        *([Message("issue.queues_left_out.and_more")] if left.more else []),
    ]
    return Finding(
        "bullmq",
        Message("issue.queues_left_out.title"),
        Message(
            "issue.queues_left_out.measured",
            reasons=tuple(reasons),
            queues=tuple(readable(":".join(queue)) for queue in left.first[:NAMED]),
        ),
        Message("issue.queues_left_out.threshold", most=search.most or 0),
        Message(
            "issue.queues_left_out.recommendation",
            names="BULLMQ_QUEUES",
            prefixes="BULLMQ_PREFIXES",
            setting="bullmq.max_queues",
            option="--shard",
        ),
    )


def failed_jobs_high(snapshot: Snapshot, settings: HealthSettings) -> Finding | None:
    """Of the last hour: a failed set grows until it is trimmed, so its size would be a permanent issue."""
    state = value_or_none(snapshot.bullmq)
    if state is None:
        return None
    failed = state.failed_last_hour
    total = sum(failed.values())
    if total <= settings.thresholds.failed_jobs:
        return None
    worst = max(failed, key=failed.__getitem__)
    keys = readable(base(worst))
    return Finding(
        "bullmq",
        Message("issue.failed_jobs_high.title"),
        Message(
            "issue.failed_jobs_high.measured",
            count=total,
            failed=failed[worst],
            queue=queue_label(worst, state),
        ),
        Message("issue.failed_jobs_high.threshold", limit=settings.thresholds.failed_jobs),
        advice_where_removed(worst, state, snapshot)
        or Message(
            "issue.failed_jobs_high.recommendation",
            job_command=f"{any_redis_cli(snapshot)} -c zrevrange {quote(keys + 'failed')} 0 0",
            reason_command=f"hget {quote(keys + 'ID')} failedReason",
        ),
        _most_first({queue: float(jobs) for queue, jobs in failed.items()}),
    )


def events_lost(snapshot: Snapshot, _: HealthSettings) -> Finding | None:
    state = value_or_none(snapshot.bullmq)
    rates = state.lively_rates if state else ()
    lost = {queue: events for queue, each in rates if (events := each.lost_last_hour)}
    if state is None or not lost:
        return None
    worst = max(lost, key=lost.__getitem__)
    return Finding(
        "bullmq",
        Message("issue.events_lost.title"),
        Message(
            "issue.events_lost.measured",
            count=sum(lost.values()),
            lost=lost[worst],
            queue=queue_label(worst, state),
        ),
        Message("issue.text", text="0"),
        _advice_for_lost_events(worst, state),
        _most_first({queue: float(events) for queue, events in lost.items()}),
    )


def _advice_for_lost_events(queue: QueueId, state: BullMQState) -> Message:
    """A longer stream where it is shorter than its rate needs; else the exporter did not keep up."""
    events = (state.events or {}).get(queue)
    if events is not None and events.passed_over:
        return Message(
            "issue.events_lost.recommendation_large",
            queue=queue_label(queue, state),
            reason=events.passed_over,
        )
    rate = events.peak_rate if events else 0.0
    kept = DEFAULT_LENGTH if events is None or events.max_length is None else events.max_length
    needed = needed_length(rate)
    longer = needed if kept < needed else 10 * max(kept, DEFAULT_LENGTH)
    code = f"new Queue(name, {{streams: {{events: {{maxLen: {longer}}}}}}})"
    if kept < needed:
        return Message(
            "issue.events_lost.recommendation_length",
            key=readable(base(queue)) + "meta",
            kept=count(kept),
            rate=count(rate),
            needed=count(needed),
            code=code,
        )
    return Message("issue.events_lost.recommendation", kept=count(kept), rate=count(rate), code=code)


def events_unreadable(snapshot: Snapshot, _: HealthSettings) -> Finding | None:
    """Streams that are there and are refused: their queues have no counters."""
    state = value_or_none(snapshot.bullmq)
    if state is None or not state.unfollowed:
        return None
    failures = [f"{queue_label(queue, state)}: {why}" for queue, why in state.unfollowed.items()]
    queue, why = next(iter(state.unfollowed.items()))
    if "NOPERM" in why:
        recommendation = Message(
            "issue.queue_system_down.recommendation_acl", command=f"{any_redis_cli(snapshot)} acl log"
        )
    else:
        recommendation = Message(
            "issue.events_unreadable.recommendation",
            command=f"{any_redis_cli(snapshot)} -c type {quote(readable(base(queue)) + 'events')}",
        )
    return Finding(
        "bullmq",
        Message("issue.events_unreadable.title"),
        Message("issue.text", text=first_few(failures)),
        Message("issue.events_unreadable.threshold"),
        recommendation,
        AffectedQueues([*state.unfollowed], dict.fromkeys(state.unfollowed, 1.0)),
    )


def state_not_written(snapshot: Snapshot, _: HealthSettings) -> Finding | None:
    """The file that keeps the counters of events over a restart."""
    state = value_or_none(snapshot.bullmq)
    if state is None or state.checkpoint is None or not state.checkpoint.failing:
        return None
    file = readable(state.checkpoint.file)
    return Finding(
        "bullmq",
        Message("issue.state_not_written.title"),
        Message("issue.text", text=f"{file}: {state.checkpoint.failing}"),
        Message("issue.state_not_written.threshold"),
        Message(
            "issue.state_not_written.recommendation", command=f"df -h {quote(file.rpartition('/')[0] or '.')}"
        ),
    )


def _most_first(measured: Mapping[QueueId, float]) -> AffectedQueues:
    return AffectedQueues(by_value(measured), measured)
