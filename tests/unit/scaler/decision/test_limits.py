"""A pause, a rate limit and a global concurrency bound the need, in simulated time."""

from __future__ import annotations

from dataclasses import dataclass, field
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
from scaler.prometheus.totals import TargetTotals, continue_totals

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
            sample = sample._replace(held=None, limit_seconds=None, concurrency_limit=None)
            observation = observation._replace(sample=sample)
        elif self.window and not isinstance(sample, Missing):
            runs = sample._replace(limit_seconds=self.window - sample.at % self.window)
            observation = observation._replace(sample=runs)
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


# --- a rate limit of one queue of several -------------------------------------------------------------------

A, B = QueueKey("bull", "a"), QueueKey("bull", "b")


def together(**samples: QueueSample) -> QueueSample:
    both = combine({QueueKey("bull", name): one for name, one in samples.items()})
    assert isinstance(both, QueueSample)
    return both


def test_the_rate_limit_of_one_queue_holds_its_jobs_and_no_others() -> None:
    both = together(
        a=sample(50, 4, held=0.0, limit_seconds=0.0), b=sample(7, 1, held=0.0, limit_seconds=60.0)
    )
    assert (both.limit_seconds, both.held, both.runnable) == (0.0, 7.0, 50.0)
    without = together(a=sample(50, 4), b=sample(7, 1, limit_seconds=60.0))
    assert (without.limit_seconds, without.runnable) == (0.0, 50.0)


def test_the_rate_limit_of_a_queue_in_which_no_job_waits_is_none() -> None:
    both = together(a=sample(50, 4, held=0.0), b=sample(0, 1, held=0.0, limit_seconds=60.0))
    assert (both.limit_seconds, both.held) == (0.0, 0.0)
    paused = together(a=sample(50, 4, held=0.0), b=sample(7, 0, held=7.0, limit_seconds=60.0))
    assert (paused.limit_seconds, paused.held) == (0.0, 7.0)


def test_rate_limits_of_all_jobs_that_wait_bound_them_until_the_first_one_ends() -> None:
    idle = sample(0, 3, held=0.0)
    bound = together(
        a=sample(5, 0, held=0.0, limit_seconds=60.0), b=sample(7, 0, held=0.0, limit_seconds=20.0), c=idle
    )
    assert (bound.limit_seconds, bound.held) == (20.0, 0.0)


def test_a_queue_with_two_limits_is_held_once() -> None:
    twice = sample(9, 1, held=0.0, limit_seconds=60.0, concurrency_limit=2.0)
    assert together(a=sample(50, 4, held=0.0), b=twice).held == 9.0


@EVERY_POLICY
@pytest.mark.parametrize("jobs", [0, 20, 2000])
def test_a_queue_beside_one_behind_a_rate_limit_gets_its_workers(policy: str, jobs: int) -> None:
    limited = sample(jobs, 0, held=0.0, due=0.0, oldest_waiting=900.0, limit_seconds=3600.0)

    class Beside(Watched):
        def decide(self, observation: Observation) -> int:
            if not isinstance(observation.sample, Missing):
                both = combine({A: observation.sample, B: limited._replace(at=observation.sample.at)})
                observation = observation._replace(sample=both)
            return super().decide(observation)

    settings = PolicySettings(policy=policy, max_workers=20, worker_concurrency=2)
    controller = Beside(settings, 5.0)
    load = Load([60.0 + second / 20 for second in range(20 * 1000)], [1.0] * 20_000)
    simulate(load, Plant(2, lambda: 10.0, workers=1), controller, slo=30.0, until=1000.0)
    assert controller.workers[-1] > 8


# --- limits of jobs at once, of several queues --------------------------------------------------------------


def test_a_limit_that_one_queue_leaves_is_no_use_to_another() -> None:
    pressed = sample(10_000, 1, concurrency_limit=1.0)
    assert together(a=pressed, b=sample(0, 0, concurrency_limit=100.0)).concurrency_limit == 1
    assert together(a=pressed, b=sample(4, 16, concurrency_limit=100.0)).concurrency_limit == 31
    assert together(a=pressed, b=sample(400, 1, concurrency_limit=100.0)).concurrency_limit == 101
    free = sample(0, 1, concurrency_limit=1.0)
    assert together(a=free, b=sample(0, 0, concurrency_limit=100.0)).concurrency_limit == 101


def test_the_slots_of_a_limited_queue_do_not_follow_each_sample() -> None:
    totals: TargetTotals | None = None
    limits = []
    for number, active in enumerate([20, 20, 3, 20, 0]):
        pressed, other = sample(9, 1, concurrency_limit=1.0), sample(0, active, concurrency_limit=100.0)
        at = 100.0 + 5 * number
        samples = {A: pressed._replace(at=at), B: other._replace(at=at)}
        both, totals = continue_totals(totals, samples, {}, at)
        assert isinstance(both, QueueSample)
        limits.append(both.concurrency_limit or 0.0)
    assert limits[:2] == [31, 31]
    assert min(limits) > 29


@EVERY_POLICY
def test_a_limit_of_one_beside_an_idle_queue_with_a_high_one_needs_one_worker(policy: str) -> None:
    class Beside(Watched):
        def decide(self, observation: Observation) -> int:
            if not isinstance(observation.sample, Missing):
                idle = QueueSample(observation.sample.at, 0, 0, 9, 0, held=0, due=0, concurrency_limit=100)
                observation = observation._replace(sample=combine({A: observation.sample, B: idle}))
            return super().decide(observation)

    settings = PolicySettings(policy=policy, min_workers=1, max_workers=20, worker_concurrency=1)
    controller = Beside(settings, 5.0)
    load = Load([1.0] * 4000, [1.0] * 4000, concurrency_limit=1)
    simulate(load, Plant(1, lambda: 10.0, workers=1), controller, slo=30.0, until=1200.0)
    assert set(controller.workers) == {1}


# --- jobs that are due in a paused queue --------------------------------------------------------------------


def test_jobs_that_are_due_in_a_paused_queue_beside_others_are_not_due() -> None:
    both = together(a=sample(1, 1, held=0.0, due=2.0), b=sample(10, 0, held=10.0, due=5000.0))
    assert both.due == 2.0
