"""Which queues are looked at when: all in each interval, a part at a time, so that a scrape never waits for
more than one part. Without I/O, without a clock."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Sequence
from math import inf
from typing import Final, NamedTuple

from exporter.snapshot.queues import QueueId

MANY: Final = 1000
"""Queues, above which in each interval a third of them is read."""

_TURNS: Final = 3
_READ_AT_ONCE: Final = 250
_CONFIRMED_AT_ONCE: Final = 2000
_SHARE: Final = 0.9  # of the interval, in which the parts are spread


class LapPart(NamedTuple):
    """`confirmed` with the `number` of that part of all queues, and `read`. `together`: how many queues are
    read in this lap. `last`: then all were confirmed."""

    number: int
    confirmed: tuple[QueueId, ...]
    read: Sequence[QueueId]
    together: int
    last: bool


class Lap:
    """`divide` when other queues are known than before, `begin` once in an interval if it is `done`, then
    `take` each part when it is due. Times are in seconds of one clock."""

    def __init__(self) -> None:
        self._laps = 0
        self._confirmed: list[tuple[QueueId, ...]] = []
        self._read: list[list[QueueId]] = [[]]
        self._always: dict[QueueId, int] = {}
        self._first: deque[LapPart] = deque()
        self._parts: deque[LapPart] = deque()
        self._due = 0.0
        self._pause = 0.0

    @property
    def done(self) -> bool:
        return not self._parts and not self._first

    @property
    def due(self) -> float:
        """When the next part is; inf without one."""
        if self._first:
            return -inf
        return self._due if self._parts else inf

    def divide(
        self,
        queues: Iterable[QueueId],
        read: Collection[QueueId],
        always: Iterable[QueueId],
    ) -> int:
        """From the next lap on, all of `queues` are confirmed, and of `read` those whose turn it is and those
        of `always` are read; returns in how many parts they are confirmed."""
        self._confirmed = [tuple(some) for some in _divided(list(queues), _CONFIRMED_AT_ONCE)]
        turns = _TURNS if len(read) > MANY else 1
        # By the queue, not by its place: each has its turn, whichever come or go.
        self._read = [[queue for queue in read if hash(queue) % turns == turn] for turn in range(turns)]
        self._always = {queue: hash(queue) % turns for queue in always}
        return len(self._confirmed)

    def begin(self, *, at: float, seconds: float) -> None:
        """Spread the parts evenly over `seconds` from `at`."""
        self._laps += 1
        turn = self._laps % len(self._read)
        more = [queue for queue, own_turn in self._always.items() if own_turn != turn]
        reading = self._read[turn] + more
        chunks, reads = self._confirmed, _divided(reading, _READ_AT_ONCE)
        count = max(1, len(chunks), len(reads))
        # The parts that are confirmed are spread evenly among those that are read, or these come first.
        at_part = {number * count // len(chunks): number for number in range(len(chunks))}
        for number in range(count):
            chunk = at_part.get(number)
            self._parts.append(
                LapPart(
                    chunk or 0,
                    () if chunk is None else chunks[chunk],
                    reads[number] if number < len(reads) else [],
                    len(reading),
                    last=number == count - 1,
                )
            )
        self._due, self._pause = at, seconds * _SHARE / count

    def read_first(self, queues: Sequence[QueueId]) -> None:
        """Read these before the next part, without a pause."""
        self._first += [
            LapPart(0, (), part, len(queues), last=False) for part in _divided(queues, _READ_AT_ONCE)
        ]

    def take(self) -> LapPart | None:
        """The next part, due or not; None if there is none. After a late one the next come sooner: a lap ends
        in its interval."""
        if self._first:
            return self._first.popleft()
        if not self._parts:
            return None
        self._due += self._pause
        return self._parts.popleft()

    def drop(self) -> None:
        """Leave what was not taken."""
        self._first.clear()
        self._parts.clear()


def _divided(queues: Sequence[QueueId], size: int) -> list[Sequence[QueueId]]:
    return [queues[start : start + size] for start in range(0, len(queues), size)]
