"""What to do about jobs that failed, where they are not kept: their reasons are elsewhere, or nowhere."""

from __future__ import annotations

from shlex import quote

from exporter.bullmq.keys import base
from exporter.conditions.finding import any_redis_cli, queue_label
from exporter.snapshot.queues import BullMQState, QueueId
from exporter.snapshot.whole import Snapshot
from service.i18n import Message
from service.units import readable

_LAST_EVENTS = 1000


def advice_where_removed(queue: QueueId, state: BullMQState, snapshot: Snapshot) -> Message | None:
    """None where the failed set has jobs of the last hour, or is not known: a look at those helps more; and
    where none failed for good: those that are tried again are kept.

    BullMQ's events have the reasons of the latest failures; Bull has no such stream.
    """
    known, rates = state.by_id.get(queue), state.rates.get(queue)
    if known is None or known.failed_last_hour != 0 or (rates is not None and not rates.failed_last_hour):
        return None
    label = queue_label(queue, state)
    if known.library == "bull":
        return Message("issue.failed_jobs.recommendation_removed_bull", queue=label)
    events = quote(readable(base(queue)) + "events")
    return Message(
        "issue.failed_jobs.recommendation_removed",
        queue=label,
        command=f"{any_redis_cli(snapshot)} -c xrevrange {events} + - count {_LAST_EVENTS} "
        "| grep -A 1 -x failedReason",
    )
