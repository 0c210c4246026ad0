"""The load factor: how full workers are, from 0 to 1. Pure; exporter and scaler share this definition."""

from __future__ import annotations

from typing import Final

DEFAULT_CAPACITY: Final = 10.0
"""Jobs that are the full load of one worker where no setting says."""


def load_factor(jobs: float, workers: int, capacity: float) -> float:
    """min(1, jobs / workers / capacity); without a worker 1 while there are jobs, else 0.

    `jobs` are waiting (prioritized ones included) and active; `capacity` in jobs per worker, above 0.
    """
    if workers <= 0:
        return 1.0 if jobs > 0 else 0.0
    return min(1.0, jobs / workers / capacity)


def worker_capacity(capacity: float | None, concurrency: int | None) -> float:
    """Jobs that are the full load of one worker: the capacity that is set, else its concurrency, else 10."""
    return capacity or concurrency or DEFAULT_CAPACITY
