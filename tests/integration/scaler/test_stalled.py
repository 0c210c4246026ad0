"""Redis refuses writes until the locks of running jobs are gone: their workers go on with them."""

from __future__ import annotations

import time

import pytest

from scaler.model import QueueSample
from service.clock import Deadline
from tests.support.scaled_queues import ScaledQueues, scaled_queues

pytestmark = [pytest.mark.fault, pytest.mark.timeout(180)]  # 45 s alone, of jobs that run

JOBS = 6
RUN_MS = 12_000
LOCK_MS = 2_000


def sample_of(world: ScaledQueues) -> QueueSample | None:
    sample = world.step()["mail"].sample
    return sample if isinstance(sample, QueueSample) else None


def test_jobs_that_wait_beside_workers_that_still_run_them_take_none_of_these_away() -> None:
    with scaled_queues(["mail"]) as world:
        target = world.targets["mail"]
        target.ms, target.opts = RUN_MS, {"lockDuration": LOCK_MS, "stalledInterval": 1_000}
        target.scale(0, JOBS // 2, Deadline.after(10))
        world.bullmq.add_bulk("mail", JOBS)
        world.step_until(lambda _: _active(world) == JOBS, what="all run")
        world.redis.cli("config", "set", "min-replicas-to-write", 1)
        time.sleep(2 * LOCK_MS / 1000)
        world.redis.cli("config", "set", "min-replicas-to-write", 0)
        seen: list[QueueSample] = []

        def stalled(_: object) -> bool:
            sample = sample_of(world)
            if sample is not None and sample.unseen:
                seen.append(sample)
            return bool(seen) and seen[-1].unseen == JOBS

        world.step_until(stalled, what="all have stalled")
        slots = 2.0 * len(target.workers)
        assert seen[-1].waiting > 0, "they wait, and no worker is idle"
        assert seen[-1].running(slots) == min(slots, seen[-1].active + JOBS)
        assert min(target.numbers[1:]) >= JOBS // 2


def _active(world: ScaledQueues) -> float | None:
    sample = sample_of(world)
    return None if sample is None else sample.active
