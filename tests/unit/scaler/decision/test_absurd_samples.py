"""After any single absurd sample the number is back where it was within a minute, for every policy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from math import inf, nan
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scaler.config.settings import PolicySettings
from scaler.decision.policies import POLICIES
from scaler.decision.step import TargetMemory, record_scaling, step
from scaler.model import Control, Observation, QueueSample

STEP = 5.0
START = 10.0
Absurd = Callable[[QueueSample], QueueSample]


@dataclass
class World:
    """A queue with `rate` jobs/s of `run` seconds, and workers of `slots` that start in ten seconds. What is
    published is passed through `spoil` at step `at`, and all later ones get the offset of their counters."""

    policy: PolicySettings
    rate: float
    run: float
    slots: int
    spoil: Absurd | None = None
    at: int = -1
    offset: dict[str, float] = field(default_factory=dict)  # of counters, from then on
    clock: float = 0.0  # by so much the clocks are set, from then on
    durations: bool = True

    def numbers(self, steps: int) -> list[int]:
        workers = 1 + int(self.rate * self.run / self.slots)
        ready_at, waiting, active, ended, busy = [-inf] * workers, 0.0, 0.0, 0.0, 0.0
        memory: TargetMemory | None = None
        numbers = []
        for index in range(steps):
            now = STEP * index
            ready = sum(at <= now for at in ready_at)
            capacity = ready * self.slots
            work = waiting + self.rate * STEP
            done = min(work, capacity * STEP / self.run)
            waiting, ended, busy = work - done, ended + done, busy + done * self.run
            active = min(capacity, done * self.run / STEP)
            spoilt = 0 <= self.at <= index
            at = now + (self.clock if spoilt else 0.0)
            figures = {"completed": ended, "failed": 0.0}
            if self.durations:
                figures |= {"duration_count": ended, "duration_sum": busy, "busy_seconds": busy}
            if spoilt:
                figures = {name: value + self.offset.get(name, 0.0) for name, value in figures.items()}
            sample = QueueSample(at, round(waiting), round(active), **figures)
            if index == self.at and self.spoil:
                sample = self.spoil(sample)
            decision, memory = step(
                self.policy, STEP, Observation(at, workers, ready, sample, START), Control(), memory
            )
            if decision.workers != workers:
                memory = record_scaling(memory, at)
            ready_at = ready_at[: decision.workers] + [now + START] * (decision.workers - workers)
            workers = decision.workers
            numbers.append(workers)
        return numbers


def with_figure(name: str, sample: QueueSample) -> QueueSample:
    figures: dict[str, Any] = {name: 1e6}
    return sample._replace(**figures)


COUNTERS = ("completed", "duration_count", "busy_seconds", "duration_sum")
ONE_SCRAPE: dict[str, Absurd] = {
    "waiting": lambda sample: sample._replace(waiting=1e6),
    "active": lambda sample: sample._replace(active=1e6),
    "due": lambda sample: sample._replace(due=1e6),
    "oldest": lambda sample: sample._replace(oldest_waiting=1e9),
    "nothing ran": lambda sample: sample._replace(waiting=0.0, active=0.0),
    "not a number": lambda sample: sample._replace(waiting=nan, completed=nan, busy_seconds=nan),
    "counters away": lambda sample: sample._replace(completed=None, failed=None),
    **{name: partial(with_figure, name) for name in COUNTERS},
    "run time of 1e-5 s": lambda sample: sample._replace(
        duration_sum=10.0, duration_count=1e6, completed=1e6
    ),
}
FOR_GOOD: dict[str, dict[str, Any]] = {
    **{f"{name} for good": {"offset": {name: 1e6}} for name in COUNTERS},
    "all counters for good": {"offset": dict.fromkeys(COUNTERS, 1e6)},
    "20,000 ended": {"offset": {"completed": 2e4, "duration_count": 2e4}},
    "counters from 0": {"offset": dict.fromkeys(COUNTERS, -1000.0)},
    "a clock that is set forward": {"clock": 3600.0},
    "a clock that is set back": {"clock": -3600.0},
}


def policy(name: str, slots: int, *, known: bool = True) -> PolicySettings:
    return PolicySettings(
        policy=name,
        min_workers=1,
        max_workers=40,
        worker_concurrency=slots if known else None,
        capacity_per_worker=1.5 * slots,
    )


def check(world: World, kind: str, at: int) -> None:
    """Within a minute it is where it is without that sample, or 20 % from it; and never higher by more than
    30 % or two workers."""
    usual = world.numbers(at + 40)
    spoil = ONE_SCRAPE.get(kind)
    spoilt = replace(world, at=at, spoil=spoil, **FOR_GOOD.get(kind, {})).numbers(at + 40)
    assert spoilt[:at] == usual[:at]
    least, most = min(usual[at:]), max(usual[at:])
    for index, workers in enumerate(spoilt[at:]):
        if kind != "oldest" or index >= 60 / STEP:
            assert workers <= max(most + 2, 1.3 * most), (kind, index, spoilt[at:], usual[at:])
        if index >= 60 / STEP:
            assert workers >= min(least - 1, 0.8 * least), (kind, index, spoilt[at:], usual[at:])


@pytest.mark.parametrize("durations", [True, False])
@pytest.mark.parametrize("kind", [*ONE_SCRAPE, *FOR_GOOD])
@pytest.mark.parametrize("name", sorted(POLICIES))
def test_one_absurd_sample_is_forgotten_within_a_minute(name: str, kind: str, durations: bool) -> None:  # noqa: FBT001
    for slots in (1, 4):
        for known in (True, False):
            world = World(policy(name, slots, known=known), 8.0, 1.0, slots, durations=durations)
            check(world, kind, 120)


MODERATE = {"waiting": (2e3, 9e3, 19e3), "active": (500.0, 9e3), "due": (9e3,)}


@pytest.mark.parametrize(
    ("figure", "value"), [(figure, value) for figure, values in MODERATE.items() for value in values]
)
@pytest.mark.parametrize("name", sorted(POLICIES))
def test_one_sample_of_moderate_size_is_forgotten_too(name: str, figure: str, value: float) -> None:
    """Where there may be a thousand workers, so many jobs are not absurd by their number."""
    for slots, known, cooldown in ((1, True, 0), (2, True, None), (2, False, None)):
        many = policy(name, slots, known=known).model_copy(
            update={"max_workers": 1000, "cooldown_seconds": cooldown, "scaling_step": "to_target"}
        )
        world = World(many, 2.0, 1.0, slots)
        usual = world.numbers(160)
        spoilt = replace(world, at=120, spoil=lambda sample: sample._replace(**{figure: value}))
        numbers = spoilt.numbers(160)
        assert max(numbers[120:]) <= 10 * max(usual[120:])
        assert numbers[132:] == usual[132:]


@pytest.mark.parametrize("name", sorted(POLICIES))
def test_a_batch_that_is_there_in_the_next_sample_too_has_its_workers_then(name: str) -> None:
    settings = PolicySettings(
        policy=name, max_workers=1000, worker_concurrency=1, cooldown_seconds=0, target_waiting_jobs=10
    )
    memory, numbers, ended = None, [], 0.0
    for index in range(24):
        ended += 10.0
        waiting = 9000.0 - 5.0 * index if index >= 20 else 0.0
        sample = QueueSample(STEP * index, waiting, 2.0, completed=ended, failed=0.0)
        decision, memory = step(
            settings, STEP, Observation(STEP * index, 2, 2, sample, START), Control(), memory
        )
        numbers.append(decision.workers)
    assert numbers[20] == 2
    assert numbers[21] > 100


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(sorted(POLICIES)),
    st.sampled_from([*ONE_SCRAPE, *FOR_GOOD]),
    st.floats(0.5, 20.0),
    st.floats(0.2, 30.0),
    st.sampled_from([1, 4, 10]),
    st.integers(70, 150),
)
def test_at_any_time_and_load(name: str, kind: str, rate: float, run: float, slots: int, at: int) -> None:
    load = min(rate, 30.0 * slots / run)
    check(World(policy(name, slots), load, run, slots), kind, at)
