"""Parts of generated loads: sizes, rates over time, arrivals and run times."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import exp, log, pi, sin
from random import Random
from typing import Any, Final, TypeAlias

from scaler.backtest.plant import Load

_MAX_RATE: Final = 8.0  # jobs/s: more would only take longer to simulate

Factor: TypeAlias = Callable[[float], float]
"""A rate (jobs/s) or a factor of one, at a time (s)."""


@dataclass(frozen=True)
class Size:
    """Mean run time (s), concurrency, and the jobs/s that fill about ten workers."""

    run: float
    concurrency: int
    rate: float


def random_size(random: Random, *, least: float = 1.0, most: float = 12.0, workers: float = 10.0) -> Size:
    """A size with a mean run time from `least` to `most` s, of `workers` give or take 30 %."""
    run = exp(random.uniform(log(least), log(most)))
    concurrency = random.choice((1, 2, 4, 8))
    rate = min(_MAX_RATE, workers * random.uniform(0.7, 1.3) * concurrency / run)
    return Size(run, concurrency, rate)


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


def random_load(
    rate: Factor,
    size: Size,
    random: Random,
    seconds: float,
    *,
    factor: Factor | None = None,
    sigma: float = 0.6,
    **more: Any,
) -> Load:
    """A load of this many seconds; `more`: what else a Load has."""
    at = arrivals(rate, seconds, random)
    return Load(at, run_times(at, size.run, random, factor=factor, sigma=sigma), **more)


def steps(times: Sequence[float], values: Sequence[float]) -> Factor:
    """values[0] before the first of the times, then the next."""

    def at(time: float) -> float:
        return values[sum(begin <= time for begin in times)]

    return at


def schedule(
    random: Random, seconds: float, apart: tuple[float, float], values: Callable[[], float]
) -> Factor:
    """A new value every `apart` s, between the two."""
    times = [0.0]
    while times[-1] < seconds:
        times.append(times[-1] + random.uniform(*apart))
    return steps(times[1:], [values() for _ in times])


def on_off(period: float, low: float) -> Factor:
    """1 in the first half of each `period` s, then `low`."""
    return lambda time: 1.0 if time % period < period / 2 else low


def waves(high: float, low: float, period: float) -> Factor:
    """From low x high to high and back, in `period` s."""
    return lambda time: high * (low + (1 - low) * (0.5 - 0.5 * sin(2 * pi * time / period + pi / 2)))
