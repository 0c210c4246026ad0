"""Redis refuses writes until the locks of running jobs are gone: their workers go on with them."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress

import pytest

from lab.deadline import wait_until
from scaler.busy import ExporterBusy
from scaler.model import Decision, QueueSample
from scaler.step_result import TargetStep
from service.clock import Deadline
from service.outcome import UnreadableError
from tests.support.scaled_queues import ScaledQueues, scaled_queues

pytestmark = [pytest.mark.fault, pytest.mark.timeout(180)]  # 45 s alone, of jobs that run

JOBS, WORKERS = 6, 5
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
        refuse_writes(world)
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


def refuse_writes(world: ScaledQueues) -> None:
    """For as long as two locks live."""
    world.redis.cli("config", "set", "min-replicas-to-write", 1)
    time.sleep(2 * LOCK_MS / 1000)
    world.redis.cli("config", "set", "min-replicas-to-write", 0)


def test_no_worker_is_taken_for_idle_that_may_still_run_one() -> None:
    """The exporter lists who has an active job: other workers have taken those that stalled."""
    with scaled_queues(["mail"], start_cost_seconds=0) as world:
        target = world.targets["mail"]
        target.ms, target.opts = RUN_MS, {"lockDuration": LOCK_MS, "stalledInterval": 1_000}
        target.busy = ExporterBusy(world.exporter_url, "bull", ["mail"])
        target.scale(0, 1, Deadline.after(10))
        world.bullmq.add_bulk("mail", 2)
        wait_until(lambda: _listed(world) == {"mail-1": 2}, what="the first has both", every=0.2)
        target.scale(1, WORKERS, Deadline.after(10))
        wait_until(lambda: _active_now(world) == 2, what="the metrics have them", every=0.5)
        refuse_writes(world)

        def others() -> bool:
            jobs = _listed(world)
            return sum(jobs.values()) == 2 and "mail-1" not in jobs

        wait_until(others, what="others have them, and the first looks idle", every=0.2)
        decisions: list[Decision | None] = []

        def held(steps: Mapping[str, TargetStep]) -> bool:
            decisions.append(steps["mail"].decision)
            return decisions[-1] is not None and decisions[-1].reason == "busy_unknown"

        world.step_until(held, what="it is not known who has a job", seconds=15)
        assert decisions[-1] is not None
        assert "2 jobs that stalled may still run" in decisions[-1].sentence
        assert len(target.workers) == WORKERS


def _active(world: ScaledQueues) -> float | None:
    sample = sample_of(world)
    return None if sample is None else sample.active


def _active_now(world: ScaledQueues) -> float | None:
    """Without a step, which would change the number of workers."""
    sample = world.metrics.read(Deadline.after(5))["mail"].sample
    return sample.active if isinstance(sample, QueueSample) else None


def _listed(world: ScaledQueues) -> Mapping[str, int]:
    """Jobs by worker, as the exporter reports them; none where it is late."""
    busy = world.targets["mail"].busy
    assert busy is not None
    with suppress(UnreadableError):
        return busy(Deadline.after(5)).jobs
    return {}
