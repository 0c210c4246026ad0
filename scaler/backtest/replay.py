"""Replay under other settings: recorded arrivals, simulated workers.

The jobs are those of the history: as many, in the same steps, with the mean run time of their hour. Their
times within a step and the variance of run times are random, always from the same seed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import exp, log
from random import Random
from typing import Final

from scaler.backtest.simulate import Load, Plant, Report, simulate
from scaler.config.settings import PolicySettings
from scaler.decision.step import TargetMemory, record_scaling, step
from scaler.model import Control, Observation

_MAX_JOBS: Final = 300_000
_RUN_TIME_SIGMA: Final = 0.6  # sigma of the lognormal run times
_WINDOW: Final = 3600.0
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
    `begin` and `end` in unix seconds; recorded `worker_seconds`, None if they were not recorded."""

    arrivals: tuple[tuple[float, float, float], ...]  # time, jobs, mean run time
    begin: float
    end: float
    step: float
    worker_seconds: float | None

    @property
    def jobs(self) -> float:
        return sum(jobs for _, jobs, _ in self.arrivals)


def arrival_history(points: Sequence[HistoryPoint], step_seconds: float) -> ArrivalHistory:
    """The jobs that arrived, by the balance of the queue, as the policy counts them.

    Steps without metrics, and those with a counter reset, are left out. Raises NothingRecordedError.
    """
    run_times = _mean_run_times(points)
    arrivals = []
    for before, after in pairwise(points):
        if before.ended is None or before.inside is None or after.ended is None or after.inside is None:
            continue
        if after.ended < before.ended or after.at - before.at > 2.5 * step_seconds:
            continue
        arrived = after.ended - before.ended + after.inside - before.inside
        if arrived > 0:
            arrivals.append((after.at, arrived, run_times(after.at)))
    if not arrivals:
        raise NothingRecordedError(
            "no jobs were recorded: is bullmq.events on, and was the exporter scraped?"
        )
    workers = [point.workers for point in points if point.workers is not None]
    worker_seconds = sum(workers) / len(workers) * (points[-1].at - points[0].at) if workers else None
    return ArrivalHistory(tuple(arrivals), points[0].at, points[-1].at, step_seconds, worker_seconds)


class _MeanRunTimes:
    """The mean run time at a time, by the hour."""

    def __init__(self, hours: Mapping[int, tuple[float, float]], overall: float) -> None:
        self._hours = hours
        self._overall = overall

    def __call__(self, at: float) -> float:
        seconds, count = self._hours.get(int(at // _WINDOW), (0.0, 0.0))
        return seconds / count if count >= 1 else self._overall


def _mean_run_times(points: Sequence[HistoryPoint]) -> _MeanRunTimes:
    hours: dict[int, tuple[float, float]] = {}
    busy = done = 0.0
    for before, after in pairwise(points):
        if before.active is not None and after.active is not None:
            busy += (before.active + after.active) / 2 * (after.at - before.at)
        if before.ended is not None and after.ended is not None:
            done += max(0.0, after.ended - before.ended)
        sums = (before.duration_sum, after.duration_sum, before.duration_count, after.duration_count)
        if any(value is None for value in sums):
            continue
        seconds, count = sums[1] - sums[0], sums[3] - sums[2]  # type: ignore[operator]
        if count > 0 and seconds >= 0:
            hour = int(after.at // _WINDOW)
            total = hours.get(hour, (0.0, 0.0))
            hours[hour] = total[0] + seconds, total[1] + count
    count = sum(count for _, count in hours.values())
    if count:
        return _MeanRunTimes(hours, sum(seconds for seconds, _ in hours.values()) / count)
    if done:
        return _MeanRunTimes({}, busy / done)
    raise NothingRecordedError("no job ended in this time: the run time of jobs is not known")


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
    for time, jobs, run in history.arrivals:
        pending += jobs / weight
        count, pending = int(pending), pending - int(pending)
        begin = time - history.begin - history.step
        at += sorted(max(0.0, begin + rng.random() * history.step) for _ in range(count))
        mu = log(max(run, 1e-6)) - _RUN_TIME_SIGMA * _RUN_TIME_SIGMA / 2
        runs += [exp(rng.gauss(mu, _RUN_TIME_SIGMA)) for _ in range(count)]
    return Load(at, runs, weight=weight)


@dataclass
class PolicyController:
    """The policy and the guards of the scaler, in simulated time."""

    settings: PolicySettings
    interval: float
    memory: TargetMemory | None = None

    def decide(self, observation: Observation) -> int:
        decision, memory = step(self.settings, self.interval, observation, Control(), self.memory)
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
    """The report of this policy. `start`: seconds until a new worker is ready, from and to.

    Raises NothingRecordedError without worker_concurrency, which a simulation needs.
    """
    if policy.worker_concurrency is None:
        raise NothingRecordedError(
            "worker_concurrency is not set: it is the number of jobs that a worker runs at once"
        )
    rng = Random(_SEED)  # noqa: S311  # simulation, no secrets
    plant = Plant(
        policy.worker_concurrency,
        lambda: rng.uniform(*start),
        workers=policy.min_workers,
        interval=interval,
        scrape=scrape,
    )
    controller = PolicyController(policy.model_copy(update={"enabled": True}), interval)
    load = simulated_load(history, policy.worker_concurrency)
    return simulate(load, plant, controller, slo=policy.wait_slo_seconds, until=history.end - history.begin)
