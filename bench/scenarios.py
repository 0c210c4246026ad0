"""Loads and the conditions that they meet, for comparing policies: generated from a seed.

A scenario has a random size: run times, rates, times of changes and start-up times all come from its seed.
`group`: "changes" (of rate and run time), "shapes" (days, lumps, heavy tails, slow and quick starts),
"trouble" (limits, pauses, retries, crashes, outages of the metrics, jumps of counters), "long" (jobs of ten
minutes), "recorded".
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from math import ceil, inf
from random import Random
from typing import Any, Final

from bench.loads import (
    Factor,
    Size,
    arrivals,
    on_off,
    random_load,
    random_size,
    run_times,
    schedule,
    steps,
    waves,
)
from scaler.backtest.plant import Load, Plant

HOUR: Final = 3600.0


@dataclass(frozen=True)
class Scenario:
    """A load and its plant, without the rhythm of scrapes and decisions."""

    name: str
    group: str
    load: Load
    seconds: float
    concurrency: int
    start: tuple[float, float] = (10.0, 40.0)
    slo: float = 30.0
    min_workers: int = 1
    workers: int = 1  # at the beginning
    extra: dict[str, Any] = field(default_factory=dict)

    def plant(self, *, interval: float, scrape: float, phase: float, seed: int) -> Plant:
        """The plant; the start-up times are the same for every contender."""
        random = Random(f"{self.name} {seed}")
        low, high = self.start
        fails = self.extra.get("start_fails", 0.0)
        extra = {name: value for name, value in self.extra.items() if name not in {"start_fails", "crashes"}}
        if "crashes" in self.extra:
            extra["crash"] = lambda: random.expovariate(1 / self.extra["crashes"])
        return Plant(
            self.concurrency,
            lambda: inf if random.random() < fails else random.uniform(low, high),
            workers=max(self.workers, self.min_workers),
            interval=interval,
            scrape=scrape,
            phase=phase,
            chance=random.random,
            **extra,
        )


_GENERATED: Final[dict[str, tuple[str, Callable[[str, Random], Scenario]]]] = {}


def scenario_names() -> list[str]:
    """The generated scenarios, in the order of the tables."""
    return list(_GENERATED)


def generated(name: str, seed: int) -> Scenario:
    """The scenario of this name and seed."""
    group, make = _GENERATED[name]
    made = make(name, Random(f"{name} {seed}"))
    return Scenario(**{**made.__dict__, "name": name, "group": group})


def _scenario(
    name: str, group: str
) -> Callable[[Callable[[str, Random], Scenario]], Callable[[str, Random], Scenario]]:
    def add(make: Callable[[str, Random], Scenario]) -> Callable[[str, Random], Scenario]:
        _GENERATED[name] = group, make
        return make

    return add


# --- changes of rate and run time ------------------------------------------------------------------------

_LONG: Final = 2 * HOUR


@_scenario("run time x5", "changes")
def _slower(_: str, random: Random) -> Scenario:
    size = random_size(random, most=4)
    begin, end = random.uniform(1500, 2200), random.uniform(4200, 5000)
    load = random_load(
        lambda _: size.rate / 3, size, random, _LONG, factor=steps((begin, end), (1.0, 5.0, 1.0))
    )
    return Scenario("", "", load, _LONG, size.concurrency)


@_scenario("run time x3 to x6, often", "changes")
def _slower_often(_: str, random: Random) -> Scenario:
    size = random_size(random, most=3)
    factors = iter([value for _ in range(40) for value in (1.0, random.uniform(3, 6))])
    factor = schedule(random, _LONG, (500, 1100), lambda: next(factors))
    return Scenario(
        "",
        "",
        random_load(lambda _: size.rate / 3, size, random, _LONG, factor=factor),
        _LONG,
        size.concurrency,
    )


@_scenario("rate x6", "changes")
def _more(_: str, random: Random) -> Scenario:
    size = random_size(random)
    begin, end = random.uniform(1500, 2200), random.uniform(4200, 5000)
    rate = steps((begin, end), (size.rate / 4, size.rate * 1.5, size.rate / 4))
    return Scenario("", "", random_load(rate, size, random, _LONG), _LONG, size.concurrency)


@_scenario("random levels", "changes")
def _levels(_: str, random: Random) -> Scenario:
    size = random_size(random)
    rate = schedule(random, _LONG, (300, 1200), lambda: size.rate * random.uniform(0.15, 1.5))
    return Scenario("", "", random_load(rate, size, random, _LONG), _LONG, size.concurrency)


@_scenario("random levels and run times", "changes")
def _levels_and_runs(_: str, random: Random) -> Scenario:
    size = random_size(random, most=5)
    rate = schedule(random, _LONG, (400, 1200), lambda: size.rate * random.uniform(0.15, 0.8))
    factor = schedule(random, _LONG, (600, 1500), lambda: random.uniform(0.6, 3.5))
    return Scenario("", "", random_load(rate, size, random, _LONG, factor=factor), _LONG, size.concurrency)


@_scenario("on and off", "changes")
def _half_hours(_: str, random: Random) -> Scenario:
    size = random_size(random)
    period, shape = random.uniform(900, 2000), random.uniform(0.03, 0.2)
    on = on_off(period, shape)
    return Scenario(
        "", "", random_load(lambda time: size.rate * on(time), size, random, _LONG), _LONG, size.concurrency
    )


@_scenario("flat, jobs of 60 s", "changes")
def _flat(_: str, random: Random) -> Scenario:
    size = Size(60.0, random.choice((2, 4)), random.uniform(0.4, 0.8))
    return Scenario(
        "", "", random_load(lambda _: size.rate, size, random, 1.5 * _LONG), 1.5 * _LONG, size.concurrency
    )


# --- shapes ----------------------------------------------------------------------------------------------


@_scenario("starts of 2 s", "shapes")
def _quick(_: str, random: Random) -> Scenario:
    size = random_size(random)
    on = on_off(random.uniform(300, 900), random.uniform(0.03, 0.3))
    return Scenario(
        "",
        "",
        random_load(lambda time: size.rate * on(time), size, random, _LONG),
        _LONG,
        size.concurrency,
        start=(1.5, 2.5),
    )


@_scenario("starts of 3 min", "shapes")
def _slow(_: str, random: Random) -> Scenario:
    size = random_size(random)
    period, low = random.uniform(3000, 5000), random.uniform(0.2, 0.5)
    rate = waves(size.rate, low, period)
    load = random_load(rate, size, random, 2 * _LONG)
    workers = 1 + ceil(rate(0.0) * size.run / size.concurrency)  # or the first three minutes would decide
    return Scenario("", "", load, 2 * _LONG, size.concurrency, start=(150, 200), workers=workers)


@_scenario("starts of 40 s", "shapes")
def _late(_: str, random: Random) -> Scenario:
    size = random_size(random)
    rate = schedule(random, _LONG, (300, 1200), lambda: size.rate * random.uniform(0.3, 1.3))
    return Scenario("", "", random_load(rate, size, random, _LONG), _LONG, size.concurrency, start=(38, 42))


@_scenario("day", "shapes")
def _day(_: str, random: Random) -> Scenario:
    size = random_size(random)
    rate = waves(size.rate, random.uniform(0.05, 0.2), 2 * _LONG)
    return Scenario("", "", random_load(rate, size, random, 2 * _LONG), 2 * _LONG, size.concurrency)


@_scenario("day, heavy tails", "shapes")
def _tails(_: str, random: Random) -> Scenario:
    size = random_size(random, most=6)
    rate = waves(size.rate, random.uniform(0.1, 0.3), 2 * _LONG)
    load = random_load(rate, size, random, 2 * _LONG, sigma=1.5)
    return Scenario("", "", load, 2 * _LONG, size.concurrency)


@_scenario("spikes of a minute", "shapes")
def _spikes(_: str, random: Random) -> Scenario:
    size = random_size(random)
    spikes: list[tuple[float, float]] = []
    begin = random.expovariate(1 / 900)
    while begin < _LONG:
        spikes.append((begin, begin + random.uniform(30, 120)))
        begin = spikes[-1][1] + random.expovariate(1 / 900)

    def rate(time: float) -> float:
        return size.rate * (2.0 if any(a <= time < b for a, b in spikes) else 0.4)

    return Scenario("", "", random_load(rate, size, random, _LONG), _LONG, size.concurrency)


@_scenario("lumps every 10 min", "shapes")
def _lumps(_: str, random: Random) -> Scenario:
    size = random_size(random, least=1, most=4)
    count, offset = random.randint(40, 80), random.uniform(60, 500)
    at = arrivals(lambda _: 0.3 * size.concurrency / size.run, _LONG, random)
    at += [offset + 600.0 * lump for lump in range(int(_LONG // 600)) for _ in range(count)]
    at.sort()
    return Scenario("", "", Load(at, run_times(at, size.run, random)), _LONG, size.concurrency)


# --- trouble ---------------------------------------------------------------------------------------------


@_scenario("limiter", "trouble")
def _limited(_: str, random: Random) -> Scenario:
    """More comes than the limit lets through, for half an hour."""
    size = random_size(random, most=4, workers=5)
    seconds = random.choice((1.0, 10.0, 60.0))
    limit = max(1, round(size.rate * 0.8 * seconds))
    rate = steps((2000, 3800), (size.rate * 0.5, size.rate, size.rate * 0.5))
    load = random_load(rate, size, random, _LONG, limit=(limit, seconds))
    return Scenario("", "", load, _LONG, size.concurrency)


@_scenario("pauses", "trouble")
def _paused(_: str, random: Random) -> Scenario:
    size = random_size(random, workers=6)
    begin = random.uniform(1200, 1800)
    pauses = ((begin, begin + random.uniform(300, 600)), (begin + 2400, begin + 2460))
    return Scenario(
        "", "", random_load(lambda _: size.rate, size, random, _LONG, pauses=pauses), _LONG, size.concurrency
    )


@_scenario("retries with backoff", "trouble")
def _storm(_: str, random: Random) -> Scenario:
    """For ten minutes every attempt fails; each job is tried five times, with a backoff from 10 s."""
    size = random_size(random, most=5, workers=5)
    begin = random.uniform(2000, 3000)
    at = arrivals(lambda _: size.rate, _LONG, random)
    failing = {index: 3 for index, time in enumerate(at) if begin <= time < begin + 600}
    load = Load(at, run_times(at, size.run, random), failing=failing, attempts=5, backoff=10.0)
    return Scenario("", "", load, _LONG, size.concurrency)


@_scenario("poison jobs", "trouble")
def _poison(_: str, random: Random) -> Scenario:
    """One job in twenty always fails, and is tried ten times at once."""
    size = random_size(random, most=5, workers=5)
    at = arrivals(lambda _: size.rate, _LONG, random)
    failing = {index: 99 for index in range(len(at)) if random.random() < 0.05}
    return Scenario(
        "",
        "",
        Load(at, run_times(at, size.run, random), failing=failing, attempts=10),
        _LONG,
        size.concurrency,
    )


@_scenario("crashing workers", "trouble")
def _crashing(_: str, random: Random) -> Scenario:
    size = random_size(random, most=5)
    rate = schedule(random, _LONG, (600, 1500), lambda: size.rate * random.uniform(0.3, 1.2))
    return Scenario(
        "", "", random_load(rate, size, random, _LONG), _LONG, size.concurrency, extra={"crashes": 900.0}
    )


@_scenario("starts that fail", "trouble")
def _failing_starts(_: str, random: Random) -> Scenario:
    """One start in ten never ends."""
    size = random_size(random)
    rate = schedule(random, _LONG, (600, 1500), lambda: size.rate * random.uniform(0.3, 1.2))
    return Scenario(
        "", "", random_load(rate, size, random, _LONG), _LONG, size.concurrency, extra={"start_fails": 0.1}
    )


@_scenario("global concurrency", "trouble")
def _bounded(_: str, random: Random) -> Scenario:
    """More comes than may run at once, for half an hour."""
    size = random_size(random, most=4, workers=5)
    limit = max(1, round(size.rate * size.run * 0.8))
    rate = steps((2000, 3800), (size.rate * 0.5, size.rate, size.rate * 0.5))
    load = random_load(rate, size, random, _LONG, concurrency_limit=limit)
    return Scenario("", "", load, _LONG, size.concurrency)


@_scenario("outages of the metrics", "trouble")
def _outages(_: str, random: Random) -> Scenario:
    size = random_size(random)
    rate = schedule(random, _LONG, (600, 1500), lambda: size.rate * random.uniform(0.3, 1.2))
    begins = [random.uniform(900.0 + 1500.0 * number, 1800.0 + 1500.0 * number) for number in range(4)]
    outages = [(begin, begin + random.uniform(20, 400)) for begin in begins]
    load = random_load(rate, size, random, _LONG)
    return Scenario("", "", load, _LONG, size.concurrency, extra={"outages": outages})


@_scenario("jumps of the counters", "trouble")
def _jumps(_: str, random: Random) -> Scenario:
    size = random_size(random)
    rate = schedule(random, _LONG, (600, 1500), lambda: size.rate * random.uniform(0.3, 1.2))
    jumps = [(random.uniform(900.0, _LONG), 10.0 ** random.uniform(4.0, 6.0)) for _ in range(4)]
    return Scenario(
        "", "", random_load(rate, size, random, _LONG), _LONG, size.concurrency, extra={"jumps": jumps}
    )


@_scenario("cron of 500, unknown", "trouble")
def _cron(_: str, random: Random) -> Scenario:
    return _cron_of(random, announced=False)


@_scenario("cron of 500, delayed jobs", "trouble")
def _known_cron(_: str, random: Random) -> Scenario:
    return _cron_of(random, announced=True)


def _cron_of(random: Random, *, announced: bool) -> Scenario:
    run = random.uniform(1.0, 3.0)
    at = arrivals(lambda _: 0.05, _LONG + 600, random)
    at = sorted(at + [begin for begin in (1200.0, 3000.0, 4800.0, 6600.0) for _ in range(500)])
    load = Load(at, run_times(at, run, random), announced=announced)
    return Scenario("", "", load, _LONG + 600, 4)


# --- jobs of ten minutes ---------------------------------------------------------------------------------


@_scenario("jobs of 10 min, flat", "long")
def _ten_minutes(_: str, random: Random) -> Scenario:
    return _long_jobs(random, lambda _: 1.0)


@_scenario("jobs of 10 min, day", "long")
def _ten_minutes_day(_: str, random: Random) -> Scenario:
    return _long_jobs(random, waves(1.0, 0.2, 4 * HOUR))


def _long_jobs(random: Random, shape: Factor) -> Scenario:
    seconds = 6 * HOUR
    size = Size(600.0, 1, random.uniform(0.02, 0.04))
    load = random_load(lambda time: size.rate * shape(time), size, random, seconds, sigma=0.3)
    extra = {"grace": 30.0, "victims": "idle", "knows_idle": True}
    return Scenario("", "", load, seconds, 1, extra=extra)
