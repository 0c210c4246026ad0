from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from math import exp, factorial, inf
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scaler.backtest.plant import Load, Plant, Victims
from scaler.backtest.simulate import simulate
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


def test_in_an_outage_metrics_grow_old() -> None:
    script = constant()
    simulate(Load([], []), Plant(1, after(5), outages=[(10, 30)]), script, slo=1, until=40)
    ages = {
        observation.time: observation.time - observation.sample.at
        for observation in script.observations
        if isinstance(observation.sample, QueueSample)
    }
    assert (ages[5], ages[10], ages[25], ages[30]) == (0, 5, 20, 0)
    silent = constant()
    simulate(Load([], []), Plant(1, after(5), outages=[(0, 30)]), silent, slo=1, until=20)
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


# --- trouble ---------------------------------------------------------------------------------------------


def test_a_decision_sees_what_was_scraped_before_it() -> None:
    controller = constant()
    simulate(
        Load([], []), Plant(1, after(5), interval=5, scrape=10, phase=2, age=3), controller, slo=10, until=40
    )
    ages = {
        observation.time: observation.time - observation.sample.at
        for observation in controller.observations
        if isinstance(observation.sample, QueueSample)
    }
    assert ages == {7: 7, 12: 12, 17: 7, 22: 12, 27: 7, 32: 12, 37: 7}


def test_a_limit_lets_so_many_jobs_start_in_each_window() -> None:
    load = Load([0.0] * 6, [1.0] * 6, limit=(2, 10.0))
    report = simulate(load, Plant(9, after(5)), constant(), slo=100, until=60)
    assert report.longest == 20
    assert report.waits[0.5] == 10
    assert report.over == 0


def test_in_a_pause_no_job_starts_and_the_metrics_tell() -> None:
    controller = constant()
    load = Load([10.0, 25.0], [1.0, 1.0], pauses=[(5.0, 30.0)])
    report = simulate(load, Plant(1, after(5)), controller, slo=100, until=60)
    assert report.longest == 20
    held = {
        observation.time: observation.sample.held
        for observation in controller.observations
        if isinstance(observation.sample, QueueSample)
    }
    assert (held[5], held[15], held[25], held[30], held[35]) == (0, 1, 2, 0, 0)


def test_attempts_that_fail_run_again_after_their_backoff() -> None:
    controller = constant()
    load = Load([0.0], [2.0], failing={0: 2}, attempts=5, backoff=10.0)
    report = simulate(load, Plant(1, after(5)), controller, slo=1, until=60)
    assert (report.jobs, report.longest) == (3, 0)  # at 0, at 12 and, 20 s after its end, at 34
    samples = [o.sample for o in controller.observations if isinstance(o.sample, QueueSample)]
    assert [sample.due for sample in samples][:8] == [0, 1, 1, 1, 1, 1, 1, 0]
    assert samples[-1].completed == 1
    assert (samples[-1].duration_count, samples[-1].duration_sum) == (3, 6)


def test_a_poison_job_ends_after_its_attempts() -> None:
    controller = constant()
    load = Load([0.0, 0.0], [1.0, 1.0], failing={0: 99}, attempts=3)
    report = simulate(load, Plant(1, after(5)), controller, slo=1, until=60)
    last = controller.observations[-1].sample
    assert isinstance(last, QueueSample)
    assert (last.completed, last.failed, last.duration_count) == (1, 1, 4)
    assert report.jobs == 4


def test_a_worker_that_has_to_go_is_killed_after_its_grace_and_its_job_runs_again() -> None:
    script = Scripted(lambda observation: 1 if observation.time < 10 or observation.time >= 60 else 0)
    load = Load([0.0], [50.0])
    report = simulate(load, Plant(1, after(5), grace=20), script, slo=1000, until=120)
    assert report.killed == 1
    assert report.jobs == 2  # it waits from 60 on, when the loss is noticed, and starts at 65
    assert report.longest == 5
    graceful = simulate(load, Plant(1, after(5)), script, slo=1000, until=120)
    assert (graceful.killed, graceful.jobs) == (0, 1)


@pytest.mark.parametrize(("victims", "killed"), [("idle", 0), ("youngest", 1)])
def test_which_worker_goes(victims: Victims, killed: int) -> None:
    """Of two workers the younger has the job."""
    script = Scripted(lambda observation: 2 if observation.time < 30 else 1)
    load = Load([0.0], [100.0])
    plant = Plant(1, after(5), workers=2, grace=5, victims=victims)
    assert simulate(load, plant, script, slo=1000, until=60).killed == killed


def test_idle_workers_are_seen_where_they_are_known() -> None:
    seen = constant()
    plant = Plant(2, after(5), workers=3, knows_idle=True)
    simulate(Load([1.0, 1.0, 1.0], [100.0] * 3), plant, seen, slo=10, until=20)
    assert [observation.idle for observation in seen.observations] == [3, 1, 1, 1, 1]


def test_a_worker_that_crashes_starts_again_and_its_jobs_run_again() -> None:
    crashes = iter([20.0, 1e9])
    plant = Plant(1, after(10), crash=lambda: next(crashes))
    report = simulate(Load([0.0], [30.0]), plant, constant(), slo=1000, until=120)
    assert (report.killed, report.jobs, report.longest) == (1, 2, 0)
    assert report.worker_seconds == 120
    assert report.least_worker_seconds == 30


def test_a_start_that_fails_is_paid_and_helps_nobody() -> None:
    starts = iter([inf, 5.0])
    script = Scripted(lambda observation: 2 if observation.time < 30 else 3)
    plant = Plant(1, lambda: next(starts))
    report = simulate(Load([0.0, 0.0], [100.0, 1.0]), plant, script, slo=10, until=60)
    assert (report.longest, report.starts) == (35, 2)
    assert report.worker_seconds == 60 + 60 + 30


@given(
    st.lists(st.tuples(st.floats(0, 200), st.floats(0.1, 60)), max_size=40),
    st.lists(st.integers(0, 6), min_size=60, max_size=60),
    st.integers(1, 3),
    st.sampled_from([inf, 0.0, 7.0]),
    st.booleans(),
)
def test_no_job_is_lost_whatever_happens(
    jobs: list[tuple[float, float]],
    script: list[int],
    concurrency: int,
    grace: float,
    crashing: bool,  # noqa: FBT001  # hypothesis passes it by position
) -> None:
    jobs = sorted(jobs)
    load = Load(
        [at for at, _ in jobs], [run for _, run in jobs], failing={0: 1, 1: 9}, attempts=3, backoff=3.0
    )
    numbers = iter([*script, *[4] * 400])
    controller = Scripted(lambda _: next(numbers))
    random = Random(1)
    plant = Plant(
        concurrency,
        after(3),
        grace=grace,
        crash=(lambda: random.expovariate(1 / 60)) if crashing else None,
    )
    report = simulate(load, plant, controller, slo=10, until=2000)
    last = controller.observations[-1].sample
    assert isinstance(last, QueueSample)
    if not crashing:
        assert (last.completed or 0) + (last.failed or 0) == len(jobs)
        assert (last.waiting, last.active) == (0, 0)
    assert report.worker_seconds >= report.least_worker_seconds - 1e-6


def test_a_jump_of_the_counters_is_no_work() -> None:
    seen = constant()
    load = Load([1.0, 2.0], [1.0, 1.0])
    simulate(load, Plant(1, after(5), jumps=[(11.0, 500.0)]), seen, slo=10, until=20)
    samples = [observation.sample for observation in seen.observations]
    ended = [sample.completed for sample in samples if isinstance(sample, QueueSample)]
    assert ended == [0, 2, 2, 502, 502]


def test_no_more_run_at_once_than_a_global_concurrency_lets() -> None:
    seen = constant()
    load = Load([1.0] * 6, [10.0] * 6, concurrency_limit=2)
    report = simulate(load, Plant(2, after(5), workers=3), seen, slo=15, until=40)
    last = seen.observations[-1].sample
    assert isinstance(last, QueueSample)
    assert (last.completed, last.concurrency_limit) == (6, 2)
    assert (report.longest, report.over) == (20, 2 / 6)


def test_a_limit_of_one_job_opens_again() -> None:
    report = simulate(
        Load([1.0] * 3, [1.0] * 3, limit=(1, 5.0)), Plant(1, after(5)), constant(), slo=1, until=30
    )
    assert (report.longest, report.jobs) == (10, 3)
