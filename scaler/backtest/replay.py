"""Replay under other settings: recorded arrivals, simulated workers.

The jobs are those of the history: as many, in the same steps, with the mean run time of their minutes. Their
times within a step and the variance of run times are random, always from the same seed; many more than in the
steps beside it come at one moment, as a batch does. The decisions fall at several times after a scrape, and
the worst of these counts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from math import exp, log, sqrt
from random import Random
from typing import Final

from scaler.backtest.plant import Load, Plant, Report
from scaler.backtest.simulate import simulate
from scaler.config.settings import PolicySettings
from scaler.decision.step import TargetMemory, record_scaling, step
from scaler.model import Control, Decision, Observation

_MAX_JOBS: Final = 300_000
_RUN_TIME_SIGMA: Final = 0.6  # sigma of the lognormal run times
_WINDOW: Final = 300.0  # of the mean run time, and longer where too few jobs end
_WINDOW_JOBS: Final = 20
_LUMP: Final = 4.0  # standard deviations above the steps beside it
_PHASES: Final = (0.1, 0.5, 0.9)  # of the time between two scrapes
_LIMITED_WAITING: Final = 0.2  # of the slots
_LIMITED_FREE: Final = 0.25
_SEED: Final = 1


class NothingRecordedError(Exception):
    """The history has no jobs to replay; the text says what is missing."""


@dataclass(frozen=True, slots=True)
class HistoryPoint:
    """The history at one time: counters of ended jobs, jobs inside (waiting and active), seconds and number
    of finished attempts, workers. None: not recorded."""

    at: float
    ended: float | None
    inside: float | None
    active: float | None
    duration_sum: float | None
    duration_count: float | None
    workers: float | None


@dataclass(frozen=True, slots=True)
class ArrivalHistory:
    """What is replayed. `arrivals`: jobs that arrived in the step before each time, their mean run time (s);
    `begin` and `end` in unix seconds; recorded `worker_seconds`, None if they were not recorded; `limited`:
    share of the time in which jobs waited beside free slots, as behind a rate limit or a pause, which is not
    replayed (None: not known)."""

    arrivals: tuple[tuple[float, float, float], ...]  # time, jobs, mean run time
    begin: float
    end: float
    step: float
    worker_seconds: float | None
    limited: float | None = None

    @property
    def jobs(self) -> float:
        return sum(jobs for _, jobs, _ in self.arrivals)


def arrival_history(
    points: Sequence[HistoryPoint], step_seconds: float, concurrency: int | None = None
) -> ArrivalHistory:
    """The jobs that arrived, by the balance of the queue, as the policy counts them.

    `concurrency` of a worker tells whether the queue was limited. Steps without metrics, and those with a
    counter reset, are left out. Raises NothingRecordedError.
    """
    run_times = _mean_run_times(points)
    arrivals = []
    for before, after in pairwise(points):
        if before.ended is None or before.inside is None or after.ended is None or after.inside is None:
            continue
        if after.ended < before.ended or after.at - before.at > 2.5 * step_seconds:
            continue
        ended = after.ended - before.ended
        if before.duration_count is not None and after.duration_count is not None:
            ended = max(ended, after.duration_count - before.duration_count)  # each attempt is work
        arrived = ended + after.inside - before.inside
        if arrived > 0:
            arrivals.append((after.at, arrived, run_times(after.at)))
    if not arrivals:
        raise NothingRecordedError(
            "no jobs were recorded: is bullmq.events on, and was the exporter scraped?"
        )
    workers = [point.workers for point in points if point.workers is not None]
    worker_seconds = sum(workers) / len(workers) * (points[-1].at - points[0].at) if workers else None
    return ArrivalHistory(
        tuple(arrivals),
        points[0].at,
        points[-1].at,
        step_seconds,
        worker_seconds,
        _limited_share(points, concurrency),
    )


def _limited_share(points: Sequence[HistoryPoint], concurrency: int | None) -> float | None:
    """The share of the points at which jobs waited beside free slots."""
    limited = known = 0
    for point in points:
        if concurrency and point.workers and point.inside is not None and point.active is not None:
            slots, waiting = point.workers * concurrency, point.inside - point.active
            known += 1
            limited += waiting > _LIMITED_WAITING * slots and slots - point.active > _LIMITED_FREE * slots
    return limited / known if known else None


class _MeanRunTimes:
    """The mean run time at a time, by windows."""

    def __init__(self, windows: Mapping[int, float], overall: float) -> None:
        self._windows = windows
        self._overall = overall

    def __call__(self, at: float) -> float:
        return self._windows.get(int(at // _WINDOW), self._overall)


def _mean_run_times(points: Sequence[HistoryPoint]) -> _MeanRunTimes:
    sums: dict[int, tuple[float, float]] = {}
    busy = done = 0.0
    for before, after in pairwise(points):
        if before.active is not None and after.active is not None:
            busy += (before.active + after.active) / 2 * (after.at - before.at)
        if before.ended is not None and after.ended is not None:
            done += max(0.0, after.ended - before.ended)
        figures = (before.duration_sum, after.duration_sum, before.duration_count, after.duration_count)
        if any(value is None for value in figures):
            continue
        seconds, count = figures[1] - figures[0], figures[3] - figures[2]  # type: ignore[operator]
        if count > 0 and seconds >= 0:
            window = int(after.at // _WINDOW)
            total = sums.get(window, (0.0, 0.0))
            sums[window] = total[0] + seconds, total[1] + count
    count = sum(count for _, count in sums.values())
    if count:
        overall = sum(seconds for seconds, _ in sums.values()) / count
        return _MeanRunTimes(_windowed(sums), overall)
    if done:
        return _MeanRunTimes({}, busy / done)
    raise NothingRecordedError("no job ended in this time: the run time of jobs is not known")


def _windowed(sums: Mapping[int, tuple[float, float]]) -> dict[int, float]:
    """The mean of each window, with the windows before it as far as its own jobs are too few."""
    means: dict[int, float] = {}
    seconds = count = 0.0
    for window, (more, jobs) in sorted(sums.items()):
        if jobs >= _WINDOW_JOBS:
            seconds, count = more, jobs
        else:
            weight = min(1.0, (_WINDOW_JOBS - jobs) / count) if count else 0.0
            seconds, count = more + seconds * weight, jobs + count * weight
        means[window] = seconds / count
    return means


def simulated_load(history: ArrivalHistory, concurrency: int) -> Load:
    """The jobs one by one; if there are too many, each has the weight of several."""
    slots = concurrency
    if history.jobs > _MAX_JOBS:
        slots = max(1, int(concurrency * _MAX_JOBS / history.jobs))
    weight = concurrency / slots
    rng = Random(_SEED)  # noqa: S311  # simulation, no secrets
    at: list[float] = []
    runs: list[float] = []
    pending = 0.0
    lumps = _lumps(history)
    for (time, jobs, run), lump in zip(history.arrivals, lumps, strict=True):
        pending += jobs / weight
        count, pending = int(pending), pending - int(pending)
        begin, moment = time - history.begin - history.step, rng.random()
        together = min(count, int(lump / weight))
        shares = [moment] * together + [rng.random() for _ in range(count - together)]
        at += sorted(max(0.0, begin + share * history.step) for share in shares)
        mu = log(max(run, 1e-6)) - _RUN_TIME_SIGMA * _RUN_TIME_SIGMA / 2
        runs += [exp(rng.gauss(mu, _RUN_TIME_SIGMA)) for _ in range(count)]
    return Load(at, runs, weight=weight)


def _lumps(history: ArrivalHistory) -> list[float]:
    """Jobs of each step that are many more than in the steps beside it: they came at one moment."""
    jobs = {time: count for time, count, _ in history.arrivals}
    lumps = []
    for time, count, _ in history.arrivals:
        beside = (jobs.get(time - history.step, 0.0) + jobs.get(time + history.step, 0.0)) / 2
        excess = count - beside
        lumps.append(excess if excess > _LUMP * sqrt(max(1.0, beside)) else 0.0)
    return lumps


@dataclass
class PolicyController:
    """The policy and the guards of the scaler, in simulated time."""

    settings: PolicySettings
    interval: float
    memory: TargetMemory | None = None
    decision: Decision | None = None

    def decide(self, observation: Observation) -> int:
        decision, memory = step(self.settings, self.interval, observation, Control(), self.memory)
        self.decision = decision
        self.memory = (
            record_scaling(memory, observation.time) if decision.workers != observation.workers else memory
        )
        return decision.workers


def replay(
    history: ArrivalHistory,
    policy: PolicySettings,
    *,
    interval: float,
    scrape: float,
    start: tuple[float, float],
) -> Report:
    """The report of this policy, of the worst of several times after a scrape at which decisions may fall.
    `start`: seconds until a new worker is ready, from and to.

    Raises NothingRecordedError without worker_concurrency, which a simulation needs.
    """
    if policy.worker_concurrency is None:
        raise NothingRecordedError(
            "worker_concurrency is not set: it is the number of jobs that a worker runs at once"
        )
    load = simulated_load(history, policy.worker_concurrency)
    settings = policy.model_copy(update={"enabled": True, "mode": "act"})
    reports = []
    for phase in _PHASES:
        rng = Random(_SEED)  # noqa: S311  # simulation, no secrets
        plant = Plant(
            policy.worker_concurrency,
            partial(rng.uniform, *start),
            workers=max(1, policy.min_workers),
            interval=interval,
            scrape=scrape,
            phase=phase * scrape,
        )
        controller = PolicyController(settings, interval)
        reports.append(
            simulate(load, plant, controller, slo=policy.wait_slo_seconds, until=history.end - history.begin)
        )
    return max(reports, key=lambda report: (report.over, report.cost))
