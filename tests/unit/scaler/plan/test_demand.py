from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaler.backtest.arrivals import HistoryPoint, RecordedStep
from scaler.plan.demand import (
    DAYS,
    HOUR_SECONDS,
    SlotUse,
    by_hour_of_week,
    fitting_concurrency,
    fitting_grace,
    hour_of_week,
    measured_concurrency,
    recorded_hours,
    slot_use,
)

STEP = 60.0


def steps(hour: int, *minutes: int, jobs: float = 6.0, run: float = 5.0) -> list[RecordedStep]:
    """Steps that end so many minutes after the hour began."""
    return [RecordedStep(hour * HOUR_SECONDS + minute * 60.0, jobs, run) for minute in minutes]


@given(st.integers(0, 1_000_000))
def test_an_hour_of_the_week_is_that_of_the_calendar(hour: int) -> None:
    time = datetime.fromtimestamp(hour * HOUR_SECONDS, UTC)
    day, of_day = divmod(hour_of_week(hour), 24)
    assert (DAYS[day], of_day) == (time.strftime("%a"), time.hour)


def test_an_hour_by_its_steps() -> None:
    [hour] = recorded_hours(steps(7, *range(1, 61)), STEP)
    assert (hour.hour, hour.known, hour.jobs) == (7, 1.0, 360.0)
    assert hour.rate == pytest.approx(0.1)
    assert hour.busy == pytest.approx(0.5)


def test_what_was_recorded_of_an_hour_stands_for_it_if_it_is_half_of_it() -> None:
    [hour] = recorded_hours([*steps(7, *range(1, 31)), *steps(8, *range(1, 30))], STEP)
    assert (hour.hour, hour.known) == (7, 0.5)
    assert hour.rate == pytest.approx(0.1)


def test_an_hour_without_jobs_is_known() -> None:
    [hour] = recorded_hours(steps(7, *range(1, 61), jobs=0.0), STEP)
    assert (hour.jobs, hour.busy, hour.rate) == (0.0, 0.0, 0.0)


def test_weeks_are_laid_over_each_other() -> None:
    hours = recorded_hours([*steps(7, *range(1, 61)), *steps(7 + 168, *range(1, 61), jobs=12.0)], STEP)
    planned = by_hour_of_week(hours, [2, 5])
    assert list(planned) == [hour_of_week(7)]
    [hour] = planned.values()
    assert (hour.weeks, hour.workers) == (2, 5)
    assert hour.rate == pytest.approx(0.15)


def busy(at: float, jobs: float, workers: float | None, *, run: float, ended: float) -> HistoryPoint:
    return HistoryPoint(at, ended, jobs, jobs, ended * run, ended, workers)


def history(
    jobs: float, run: float, *, count: int = 20, ended: float = 20.0, begin: float = 0.0
) -> list[HistoryPoint]:
    """Two workers that run so many jobs each, and a pause after it."""
    points = [
        busy(begin + index * STEP, 2 * jobs, 2.0, run=run, ended=index * ended) for index in range(count)
    ]
    return [*points, HistoryPoint(begin + count * STEP, None, None, None, None, None, None)]


def test_run_times_by_the_jobs_of_a_worker() -> None:
    points = [
        *history(1, 2.0),
        *history(4, 6.0, begin=9000.0),
        *history(3, 1.0, count=5, ended=500.0, begin=20_000.0),
    ]
    assert slot_use(points) == [SlotUse(1, 380.0, 2.0), SlotUse(4, 380.0, 6.0)]
    assert measured_concurrency(points) == 4


def test_a_worker_that_was_not_recorded_tells_nothing() -> None:
    points = [busy(index * STEP, 4, workers, run=1.0, ended=index) for index, workers in enumerate((None, 0))]
    assert slot_use(points) == []
    assert measured_concurrency(points) is None


@pytest.mark.parametrize(
    ("uses", "fitting"),
    [
        ([], 8),
        ([(8, 4.0)], 8),
        ([(1, 2.0), (8, 2.1)], 8),  # jobs that do not mind each other
        ([(1, 1.0), (2, 2.0), (8, 8.0)], 1),  # one processor
        ([(1, 1.0), (4, 1.0), (8, 2.0)], 4),  # four of them
        ([(1, 1.0), (2, 1.0), (4, 1.6), (8, 2.0)], 8),  # slower, and yet more gets done
        ([(9, 1.0), (12, 2.0)], 8),
    ],
)
def test_the_concurrency_that_is_enough(uses: list[tuple[int, float]], fitting: int) -> None:
    assert fitting_concurrency([SlotUse(jobs, 500, run) for jobs, run in uses], 8) == fitting


@pytest.mark.parametrize(
    ("seconds", "grace"), [(0.1, 10), (8.5, 15), (50.0, 60), (60.0, 90), (1000.0, 1200), (1e9, 86_400)]
)
def test_the_grace_that_fits(seconds: float, grace: int) -> None:
    assert fitting_grace(seconds) == grace


@given(st.floats(0, 70_000))
def test_a_grace_period_is_longer_than_the_slowest_jobs(seconds: float) -> None:
    assert fitting_grace(seconds) >= min(86_400, seconds * 1.2 - 1e-3)
