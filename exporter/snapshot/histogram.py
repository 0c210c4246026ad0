"""Durations, as counts by bucket."""

from __future__ import annotations

from typing import NamedTuple


class Histogram(NamedTuple):
    """Durations: upper bounds in seconds, the count of each bucket and of +Inf, and their sum in seconds."""

    bounds: tuple[float, ...]
    counts: tuple[int, ...]
    total: float
