"""Which workers there should be, when each is started, and who goes first: no process and no clock in here.

Times are seconds on any one clock that never goes back.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

STEADY_SECONDS: Final = 60.0
"""A worker that lived so long before it ended is restarted as if it had never failed."""

_START_TIMES: Final = 100


@dataclass(slots=True)
class Slot:
    """A place for one worker. `wanted_at`: when a process was last due to start; `present`: there is one, or
    something of it; `started_at`: when its worker began, None before and after."""

    number: int
    wanted_at: float
    present: bool = False
    started_at: float | None = None
    ready: bool = False
    leaving: bool = False
    failures: int = 0


@dataclass(frozen=True, slots=True)
class Ended:
    """A worker that has: the seconds it `lived`, short lives in a row, seconds until the next one is started
    (None: it had to go)."""

    lived: float
    failures: int
    restart: float | None


class WorkerSlots:
    """The slots of one target. A number is one worker's for as long as anything of that worker is there."""

    def __init__(self, ready_seconds: float, pause: Callable[[int], float]) -> None:
        """`pause` has the seconds to wait after so many short lives in a row."""
        self._ready_seconds = ready_seconds
        self._pause = pause
        self._slots: dict[int, Slot] = {}
        self._start_times: deque[float] = deque(maxlen=_START_TIMES)

    @property
    def requested(self) -> int:
        """Workers that there should be."""
        return sum(not slot.leaving for slot in self._slots.values())

    @property
    def leaving(self) -> list[int]:
        """Numbers of those that have to go and are not gone."""
        return [slot.number for slot in self._slots.values() if slot.leaving]

    def resize(self, count: int, now: float, busy: Mapping[int, bool]) -> None:
        """Ask for so many workers. `busy` may know all, some or none of those that are there."""
        while self.requested < count:
            number = next(n for n in range(1, len(self._slots) + 2) if n not in self._slots)
            self._slots[number] = Slot(number, wanted_at=now)
        staying = [slot for slot in self._slots.values() if not slot.leaving]
        for slot in victims(staying, len(staying) - count, busy):
            slot.leaving = True
            if not slot.present:
                del self._slots[slot.number]

    def due(self, now: float) -> list[int]:
        """Numbers of those to be started now."""
        return [slot.number for slot in self._slots.values() if not slot.present and slot.wanted_at <= now]

    def next_due(self, now: float) -> float | None:
        """Seconds until one has to be started; None when none has."""
        return min((slot.wanted_at - now for slot in self._slots.values() if not slot.present), default=None)

    def present(self, number: int) -> None:
        """A process is being made for it."""
        self._slots[number].present = True

    def started(self, number: int, now: float) -> None:
        """Its worker runs."""
        self._slots[number].started_at = now

    def ended(self, number: int, now: float) -> Ended:
        """Its worker has ended, or could not be started. It is tried again after a pause, and not before
        nothing is left of it."""
        slot = self._slots[number]
        self._settle(now)
        lived = 0.0 if slot.started_at is None else now - slot.started_at
        slot.failures = failures_after(slot.failures, lived)
        pause = self._pause(slot.failures)
        slot.started_at, slot.ready, slot.wanted_at = None, False, now + pause
        return Ended(lived, slot.failures, None if slot.leaving else pause)

    def gone(self, number: int, now: float) -> None:
        """Nothing of it is left."""
        slot = self._slots[number]
        slot.present = False
        slot.wanted_at = max(slot.wanted_at, now)
        if slot.leaving:
            del self._slots[number]

    def ready(self, now: float) -> int:
        """Workers that can take jobs: alive for the ready time and not leaving."""
        self._settle(now)
        return sum(slot.ready and not slot.leaving for slot in self._slots.values())

    def start_seconds(self, now: float) -> float | None:
        """The 0.9-quantile of the last start times, from when a worker was wanted to when it was ready."""
        self._settle(now)
        return quantile(self._start_times, 0.9)

    def _settle(self, now: float) -> None:
        for slot in self._slots.values():
            if slot.started_at is None or slot.ready or now < slot.started_at + self._ready_seconds:
                continue
            slot.ready = True
            self._start_times.append(slot.started_at + self._ready_seconds - slot.wanted_at)


def victims(staying: Iterable[Slot], count: int, busy: Mapping[int, bool]) -> list[Slot]:
    """The `count` that go: first those with no worker, then idle ones, then those of whom nothing is known,
    then busy ones; among equals the youngest."""

    def order(slot: Slot) -> tuple[bool, int, float, int]:
        known = busy.get(slot.number)
        rank = 1 if known is None else 2 if known else 0
        return (slot.started_at is not None, rank, -(slot.started_at or slot.wanted_at), -slot.number)

    return sorted(staying, key=order)[: max(0, count)]


def failures_after(failures: int, lived: float) -> int:
    """Short lives in a row, counting the one of `lived` seconds that has just ended."""
    return 1 if lived >= STEADY_SECONDS else failures + 1


def quantile(values: Iterable[float], part: float) -> float | None:
    """The smallest value that `part` of all do not exceed; None without any."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(part * len(ordered)) - 1)] if ordered else None
