"""How much memory the queues take in Redis, as it was sampled."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final, Literal, NamedTuple, TypeAlias, get_args

MemoryState: TypeAlias = Literal[
    "waiting",
    "active",
    "delayed",
    "prioritized",
    "waiting-children",
    "completed",
    "failed",
    "schedulers",
    "events",
    "other",
]
"""What takes a queue's memory: its jobs by state, its schedulers, its event stream, its other keys."""
MEMORY_STATES: Final[tuple[MemoryState, ...]] = get_args(MemoryState)

KEPT: Final = 1000
"""Jobs that the advice on retention would keep of the completed, and of the failed ones."""


class StateMemory(NamedTuple):
    """Bytes of one state of a queue: the jobs with what belongs to them, and the list or set that has them.

    `bytes` is an estimate of which `error` is the standard error, in bytes: 0 where all was measured.
    `jobs` is their number (None: the state has none, as `events`), `samples` how many of them were measured.
    `older`: bytes of the jobs beyond the last `KEPT`; None: there are not so many, or it is not asked for.
    """

    bytes: float
    error: float = 0.0
    jobs: int | None = None
    samples: int = 0
    older: float | None = None


class Growth(NamedTuple):
    """By how much something grows: bytes per second, over so many seconds. Negative: it becomes smaller."""

    rate: float
    seconds: float


class QueueMemory(NamedTuple):
    """The memory of a queue by state; one that could not be read is absent. `at`: unix s by our clock when it
    was measured, `node` where. `growth` is None while it is not known, or not told from the errors."""

    states: Mapping[MemoryState, StateMemory]
    at: float
    node: str
    growth: Growth | None = None

    @property
    def bytes(self) -> float:
        return sum(state.bytes for state in self.states.values())

    @property
    def error(self) -> float:
        """The standard error of the sum: the states are sampled apart from each other."""
        return float(sum(state.error**2 for state in self.states.values()) ** 0.5)

    @property
    def jobs(self) -> int:
        return sum(state.jobs or 0 for name, state in self.states.items() if name != "schedulers")


def state_totals(queues: Iterable[QueueMemory]) -> dict[MemoryState, int]:
    """Bytes of all queues by state, in the order of `MEMORY_STATES`."""
    totals = Counter[MemoryState]()
    for queue in queues:
        for name, state in queue.states.items():
            totals[name] += round(state.bytes)
    return {name: totals[name] for name in MEMORY_STATES if name in totals}


class NodeMemory(NamedTuple):
    """A node's used_memory in bytes, its maxmemory (None: not set), and how used_memory grows (None: not
    known yet). `at`: unix s by our clock."""

    used: float
    maximum: float | None
    at: float
    growth: Growth | None = None

    @property
    def full_in(self) -> float | None:
        """Seconds until it is full at this rate; None without a maximum, and while it does not grow."""
        if self.maximum is None or self.growth is None or self.growth.rate <= 0:
            return None
        return max(0.0, self.maximum - self.used) / self.growth.rate
