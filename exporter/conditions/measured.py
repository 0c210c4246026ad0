"""For how many seconds a condition of work is there, by queue: what its rules share."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, TypeAlias

from exporter.conditions.queue_limits import queue_limits
from exporter.config.settings import HealthSettings, WorkThresholds
from exporter.snapshot.queues import BullMQState, QueueId, QueueState, Work

NOTHING_KNOWN: Final = Work()
Measure: TypeAlias = Callable[[QueueState, Work, WorkThresholds], float | None]
"""For how many seconds a condition is there at a queue; None where it is not."""


def measured_queues(
    state: BullMQState, settings: HealthSettings, measure: Measure, queues: Iterable[QueueState]
) -> dict[QueueId, float]:
    """Those of the queues at which a condition is there, and what was measured; not those excluded."""
    limits, works = queue_limits(settings), state.work or {}
    measured = {}
    for queue in queues:
        own = limits.of(queue.id.name)
        value = None if own is None else measure(queue, works.get(queue.id, NOTHING_KNOWN), own)
        if value is not None:
            measured[queue.id] = value
    return measured


def measured_work(
    state: BullMQState, settings: HealthSettings, measure: Measure, *, of: str
) -> dict[QueueId, float]:
    """As `measured_queues`, of those queues of which something is known that began before this collection:
    this field of their `Work`, without which the measure is None."""
    if not state.work:
        return {}
    limits, queues, field = queue_limits(settings), state.by_id, Work._fields.index(of)
    measured, unset = {}, NOTHING_KNOWN[field]
    for queue_id, work in [item for item in state.work.items() if item[1][field] is not unset]:
        queue, own = queues.get(queue_id), limits.of(queue_id.name)
        value = None if queue is None or own is None else measure(queue, work, own)
        if value is not None:
            measured[queue_id] = value
    return measured
