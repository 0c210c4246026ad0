from __future__ import annotations

from random import Random

import pytest

from scaler.backtest.arrivals import NothingRecordedError, RecordedStep
from scaler.backtest.plant import Load
from scaler.config.settings import PolicySettings
from scaler.plan import promise
from scaler.plan.demand import HOUR_SECONDS, HOURS_OF_WEEK, WEEK_SECONDS, RecordedHour, recorded_hours
from scaler.plan.promise import (
    Conditions,
    Replayed,
    Slo,
    bounds_for,
    week_to_replay,
    workers_of_hours,
)
from scaler.plan.staffing import slots_for_rate

STEP = 60.0
POLICY = PolicySettings(worker_concurrency=2)
CONDITIONS = Conditions((20.0, 40.0), 15.0, 15.0)
SLO = Slo(30.0, 0.99)


def hours_of(*rates: float, run: float = 8.0, first: int = 0) -> list[RecordedHour]:
    """Hours with so many jobs/s each, spread evenly."""
    return recorded_hours(
        [
            RecordedStep((first + hour) * HOUR_SECONDS + minute * STEP, rate * STEP, run)
            for hour, rate in enumerate(rates)
            for minute in range(1, 61)
        ],
        STEP,
    )


def workers(hours: list[RecordedHour], slo: Slo = SLO, concurrency: int = 2) -> tuple[int, ...]:
    return workers_of_hours(hours, slo, step=STEP, concurrency=concurrency)


def test_the_workers_of_an_hour() -> None:
    none, some, many, very_many = workers(hours_of(0.0, 0.1, 1.0, 6.0))
    assert (none, some) == (0, 1)
    assert 4 <= many <= 5
    assert 24 <= very_many <= 30  # by the formula: it is 24 if all are always busy


def test_a_stricter_slo_takes_more() -> None:
    hours = hours_of(0.3)
    numbers = [workers(hours, Slo(seconds, 0.99), 1)[0] for seconds in (0.0, 10.0, 60.0)]
    assert numbers == sorted(numbers, reverse=True)
    assert numbers[0] > numbers[-1]


def test_a_batch_comes_at_once() -> None:
    steps = [RecordedStep(minute * STEP, 0.0 if minute != 30 else 80.0, 10.0) for minute in range(1, 61)]
    hours = recorded_hours(steps, STEP)
    [batch] = workers(hours, Slo(5.0, 0.99), 1)
    assert batch > 60  # nearly a slot for each job: evenly in a minute it would be a sixth of that
    [spread] = workers(hours_of(80 / 60), Slo(5.0, 0.99), 1)
    assert spread < 30


def test_a_steady_hour_has_no_batch_at_its_ends() -> None:
    hours = hours_of(2.5, 2.5, 2.5)
    immediate = Slo(0.0, 0.99)
    assert max(workers(hours, immediate, 1)) <= slots_for_rate(2.5, 8.0, slo=0.0, late=0.01)


def test_an_hour_of_very_many_jobs_is_a_formula(monkeypatch: pytest.MonkeyPatch) -> None:
    steps = [RecordedStep(minute * STEP, 900.0 if minute <= 5 else 200.0, 4.0) for minute in range(1, 61)]
    monkeypatch.setattr(promise, "slots_for_jobs", None)
    expected = slots_for_rate(15.0, 4.0, slo=30.0, late=0.01)
    assert workers(recorded_hours(steps, STEP), SLO, 1) == (expected,)


def test_the_week_of_the_busiest_hour_is_replayed() -> None:
    rates = [0.01] * (3 * HOURS_OF_WEEK)
    rates[HOURS_OF_WEEK + 5] = 0.5
    hours = hours_of(*rates)
    replayed = week_to_replay(hours, workers(hours), step=STEP, concurrency=2)
    assert (replayed.begin, replayed.seconds, replayed.share) == (WEEK_SECONDS, WEEK_SECONDS, 1.0)
    assert replayed.hours == HOURS_OF_WEEK
    assert len(replayed.load.at) == pytest.approx(0.01 * WEEK_SECONDS + 0.49 * HOUR_SECONDS, rel=0.01)


def test_of_less_than_a_week_all_is_replayed_as_a_part_of_one() -> None:
    hours = hours_of(*([0.1] * 42))
    replayed = week_to_replay(hours, workers(hours), step=STEP, concurrency=2)
    assert (replayed.seconds, replayed.share, replayed.hours) == (42 * HOUR_SECONDS, 0.25, 42)


def test_too_many_jobs_are_replayed_in_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(promise, "MOST_REPLAYED", 3000)
    rates = [0.1] * HOURS_OF_WEEK
    rates[100] = 0.5
    hours = hours_of(*rates)
    replayed = week_to_replay(hours, workers(hours), step=STEP, concurrency=2)
    assert (replayed.seconds, replayed.hours) == (6 * HOUR_SECONDS, 6)
    assert replayed.begin <= 100 * HOUR_SECONDS < replayed.begin + 6 * HOUR_SECONDS
    assert replayed.share == pytest.approx((5 * 0.1 + 0.5) / (167 * 0.1 + 0.5))
    monkeypatch.setattr(promise, "MOST_REPLAYED", 500)
    with pytest.raises(NothingRecordedError, match="at most 1000 with worker_concurrency 2"):
        week_to_replay(hours, workers(hours), step=STEP, concurrency=2)


def bursts(seconds: float = 6 * HOUR_SECONDS) -> Replayed:
    """Little work, and 40 jobs in a minute now and then."""
    random = Random(5)
    at = [random.uniform(0, seconds) for _ in range(int(seconds / 30))]
    for begin in range(1200, int(seconds), 1800):
        at += [begin + random.uniform(0, 60) for _ in range(40)]
    at.sort()
    return Replayed(Load(at, [6.0] * len(at)), 0.0, seconds, seconds / WEEK_SECONDS, 6)


def test_min_workers_are_what_comes_before_a_worker_starts() -> None:
    slow = Conditions((200.0, 300.0), 15.0, 15.0)
    quick = bounds_for(POLICY, SLO, bursts(), CONDITIONS, floor=1, peak=6)
    late = bounds_for(POLICY, SLO, bursts(), slow, floor=1, peak=6)
    assert quick.kept
    assert late.kept
    assert 1 <= quick.min_workers < late.min_workers <= 6
    assert late.over <= 0.005
    assert late.max_workers == 9
    assert late.worker_hours >= late.min_workers * HOURS_OF_WEEK * 0.99


def test_there_is_more_room_where_weeks_are_not_known() -> None:
    known = bounds_for(POLICY, SLO, bursts(), CONDITIONS, floor=1, peak=6)
    unknown = bounds_for(POLICY, SLO, bursts(), CONDITIONS, floor=1, peak=6, several_weeks=False)
    assert (known.max_workers, unknown.max_workers) == (9, 18)


def test_it_is_the_fewest_that_keep_it_with_half_to_spare() -> None:
    slow = Conditions((200.0, 300.0), 15.0, 15.0)
    found = bounds_for(POLICY, SLO, bursts(), slow, floor=1, peak=6)
    fewer = bounds_for(POLICY, SLO, bursts(), slow, floor=found.min_workers - 1, peak=found.min_workers - 1)
    assert fewer.min_workers >= found.min_workers


def test_what_no_number_keeps_is_told() -> None:
    slow = Conditions((200.0, 300.0), 15.0, 15.0)
    bounds = bounds_for(POLICY, Slo(0.01, 0.99), bursts(), slow, floor=1, peak=1)
    assert not bounds.kept
    assert bounds.over > 0.01
    assert bounds.min_workers == 4


def test_a_target_that_may_rest_may_rest() -> None:
    load = Load([3600.0, 3600.5], [5.0, 5.0])
    day = Replayed(load, 0.0, 6 * HOUR_SECONDS, 6 * HOUR_SECONDS / WEEK_SECONDS, 6)
    policy = POLICY.model_copy(update={"scale_to_zero_after_seconds": 60.0})
    bounds = bounds_for(policy, Slo(120.0, 0.99), day, CONDITIONS, floor=0, peak=1)
    assert (bounds.kept, bounds.min_workers) == (True, 0)
    assert bounds.worker_hours < 20


def test_without_concurrency_nothing_is_replayed() -> None:
    with pytest.raises(NothingRecordedError, match="worker_concurrency"):
        bounds_for(PolicySettings(), SLO, bursts(), CONDITIONS, floor=1, peak=1)
