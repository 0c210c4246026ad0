"""How fast something grows, by its sizes over the last day. Pure."""

from __future__ import annotations

from typing import Final, NamedTuple

from exporter.snapshot.memory import Growth

_MOST: Final = 24  # points of one trend
_WINDOW: Final = 86_400.0
LEAST_SECONDS: Final = 900.0
"""For how long something must be known before its growth is: what is shorter is a wave, not a trend."""
_SURE: Final = 2.0  # standard errors by which it must have changed


class _Point(NamedTuple):
    at: float
    size: float
    error: float


class Trend:
    """The sizes of one thing: few points, over a day. Where they become too many, each second one goes."""

    __slots__ = ("_points",)

    def __init__(self) -> None:
        self._points: list[_Point] = []

    def add(self, at: float, size: float, error: float = 0.0) -> None:
        """Its size in bytes at this time (s, monotonic), and the standard error of that."""
        points = [point for point in self._points if at - _WINDOW <= point.at < at]
        if len(points) >= _MOST:
            points = points[::2]
        self._points = [*points, _Point(at, size, error)]

    def growth(self) -> Growth | None:
        """By least squares; None for too short a time, and where it is not told from the errors: a change by
        less than two of them may be none."""
        points = self._points
        if len(points) < 2:
            return None
        seconds = points[-1].at - points[0].at
        if seconds < LEAST_SECONDS:
            return None
        middle = sum(point.at for point in points) / len(points)
        spread = sum((point.at - middle) ** 2 for point in points)
        rate = sum((point.at - middle) * point.size for point in points) / spread
        error = sum(((point.at - middle) * point.error) ** 2 for point in points) ** 0.5 / spread
        return Growth(rate, seconds) if abs(rate) >= _SURE * error else None
