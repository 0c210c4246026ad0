"""Replay under other settings: recorded arrivals, simulated workers.

The jobs are those of the history: as many, in the same steps, with the mean run time of their minutes. Their
times within a step and the variance of run times are random, always from the same seed; many more than in the
steps beside it come at one moment, as a batch does. The decisions fall at several times after a scrape, and
the worst of these counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from math import exp, log, sqrt
from random import Random
from typing import Final

from scaler.backtest.arrivals import ArrivalHistory, NothingRecordedError
from scaler.backtest.plant import Load, Plant, Report
from scaler.backtest.simulate import simulate
from scaler.config.settings import PolicySettings
from scaler.decision.step import TargetMemory, record_scaling, step
from scaler.model import Control, Decision, Observation

_MAX_JOBS: Final = 300_000
_RUN_TIME_SIGMA: Final = 0.6  # sigma of the lognormal run times
_LUMP: Final = 4.0  # standard deviations above the steps beside it
_PHASES: Final = (0.1, 0.5, 0.9)  # of the time between two scrapes
_SEED: Final = 1
_NO_CONCURRENCY: Final = "worker_concurrency is not set: it is the number of jobs that a worker runs at once"


def simulated_load(history: ArrivalHistory, concurrency: int, *, most: int = _MAX_JOBS) -> Load:
    """The jobs one by one; if there are more than `most`, each has the weight of several, up to a worker's
    `concurrency`."""
    slots = concurrency
    if history.jobs > most:
        slots = max(1, int(concurrency * most / history.jobs))
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
    lumps: list[float] = []
    if not jobs:
        return lumps
    first, last = history.arrivals[0][0], history.arrivals[-1][0]
    for time, count, _ in history.arrivals:
        before, after = jobs.get(time - history.step, 0.0), jobs.get(time + history.step, 0.0)
        beside = after if time == first else before if time == last else (before + after) / 2
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
        raise NothingRecordedError(_NO_CONCURRENCY)
    load = simulated_load(history, policy.worker_concurrency)
    seconds = history.end - history.begin
    return replay_load(load, policy, seconds, interval=interval, scrape=scrape, start=start)


def replay_load(
    load: Load,
    policy: PolicySettings,
    seconds: float,
    *,
    interval: float,
    scrape: float,
    start: tuple[float, float],
    phases: Sequence[float] = _PHASES,
) -> Report:
    """As `replay`, of these jobs in so many seconds, with decisions so many parts of `scrape` after one.

    Raises NothingRecordedError without worker_concurrency.
    """
    if policy.worker_concurrency is None:
        raise NothingRecordedError(_NO_CONCURRENCY)
    settings = policy.model_copy(update={"enabled": True, "mode": "act"})
    reports = []
    for phase in phases:
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
        reports.append(simulate(load, plant, controller, slo=policy.wait_slo_seconds, until=seconds))
    return max(reports, key=lambda report: (report.over, report.cost))
