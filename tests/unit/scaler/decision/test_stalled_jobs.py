"""Jobs whose locks ran out: they wait again, and the workers that had them may still run them."""

from __future__ import annotations

from itertools import pairwise

import pytest

from scaler.config.settings import PolicySettings
from scaler.decision.guards import apply_guards
from scaler.decision.memory import GuardMemory
from scaler.decision.policies import POLICIES
from scaler.decision.step import TargetMemory, record_scaling, step
from scaler.model import Control, Observation, Proposal, QueueSample
from scaler.prometheus.promql import QueueKey
from scaler.prometheus.totals import TargetTotals, continue_totals

WORKERS, RUN = 9, 240.0
QUEUE, OTHER = QueueKey("bull", "minutes"), QueueKey("bull", "seconds")


def numbers(policy: str, *, known: bool) -> list[int]:
    """The workers of a queue of jobs of 240 s: nine run, then seven of them stall, of which a pair is taken
    by workers that have just become free. `known`: whether it is counted."""
    settings = PolicySettings.model_validate(
        {"policy": policy, "worker_concurrency": 1, "max_workers": WORKERS, "wait_slo_seconds": 30}
    )
    memory: TargetMemory | None = None
    workers, seen = WORKERS, list[int]()
    for at in range(0, 1200, 5):
        stalled = at >= 900
        waiting, active = (7, 2) if stalled else (0, WORKERS)
        completed = WORKERS * (min(at, 900) // RUN)
        unseen = 7.0 if stalled and known else 0.0
        sample = QueueSample(at, waiting, active, completed=completed, failed=0.0, unseen=unseen)
        sample = sample._replace(duration_sum=completed * RUN, duration_count=completed)
        busy = WORKERS * min(at, 900) + 2.0 * max(0, at - 900)
        sample = sample._replace(busy_seconds=busy, oldest_waiting=at - 900.0 if stalled else None)
        observation = Observation(float(at), workers, workers, sample, 5.0, grace_seconds=30.0)
        memory = _stepped(settings, observation, memory, seen)
        workers = seen[-1]
    return seen


def _stepped(
    settings: PolicySettings, observation: Observation, memory: TargetMemory | None, seen: list[int]
) -> TargetMemory:
    decision, memory = step(settings, 5.0, observation, Control(), memory)
    seen.append(decision.workers)
    if decision.workers != observation.workers:
        memory = record_scaling(memory, observation.time, decision.workers)
    return memory


@pytest.mark.fault
@pytest.mark.parametrize("policy", sorted(POLICIES))
def test_the_workers_that_may_still_run_them_stay(policy: str) -> None:
    assert min(numbers(policy, known=True)) == WORKERS


def test_jobs_that_wait_beside_workers_without_any_are_those_of_a_limit() -> None:
    """What the same figures mean where nothing stalled."""
    assert min(numbers("wait_target", known=False)) < WORKERS


def test_a_worker_that_may_still_run_one_has_a_job() -> None:
    settings = PolicySettings(worker_concurrency=1, max_workers=WORKERS)
    sample = QueueSample(1000.0, 0.0, 2.0, completed=9.0, failed=0.0)
    for unseen, least in ((0.0, 2), (4.0, 6), (70.0, WORKERS)):
        known = sample._replace(unseen=unseen)
        observation = Observation(1000.0, WORKERS, WORKERS, known)
        proposal = Proposal(1, "surplus", "one is enough")
        decision, _ = apply_guards(settings, observation, proposal, Control(), GuardMemory(), sample=known)
        assert decision.busy == least


@pytest.mark.parametrize(
    ("sample", "slots", "running"),
    [
        (QueueSample(0.0, 5.0, 2.0), 9.0, 2.0),
        (QueueSample(0.0, 5.0, 2.0, unseen=3.0), 9.0, 5.0),
        (QueueSample(0.0, 5.0, 2.0, unseen=30.0), 9.0, 9.0),
        (QueueSample(0.0, 5.0, 12.0, unseen=3.0), 9.0, 12.0),  # workers that terminate have some
    ],
)
def test_no_more_run_than_there_are_slots(sample: QueueSample, slots: float, running: float) -> None:
    assert sample.running(slots) == running


def unseen_after(seconds: float, run: float, *counts: tuple[float, float]) -> list[float | None]:
    """Of a queue whose jobs run so long, and of another one: so many stalled so far, at each look."""
    totals: TargetTotals | None = None
    found = []
    for number, pair in enumerate(counts):
        at = 1000.0 + number * seconds
        samples = {
            key: QueueSample(at, 1.0, 1.0, completed=10.0, failed=0.0, stalled=count)
            for key, count in zip((QUEUE, OTHER), pair, strict=True)
        }
        samples[QUEUE] = samples[QUEUE]._replace(duration_sum=10 * run, duration_count=10.0)
        combined, totals = continue_totals(totals, samples, dict.fromkeys(samples, "a"), at)
        assert isinstance(combined, QueueSample)
        found.append(combined.unseen)
    return found


def test_they_count_for_twice_the_run_time_of_their_queue() -> None:
    counts = [(5.0, 0.0), (9.0, 2.0), (9.0, 2.0), (9.0, 2.0), (9.0, 2.0), (9.0, 2.0)]
    assert unseen_after(100.0, 150.0, *counts) == [0.0, 6.0, 6.0, 4.0, 0.0, 0.0]


@pytest.mark.parametrize(("run", "seconds"), [(0.01, 120.0), (1e9, 3600.0)])
def test_for_two_minutes_at_least_and_for_an_hour_at_most(run: float, seconds: float) -> None:
    counts = [(0.0, 0.0), *[(3.0, 0.0)] * 4]
    found = unseen_after(seconds / 2, run, *counts)
    assert found[1:] == [3.0, 3.0, 0.0, 0.0]


def test_the_counter_of_another_exporter_says_nothing() -> None:
    totals: TargetTotals | None = None
    found = []
    for at, (source, stalled) in enumerate((("a", 1.0), ("b", 900.0), ("b", 901.0), ("b", 4.0))):
        sample = QueueSample(float(at), 1.0, 1.0, completed=10.0, failed=0.0, stalled=stalled)
        combined, totals = continue_totals(totals, {QUEUE: sample}, {QUEUE: source}, float(at))
        assert isinstance(combined, QueueSample)
        found.append(combined.unseen or 0.0)
    assert [after - before for before, after in pairwise(found)] == [0.0, 1.0, 0.0]
