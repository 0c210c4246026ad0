from __future__ import annotations

from dataclasses import replace

import pytest

from scaler.backtest.arrivals import HistoryPoint, NothingRecordedError
from scaler.config.settings import PolicySettings, TargetSettings
from scaler.plan.make import TargetPlan, make_plan
from scaler.plan.promise import Conditions
from scaler.plan.recording import LongestRuns

STEP = 60.0
POLICY = PolicySettings(worker_concurrency=2)
TARGET = TargetSettings.model_validate({"name": "mailer", "queues": ["mail"]})
HOURS = 3600.0


def point(
    minute: int, *, rate: float, run: float, workers: float | None, waiting: float = 0.0
) -> HistoryPoint:
    ended = rate * minute * STEP
    active = rate * run
    return HistoryPoint(minute * STEP, ended, active + waiting, active, ended * run, ended, workers)


def history(
    hours: float, *, rate: float = 0.02, run: float = 8.0, workers: float | None = 1.0, waiting: float = 0.0
) -> list[HistoryPoint]:
    """Jobs at the same rate for so many hours."""
    minutes = range(int(hours * 60) + 1)
    return [point(minute, rate=rate, run=run, workers=workers, waiting=waiting) for minute in minutes]


def plan(
    points: list[HistoryPoint],
    policy: PolicySettings = POLICY,
    *,
    runs: LongestRuns | None = LongestRuns("mail", 20.0, beyond=False),  # noqa: B008  # a constant
    slo: float = 60.0,
    target: TargetSettings = TARGET,
) -> TargetPlan:
    return make_plan(
        target,
        policy,
        points,
        step=STEP,
        runs=runs,
        within=0.99,
        slo_seconds=slo,
        other_slos=(),
        conditions=Conditions((10.0, 20.0), 300.0, 300.0),
    )


def test_less_than_a_week_is_told() -> None:
    made = plan(history(5))
    assert made.recorded == 5
    assert [note for note in made.notes if "nothing is known of 163 of the 168 hours" in note]
    assert made.scheduled_hours == 168.0  # one worker, of a week like these hours
    assert made.fixed_hours == made.fixed_workers * 168.0
    assert made.bounds.kept
    assert (made.concurrency, made.measured, made.grace) == (2, False, 25)


def test_one_week_is_told_from_two() -> None:
    one, two = plan(history(168)), plan(history(336))
    assert [note for note in one.notes if note.startswith("one week was recorded")]
    assert two.notes == ()
    assert one.bounds.max_workers > two.bounds.max_workers
    assert {hour.weeks for hour in two.hours.values()} == {2}


def test_hours_that_lack_in_what_is_replayed_are_told() -> None:
    points = [
        replace(point, ended=None) if 2 * HOURS <= point.at < 4 * HOURS else point for point in history(8)
    ]
    assert [note for note in plan(points).notes if note.startswith("2 hours of what was replayed")]


def test_without_jobs_there_is_no_plan() -> None:
    for points in (history(3, rate=0.0), [replace(point, ended=None) for point in history(3)], []):
        with pytest.raises(NothingRecordedError, match="no job"):
            plan(points)


def test_concurrency_is_measured_where_it_is_not_set() -> None:
    made = plan(history(3, rate=1.0, workers=2.0), PolicySettings())
    assert (made.concurrency, made.measured) == (4, True)
    with pytest.raises(NothingRecordedError, match="neither set nor measured"):
        plan(history(3, workers=None), PolicySettings())


def test_jobs_that_slow_each_other_down_are_told() -> None:
    few, many = history(3, rate=0.5, run=2.0), history(3, rate=0.5, run=8.0)
    last = few[-1]
    later = [
        replace(
            point,
            at=last.at + STEP + point.at,
            ended=(last.ended or 0.0) + (point.ended or 0.0),
            duration_sum=(last.duration_sum or 0.0) + (point.duration_sum or 0.0),
            duration_count=(last.duration_count or 0.0) + (point.duration_count or 0.0),
        )
        for point in many
    ]
    made = plan([*few, *later], PolicySettings(worker_concurrency=4))
    assert made.fitting == 1
    assert [note for note in made.notes if note.startswith("jobs run 4 times as long with 4 beside each")]
    several = TargetSettings.model_validate({"name": "mailer", "queues": ["mail", "sms"]})
    assert plan([*few, *later], PolicySettings(worker_concurrency=4), target=several).fitting == 4


def test_what_is_not_replayed_is_told() -> None:
    limited = plan(history(3, waiting=10.0, workers=4.0))
    assert [note for note in limited.notes if note.startswith("jobs waited beside free slots for 100 %")]
    other = plan(history(3, rate=1.0), POLICY.model_copy(update={"policy": "threshold"}))
    assert [note for note in other.notes if note.startswith("policy threshold keeps no SLO")]
    assert other.bounds == plan(history(3, rate=1.0)).bounds


def test_run_times_that_are_not_known_are_told() -> None:
    unknown = plan(history(3), runs=None)
    assert unknown.grace is None
    assert [note for note in unknown.notes if "no grace period is proposed" in note]
    beyond = plan(history(3), runs=LongestRuns("mail", 300.0, beyond=True))
    assert [note for note in beyond.notes if note.startswith("1 in 100 jobs of mail runs over 300 s")]
    assert beyond.grace == 360
