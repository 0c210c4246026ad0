"""Weeks of jobs for `bench.plan`: of the traces, and generated ones."""

from __future__ import annotations

import csv
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import pi, sin
from pathlib import Path
from random import Random
from typing import Final

from bench.loads import arrivals, poisson, run_times
from scaler.plan.demand import HOUR_SECONDS, WEEK_SECONDS

DAY: Final = 24 * HOUR_SECONDS

_NAB: Final = (
    ("Twitter_volume_AAPL", 1.0, 12.0, 4),
    ("Twitter_volume_FB", 5.0, 12.0, 4),
    ("Twitter_volume_GOOG", 3.0, 12.0, 4),
    ("elb_request_count_8c0756", 2.0, 12.0, 4),
)
_NASA: Final = ((2, "05"), (8, "11"), (10, "13"))  # days since Monday, 3 July 1995
_SEED: Final = 4001


@dataclass(frozen=True)
class WeeksOfJobs:
    """Jobs by the time at which they come (s, from a Monday 0:00 UTC, or as if) and their run times (s).

    `recorded`: the spans (s) that Prometheus has; `trials`: until when a plan may look, and until when its
    settings are tried. `start`: seconds until a worker is ready, from and to.
    """

    name: str
    at: Sequence[float]
    runs: Sequence[float]
    concurrency: int
    recorded: Sequence[tuple[float, float]]
    trials: Sequence[tuple[float, float]]
    start: tuple[float, float] = (10.0, 40.0)
    slos: Sequence[float] = (30.0,)

    def jobs_between(self, begin: float, end: float) -> tuple[list[float], list[float]]:
        """Those that come from `begin` on, and before `end`, by the seconds since `begin`."""
        first, last = bisect_left(self.at, begin), bisect_left(self.at, end)
        return [moment - begin for moment in self.at[first:last]], list(self.runs[first:last])


def loads_of(traces: Path | None) -> dict[str, Callable[[], WeeksOfJobs]]:
    """By name: three generated weeks of each to plan from, and a fourth; and those of the traces in this
    folder, if there is one."""
    loads: dict[str, Callable[[], WeeksOfJobs]] = {
        "working hours": _office,
        "batches each hour": _batches,
        "starts of 2 min": _slow_starts,
    }
    if traces is not None:
        for name, scale, run, concurrency in _NAB:
            loads[f"nab {name}"] = _nab(traces, name, scale, run, concurrency)
        loads["nasa, two days"] = _nasa(traces)
        for kind in ("code", "conv"):
            loads[f"llm {kind}, half an hour"] = _azure(traces, kind)
    return loads


def _four_weeks(
    name: str,
    rate: Callable[[float], float],
    *,
    run: float,
    concurrency: int,
    lumps: int = 0,
    start: tuple[float, float] = (10.0, 40.0),
    slos: Sequence[float] = (30.0,),
) -> WeeksOfJobs:
    random = Random(f"{name} {_SEED}")
    at = arrivals(rate, 4 * WEEK_SECONDS, random)
    at += [
        hour * HOUR_SECONDS + 900.0
        for hour in range(int(4 * WEEK_SECONDS / HOUR_SECONDS))
        for _ in range(lumps)
    ]
    at.sort()
    spans = [(0.0, 4 * WEEK_SECONDS)]
    trials = [(3 * WEEK_SECONDS, 4 * WEEK_SECONDS)]
    return WeeksOfJobs(
        name, at, run_times(at, run, random), concurrency, spans, trials, start=start, slos=slos
    )


def _working_hours(time: float) -> float:
    """From 0 to 1: days of work, with a lunch; a twentieth at night and on weekends; 3 % more each week."""
    day, hour = int(time // DAY) % 7, time % DAY / HOUR_SECONDS
    grown: float = 1.03 ** (time // WEEK_SECONDS)
    if day >= 5 or not 7 <= hour < 20:
        return 0.05 * grown
    lunch = 0.7 if 12 <= hour < 13 else 1.0
    return grown * lunch * max(0.05, sin(pi * (hour - 6.5) / 14))


def _office() -> WeeksOfJobs:
    return _four_weeks(
        "working hours",
        lambda time: 1.5 * _working_hours(time),
        run=8.0,
        concurrency=2,
        slos=(10.0, 30.0, 120.0),
    )


def _batches() -> WeeksOfJobs:
    return _four_weeks("batches each hour", lambda _: 0.1, run=5.0, concurrency=4, lumps=150)


def _slow_starts() -> WeeksOfJobs:
    return _four_weeks(
        "starts of 2 min",
        lambda time: 1.0 * _working_hours(time),
        run=8.0,
        concurrency=2,
        start=(90.0, 150.0),
    )


def _nab(folder: Path, name: str, scale: float, run: float, concurrency: int) -> Callable[[], WeeksOfJobs]:
    def load() -> WeeksOfJobs:
        random = Random(f"{name} {_SEED}")
        at: list[float] = []
        for index, (_, count) in enumerate(_rows(folder / f"nab_{name}.csv")):
            jobs = poisson(float(count) * scale, random)
            at += sorted((index + random.random()) * 300 for _ in range(jobs))
        weeks = int((at[-1] + 300) // WEEK_SECONDS)
        past = min(4, weeks - 1)
        ends = sorted({past, weeks - 1})
        trials = [(week * WEEK_SECONDS, (week + 1) * WEEK_SECONDS) for week in ends]
        runs = run_times(at, run, random)
        return WeeksOfJobs(f"nab {name}", at, runs, concurrency, [(0.0, weeks * WEEK_SECONDS)], trials)

    return load


def _nasa(folder: Path) -> Callable[[], WeeksOfJobs]:
    def load() -> WeeksOfJobs:
        random = Random(f"nasa {_SEED}")
        at = [
            day * DAY + int(second) + random.random()
            for day, name in _NASA
            for second, count in _rows(folder / f"nasa_1995-07-{name}.csv")
            for _ in range(int(count))
        ]
        at.sort()
        spans = [(day * DAY, (day + 1) * DAY) for day, _ in _NASA]
        return WeeksOfJobs("nasa, two days", at, run_times(at, 8.0, random), 2, spans, spans[-1:])

    return load


def _azure(folder: Path, kind: str) -> Callable[[], WeeksOfJobs]:
    def load() -> WeeksOfJobs:
        rows = [
            (float(second), 0.0002 * int(read) + 0.025 * int(made))
            for second, read, made in _rows(folder / f"azure_llm_2023_{kind}.csv")
        ]
        half = HOUR_SECONDS / 2
        # The half hour to plan from is the second one of an hour: a plan looks back from full hours.
        at, runs = [second + half for second, _ in rows], [run for _, run in rows]
        spans = [(half, HOUR_SECONDS)]
        return WeeksOfJobs(
            f"llm {kind}, half an hour", at, runs, 4, spans, [(HOUR_SECONDS, HOUR_SECONDS + half)]
        )

    return load


def _rows(file: Path) -> list[list[str]]:
    with file.open(newline="") as text:
        return list(csv.reader(text))[1:]
