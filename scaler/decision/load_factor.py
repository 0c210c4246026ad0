"""The load factor of a target. Pure."""

from __future__ import annotations

from scaler.config.settings import PolicySettings
from scaler.model import QueueSample
from service.load_factor import load_factor, worker_capacity


def target_load_factor(settings: PolicySettings, sample: QueueSample, workers: int) -> float:
    """Of the target's queues together, for so many workers; `sample.waiting` includes prioritized jobs."""
    capacity = worker_capacity(settings.capacity_per_worker, settings.worker_concurrency)
    return load_factor(sample.waiting + sample.active, workers, capacity)
