"""Which bounds keep an SLO: the recorded jobs of a week replayed with the real policy, until they do.

The number of workers is the scaler's business from second to second; what a plan sets is the least that is
always there, for what comes sooner than a worker starts, and the most.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import Final

from scaler.backtest.arrivals import ArrivalHistory, NothingRecordedError, RecordedStep
from scaler.backtest.plant import Load, Report
from scaler.backtest.replay import replay_load, simulated_load
from scaler.config.settings import MOST_WORKERS, PolicySettings
from scaler.plan.demand import HOUR_SECONDS, HOURS_OF_WEEK, WEEK_SECONDS, RecordedHour
from scaler.plan.staffing import MANY_JOBS, slots_for_jobs, slots_for_rate, workers_for

MOST_REPLAYED: Final = 1_000_000
"""Simulated jobs of one replay: of a target with more, a part of the week stands for it."""

_AIM: Final = 0.5  # of what may be late: the next week is not the last one
_ROOM: Final = 1.5  # times the most that an hour took
_ROOM_UNKNOWN: Final = 3.0  # where it is not known how one week differs from another
_MOST_TIMES: Final = 4  # the most that an hour took
_CLOSE: Final = 0.05  # of the number: nearer is not looked for
_PHASE: Final = (0.1,)  # the scaler decides right after a scrape
_PARTS: Final = (24, 6, 1)  # hours, where a week has too many jobs
_WINDOW: Final = 300.0  # the busiest minutes of an hour, where a formula stands for it


@dataclass(frozen=True, slots=True)
class Slo:
    """At least the share `within` (0 to 1) of the jobs waits at most so many seconds."""

    seconds: float
    within: float

    @property
    def late(self) -> float:
        """The share that may wait longer."""
        return 1.0 - self.within


@dataclass(frozen=True, slots=True)
class Conditions:
    """Seconds until a new worker is ready, from and to; seconds between two decisions, and two scrapes."""

    start: tuple[float, float]
    interval: float
    scrape: float


@dataclass(frozen=True, slots=True)
class Replayed:
    """The jobs that stand for a week: from `begin` (unix s), in so many seconds. `share`: the part of a
    week's work that they are; `hours`: how many of these were recorded."""

    load: Load
    begin: float
    seconds: float
    share: float
    hours: int


@dataclass(frozen=True, slots=True)
class Bounds:
    """What an SLO takes. `kept`: the replay kept it. `over`: share of late jobs in it, `p99` of waits (s),
    `worker_hours` and `starts` of a week."""

    slo: Slo
    kept: bool
    min_workers: int
    max_workers: int
    over: float
    p99: float
    worker_hours: float
    starts: float


def workers_of_hours(
    hours: Sequence[RecordedHour], slo: Slo, *, step: float, concurrency: int
) -> tuple[int, ...]:
    """The fixed number of workers that keeps the SLO in each of these hours."""
    return tuple(workers_for(_slots_of_hour(hour, slo, step), concurrency) for hour in hours)


def _slots_of_hour(hour: RecordedHour, slo: Slo, step: float) -> int:
    if hour.jobs <= 0:
        return 0
    if hour.jobs > MANY_JOBS:
        count = max(1, round(_WINDOW / step))
        windows = [hour.steps[first : first + count] for first in range(0, len(hour.steps), count)]
        return max(
            slots_for_rate(
                jobs / (len(window) * step),
                sum(each.jobs * each.run for each in window) / jobs,
                slo=slo.seconds,
                late=slo.late,
            )
            for window in windows
            if (jobs := sum(each.jobs for each in window)) > 0
        )
    begin, end = hour.steps[0].at - step, hour.steps[-1].at
    load = simulated_load(_history_of(hour.steps, step, begin, end), 1)
    return slots_for_jobs(load.at, load.runs, slo=slo.seconds, late=slo.late)


def _history_of(steps: Sequence[RecordedStep], step: float, begin: float, end: float) -> ArrivalHistory:
    arrivals = tuple((each.at, each.jobs, each.run) for each in steps if each.jobs > 0)
    return ArrivalHistory(arrivals, begin, end, step, None)


def week_to_replay(
    hours: Sequence[RecordedHour], workers: Sequence[int], *, step: float, concurrency: int
) -> Replayed:
    """The recorded week with the hour that takes the most workers, or as much around that hour as can be
    replayed. Hours that were not recorded are without jobs in it.

    Raises NothingRecordedError: not even an hour can be replayed."""
    _, peak = max((count, hour.hour) for count, hour in zip(workers, hours, strict=True))
    week = _part_of(hours, peak, HOURS_OF_WEEK)
    of_a_week = sum(hour.busy for hour in week) * WEEK_SECONDS / _seconds_of(week)
    for length in (HOURS_OF_WEEK, *_PARTS):
        part = _part_of(hours, peak, length)
        if sum(hour.jobs for hour in part) <= MOST_REPLAYED * concurrency:
            break
    else:
        raise NothingRecordedError(
            f"the busiest hour has too many jobs to replay: at most {MOST_REPLAYED * concurrency} with "
            f"worker_concurrency {concurrency}"
        )
    begin, seconds = part[0].hour * HOUR_SECONDS, _seconds_of(part)
    history = _history_of([each for hour in part for each in hour.steps], step, begin, begin + seconds)
    load = simulated_load(history, concurrency, most=MOST_REPLAYED)
    return Replayed(load, begin, seconds, sum(hour.busy for hour in part) / of_a_week, len(part))


def _part_of(hours: Sequence[RecordedHour], peak: int, length: int) -> list[RecordedHour]:
    """Of the hours those of a span of so many with the hour `peak` in it: of a week counted back from the
    end, else around it."""
    end = hours[-1].hour + 1
    if length == HOURS_OF_WEEK:
        begin = end - length * ((end - 1 - peak) // length + 1)
    else:
        begin = min(peak - length // 2, end - length)
    begin = max(begin, hours[0].hour)
    return [hour for hour in hours if begin <= hour.hour < begin + length]


def _seconds_of(hours: Sequence[RecordedHour]) -> float:
    return (hours[-1].hour + 1 - hours[0].hour) * HOUR_SECONDS


class _Search:
    """The bounds of one SLO."""

    def __init__(
        self, policy: PolicySettings, slo: Slo, replayed: Replayed, conditions: Conditions, room: float
    ) -> None:
        self._policy, self._slo, self._room = policy, slo, room
        self._replayed, self._conditions = replayed, conditions
        self._tried: dict[int, Bounds] = {}

    def run(self, floor: int, peak: int) -> Bounds:
        most = max(1, min(MOST_WORKERS, _MOST_TIMES * peak))
        short, enough = floor, max(floor, min(peak, most))
        if self._keeps(self._bounds(floor, peak)):
            return self._bounds(floor, peak)
        while not self._keeps(self._bounds(enough, peak)) and enough < most:
            short, enough = enough, min(most, 2 * max(1, enough))
        if not self._keeps(self._bounds(enough, peak)):
            kept = [tried for tried in self._tried.values() if tried.kept]  # with less to spare
            if kept:
                return min(kept, key=lambda tried: tried.min_workers)
            return min(self._tried.values(), key=lambda tried: tried.over)
        while enough - short > max(1.0, _CLOSE * enough):
            middle = (short + enough) // 2
            keeps = self._keeps(self._bounds(middle, peak))
            short, enough = (short, middle) if keeps else (middle, enough)
        return self._bounds(enough, peak)

    def _keeps(self, bounds: Bounds) -> bool:
        return bounds.over <= _AIM * self._slo.late

    def _bounds(self, min_workers: int, peak: int) -> Bounds:
        if min_workers not in self._tried:
            most = min(MOST_WORKERS, max(min_workers, ceil(self._room * max(peak, min_workers)), 1))
            changed = {"min_workers": min_workers, "max_workers": most, "wait_slo_seconds": self._slo.seconds}
            report = replayed_report(
                self._replayed.load,
                self._policy.model_copy(update=changed),
                self._replayed.seconds,
                self._conditions,
            )
            share = self._replayed.share
            self._tried[min_workers] = Bounds(
                self._slo,
                report.over <= self._slo.late,
                min_workers,
                most,
                report.over,
                report.waits[0.99],
                report.worker_seconds / HOUR_SECONDS / share,
                report.starts / share,
            )
        return self._tried[min_workers]


def replayed_report(load: Load, policy: PolicySettings, seconds: float, conditions: Conditions) -> Report:
    """What the simulator makes of these jobs under this policy."""
    return replay_load(
        load,
        policy,
        seconds,
        interval=max(conditions.interval, conditions.scrape),
        scrape=conditions.scrape,
        start=conditions.start,
        phases=_PHASE,
    )


def bounds_for(
    policy: PolicySettings,
    slo: Slo,
    replayed: Replayed,
    conditions: Conditions,
    *,
    floor: int,
    peak: int,
    several_weeks: bool = True,
) -> Bounds:
    """The fewest `min_workers`, from `floor` on, with which the replay keeps the SLO with half of it to
    spare, and the `max_workers` beside them. `peak`: workers that the busiest hour takes. Without
    `several_weeks` the room above it is larger: nobody knows how much busier another week may be.

    Not `kept`: no number up to four times as many keeps it. Raises NothingRecordedError without
    worker_concurrency.
    """
    room = _ROOM if several_weeks else _ROOM_UNKNOWN
    return _Search(policy, slo, replayed, conditions, room).run(floor, peak)
