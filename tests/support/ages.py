"""The ages of a queue's jobs, as its state has them."""

from __future__ import annotations

from typing import NamedTuple

from exporter.bullmq.counts import Counts
from exporter.bullmq.details import Read, Since
from exporter.bullmq.still.states import QueueFacts, QueueStates
from exporter.snapshot.queues import QueueId

_QUEUE = QueueId("bull", "mail")


class Ages(NamedTuple):
    """Seconds that the oldest waiting job waits, the longest active one runs, the first delayed one is due,
    and the first parent waits for its children."""

    oldest: float | None
    longest: float | None
    late: float | None
    children: float | None


def ages(counts: Counts, since: Since, now_ms: int) -> Ages:
    """At `now_ms` by the node's clock."""
    states = QueueStates()
    states.update({_QUEUE: Read(counts, since, whole=True)}, QueueFacts(), {_QUEUE: (10.0, None)})
    state = states.aged([(now_ms, states.aging)])[_QUEUE]
    return Ages(
        state.oldest_waiting, state.longest_active, state.longest_overdue, state.longest_waiting_children
    )
