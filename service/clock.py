"""The only module that reads the clock. Pure code gets the time as an argument; I/O gets a `Deadline`."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass


def now() -> float:
    """Wall-clock time in unix seconds."""
    return time.time()


def monotonic() -> float:
    """Seconds on a clock that never goes back; only differences are meaningful."""
    return time.monotonic()


def boottime() -> float:
    """As `monotonic`, but it also runs while the machine is suspended."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def wait(event: threading.Event, seconds: float) -> bool:
    """Sleep until `event` is set or `seconds` have passed; True if it was set."""
    return event.wait(max(0.0, seconds))


@dataclass(frozen=True, slots=True)
class Deadline:
    """The time on the monotonic clock at which an operation has to be done."""

    at: float

    @classmethod
    def after(cls, seconds: float) -> Deadline:
        return cls(monotonic() + seconds)

    def remaining(self) -> float:
        """Seconds left, never below 0."""
        return max(0.0, self.at - monotonic())

    def passed(self) -> bool:
        return monotonic() >= self.at

    def at_most(self, seconds: float) -> Deadline:
        """The earlier of this deadline and `seconds` from now."""
        return Deadline(min(self.at, monotonic() + seconds))
