"""A pause, a rate limit and a global concurrency bound the need, in simulated time."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import pytest

from scaler.backtest.plant import Load, Plant
from scaler.backtest.replay import PolicyController
from scaler.backtest.simulate import simulate
from scaler.config.settings import PolicySettings
from scaler.decision.policies import POLICIES
from scaler.model import Missing, Observation, QueueSample
from scaler.prometheus.promql import QueueKey, combine

EVERY_POLICY = pytest.mark.parametrize("policy", sorted(POLICIES))


@dataclass
class Watched(PolicyController):
    """Keeps what it saw and decided; `blind` to what the metrics tell of limits. `window`: seconds of a limit
    that only the workers know, so that its window is told whether it is reached or not."""

    blind: bool = False
    window: float = 0.0
    workers: list[int] = field(default_factory=list)

    def decide(self, observation: Observation) -> int:
        sample = observation.sample
        if self.blind and not isinstance(sample, Missing):
            sample = replace(sample, held=None, limit_seconds=None, concurrency_limit=None)
            observation = replace(observation, sample=sample)
        elif self.window and not isinstance(sample, Missing):
            runs = replace(sample, limit_seconds=self.window - sample.at % self.window)
            observation = replace(observation, sample=runs)
        self.workers.append(super().decide(observation))
        return self.workers[-1]


def numbers(
    policy: str,
    *,
    jobs: int = 400,
    begin: int = 1,
    blind: bool = False,
    window: float = 0.0,
    until: float = 1200.0,
    **limits: Any,
) -> list[int]:
    settings = PolicySettings(policy=policy, min_workers=0, max_workers=20, worker_concurrency=2)
    controller = Watched(settings, 5.0, blind=blind, window=window)
    load = Load([1.0] * jobs, [1.0] * jobs, **limits)
    simulate(load, Plant(2, lambda: 10.0, workers=begin), controller, slo=30.0, until=until)
    return controller.workers


@EVERY_POLICY
@pytest.mark.parametrize("begin", [0, 1, 10])
def test_a_paused_queue_needs_nobody(policy: str, begin: int) -> None:
    workers = numbers(policy, begin=begin, pauses=((0.0, 1e9),), until=7200.0)
    assert max(workers) <= begin
    assert workers[-1] == 0
    assert workers == sorted(workers, reverse=True)


@EVERY_POLICY
def test_when_the_pause_ends_they_come(policy: str) -> None:
    workers = numbers(policy, begin=1, pauses=((0.0, 900.0),))
    assert workers[int(890 / 5)] == 0
    assert max(workers[int(900 / 5) : int(950 / 5)]) > (10 if policy == "wait_target" else 0)


@EVERY_POLICY
@pytest.mark.parametrize("begin", [1, 20])
def test_a_global_concurrency_bounds_the_slots(policy: str, begin: int) -> None:
    workers = numbers(policy, jobs=4000, begin=begin, concurrency_limit=2)
    assert max(workers) <= begin
    assert set(workers[100:]) == {1}
    assert max(numbers(policy, jobs=4000, concurrency_limit=5)) == 3


@pytest.mark.parametrize("limit", [(1, 2.0), (10, 10.0), (30, 60.0)])
def test_a_rate_limit_bounds_the_slots_without_a_swing(limit: tuple[int, float]) -> None:
    workers = numbers("wait_target", jobs=4000, limit=limit)[30:]
    assert max(workers) <= 2
    assert sum(before != after for before, after in pairwise(workers)) <= 2


def test_while_a_rate_limit_is_closed_waiting_jobs_are_no_reason() -> None:
    assert max(numbers("threshold", limit=(1, 2.0))) == 1


@EVERY_POLICY
@pytest.mark.parametrize("window", [1.0, 10.0, 60.0, 3600.0])
def test_a_limit_of_the_workers_that_is_not_reached_bounds_nothing(policy: str, window: float) -> None:
    workers = numbers(policy, jobs=4000, window=window)
    assert workers == numbers(policy, jobs=4000)
    assert max(workers) > 10


def test_what_the_metrics_do_not_tell_is_seen() -> None:
    workers = numbers("wait_target", jobs=4000, blind=True, concurrency_limit=2)
    assert max(workers[60:]) <= 3


def sample(waiting: float, active: float, **more: Any) -> QueueSample:
    return QueueSample(100.0, waiting, active, completed=9.0, failed=0.0, **more)


def test_only_queues_with_a_limit_count_with_it() -> None:
    limited = sample(400, 2, held=0.0, concurrency_limit=2.0)
    free = sample(10, 5, held=0.0)
    both = combine({QueueKey("bull", "a"): limited, QueueKey("bull", "b"): free})
    assert isinstance(both, QueueSample)
    assert (both.concurrency_limit, both.held, both.runnable) == (None, 398.0, 12.0)
    twice = combine({QueueKey("bull", "a"): limited, QueueKey("bull", "b"): limited})
    assert isinstance(twice, QueueSample)
    assert (twice.concurrency_limit, twice.held) == (4.0, 0.0)


def test_a_paused_queue_with_a_limit_is_held_once() -> None:
    paused = sample(400, 0, held=400.0, concurrency_limit=2.0)
    both = combine({QueueKey("bull", "a"): paused, QueueKey("bull", "b"): sample(3, 1, held=0.0)})
    assert isinstance(both, QueueSample)
    assert both.held == 400.0
