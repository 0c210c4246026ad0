"""The demand of a target by hour, and what its workers had of it. Pure.

An hour of the week is counted from Monday 0:00 UTC: Prometheus knows no other time.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from math import ceil
from typing import Final, NamedTuple

from scaler.backtest.arrivals import HistoryPoint, RecordedStep
from service.quantiles import quantile

HOUR_SECONDS: Final = 3600.0
"""Seconds."""
HOURS_OF_DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
HOURS_OF_WEEK: Final = 168
DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
WEEK_SECONDS: Final = HOUR_SECONDS * HOURS_OF_WEEK
"""Seconds."""

_MONDAY: Final = 72  # hours since Monday 0:00 at the beginning of 1970, a Thursday
_LEAST_KNOWN: Final = 0.5  # of an hour: less of it does not stand for it
_LEAST_ATTEMPTS: Final = 200  # of a bin of run times
_LEAST_STEPS: Final = 10
_SLOWED: Final = 1.5  # times the run time: more than what another mix of jobs makes of it
_NEARLY_ALL: Final = 0.95  # of the most that a worker gets done
_USED: Final = 0.99  # quantile of the jobs that a worker had
_GRACE_ROOM: Final = 1.2  # times the run time of the slowest 1 in 100 jobs
_LEAST_GRACE: Final = 10
_MOST_GRACE: Final = 86_400
_GRACE_STEPS: Final = ((60, 5), (600, 30), (3600, 60), (_MOST_GRACE, 600))  # up to, in steps of


class RecordedHour(NamedTuple):
    """An hour by its number since 1970 (UTC); the part of it that was recorded, the steps of it, the jobs
    that came in that part, and the slots that they took on average (Little's law)."""

    hour: int
    known: float
    steps: tuple[RecordedStep, ...]
    jobs: float
    busy: float

    @property
    def rate(self) -> float:
        """Jobs per second."""
        return self.jobs / (self.known * HOUR_SECONDS)


def hour_of_week(hour: int) -> int:
    """0 to 167, of an hour since 1970."""
    return (hour + _MONDAY) % HOURS_OF_WEEK


def recorded_hours(steps: Iterable[RecordedStep], step_seconds: float) -> list[RecordedHour]:
    """The hours of which at least half was recorded, in their order: of the others nothing is known."""
    by_hour: dict[int, list[RecordedStep]] = {}
    for step in steps:
        by_hour.setdefault(int((step.at - step_seconds / 2) // HOUR_SECONDS), []).append(step)
    hours = []
    for hour, those in sorted(by_hour.items()):
        known = min(1.0, len(those) * step_seconds / HOUR_SECONDS)
        if known >= _LEAST_KNOWN:
            work = sum(step.jobs * step.run for step in those)
            jobs = sum(step.jobs for step in those)
            hours.append(RecordedHour(hour, known, tuple(those), jobs, work / (known * HOUR_SECONDS)))
    return hours


class HourOfWeek(NamedTuple):
    """`weeks`: in how many it was recorded; the means of jobs/s and busy slots over these, and the most
    `workers` that it took in one of them."""

    weeks: int
    rate: float
    busy: float
    workers: int


def by_hour_of_week(hours: Sequence[RecordedHour], workers: Sequence[int]) -> dict[int, HourOfWeek]:
    """By hour of the week; one that was never recorded is absent. `workers` that each hour takes."""
    groups: dict[int, list[tuple[RecordedHour, int]]] = {}
    for hour, count in zip(hours, workers, strict=True):
        groups.setdefault(hour_of_week(hour.hour), []).append((hour, count))
    return {
        number: HourOfWeek(
            len(group),
            sum(hour.rate for hour, _ in group) / len(group),
            sum(hour.busy for hour, _ in group) / len(group),
            max(count for _, count in group),
        )
        for number, group in sorted(groups.items())
    }


# --- what a worker runs at once --------------------------------------------------------------------------


class SlotUse(NamedTuple):
    """While each worker ran about so many jobs at once: the attempts that ended, and their mean run time."""

    jobs: int
    attempts: float
    run: float


def slot_use(points: Sequence[HistoryPoint]) -> list[SlotUse]:
    """By jobs of a worker, ascending; only where enough attempts ended."""
    sums: dict[int, list[float]] = {}
    for before, after in pairwise(points):
        had = [_jobs_of_a_worker(point) for point in (before, after)]
        ends = (before.duration_sum, after.duration_sum, before.duration_count, after.duration_count)
        if None in had or None in ends:
            continue
        seconds, count = ends[1] - ends[0], ends[3] - ends[2]  # type: ignore[operator]
        jobs = round(sum(value or 0.0 for value in had) / 2)
        if count > 0 and seconds >= 0 and jobs >= 1:
            total = sums.setdefault(jobs, [0.0, 0.0, 0.0])
            for index, value in enumerate((seconds, count, 1.0)):
                total[index] += value
    return [
        SlotUse(jobs, count, seconds / count)
        for jobs, (seconds, count, steps) in sorted(sums.items())
        if count >= _LEAST_ATTEMPTS and steps >= _LEAST_STEPS
    ]


def measured_concurrency(points: Sequence[HistoryPoint]) -> int | None:
    """The jobs that a worker ran at once at the busiest times; None: workers or active jobs were not
    recorded, or no job ran."""
    had = [jobs for point in points if (jobs := _jobs_of_a_worker(point)) is not None]
    most = quantile(had, _USED)
    return ceil(most - 1e-9) if most else None


def fitting_concurrency(uses: Sequence[SlotUse], concurrency: int) -> int:
    """The fewest jobs at once with which a worker gets nearly all done that it can: fewer than `concurrency`
    only where jobs were seen to slow each other down."""
    if len(uses) < 2 or uses[-1].run < _SLOWED * uses[0].run:
        return concurrency
    most = max(use.jobs / use.run for use in uses if use.run > 0)
    enough = next(use.jobs for use in uses if use.jobs >= _NEARLY_ALL * most * use.run)
    return min(concurrency, enough)


def _jobs_of_a_worker(point: HistoryPoint) -> float | None:
    return point.active / point.workers if point.active is not None and point.workers else None


def fitting_grace(seconds: float) -> int:
    """The grace period (s) for jobs of which the slowest 1 in 100 run so long, and some room."""
    wished = max(_LEAST_GRACE, seconds * _GRACE_ROOM)
    for most, step in _GRACE_STEPS:
        if wished <= most:
            return ceil(wished / step - 1e-9) * step
    return _MOST_GRACE
