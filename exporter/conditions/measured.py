"""For how many seconds a condition of work is there, by queue: what its rules share."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import wraps
from typing import Final, TypeAlias
from weakref import ReferenceType, ref

from exporter.conditions.queue_limits import queue_limits
from exporter.config.health import HealthSettings, WorkThresholds
from exporter.snapshot.queues import BullMQState, QueueId, QueueState, Work

NOTHING_KNOWN: Final = Work()
Measure: TypeAlias = Callable[[QueueState, Work, WorkThresholds], float | None]
"""For how many seconds a condition is there at a queue; None where it is not."""
_OfState: TypeAlias = Callable[[BullMQState, HealthSettings], dict[QueueId, float]]


def once_a_state(function: _OfState) -> _OfState:
    """Several rules ask for the same of one state: the last result is kept, until another state comes."""
    last: list[tuple[ReferenceType[BullMQState], HealthSettings, dict[QueueId, float]]] = []

    @wraps(function)
    def remembered(state: BullMQState, settings: HealthSettings) -> dict[QueueId, float]:
        for of, with_settings, result in last:
            if of() is state and with_settings is settings:
                return result
        result = function(state, settings)
        last[:] = [(ref(state), settings, result)]
        return result

    return remembered


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
    state: BullMQState, settings: HealthSettings, measure: Measure, *, of: str, without: str = ""
) -> dict[QueueId, float]:
    """As `measured_queues`, of those queues of which something is known that began before this collection:
    the field `of` of their `Work`, and not the field `without`, else the measure is None."""
    if not state.work:
        return {}
    field, other = Work._fields.index(of), Work._fields.index(without) if without else None
    nothing = NOTHING_KNOWN[field]
    limits, queues, measured = queue_limits(settings), state.by_id, {}
    common = limits.of_all
    for queue_id, work in state.work.items():
        if work[field] is nothing or (other is not None and work[other] is not NOTHING_KNOWN[other]):
            continue
        queue, own = queues.get(queue_id), common or limits.of(queue_id.name)
        if queue is not None and own is not None and (value := measure(queue, work, own)) is not None:
            measured[queue_id] = value
    return measured
