"""The load factor of a target: row S1 of the table. Pure."""

from __future__ import annotations

from typing import Final

from scaler.model import QueueSample
from scaler.settings import PolicySettings

_CAPACITY: Final = 10.0


def load_factor(settings: PolicySettings, sample: QueueSample, workers: int) -> float:
    """min(1, (waiting + active) / workers / capacity of a worker); without workers 1 while there is work.

    The capacity is `capacity_per_worker`, else `worker_concurrency`, else 10 jobs.
    """
    jobs = sample.waiting + sample.active
    if workers <= 0:
        return 1.0 if jobs > 0 else 0.0
    capacity = settings.capacity_per_worker or settings.worker_concurrency or _CAPACITY
    return min(1.0, jobs / workers / capacity)
