"""Conditions of flows: parents that wait for children."""

from __future__ import annotations

from shlex import quote

from exporter.bullmq.keys import base
from exporter.conditions.finding import (
    AffectedQueues,
    Finding,
    any_redis_cli,
    by_value,
    queue_label,
    texts_of_worst,
)
from exporter.conditions.queue_limits import queue_limits
from exporter.config.health import HealthSettings
from exporter.snapshot.whole import Snapshot
from service.i18n import Message
from service.outcome import value_or_none
from service.units import duration, readable


def waiting_children_long(snapshot: Snapshot, settings: HealthSettings) -> Finding | None:
    """A parent waits for its children for longer than a flow takes. A child that failed keeps its parent
    for ever, and is seen at neither queue: the parent neither waits nor fails."""
    state = value_or_none(snapshot.bullmq)
    if state is None:
        return None
    limits, found = queue_limits(settings), {}
    for queue in state.queues:
        seconds = queue.longest_waiting_children
        if seconds is None or (own := limits.of(queue.id.name)) is None:
            continue
        if seconds > own.waiting_children_seconds:
            found[queue.id] = seconds
    if not found:
        return None
    worst = by_value(found)
    label, keys = queue_label(worst[0], state), readable(base(worst[0]))
    measured = texts_of_worst(
        worst,
        lambda queue: Message(
            "issue.waiting_children_long.queue",
            queue=queue_label(queue, state),
            count=state.by_id[queue].jobs.waiting_children or 1,
            time=duration(found[queue]),
        ),
    )
    own = limits.of(worst[0].name) or settings.thresholds
    return Finding(
        "bullmq",
        Message("issue.waiting_children_long.title"),
        Message("issue.text", text=measured),
        Message("issue.at_most", limit=duration(own.waiting_children_seconds)),
        Message(
            "issue.waiting_children_long.recommendation",
            queue=label,
            job_command=f"{any_redis_cli(snapshot)} -c zrange {quote(keys + 'waiting-children')} 0 0",
            children_command=f"smembers {quote(keys + 'ID:dependencies')}",
        ),
        AffectedQueues(worst, found),
    )
