"""What other settings of retention would free, from the jobs that were measured. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, NamedTuple, TypeAlias

from exporter.snapshot.memory import KEPT, MemoryState, QueueMemory
from exporter.snapshot.queues import QueueId

Option: TypeAlias = Literal["removeOnComplete", "removeOnFail"]
_OPTIONS: Final[Mapping[MemoryState, Option]] = {"completed": "removeOnComplete", "failed": "removeOnFail"}
_LEAST_BYTES: Final = 1 << 20
_LEAST_SHARE: Final = 0.01  # of the memory of all queues
MOST_ADVICE: Final = 10


class Retention(NamedTuple):
    """A queue's option of retention: with this number of `kept` jobs it would free so many `bytes` of the
    `jobs` that are there now."""

    queue: QueueId
    option: Option
    kept: int
    jobs: int
    bytes: float


def retention_advice(queues: Mapping[QueueId, QueueMemory]) -> list[Retention]:
    """What would free a hundredth of the memory of all queues, and a MiB, each; the most first."""
    least = max(_LEAST_BYTES, _LEAST_SHARE * sum(queue.bytes for queue in queues.values()))
    advice = [
        Retention(name, option, KEPT, state.jobs or 0, state.older)
        for name, queue in queues.items()
        for kind, option in _OPTIONS.items()
        if (state := queue.states.get(kind)) is not None and (state.older or 0.0) >= least
        if state.older is not None
    ]
    return sorted(advice, key=lambda each: (-each.bytes, each.queue))[:MOST_ADVICE]
