"""How fast something grows, by its sizes over the last day. Pure."""

from __future__ import annotations

from array import array
from typing import Final

from exporter.snapshot.memory import Growth

_MOST: Final = 24  # points of one trend
_WINDOW: Final = 86_400.0
LEAST_SECONDS: Final = 900.0
"""For how long something must be known before its growth is: what is shorter is a wave, not a trend."""
_SURE: Final = 3.0  # standard errors by which it must have changed: of many queues one is off by two


class Trend:
    """The sizes of one thing: few points, over a day. Where they become too many, each second one goes."""

    __slots__ = ("_errors", "_sizes", "_times")

    def __init__(self) -> None:
        # Of ten thousand queues: objects would take five times as much memory.
        self._times = array("d")
        self._sizes = array("d")
        self._errors = array("d")

    def add(self, at: float, size: float, error: float = 0.0) -> None:
        """Its size in bytes at this time (s, monotonic), and the standard error of that."""
        kept = [index for index, time in enumerate(self._times) if at - _WINDOW <= time < at]
        if len(kept) >= _MOST:
            kept = kept[::2]
        columns = ((self._times, at), (self._sizes, size), (self._errors, error))
        self._times, self._sizes, self._errors = (
            array("d", [*(column[index] for index in kept), latest]) for column, latest in columns
        )

    def growth(self) -> Growth | None:
        """By least squares; None for too short a time, and where it is not told from the errors: a change by
        less than three of them may be none."""
        times = self._times
        if len(times) < 2:
            return None
        seconds = times[-1] - times[0]
        if seconds < LEAST_SECONDS:
            return None
        middle = sum(times) / len(times)
        spread = sum((time - middle) ** 2 for time in times)
        rate = sum((time - middle) * size for time, size in zip(times, self._sizes, strict=True)) / spread
        errors = zip(times, self._errors, strict=True)
        error = sum(((time - middle) * one) ** 2 for time, one in errors) ** 0.5 / spread
        return Growth(rate, seconds) if abs(rate) >= _SURE * error else None
