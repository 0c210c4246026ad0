"""Loads and the conditions that they meet, for comparing policies: generated from a seed.

A scenario has a random size: run times, rates, times of changes and start-up times all come from its seed.
`group`: "changes" (of rate and run time), "shapes" (days, lumps, heavy tails, slow and quick starts),
"trouble" (limits, pauses, retries, crashes), "long" (jobs of ten minutes), "recorded".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from math import ceil, exp, inf, log, pi, sin
from random import Random
from typing import Any, Final

from scaler.backtest.plant import Load, Plant

HOUR: Final = 3600.0
_MAX_RATE: Final = 8.0  # jobs/s: more would only take longer to simulate


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


Factor = Callable[[float], float]
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


# --- parts -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Size:
    """Mean run time (s), concurrency, and the jobs/s that fill about ten workers."""

    run: float
    concurrency: int
    rate: float


def _size(random: Random, *, least: float = 1.0, most: float = 12.0, workers: float = 10.0) -> _Size:
    run = exp(random.uniform(log(least), log(most)))
    concurrency = random.choice((1, 2, 4, 8))
    rate = min(_MAX_RATE, workers * random.uniform(0.7, 1.3) * concurrency / run)
    return _Size(run, concurrency, rate)


def arrivals(rate: Factor, seconds: float, random: Random) -> list[float]:
    """Poisson arrivals, with a rate (jobs/s) that is constant within each second."""
    at: list[float] = []
    for second in range(int(seconds)):
        at += sorted(second + random.random() for _ in range(poisson(rate(float(second)), random)))
    return at


def poisson(mean: float, random: Random) -> int:
    """A number of Poisson's distribution."""
    if mean > 50:
        return max(0, round(random.gauss(mean, mean**0.5)))
    limit, product, count = exp(-mean), random.random(), 0
    while product > limit:
        product *= random.random()
        count += 1
    return count


def run_times(
    at: Iterable[float], mean: float, random: Random, *, factor: Factor | None = None, sigma: float = 0.6
) -> list[float]:
    """Lognormal run times with this mean; `factor` at the time at which a job comes."""
    mu = log(mean) - sigma * sigma / 2
    return [exp(random.gauss(mu, sigma)) * (factor(time) if factor else 1.0) for time in at]


def _load(
    rate: Factor,
    size: _Size,
    random: Random,
    seconds: float,
    *,
    factor: Factor | None = None,
    sigma: float = 0.6,
    **more: Any,
) -> Load:
    at = arrivals(rate, seconds, random)
    return Load(at, run_times(at, size.run, random, factor=factor, sigma=sigma), **more)


def _steps(times: Sequence[float], values: Sequence[float]) -> Factor:
    """values[0] before the first of the times, then the next."""

    def at(time: float) -> float:
        return values[sum(begin <= time for begin in times)]

    return at


def _schedule(
    random: Random, seconds: float, apart: tuple[float, float], values: Callable[[], float]
) -> Factor:
    times = [0.0]
    while times[-1] < seconds:
        times.append(times[-1] + random.uniform(*apart))
    return _steps(times[1:], [values() for _ in times])


def _on_off(period: float, low: float) -> Factor:
    return lambda time: 1.0 if time % period < period / 2 else low


# --- changes of rate and run time ------------------------------------------------------------------------

_LONG: Final = 2 * HOUR


@_scenario("run time x5", "changes")
def _slower(_: str, random: Random) -> Scenario:
    size = _size(random, most=4)
    begin, end = random.uniform(1500, 2200), random.uniform(4200, 5000)
    load = _load(lambda _: size.rate / 3, size, random, _LONG, factor=_steps((begin, end), (1.0, 5.0, 1.0)))
    return Scenario("", "", load, _LONG, size.concurrency)


@_scenario("run time x3 to x6, often", "changes")
def _slower_often(_: str, random: Random) -> Scenario:
    size = _size(random, most=3)
    factors = iter([value for _ in range(40) for value in (1.0, random.uniform(3, 6))])
    factor = _schedule(random, _LONG, (500, 1100), lambda: next(factors))
    return Scenario(
        "", "", _load(lambda _: size.rate / 3, size, random, _LONG, factor=factor), _LONG, size.concurrency
    )


@_scenario("rate x6", "changes")
def _more(_: str, random: Random) -> Scenario:
    size = _size(random)
    begin, end = random.uniform(1500, 2200), random.uniform(4200, 5000)
    rate = _steps((begin, end), (size.rate / 4, size.rate * 1.5, size.rate / 4))
    return Scenario("", "", _load(rate, size, random, _LONG), _LONG, size.concurrency)


@_scenario("random levels", "changes")
def _levels(_: str, random: Random) -> Scenario:
    size = _size(random)
    rate = _schedule(random, _LONG, (300, 1200), lambda: size.rate * random.uniform(0.15, 1.5))
    return Scenario("", "", _load(rate, size, random, _LONG), _LONG, size.concurrency)


@_scenario("random levels and run times", "changes")
def _levels_and_runs(_: str, random: Random) -> Scenario:
    size = _size(random, most=5)
    rate = _schedule(random, _LONG, (400, 1200), lambda: size.rate * random.uniform(0.15, 0.8))
    factor = _schedule(random, _LONG, (600, 1500), lambda: random.uniform(0.6, 3.5))
    return Scenario("", "", _load(rate, size, random, _LONG, factor=factor), _LONG, size.concurrency)


@_scenario("on and off", "changes")
def _half_hours(_: str, random: Random) -> Scenario:
    size = _size(random)
    period, shape = random.uniform(900, 2000), random.uniform(0.03, 0.2)
    on = _on_off(period, shape)
    return Scenario(
        "", "", _load(lambda time: size.rate * on(time), size, random, _LONG), _LONG, size.concurrency
    )


@_scenario("flat, jobs of 60 s", "changes")
def _flat(_: str, random: Random) -> Scenario:
    size = _Size(60.0, random.choice((2, 4)), random.uniform(0.4, 0.8))
    return Scenario(
        "", "", _load(lambda _: size.rate, size, random, 1.5 * _LONG), 1.5 * _LONG, size.concurrency
    )


# --- shapes ----------------------------------------------------------------------------------------------


@_scenario("starts of 2 s", "shapes")
def _quick(_: str, random: Random) -> Scenario:
    size = _size(random)
    on = _on_off(random.uniform(300, 900), random.uniform(0.03, 0.3))
    return Scenario(
        "",
        "",
        _load(lambda time: size.rate * on(time), size, random, _LONG),
        _LONG,
        size.concurrency,
        start=(1.5, 2.5),
    )


@_scenario("starts of 3 min", "shapes")
def _slow(_: str, random: Random) -> Scenario:
    size = _size(random)
    period, low = random.uniform(3000, 5000), random.uniform(0.2, 0.5)
    rate = _waves(size.rate, low, period)
    load = _load(rate, size, random, 2 * _LONG)
    workers = 1 + ceil(rate(0.0) * size.run / size.concurrency)  # or the first three minutes would decide
    return Scenario("", "", load, 2 * _LONG, size.concurrency, start=(150, 200), workers=workers)


@_scenario("starts of 40 s", "shapes")
def _late(_: str, random: Random) -> Scenario:
    size = _size(random)
    rate = _schedule(random, _LONG, (300, 1200), lambda: size.rate * random.uniform(0.3, 1.3))
    return Scenario("", "", _load(rate, size, random, _LONG), _LONG, size.concurrency, start=(38, 42))


@_scenario("day", "shapes")
def _day(_: str, random: Random) -> Scenario:
    size = _size(random)
    rate = _waves(size.rate, random.uniform(0.05, 0.2), 2 * _LONG)
    return Scenario("", "", _load(rate, size, random, 2 * _LONG), 2 * _LONG, size.concurrency)


@_scenario("day, heavy tails", "shapes")
def _tails(_: str, random: Random) -> Scenario:
    size = _size(random, most=6)
    rate = _waves(size.rate, random.uniform(0.1, 0.3), 2 * _LONG)
    load = _load(rate, size, random, 2 * _LONG, sigma=1.5)
    return Scenario("", "", load, 2 * _LONG, size.concurrency)


@_scenario("spikes of a minute", "shapes")
def _spikes(_: str, random: Random) -> Scenario:
    size = _size(random)
    spikes: list[tuple[float, float]] = []
    begin = random.expovariate(1 / 900)
    while begin < _LONG:
        spikes.append((begin, begin + random.uniform(30, 120)))
        begin = spikes[-1][1] + random.expovariate(1 / 900)

    def rate(time: float) -> float:
        return size.rate * (2.0 if any(a <= time < b for a, b in spikes) else 0.4)

    return Scenario("", "", _load(rate, size, random, _LONG), _LONG, size.concurrency)


@_scenario("lumps every 10 min", "shapes")
def _lumps(_: str, random: Random) -> Scenario:
    size = _size(random, least=1, most=4)
    count, offset = random.randint(40, 80), random.uniform(60, 500)
    at = arrivals(lambda _: 0.3 * size.concurrency / size.run, _LONG, random)
    at += [offset + 600.0 * lump for lump in range(int(_LONG // 600)) for _ in range(count)]
    at.sort()
    return Scenario("", "", Load(at, run_times(at, size.run, random)), _LONG, size.concurrency)


def _waves(high: float, low: float, period: float) -> Factor:
    """From low x high to high and back, in `period` s."""
    return lambda time: high * (low + (1 - low) * (0.5 - 0.5 * sin(2 * pi * time / period + pi / 2)))


# --- trouble ---------------------------------------------------------------------------------------------


@_scenario("limiter", "trouble")
def _limited(_: str, random: Random) -> Scenario:
    """More comes than the limit lets through, for half an hour."""
    size = _size(random, most=4, workers=5)
    seconds = random.choice((1.0, 10.0, 60.0))
    limit = max(1, round(size.rate * 0.8 * seconds))
    rate = _steps((2000, 3800), (size.rate * 0.5, size.rate, size.rate * 0.5))
    load = _load(rate, size, random, _LONG, limit=(limit, seconds))
    return Scenario("", "", load, _LONG, size.concurrency)


@_scenario("pauses", "trouble")
def _paused(_: str, random: Random) -> Scenario:
    size = _size(random, workers=6)
    begin = random.uniform(1200, 1800)
    pauses = ((begin, begin + random.uniform(300, 600)), (begin + 2400, begin + 2460))
    return Scenario(
        "", "", _load(lambda _: size.rate, size, random, _LONG, pauses=pauses), _LONG, size.concurrency
    )


@_scenario("retries with backoff", "trouble")
def _storm(_: str, random: Random) -> Scenario:
    """For ten minutes every attempt fails; each job is tried five times, with a backoff from 10 s."""
    size = _size(random, most=5, workers=5)
    begin = random.uniform(2000, 3000)
    at = arrivals(lambda _: size.rate, _LONG, random)
    failing = {index: 3 for index, time in enumerate(at) if begin <= time < begin + 600}
    load = Load(at, run_times(at, size.run, random), failing=failing, attempts=5, backoff=10.0)
    return Scenario("", "", load, _LONG, size.concurrency)


@_scenario("poison jobs", "trouble")
def _poison(_: str, random: Random) -> Scenario:
    """One job in twenty always fails, and is tried ten times at once."""
    size = _size(random, most=5, workers=5)
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
    size = _size(random, most=5)
    rate = _schedule(random, _LONG, (600, 1500), lambda: size.rate * random.uniform(0.3, 1.2))
    return Scenario(
        "", "", _load(rate, size, random, _LONG), _LONG, size.concurrency, extra={"crashes": 900.0}
    )


@_scenario("starts that fail", "trouble")
def _failing_starts(_: str, random: Random) -> Scenario:
    """One start in ten never ends."""
    size = _size(random)
    rate = _schedule(random, _LONG, (600, 1500), lambda: size.rate * random.uniform(0.3, 1.2))
    return Scenario(
        "", "", _load(rate, size, random, _LONG), _LONG, size.concurrency, extra={"start_fails": 0.1}
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
    return _long_jobs(random, _waves(1.0, 0.2, 4 * HOUR))


def _long_jobs(random: Random, shape: Factor) -> Scenario:
    seconds = 6 * HOUR
    size = _Size(600.0, 1, random.uniform(0.02, 0.04))
    load = _load(lambda time: size.rate * shape(time), size, random, seconds, sigma=0.3)
    extra = {"grace": 30.0, "victims": "idle", "knows_idle": True}
    return Scenario("", "", load, seconds, 1, extra=extra)
