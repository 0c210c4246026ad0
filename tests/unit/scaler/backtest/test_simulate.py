from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from math import exp, factorial
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scaler.backtest.simulate import Load, Plant, simulate
from scaler.model import Missing, Observation, QueueSample


@dataclass
class Scripted:
    """Decides as the script says, and keeps the observations."""

    script: Callable[[Observation], int]
    observations: list[Observation] = field(default_factory=list)

    def decide(self, observation: Observation) -> int:
        self.observations.append(observation)
        return self.script(observation)


def constant() -> Scripted:
    return Scripted(lambda observation: observation.workers)


def after(seconds: float) -> Callable[[], float]:
    return lambda: seconds


def test_one_slot_serves_first_in_first_out() -> None:
    report = simulate(Load([0, 0, 0], [10, 10, 10]), Plant(1, after(5)), constant(), slo=10, until=60)
    assert report.waits == {0.5: 10, 0.95: 20, 0.99: 20}
    assert report.over == pytest.approx(1 / 3)  # 10 s is within an SLO of 10
    assert report.worker_seconds == 60
    assert report.least_worker_seconds == 30
    assert report.cost == 2


def test_a_job_that_still_waits_at_the_end_counts_by_then() -> None:
    report = simulate(Load([0, 0], [100, 1]), Plant(1, after(5)), constant(), slo=10, until=60)
    assert (report.jobs, report.longest, report.over) == (2, 60, 0.5)
    assert report.least_worker_seconds == 60  # of the 100 only 60 have run


def test_a_new_worker_helps_when_it_has_started() -> None:
    script = Scripted(lambda observation: 2 if observation.time >= 5 else 1)
    report = simulate(Load([0, 0], [100, 10]), Plant(1, after(20)), script, slo=10, until=60)
    assert report.longest == 25
    assert report.worker_seconds == 60 + 55
    ready = {
        observation.time: (observation.workers, observation.ready) for observation in script.observations
    }
    assert ready[20] == (2, 1)
    assert ready[30] == (2, 2)
    assert script.observations[-1].start_seconds == 20


def test_scaling_in_ends_starting_ones_first_and_lets_jobs_end() -> None:
    script = Scripted(lambda observation: {0: 3, 5: 2, 10: 1}.get(int(observation.time), observation.workers))
    load = Load([0.0, 0.0], [40.0, 40.0])
    report = simulate(load, Plant(1, after(7), workers=2), script, slo=10, until=60)
    assert report.longest == 0
    # the third was cancelled after 5 s; the second ends its job at 40 s; the first stays
    assert report.worker_seconds == 60 + 40 + 5
    assert (report.changes, report.reversals) == (3, 1)


def test_a_worker_that_leaves_takes_no_new_job() -> None:
    script = Scripted(lambda observation: 1 if observation.time >= 5 else observation.workers)
    load = Load([0.0, 0.0, 10.0, 10.0], [20.0, 20.0, 20.0, 20.0])
    report = simulate(load, Plant(1, after(7), workers=2), script, slo=100, until=100)
    assert report.longest == 30  # one slot is left: the third begins at 20, the fourth at 40


def test_the_controller_observes_the_last_scrape() -> None:
    script = constant()
    simulate(Load([0, 1, 2], [3, 30, 30]), Plant(1, after(5), interval=5, scrape=15), script, slo=1, until=20)
    samples = [observation.sample for observation in script.observations]
    assert isinstance(samples[3], QueueSample)
    assert (samples[3].at, samples[3].waiting, samples[3].active, samples[3].completed) == (15, 1, 1, 1)
    assert samples[4] == samples[3]
    assert isinstance(samples[2], QueueSample)
    assert samples[2].at == 0


def test_in_the_silence_metrics_grow_old() -> None:
    script = constant()
    simulate(Load([], []), Plant(1, after(5), silence=(10, 30)), script, slo=1, until=40)
    ages = {
        observation.time: observation.time - observation.sample.at
        for observation in script.observations
        if isinstance(observation.sample, QueueSample)
    }
    assert (ages[5], ages[10], ages[25], ages[30]) == (0, 5, 20, 0)
    silent = constant()
    simulate(Load([], []), Plant(1, after(5), silence=(0, 30)), silent, slo=1, until=20)
    assert all(isinstance(observation.sample, Missing) for observation in silent.observations)


def test_announced_jobs_are_known_a_minute_before() -> None:
    load = Load([100.0, 100.0, 170.0], [1.0, 1.0, 1.0], announced=True)
    script = constant()
    simulate(load, Plant(1, after(5)), script, slo=1, until=120)
    due = {
        observation.time: observation.sample.due
        for observation in script.observations
        if isinstance(observation.sample, QueueSample)
    }
    assert (due[35], due[40], due[95], due[115]) == (0, 2, 2, 1)


def test_a_weighed_job_stands_for_many() -> None:
    script = constant()
    load = Load([0.0] * 6, [10.0] * 6, weight=5.0)
    report = simulate(load, Plant(20, after(5)), script, slo=5, until=30)
    assert (report.jobs, report.longest) == (30, 10)  # 20 of 30 begin at once
    assert isinstance(script.observations[1].sample, QueueSample)
    assert (script.observations[1].sample.waiting, script.observations[1].sample.active) == (10, 20)


def test_arrivals_and_runs_have_to_match() -> None:
    with pytest.raises(ValueError, match="seconds of run time"):
        Load([1.0], [])


def test_waits_are_those_of_erlangs_formula() -> None:
    """M/M/c with c = 4 and a load of 3: P(wait > t) = C(c, a) exp(-(c - a) t / S)."""
    rng, slots, load, run = Random(3), 4, 3.0, 10.0
    at, now = [], 0.0
    while now < 400_000:
        now += rng.expovariate(load / run)
        at.append(now)
    jobs = Load(at, [rng.expovariate(1 / run) for _ in at])
    report = simulate(
        jobs, Plant(slots, after(5), scrape=1000, interval=1000), constant(), slo=5, until=400_000
    )
    top = load**slots / factorial(slots) * slots / (slots - load)
    waiting = top / (sum(load**k / factorial(k) for k in range(slots)) + top)
    assert report.over == pytest.approx(waiting * exp(-(slots - load) * 5 / run), rel=0.08)


@settings(max_examples=60)
@given(
    st.lists(st.tuples(st.floats(0, 300), st.floats(0.01, 80)), max_size=60),
    st.lists(st.integers(0, 6), min_size=1, max_size=80),
    st.integers(1, 3),
)
def test_no_job_and_no_worker_second_is_lost(
    jobs: list[tuple[float, float]], numbers: list[int], concurrency: int
) -> None:
    jobs.sort()
    script = Scripted(lambda observation: numbers[int(observation.time / 5) % len(numbers)])
    rng = Random(1)
    load = Load([at for at, _ in jobs], [run for _, run in jobs])
    plant = Plant(concurrency, lambda: rng.uniform(1, 20))
    report = simulate(load, plant, script, slo=30, until=400)
    assert report.jobs == len(jobs)
    last = script.observations[-1].sample
    assert isinstance(last, QueueSample)
    assert last.completed is not None
    assert last.waiting + last.active + last.completed == len(jobs)
    assert report.worker_seconds + 1e-6 >= report.least_worker_seconds
    assert report.worker_seconds <= 400 * 6 * 20
