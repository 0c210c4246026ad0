"""Examples of the memory of queues, for the views."""

from __future__ import annotations

from dataclasses import replace

from exporter.assessment import Assessment
from exporter.snapshot.memory import Growth, NodeMemory, QueueMemory, StateMemory, state_totals
from exporter.snapshot.queues import BullMQState, MeasuredMemory, QueueId
from service.outcome import Ok, value_or_none
from tests.support.assessments import MASTER, NASTY, assessment

MIB = 1 << 20
MAIL = QueueId("bull", "mail")
MAIL_MEMORY = QueueMemory(
    {
        "waiting": StateMemory(2.0 * MIB, 0.0, 1024, 1024),
        "completed": StateMemory(1900.0 * MIB, 19.0 * MIB, 500_000, 8000, 1890.0 * MIB),
        "events": StateMemory(1.0 * MIB),
        "other": StateMemory(1024.0),
    },
    at=940.0,
    node=MASTER,
    growth=Growth(1024.0, 7200.0),
)
SMALL_MEMORY = QueueMemory({"failed": StateMemory(3.0 * MIB, 0.0, 2000, 2000, 1.5 * MIB)}, 950.0, MASTER)
NODE = NodeMemory(3000.0 * MIB, 4000.0 * MIB, 940.0, Growth(2048.0, 7200.0))


def measured(**changes: object) -> MeasuredMemory:
    """Two queues of one node; `changes` are fields of MeasuredMemory."""
    memory = MeasuredMemory(
        queues={MAIL: MAIL_MEMORY, QueueId("bull", NASTY): SMALL_MEMORY},
        nodes={MASTER: NODE},
        published={MAIL: MAIL_MEMORY},
    )
    changed = replace(memory, **changes)  # type: ignore[arg-type]
    return replace(changed, totals=state_totals(changed.queues.values()))


def with_memory(memory: MeasuredMemory | None) -> Assessment:
    """An assessment, taken at 1000.0, with this memory."""
    before = assessment()
    state = value_or_none(before.snapshot.bullmq)
    assert isinstance(state, BullMQState)
    snapshot = replace(before.snapshot, bullmq=Ok(replace(state, memory=memory)))
    return Assessment(snapshot, before.health)
