"""A background thread that keeps at its work: named, restarted after a pause, stopped in bounded time."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from typing import Final

from service.clock import monotonic, wait

log = logging.getLogger(__name__)

_LONGEST_PAUSE: Final = 60.0


def backoff(failures: int) -> float:
    """Seconds to pause after so many failures in a row: 1, 2, 4, ... 60."""
    return min(_LONGEST_PAUSE, 2.0 ** min(failures - 1, 10))


class Supervised:
    """Runs `step` in a thread of its own and sleeps the seconds that it returns.

    A step that raises is logged and begun again after a growing pause. One that hangs cannot be ended from
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
        """Begin. Once: a stopped one is not started again."""
        if self._thread is not None:
            raise RuntimeError(f"{self.name} was started before")
        self._last_success = monotonic()
        self._thread = threading.Thread(target=self._run, name=self.name)
        self._thread.start()

    def stop(self, seconds: float = 3.0) -> bool:
        """Ask it to end and wait at most `seconds`; whether it has ended."""
        self._stopping.set()
        self._woken.set()
        if self._thread is None:
            return True
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def wake(self) -> None:
        """Take the next step at once, and not when the pause is over."""
        self._woken.set()

    def sleep_on(self) -> None:
        """Within a step: whatever it was to be woken for is done already."""
        self._woken.clear()
        if self._stopping.is_set():
            self._woken.set()

    @property
    def alive(self) -> bool:
        """Whether the thread runs and a step has ended well within `max_age` seconds."""
        return self._thread is not None and self._thread.is_alive() and self.age() <= self.max_age

    @property
    def max_age(self) -> float:
        """Seconds after which a step that has not ended counts as stuck."""
        return self._max_age() if callable(self._max_age) else self._max_age

    def age(self) -> float:
        """Seconds since a step last ended well, or since the start."""
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
    """Supervised threads whose number changes: one for each name that there is work under."""

    def __init__(self, *, max_age: float) -> None:
        self._max_age = max_age
        self._lock = threading.Lock()
        self._members: dict[str, Supervised] = {}
        self._leaving: list[Supervised] = []
        self._stopped = False

    @property
    def members(self) -> tuple[Supervised, ...]:
        """Those at work now."""
        return tuple(self._members.values())

    def keep(self, steps: Mapping[str, Callable[[], float]]) -> None:
        """Start those that are new, and let those go that are not named any more."""
        with self._lock:
            if self._stopped:
                return
            gone = [member for name, member in self._members.items() if name not in steps]
            for member in gone:
                member.stop(0)
            self._leaving = [member for member in (*self._leaving, *gone) if not member.stop(0)]
            kept = {name: member for name, member in self._members.items() if name in steps}
            for name, step in steps.items():
                if name not in kept:
                    kept[name] = Supervised(name, step, max_age=self._max_age)
                    kept[name].start()
            self._members = kept

    def stop(self, seconds: float = 3.0) -> bool:
        """Ask all to end and wait at most `seconds` in all; whether they have ended."""
        with self._lock:
            self._stopped = True
            members = self._leaving = [*self._members.values(), *self._leaving]
            self._members = {}
        for member in members:
            member.stop(0)
        until = monotonic() + seconds
        return all(member.stop(max(0.0, until - monotonic())) for member in members)
