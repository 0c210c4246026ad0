"""What is measured of workers while a rollout has more of them than are asked for."""

from __future__ import annotations

import pytest

from scaler.config.settings import PolicySettings
from scaler.decision.concurrency_check import ExcessJobs, jobs_in_excess, update_excess
from scaler.decision.policies.concurrency import Concurrency, update_concurrency
from scaler.decision.policies.flow import update_flow
from scaler.decision.policies.throttle import ReadyWorkers, Throttle, update_throttle
from scaler.decision.step import step
from scaler.model import Control, Observation, QueueSample, Workers

SURGE = (10, 0)
REPLACED = (8, 8)
"""Ready and leaving workers, where eight are asked for."""


@pytest.mark.parametrize(("more", "active"), [(SURGE, 50.0), (REPLACED, 80.0)], ids=["surge", "replaced"])
def test_the_jobs_of_a_worker_are_not_more_in_a_rollout(more: tuple[int, int], active: float) -> None:
    known = Concurrency()
    for at in range(0, 900, 5):
        ready, leaving = more if 600 <= at < 660 else (8, 0)
        sample = QueueSample(float(at), 3.0, active if 600 <= at < 660 else 40.0)
        known = update_concurrency(known, Observation(sample.at, 8, ready, sample, leaving=leaving), sample)
    assert known.jobs == pytest.approx(5.0)


def test_after_a_rollout_as_many_workers_are_needed_as_before() -> None:
    """20 jobs/s of 2 s on workers that run 5 at once, which nobody has set; all are replaced within a minute,
    and what waited meanwhile runs beside the jobs of the old ones."""
    memory, workers, numbers = None, 9, []
    policy = PolicySettings(min_workers=1, max_workers=9, wait_slo_seconds=30)
    ended = busy = 0.0
    for at in range(0, 1800, 5):
        replacing = 600 <= at < 660
        active = 85.0 if replacing else 40.0
        ended, busy = ended + 100.0, busy + 5 * active
        sample = QueueSample(
            float(at), 20.0 if replacing else 0.0, active, completed=ended, failed=0.0, busy_seconds=busy
        )
        observation = Observation(sample.at, workers, workers, sample, 5.0, leaving=9 if replacing else 0)
        decision, memory = step(policy, 5.0, observation, Control(), memory)
        workers = decision.workers
        numbers.append(workers)
    assert set(numbers) == {9}


def test_a_rollout_of_a_quarter_of_an_hour_is_no_excess() -> None:
    """Each old worker takes its jobs along for its grace period of 10 minutes."""
    known: ExcessJobs | None = None
    for at in range(0, 1800, 15):
        workers = Workers(20, 25, leaving=20, grace_seconds=600.0)
        known = update_excess(known, QueueSample(1000.0 + at, 3.0, 200.0), workers, 5.0)
    assert jobs_in_excess(known, 600.0) is None


@pytest.mark.parametrize(("leaving", "taken"), [(0, 4.0), (8, 2.0)])
def test_the_jobs_that_a_worker_takes_are_those_of_leaving_ones_too(leaving: int, taken: float) -> None:
    flow = None
    samples = [
        QueueSample(float(at), 5.0, 32.0, completed=10.0 * at, failed=0.0, busy_seconds=32.0 * at)
        for at in range(0, 100, 5)
    ]
    for sample in samples:
        flow = update_flow(flow, sample)
    assert flow is not None
    ready = ReadyWorkers(8, 8, 5.0, with_jobs=8 + leaving)
    assert update_throttle(Throttle(taken=2.0), flow, samples[-1], ready, fresh=True).taken == taken
