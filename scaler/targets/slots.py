"""Which workers are requested, when each is started, replaced and terminated: no process, no clock.

Times are seconds on any monotonic clock.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count as count_from
from typing import Final, Literal

from service.quantiles import quantile

STEADY_SECONDS: Final = 60.0
"""A worker that ran for so long before it exited is restarted as if it had never failed."""

CRASH_LOOP_FAILURES: Final = 5
"""So many short runs in a row are a crash loop."""

_START_TIMES: Final = 100


@dataclass(slots=True)
class Slot:
    """A slot for one worker. `due_at`: when a process was last due to start; `present`: there is a process,
    or a descendant of it; `started_at`: when the worker started, None while none runs; `leaving`: to be
    terminated; `outdated`: it runs with settings that have changed, and is replaced; `failures`: short runs
    in a row."""

    number: int
    due_at: float
    present: bool = False
    started_at: float | None = None
    ready: bool = False
    leaving: bool = False
    outdated: bool = False
    failures: int = 0


@dataclass(frozen=True, slots=True)
class WorkerExit:
    """The exit of a worker: seconds that it ran, short runs in a row, seconds until the restart (None: it was
    leaving)."""

    uptime: float
    failures: int
    restart: float | None


class WorkerSlots:
    """The slots of one target. A number belongs to one worker until all its processes are reaped.

    Outdated workers are replaced one after the other: an additional one starts, and once it is ready an
    outdated one leaves. There is at most one more than requested, beside those that are leaving.
    """

    def __init__(self, ready_seconds: float, pause: Callable[[int], float]) -> None:
        """`pause` returns the seconds of backoff after so many short runs in a row."""
        self._ready_seconds = ready_seconds
        self._pause = pause
        self._slots: dict[int, Slot] = {}
        self._requested = 0
        self._start_times: deque[float] = deque(maxlen=_START_TIMES)

    @property
    def requested(self) -> int:
        """Requested workers, without the additional one of a replacement."""
        return self._requested

    @property
    def numbers(self) -> list[int]:
        """Numbers of all workers, of those that are leaving too."""
        return list(self._slots)

    @property
    def leaving(self) -> list[int]:
        """Numbers of workers that are to be terminated and not yet reaped."""
        return [slot.number for slot in self._slots.values() if slot.leaving]

    @property
    def outdated(self) -> list[int]:
        """Numbers of workers that run with settings that have changed."""
        return [slot.number for slot in self._slots.values() if slot.outdated]

    def resize(self, count: int, now: float, busy: Mapping[int, bool]) -> None:
        """Request so many workers. `busy` may contain all, some or none of the workers."""
        self._requested = count
        free = self._free_numbers()
        for _ in range(count - len(self._staying)):
            self._add(next(free), now)
        staying = self._staying
        self._let_go(victims(staying, len(staying) - count, busy))

    def change(self, ready_seconds: float, *, outdated: bool) -> None:
        """The ready time changed; `outdated`: so did what a process is started with."""
        self._ready_seconds = ready_seconds
        for slot in self._staying:
            slot.outdated = slot.outdated or (outdated and slot.present)

    def next_replacement(self, now: float) -> Literal["start", "retire"] | None:
        """What the replacement of outdated workers needs now: `start_replacement`, `retire`, or to wait."""
        staying = self._staying
        outdated, more = any(slot.outdated for slot in staying), len(staying) > self._requested
        if not outdated:
            return "retire" if more else None
        if self.leaving:
            return None
        if not more:
            return "start"
        self._update_ready(now)
        return "retire" if all(slot.ready for slot in staying if not slot.outdated) else None

    def start_replacement(self, now: float) -> None:
        """One more worker than requested, until `retire`."""
        self._add(next(self._free_numbers()), now)

    def retire(self, busy: Mapping[int, bool]) -> None:
        """One outdated worker leaves, by the order of a scale-in; without any, one that is too many."""
        staying = self._staying
        outdated = [slot for slot in staying if slot.outdated]
        self._let_go(victims(outdated or staying, min(1, len(staying) - self._requested), busy))

    @property
    def _staying(self) -> list[Slot]:
        return [slot for slot in self._slots.values() if not slot.leaving]

    def _free_numbers(self) -> Iterator[int]:
        """In their order; those that were taken meanwhile are left out."""
        return (number for number in count_from(1) if number not in self._slots)

    def _add(self, number: int, now: float) -> None:
        self._slots[number] = Slot(number, due_at=now)

    def _let_go(self, slots: Iterable[Slot]) -> None:
        for slot in slots:
            slot.leaving = True
            if not slot.present:
                del self._slots[slot.number]

    def due(self, now: float) -> list[int]:
        """Numbers of workers to start now."""
        return [slot.number for slot in self._slots.values() if not slot.present and slot.due_at <= now]

    def next_due(self, now: float) -> float | None:
        """Seconds until the next start; None if none is due."""
        return min((slot.due_at - now for slot in self._slots.values() if not slot.present), default=None)

    def mark_present(self, number: int) -> None:
        """A process is being spawned for it."""
        self._slots[number].present = True

    def mark_started(self, number: int, now: float) -> None:
        """The worker runs."""
        self._slots[number].started_at = now

    def mark_exited(self, number: int, now: float) -> WorkerExit:
        """The worker has exited, or could not be started. It is restarted after a pause, and not before all
        its processes are reaped."""
        slot = self._slots[number]
        self._update_ready(now)
        uptime = 0.0 if slot.started_at is None else now - slot.started_at
        slot.failures = failures_after(slot.failures, uptime)
        pause = self._pause(slot.failures)
        slot.started_at, slot.ready, slot.due_at = None, False, now + pause
        return WorkerExit(uptime, slot.failures, None if slot.leaving else pause)

    def mark_reaped(self, number: int, now: float) -> None:
        """No process of it is left."""
        slot = self._slots[number]
        slot.present = slot.outdated = False  # the next one starts with the settings as they are then
        slot.due_at = max(slot.due_at, now)
        if slot.leaving:
            del self._slots[number]

    def crashing(self, now: float) -> int:
        """Workers in a crash loop: so many short runs in a row, and not steady since."""
        return sum(
            slot.failures >= CRASH_LOOP_FAILURES
            and (slot.started_at is None or now < slot.started_at + STEADY_SECONDS)
            for slot in self._staying
        )

    def ready(self, now: float) -> int:
        """Workers that can take jobs: running for the ready time and not leaving; at most those requested."""
        self._update_ready(now)
        return min(self._requested, sum(slot.ready for slot in self._staying))

    def start_seconds(self, now: float) -> float | None:
        """The 0.9-quantile of the last start times, from when a worker was due to when it was ready."""
        return quantile(self.start_times(now), 0.9)

    def start_times(self, now: float) -> tuple[float, ...]:
        """The last start times in seconds, the newest last."""
        self._update_ready(now)
        return tuple(self._start_times)

    def restore_start_times(self, seconds: Sequence[float]) -> None:
        """Those that were measured before, as older than any since."""
        self._start_times = deque((*seconds, *self._start_times), maxlen=_START_TIMES)

    def _update_ready(self, now: float) -> None:
        for slot in self._slots.values():
            if slot.started_at is None or slot.ready or now < slot.started_at + self._ready_seconds:
                continue
            slot.ready = True
            self._start_times.append(slot.started_at + self._ready_seconds - slot.due_at)


def victims(staying: Iterable[Slot], count: int, busy: Mapping[int, bool]) -> list[Slot]:
    """The `count` slots to terminate: first those without a worker, then idle workers, then those of unknown
    state, then busy ones; among equals outdated ones, then the youngest."""

    def rank(slot: Slot) -> tuple[bool, int, bool, float, int]:
        state = busy.get(slot.number)
        busyness = 1 if state is None else 2 if state else 0
        age = slot.started_at or slot.due_at
        return (slot.started_at is not None, busyness, not slot.outdated, -age, -slot.number)

    return sorted(staying, key=rank)[: max(0, count)]


def failures_after(failures: int, uptime: float) -> int:
    """Short runs in a row, including the one of `uptime` seconds that has just ended."""
    return 1 if uptime >= STEADY_SECONDS else failures + 1
