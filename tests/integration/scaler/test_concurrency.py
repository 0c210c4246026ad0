"""Workers that run another number of jobs at once than is set, with real BullMQ jobs and Prometheus."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from scaler.step_result import TargetStep
from tests.support.scaled_queues import scaled_queues

pytestmark = pytest.mark.timeout(300)  # 100 s alone: with fewer workers for a minute it shows


def test_workers_that_run_fewer_jobs_than_set_are_named_while_jobs_wait() -> None:
    """They run two jobs each, of ten that are set."""
    with scaled_queues(["mail"], worker_concurrency=10, wait_slo_seconds=5) as world:
        world.bullmq.add_bulk("mail", 5000)
        warnings: list[str] = []

        def named(steps: Mapping[str, TargetStep]) -> bool:
            warnings.append(steps["mail"].concurrency_warning)
            return "ConcurrencyMismatch" in steps["mail"].conditions

        world.step_until(named, what="the concurrency is contradicted", seconds=240)
        assert "at once at most while jobs waited, fewer than worker_concurrency 10: " in warnings[-1]
        world.bullmq.drain("mail")
