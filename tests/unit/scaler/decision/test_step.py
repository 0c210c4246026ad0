"""Properties of every policy, for any input."""

from __future__ import annotations

import json
from itertools import pairwise
from math import ceil
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from scaler.config.settings import PolicySettings
from scaler.decision.policies import POLICIES
from scaler.decision.step import TargetMemory, dump_memory, initial_memory, load_memory, record_scaling, step
from scaler.model import Control, Decision, Missing, Observation, QueueSample

Steps = list[tuple[int | None, int, int]]

names = st.sampled_from(sorted(POLICIES))
counts = st.one_of(st.none(), st.integers(0, 300))
steps_of = st.lists(st.tuples(counts, st.integers(0, 60), st.integers(0, 80)), min_size=1, max_size=50)


def policy(name: str, **keys: Any) -> PolicySettings:
    return PolicySettings.model_validate({"policy": name, "min_workers": 1, "max_workers": 12, **keys})


def observe(at: float, workers: int, waiting: int | None, active: int, completed: float) -> Observation:
    sample: QueueSample | Missing = Missing("empty", "no series")
    if waiting is not None:
        sample = QueueSample(at, waiting, active, completed=completed, failed=0.0)
    return Observation(at, workers, workers, sample, 20.0)


def played(
    policy_settings: PolicySettings,
    steps: Steps,
    *,
    restart: int = -1,
    seconds: float = 5.0,
    workers: int = 2,
    idle: int | None = None,
) -> list[tuple[Observation, Decision]]:
    """Each decision applied before the next; `restart`: the step before which all goes through JSON."""
    memory: TargetMemory | None = None
    completed = 0.0
    decisions = []
    for index, (waiting, active, ended) in enumerate(steps):
        completed += ended
        if index == restart and memory is not None:
            memory = load_memory(json.loads(json.dumps(dump_memory(memory))))
        observation = observe(seconds * index, workers, waiting, active, completed)._replace(idle=idle)
        decision, memory = step(policy_settings, seconds, observation, Control(), memory)
        decisions.append((observation, decision))
        if decision.workers != workers:
            workers, memory = decision.workers, record_scaling(memory, observation.time)
    return decisions


@given(names, steps_of)
def test_never_outside_the_bounds_and_never_in_on_missing_metrics(name: str, steps: Steps) -> None:
    for observation, decision in played(policy(name, cooldown_seconds=0), steps):
        assert 1 <= decision.workers <= 12
        if isinstance(observation.sample, Missing):
            assert decision.workers >= observation.workers


@given(names, steps_of, st.sets(st.integers(0, 49)))
def test_never_in_while_a_part_is_unknown(name: str, steps: Steps, unknown: set[int]) -> None:
    memory, workers, completed = None, 2, 0.0
    for index, (waiting, active, ended) in enumerate(steps):
        completed += ended
        observation = observe(5.0 * index, workers, waiting, active, completed)
        if index in unknown:
            observation = observation._replace(unknown=Missing("empty", "no series"))
        decision, memory = step(policy(name, cooldown_seconds=0), 5.0, observation, Control(), memory)
        assert decision.workers >= workers or index not in unknown
        workers = decision.workers


@given(names, steps_of, st.integers(1, 5), st.sampled_from([None, 1, 3]), st.integers(1, 12))
def test_workers_with_a_job_stay_whatever_the_bounds_and_steps(
    name: str, steps: Steps, slots: int, down: int | None, most: int
) -> None:
    """Until as many jobs have ended as were in hand when there were first more workers than the maximum."""
    given = policy(name, cooldown_seconds=0, worker_concurrency=slots, max_step_down=down, max_workers=most)
    over: tuple[float, float] | None = None
    for observation, decision in played(given, steps, workers=12):
        sample = observation.sample
        if isinstance(sample, Missing):
            continue
        ended = sample.completed or 0.0
        if observation.workers <= most:
            over = None
        elif over is None and decision.reason == "busy":
            over = ended, sample.active
        busy = min(observation.workers, ceil(sample.active / slots))
        released = over is not None and ended - over[0] >= over[1]
        assert decision.workers >= (min(busy, most) if released else busy)


@given(names, steps_of, st.integers(0, 12))
def test_no_more_go_than_are_idle(name: str, steps: Steps, idle: int) -> None:
    for observation, decision in played(policy(name, cooldown_seconds=0), steps, workers=12, idle=idle):
        assert decision.workers >= min(observation.workers, 12) - idle


@given(names, steps_of, st.integers(0, 49))
def test_a_restart_changes_no_decision(name: str, steps: Steps, restart: int) -> None:
    given = policy(name, stabilization_down_seconds=60, cooldown_seconds=10)
    assert played(given, steps, restart=restart) == played(given, steps)


@given(names, steps_of, st.integers(0, 200), st.integers(1, 400))
def test_more_waiting_jobs_never_mean_fewer_workers(name: str, steps: Steps, waiting: int, more: int) -> None:
    given, memory, completed = policy(name, cooldown_seconds=0), None, 0.0
    for index, (queued, active, ended) in enumerate(steps):
        completed += ended
        _, memory = step(given, 5.0, observe(5.0 * index, 4, queued, active, completed), Control(), memory)
    at = 5.0 * len(steps)
    fewer, _ = step(given, 5.0, observe(at, 4, waiting, 9, completed + 5), Control(), memory)
    greater, _ = step(given, 5.0, observe(at, 4, waiting + more, 9, completed + 5), Control(), memory)
    # Jobs that wait beside free slots are held back by a limit: more workers would not help them.
    assert greater.workers >= fewer.workers or "cap_slots" in greater.inputs


@settings(max_examples=60)
@given(names, steps_of)
def test_no_reversal_within_the_windows_of_stabilization(name: str, steps: Steps) -> None:
    window = 30.0
    given = policy(
        name, cooldown_seconds=0, stabilization_down_seconds=window, stabilization_up_seconds=window
    )
    changes = [
        (observation.time, decision.workers - observation.workers)
        for observation, decision in played(
            given, [(waiting or 0, active, ended) for waiting, active, ended in steps]
        )
        if decision.workers != observation.workers
    ]
    for (before, first), (after, second) in pairwise(changes):
        assert first * second > 0 or after - before >= window


@given(names, st.lists(st.tuples(st.floats(-1e6, 1e6), counts), max_size=30))
@example("wait_target", [(0.0, 0), (5e-324, 5), (60.0, 5), (60.0 + 1e-9, 9), (120.0, 9)])
def test_time_may_go_anywhere(name: str, steps: list[tuple[float, int | None]]) -> None:
    given, memory = policy(name, stabilization_down_seconds=60, cooldown_seconds=60), None
    for at, waiting in steps:
        decision, memory = step(given, 5.0, observe(at, 3, waiting, 2, 0.0), Control(), memory)
        memory = record_scaling(memory, at)
        assert 1 <= decision.workers <= 12


def test_another_policy_starts_with_an_empty_memory_and_the_guards_keep_theirs() -> None:
    first = record_scaling(
        step(policy("wait_target"), 5.0, observe(0.0, 2, 9, 1, 0.0), Control(), None)[1], 0.0
    )
    held, memory = step(policy("threshold"), 5.0, observe(5.0, 2, 99, 1, 0.0), Control(), first)
    assert memory.policy == "threshold"
    assert (held.workers, held.reason) == (2, "cooldown")


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"policy": "guess"},
        {"policy": ["threshold"]},
        {"policy": "threshold", "learned": [], "guards": {}},
        {"policy": "threshold", "learned": {"x": 1}, "guards": {}},
        {"policy": "wait_target", "learned": {"version": 3, "flow": 1}, "guards": {}},
    ],
)
def test_foreign_data_are_refused(data: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"policy|memory"):
        load_memory(data)


def test_the_initial_memory_can_be_saved() -> None:
    for name in POLICIES:
        memory = initial_memory(policy(name))
        assert load_memory(dump_memory(memory)) == memory


@pytest.mark.parametrize(("scrape", "offset", "age"), [(60, 30, 150), (60, 0, 130), (15, 30, 90)])
def test_scrapes_that_are_rare_or_half_a_minute_late_give_steady_workers(
    scrape: int, offset: int, age: int
) -> None:
    """8 jobs/s of 1 s for an hour; a queried sample is up to `scrape` + `offset` seconds old."""
    given = policy(
        "wait_target", max_workers=40, worker_concurrency=1, metrics_max_age_seconds=age, wait_slo_seconds=120
    )
    memory, workers, waiting, ended = None, 2, 0.0, 0.0
    history, changes = [], 0
    for at in range(3600):
        active = min(waiting + 8.0, workers)
        waiting, ended = waiting + 8.0 - active, ended + active
        history.append((waiting, active, ended))
        if at % 5 or at < scrape + offset:
            continue
        scraped = (at - offset) // scrape * scrape
        sample = QueueSample(float(scraped), *history[scraped], failed=0.0)
        decision, memory = step(
            given, 5.0, Observation(float(at), workers, workers, sample, 10.0), Control(), memory
        )
        assert "MetricsStale" not in decision.conditions
        changes += decision.workers != workers
        workers = decision.workers
    assert workers in (8, 9)
    assert waiting / 8 <= given.wait_slo_seconds
    assert changes <= 6
