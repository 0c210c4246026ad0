"""Supervised background threads: named, restarted with a backoff, stopped in bounded time."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from typing import Final

from service.clock import monotonic, wait

log = logging.getLogger(__name__)

_LONGEST_PAUSE: Final = 60.0


def backoff(failures: int) -> float:
    """Seconds to pause after this many failures in a row: 1, 2, 4, ... 60."""
    return min(_LONGEST_PAUSE, 2.0 ** min(failures - 1, 10))


class Supervised:
    """Runs `step` in its own thread and sleeps the seconds that it returns.

    A step that raises is logged and repeated after a growing pause. A step that hangs cannot be ended from
    outside: `age` grows past `max_age`, and `alive` is False.
    """

    def __init__(
        self,
        name: str,
        step: Callable[[], float],
        *,
        max_age: float | Callable[[], float],
        pause: Callable[[int], float] = backoff,
    ) -> None:
        self.name: Final = name
        self._max_age = max_age
        self.restarts = 0
        self._step = step
        self._pause = pause
        self._stopping = threading.Event()
        self._woken = threading.Event()
        self._thread: threading.Thread | None = None
        self._last_success = monotonic()

    def start(self) -> None:
        """Start the thread. Raises RuntimeError if it was started before, even if it was stopped since."""
        if self._thread is not None:
            raise RuntimeError(f"{self.name} was started before")
        self._last_success = monotonic()
        self._thread = threading.Thread(target=self._run, name=self.name)
        self._thread.start()

    def stop(self, seconds: float = 3.0) -> bool:
        """Request the end and wait at most `seconds`; returns whether the thread has ended."""
        self._stopping.set()
        self._woken.set()
        if self._thread is None:
            return True
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def wake(self) -> None:
        """Run the next step at once instead of after the pause."""
        self._woken.set()

    def sleep_on(self) -> None:
        """Within a step: discard pending wake-ups, as this step has handled them."""
        self._woken.clear()
        if self._stopping.is_set():
            self._woken.set()

    @property
    def alive(self) -> bool:
        """Whether the thread runs and a step has succeeded within `max_age` seconds."""
        return self._thread is not None and self._thread.is_alive() and self.age() <= self.max_age

    @property
    def max_age(self) -> float:
        """Seconds without a successful step after which the thread counts as stuck."""
        return self._max_age() if callable(self._max_age) else self._max_age

    def age(self) -> float:
        """Seconds since the last successful step, or since the start."""
        return monotonic() - self._last_success

    def _run(self) -> None:
        failures = 0
        while not self._stopping.is_set():
            try:
                seconds = self._step()
                self._last_success = monotonic()
                failures = 0
            except BaseException:  # a thread that ended for whatever reason would go unnoticed
                failures += 1
                self.restarts += 1
                seconds = self._pause(failures)
                log.exception("background step failed", extra={"task": self.name, "retry_seconds": seconds})
            wait(self._woken, seconds)
            self._woken.clear()


class WorkerGroup:
    """A changing set of supervised threads, one for each name."""

    def __init__(self, *, max_age: float) -> None:
        self._max_age = max_age
        self._lock = threading.Lock()
        self._members: dict[str, Supervised] = {}
        self._leaving: list[Supervised] = []
        self._stopped = False

    @property
    def members(self) -> tuple[Supervised, ...]:
        """The threads that run now."""
        return tuple(self._members.values())

    def sync(self, steps: Mapping[str, Callable[[], float]]) -> None:
        """Start the threads whose names are new, and stop those whose names are absent."""
        with self._lock:
            if self._stopped:
                return
            removed = [member for name, member in self._members.items() if name not in steps]
            for member in removed:
                member.stop(0)
            self._leaving = [member for member in (*self._leaving, *removed) if not member.stop(0)]
            members = {name: member for name, member in self._members.items() if name in steps}
            for name, step in steps.items():
                if name not in members:
                    members[name] = Supervised(name, step, max_age=self._max_age)
                    members[name].start()
            self._members = members

    def stop(self, seconds: float = 3.0) -> bool:
        """Request the end of all and wait at most `seconds` in total; returns whether all have ended."""
        with self._lock:
            self._stopped = True
            members = self._leaving = [*self._members.values(), *self._leaving]
            self._members = {}
        for member in members:
            member.stop(0)
        until = monotonic() + seconds
        return all(member.stop(max(0.0, until - monotonic())) for member in members)
