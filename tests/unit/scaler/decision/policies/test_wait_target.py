from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scaler.config.settings import PolicySettings
from scaler.decision.policies.wait_target import Memory, WaitTarget
from scaler.model import Observation, Proposal, QueueSample

POLICY = WaitTarget()
SETTINGS = PolicySettings(worker_concurrency=4, max_workers=100)


def observe(
    at: float, workers: int, waiting: float, active: float, completed: float, **more: Any
) -> Observation:
    sample = QueueSample(at, waiting, active, completed=completed, failed=0.0, due=more.pop("due", None))
    return Observation(at, workers, more.pop("ready", workers), sample, more.pop("start", 25.0))


def decide(
    observation: Observation, memory: Memory, policy: PolicySettings = SETTINGS
) -> tuple[Proposal, Memory]:
    assert isinstance(observation.sample, QueueSample)
    return POLICY.decide(policy, 5.0, observation, observation.sample, memory)


def settled(rate: float, service: float, workers: int, seconds: int = 1800) -> tuple[Memory, list[Proposal]]:
    """After half an hour of a steady flow on a fixed number of workers."""
    memory, proposals = POLICY.initial_memory(), []
    for at in range(0, seconds, 5):
        proposal, memory = decide(observe(at, workers, 0, rate * service, rate * at), memory)
        proposals.append(proposal)
    return memory, proposals


def test_the_first_sample_changes_nothing() -> None:
    proposal, _ = decide(observe(0, 7, 500, 4, 0), POLICY.initial_memory())
    assert (proposal.workers, proposal.reason) == (7, "learning")


@pytest.mark.parametrize(
    ("rate", "service", "least", "most"),
    [
        (10.0, 2.0, 5, 6),  # 20 slots: 5 workers, as the SLO leaves room for their scatter
        (1.0, 0.1, 1, 1),
        (4.0, 60.0, 61, 66),  # L = 240: 60 workers full
    ],
)
def test_a_steady_flow_gets_its_load_and_little_more(
    rate: float, service: float, least: int, most: int
) -> None:
    memory, workers = POLICY.initial_memory(), 80
    for at in range(0, 3600, 5):
        proposal, memory = decide(observe(at, workers, 0, rate * service, rate * at), memory)
        workers = max(1, proposal.workers)
    assert least <= workers <= most


def test_a_backlog_is_drained_within_the_slo_by_more_workers() -> None:
    memory, _ = settled(2.0, 3.0, workers=2)
    proposal, _ = decide(observe(1800, 2, 200, 8, 3600), memory)
    assert proposal.reason == "drain"
    slots = proposal.workers * 4
    assert slots * SETTINGS.wait_slo_seconds / 3.0 >= 200
    assert proposal.workers <= 60
    assert "jobs would wait" in proposal.sentence


def test_the_same_backlog_of_shorter_jobs_needs_fewer() -> None:
    short, _ = settled(2.0, 0.5, workers=2)
    long, _ = settled(2.0, 3.0, workers=2)
    few, _ = decide(observe(1800, 2, 200, 8, 3600), short)
    many, _ = decide(observe(1800, 2, 200, 8, 3600), long)
    assert few.workers < many.workers


def test_a_lower_slo_and_a_lower_aim_ask_for_more() -> None:
    memory, _ = settled(2.0, 3.0, workers=2)
    observation = observe(1800, 2, 30, 8, 3600)
    numbers = [
        decide(observation, memory, SETTINGS.model_copy(update=update))[0].workers
        for update in ({"wait_slo_seconds": 120.0}, {}, {"aim": 0.2}, {"wait_slo_seconds": 3.0})
    ]
    assert numbers == sorted(numbers)
    assert numbers[0] < numbers[-1]


def test_more_workers_than_jobs_are_never_proposed_for_a_backlog() -> None:
    memory, _ = settled(0.01, 300.0, workers=2)
    proposal, _ = decide(observe(1800, 2, 6, 3, 18), memory)
    assert proposal.workers <= 6


def test_jobs_that_will_fall_due_count_as_waiting() -> None:
    memory, _ = settled(2.0, 3.0, workers=2)
    without, _ = decide(observe(1800, 2, 0, 6, 3600), memory)
    due, _ = decide(observe(1800, 2, 0, 6, 3600, due=500.0), memory)
    assert due.workers > without.workers
    assert due.reason == "drain"


def test_scaling_in_waits_for_two_minutes_and_takes_at_most_half() -> None:
    memory, proposals = settled(20.0, 2.0, workers=10)
    assert proposals[-1].workers == 10
    workers, numbers = 10, []
    for at in range(1800, 2400, 5):
        proposal, memory = decide(observe(at, workers, 0, 0, 36000), memory)
        workers = max(1, proposal.workers)
        numbers.append(workers)
    first = next(index for index, number in enumerate(numbers) if number < 10)
    assert first * 5 >= 115
    assert all(later >= earlier // 2 for earlier, later in pairwise(numbers))
    assert numbers[-1] == 1


def test_a_premature_scale_in_makes_the_next_one_later() -> None:
    memory, _ = settled(20.0, 2.0, workers=14)
    holds = [memory.longer]
    workers, completed = 14, 36000.0
    for at in range(1800, 4200, 5):
        rate = 20.0 if (at // 240) % 2 else 2.0
        completed += 5 * rate
        proposal, memory = decide(observe(at, workers, 0, 2 * rate, completed), memory)
        workers = max(1, proposal.workers)
        holds.append(memory.longer)
    assert holds[0] == 0 < max(holds) <= 180


def test_concurrency_is_measured_where_it_is_not_given() -> None:
    policy = PolicySettings(max_workers=100)
    memory = POLICY.initial_memory()
    for at in range(0, 300, 5):
        _, memory = decide(observe(at, 3, 40, 24, 10.0 * at), memory, policy)
    assert memory.concurrency == pytest.approx(8.0, rel=0.01)


def test_without_counters_of_ended_jobs_each_job_gets_a_slot() -> None:
    sample = QueueSample(0.0, 30.0, 10.0)
    proposal, memory = POLICY.decide(
        SETTINGS, 5.0, Observation(0.0, 2, 2, sample), sample, POLICY.initial_memory()
    )
    assert (proposal.workers, proposal.reason) == (10, "jobs")
    assert memory.flow is None


def test_foreign_memory_is_refused() -> None:
    for data in ({"flow": 3}, {"needed": "x"}, {"longer": None}):
        with pytest.raises(ValueError, match="wait_target"):
            POLICY.load(data)


@settings(max_examples=30)
@given(
    st.lists(st.tuples(st.integers(0, 80), st.integers(0, 20), st.integers(0, 60)), min_size=1, max_size=60),
    st.integers(0, 59),
)
def test_a_restart_changes_no_decision(steps: list[tuple[int, int, int]], stop: int) -> None:
    memory = restarted = POLICY.initial_memory()
    workers, completed = 3, 0.0
    for index, (waiting, active, ended) in enumerate(steps):
        completed += ended
        observation = observe(5.0 * index, workers, waiting, active, completed)
        expected, memory = decide(observation, memory)
        if index == stop:
            restarted = POLICY.load(json.loads(json.dumps(POLICY.dump(restarted))))
        proposal, restarted = decide(observation, restarted)
        assert proposal == expected
        workers = max(1, min(50, expected.workers))


@settings(max_examples=50)
@given(
    st.lists(st.tuples(st.integers(0, 80), st.integers(0, 20), st.integers(0, 60)), max_size=30),
    st.integers(0, 100),
    st.integers(1, 500),
)
def test_more_waiting_jobs_never_mean_fewer_workers(
    steps: list[tuple[int, int, int]], waiting: int, more: int
) -> None:
    memory, completed = POLICY.initial_memory(), 0.0
    for index, (queued, active, ended) in enumerate(steps):
        completed += ended
        _, memory = decide(observe(5.0 * index, 3, queued, active, completed), memory)
    at = 5.0 * len(steps)
    fewer, _ = decide(observe(at, 3, waiting, 12, completed + 3), memory)
    greater, _ = decide(observe(at, 3, waiting + more, 12, completed + 3), memory)
    assert greater.workers >= fewer.workers
