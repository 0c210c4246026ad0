"""A small part of `bench.policies`, on seeds of its own: ratios to another autoscaler, and some bounds."""

from __future__ import annotations

from functools import cache
from math import exp, log

import pytest

from bench.contenders import ANCHOR, CONTENDERS, DEFAULT, THRIFTY
from bench.oracle import best, running_most, taut_string
from bench.policies import run_contender, scenario_of
from bench.scenarios import HOUR, Scenario, scenario_names
from scaler.backtest.plant import Load, Report
from scaler.config.settings import PolicySettings
from tests.support.simulation import shipped

pytestmark = pytest.mark.timeout(120)

SEEDS = (31, 32)
CHANGES = (
    "run time x5",
    "run time x3 to x6, often",
    "rate x6",
    "random levels",
    "on and off",
    "starts of 2 s",
)


@cache
def report(contender: str, scenario: str, seed: int, interval: float = 5.0) -> Report:
    named = next(each for each in CONTENDERS if each.name == contender)
    return run_contender(named, scenario_of(scenario, seed), interval, seed)


def geometric_mean(values: list[float]) -> float:
    return exp(sum(map(log, values)) / len(values))


@pytest.mark.parametrize(("contender", "most"), [(DEFAULT, 0.9), (THRIFTY, 0.8)])
def test_it_is_cheaper_than_knative_with_as_few_late(contender: str, most: float) -> None:
    runs = [(scenario, seed) for scenario in CHANGES for seed in SEEDS]
    ours = [report(contender, *run) for run in runs]
    theirs = [report(ANCHOR, *run) for run in runs]
    late = sum(run.over for run in ours) / len(runs)
    assert late <= 0.0015
    assert geometric_mean([run.cost for run in ours]) <= most * geometric_mean([run.cost for run in theirs])


@pytest.mark.parametrize("scenario", ["run time x5", "run time x3 to x6, often"])
def test_jobs_that_become_slower_are_not_late(scenario: str) -> None:
    assert all(
        report(contender, scenario, seed).over < 0.005 for contender in (DEFAULT, THRIFTY) for seed in SEEDS
    )


@pytest.mark.parametrize("contender", [DEFAULT, THRIFTY])
@pytest.mark.parametrize("scenario", ["limiter", "pauses"])
def test_no_limit_cycle_at_a_rate_limit_or_a_pause(contender: str, scenario: str) -> None:
    runs = [report(contender, scenario, seed) for seed in SEEDS]
    assert geometric_mean([run.cost for run in runs]) < 2.0
    assert all(run.reversals / (run.seconds / 3600) < 90 for run in runs)


@pytest.mark.parametrize("seed", [1, 107, 119, 120, 125, 155])
def test_no_rate_limit_is_taken_for_none(seed: int) -> None:
    """Limits that samples miss, of workers with one slot, or of less work than one worker does."""
    runs = [report(contender, "limiter", seed) for contender in (DEFAULT, THRIFTY)]
    assert all(run.cost < 2.1 for run in runs)
    assert all(run.starts / (run.seconds / 3600) < 60 for run in runs)


def test_retries_in_backoff_are_no_burst() -> None:
    assert geometric_mean([report(DEFAULT, "retries with backoff", seed).cost for seed in SEEDS]) < 1.5


def test_a_known_batch_has_its_workers_when_it_comes() -> None:
    for seed in SEEDS:
        assert report(DEFAULT, "cron of 500, delayed jobs", seed).over == 0
        assert report(THRIFTY, "cron of 500, delayed jobs", seed).over == 0


def test_no_job_of_ten_minutes_is_killed() -> None:
    for seed in SEEDS:
        for scenario in ("jobs of 10 min, flat", "jobs of 10 min, day"):
            assert report(DEFAULT, scenario, seed).killed == 0


def test_one_job_an_hour_from_zero() -> None:
    """The first job starts a worker at once, and the last one goes as late as the settings say."""
    at = [HOUR * number + 600 for number in range(6)]
    scenario = Scenario("hourly", "long", Load(at, [20.0] * 6), 6 * HOUR, 1, min_workers=0)
    settings = PolicySettings(
        min_workers=0, max_workers=5, worker_concurrency=1, scale_to_zero_after_seconds=120.0
    )
    run = shipped(scenario, settings)
    assert run.longest <= 5 + 5 + 40
    assert run.starts == 6
    assert run.worker_seconds <= 6 * (5 + 40 + 20 + 120 + 10) + 130  # one runs at the beginning


def test_the_same_seed_makes_the_same_scenario() -> None:
    for name in scenario_names():
        first, second = scenario_of(name, 7), scenario_of(name, 7)
        assert (first.load.at, first.load.runs) == (second.load.at, second.load.runs)
        assert list(first.load.at) == sorted(first.load.at)
    assert scenario_of("rate x6", 8).load.at != scenario_of("rate x6", 7).load.at


def test_the_oracle_is_cheaper_than_anybody_and_late_with_nobody() -> None:
    for scenario in ("rate x6", "random levels"):
        oracle = best(scenario_of(scenario, 31), most=200, seed=31)
        assert oracle.over <= 0.001
        assert oracle.cost < report(THRIFTY, scenario, 31).cost


def test_a_taut_string_is_the_shortest_line_between() -> None:
    upper = [0.0, 4.0, 4.0, 4.0, 10.0, 12.0]
    lower = [0.0, 0.0, 2.0, 4.0, 4.0, 12.0]
    slopes = taut_string(lower, upper)
    assert slopes == pytest.approx([4 / 3, 4 / 3, 4 / 3, 4.0, 4.0])
    assert running_most([1, 5, 2, 0, 0, 3], 2) == [1, 5, 5, 5, 2, 3]
