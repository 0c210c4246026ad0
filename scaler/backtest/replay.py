"""What other settings would have done with the jobs that came: recorded arrivals, simulated workers.

The jobs are the record's: as many, in the same steps of time, as long as those of their hour were on average.
How they are spread within a step, and how run times scatter, is drawn by dice that are always thrown alike.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import exp, log
from random import Random
from typing import Final

from scaler.backtest.simulate import Load, Plant, Report, simulate
from scaler.decision.step import TargetMemory, record_scaling, step
from scaler.model import Control, Observation
from scaler.settings import PolicySettings

_MOST_JOBS: Final = 300_000
_SCATTER: Final = 0.6  # sigma of the lognormal run times
_WINDOW: Final = 3600.0
_SEED: Final = 1


class NothingRecordedError(Exception):
    """The record holds no jobs to replay; the text says what is missing."""


@dataclass(frozen=True, slots=True)
class HistoryPoint:
    """One moment of the record: counters of ended jobs, jobs inside, seconds and number of finished attempts,
    workers. None: not recorded then."""

    at: float
    ended: float | None
    inside: float | None
    active: float | None
    duration_sum: float | None
    duration_count: float | None
    workers: float | None


@dataclass(frozen=True, slots=True)
class ArrivalHistory:
    """What is replayed. `arrivals`: jobs that came in the seconds before each time, `run` their mean run time
    (s); `begin` and `end` in unix seconds; `worker_seconds` that were recorded, None if they were not."""

    arrivals: tuple[tuple[float, float, float], ...]  # time, jobs, seconds that they run
    begin: float
    end: float
    step: float
    worker_seconds: float | None

    @property
    def jobs(self) -> float:
        return sum(jobs for _, jobs, _ in self.arrivals)


def arrival_history(points: Sequence[HistoryPoint], step_seconds: float) -> ArrivalHistory:
    """The jobs that came, by the balance of the queue, as the policy itself counts them.

    Steps without metrics, and those in which a counter began anew, are left out. Raises NothingRecordedError.
    """
    runs = _mean_runs(points)
    arrivals = []
    for before, after in pairwise(points):
        if before.ended is None or before.inside is None or after.ended is None or after.inside is None:
            continue
        if after.ended < before.ended or after.at - before.at > 2.5 * step_seconds:
            continue
        came = after.ended - before.ended + after.inside - before.inside
        if came > 0:
            arrivals.append((after.at, came, runs(after.at)))
    if not arrivals:
        raise NothingRecordedError(
            "no jobs were recorded: is bullmq.events on, and was the exporter scraped?"
        )
    known = [one.workers for one in points if one.workers is not None]
    recorded = sum(known) / len(known) * (points[-1].at - points[0].at) if known else None
    return ArrivalHistory(tuple(arrivals), points[0].at, points[-1].at, step_seconds, recorded)


class _MeanRuns:
    """The mean run time around a time, by the hour."""

    def __init__(self, hours: Mapping[int, tuple[float, float]], overall: float) -> None:
        self._hours = hours
        self._overall = overall

    def __call__(self, at: float) -> float:
        seconds, count = self._hours.get(int(at // _WINDOW), (0.0, 0.0))
        return seconds / count if count >= 1 else self._overall


def _mean_runs(points: Sequence[HistoryPoint]) -> _MeanRuns:
    hours: dict[int, tuple[float, float]] = {}
    busy = done = 0.0
    for before, after in pairwise(points):
        if before.active is not None and after.active is not None:
            busy += (before.active + after.active) / 2 * (after.at - before.at)
        if before.ended is not None and after.ended is not None:
            done += max(0.0, after.ended - before.ended)
        sums = (before.duration_sum, after.duration_sum, before.duration_count, after.duration_count)
        if any(one is None for one in sums):
            continue
        seconds, count = sums[1] - sums[0], sums[3] - sums[2]  # type: ignore[operator]
        if count > 0 and seconds >= 0:
            hour = int(after.at // _WINDOW)
            old = hours.get(hour, (0.0, 0.0))
            hours[hour] = old[0] + seconds, old[1] + count
    count = sum(count for _, count in hours.values())
    if count:
        return _MeanRuns(hours, sum(seconds for seconds, _ in hours.values()) / count)
    if done:
        return _MeanRuns({}, busy / done)
    raise NothingRecordedError("no job ended in this time: how long jobs run is not known")


def load_of(past: ArrivalHistory, concurrency: int) -> Load:
    """The jobs one by one; where there are too many, each stands for several slots' worth of them."""
    slots = concurrency
    if past.jobs > _MOST_JOBS:
        slots = max(1, int(concurrency * _MOST_JOBS / past.jobs))
    weight = concurrency / slots
    dice = Random(_SEED)  # noqa: S311  # dice, no secrets
    at: list[float] = []
    runs: list[float] = []
    owed = 0.0
    for time, jobs, run in past.arrivals:
        owed += jobs / weight
        count, owed = int(owed), owed - int(owed)
        begin = time - past.begin - past.step
        at += sorted(max(0.0, begin + dice.random() * past.step) for _ in range(count))
        mu = log(max(run, 1e-6)) - _SCATTER * _SCATTER / 2
        runs += [exp(dice.gauss(mu, _SCATTER)) for _ in range(count)]
    return Load(at, runs, weight=weight)


@dataclass
class Decider:
    """The real policy and the real guards, in simulated time."""

    settings: PolicySettings
    interval: float
    memory: TargetMemory | None = None

    def decide(self, seen: Observation) -> int:
        decision, memory = step(self.settings, self.interval, seen, Control(), self.memory)
        self.memory = record_scaling(memory, seen.time) if decision.workers != seen.workers else memory
        return decision.workers


def replay(
    past: ArrivalHistory,
    policy: PolicySettings,
    *,
    interval: float,
    scrape: float,
    start: tuple[float, float],
) -> Report:
    """What this policy would have done. `start`: seconds until a new worker takes jobs, from and to.

    Raises NothingRecordedError without a concurrency: it cannot be simulated.
    """
    if policy.worker_concurrency is None:
        raise NothingRecordedError("worker_concurrency is not set: how many jobs a worker runs at once")
    dice = Random(_SEED)  # noqa: S311  # dice, no secrets
    plant = Plant(
        policy.worker_concurrency,
        lambda: dice.uniform(*start),
        workers=policy.min_workers,
        interval=interval,
        scrape=scrape,
    )
    decider = Decider(policy.model_copy(update={"enabled": True}), interval)
    load = load_of(past, policy.worker_concurrency)
    return simulate(load, plant, decider, slo=policy.wait_slo_seconds, until=past.end - past.begin)
