"""Loads for comparing policies: days of recorded traces, and generated spikes, steps, batches and on-off.

A load is jobs with a time and a run time, for workers of a given concurrency; all random values are seeded.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import exp, log, pi, sin
from pathlib import Path
from random import Random
from typing import Final

from scaler.backtest.simulate import Load

_HOUR: Final = 3600.0
_DAY: Final = 86400.0


@dataclass(frozen=True)
class Case:
    """A load and what it runs on. `kind` is real, generated or batch; `run` the mean seconds of a job."""

    name: str
    kind: str
    load: Load
    seconds: float
    concurrency: int
    run: float


def recorded(traces: Path) -> Iterator[Case]:
    """Recorded loads, from the files of a folder."""
    for day in ("05", "11", "13"):
        yield _counted(f"nasa {day}", traces / f"nasa_1995-07-{day}.csv", run=8.0, concurrency=2)
    yield _tokens("llm code", traces / "azure_llm_2023_code.csv", concurrency=4)
    yield _tokens("llm conversation", traces / "azure_llm_2023_conv.csv", concurrency=4)
    for name, first, scale, run in (
        ("Twitter_volume_AAPL", 9000, 2.0, 12.0),
        ("Twitter_volume_FB", 10044, 15.0, 12.0),
        ("Twitter_volume_GOOG", 9480, 8.0, 12.0),
        ("elb_request_count_8c0756", 3396, 8.0, 12.0),
    ):
        yield _five_minutes(f"nab {name}", traces / f"nab_{name}.csv", first, scale, run)


def generated() -> Iterator[Case]:
    """Generated loads of six hours, and batches."""
    for run, concurrency in ((0.5, 1), (3.0, 4), (30.0, 4)):
        level = 12.0 * concurrency / run  # the capacity of twelve workers
        for name, rate in (
            ("spikes", _spikes(level / 3, level * 2, 720, Random(7))),
            ("rare spikes", _spikes(level / 3, level * 2, 2700, Random(9))),
            ("steps", _steps(level / 4, level, Random(8))),
            ("on-off", lambda t, level=level: level if t % 1800 < 900 else level / 20),
            ("waves", lambda t, level=level: level * (0.55 + 0.45 * sin(2 * pi * t / (1.5 * _HOUR)))),
        ):
            yield _generated(f"{name}, {run:g} s", "generated", rate, run, concurrency)
    for run, concurrency in ((3.0, 4), (30.0, 4)):
        for announced in (False, True):
            yield _batches(run, concurrency, announced=announced)


# --- generated -------------------------------------------------------------------------------------------


def _generated(name: str, kind: str, rate: Callable[[float], float], run: float, concurrency: int) -> Case:
    random = Random(name)
    at: list[float] = []
    for second in range(int(6 * _HOUR)):
        at += sorted(second + random.random() for _ in range(_poisson(rate(float(second)), random)))
    return Case(name, kind, Load(at, _runs(len(at), run, random)), 6 * _HOUR, concurrency, run)


def _spikes(level: float, height: float, apart: float, random: Random) -> Callable[[float], float]:
    """Spikes of 30 to 120 s at random times, `apart` seconds apart on average."""
    spikes: list[tuple[float, float]] = []
    begin = random.expovariate(1 / apart)
    while begin < 6 * _HOUR:
        end = begin + random.uniform(30, 120)
        spikes.append((begin, end))
        begin = end + random.expovariate(1 / apart)
    return lambda t: height if any(a <= t < b for a, b in spikes) else level


def _steps(low: float, high: float, random: Random) -> Callable[[float], float]:
    """A new level every 10 to 40 minutes."""
    steps = [(0.0, low)]
    while steps[-1][0] < 6 * _HOUR:
        steps.append((steps[-1][0] + random.uniform(600, 2400), random.uniform(low, high)))
    return lambda t: next(level for begin, level in reversed(steps) if begin <= t)


def _batches(run: float, concurrency: int, *, announced: bool) -> Case:
    """Every 20 minutes a batch that occupies twenty workers for two run times; nothing in between."""
    random = Random(f"batches {run}")
    size = int(2 * 20 * concurrency)
    at = [begin * 1200.0 + 600 for begin in range(18) for _ in range(size)]
    name = f"batches, {run:g} s" + (", delayed jobs" if announced else "")
    return Case(name, "batch", Load(at, _runs(len(at), run, random), announced), 6 * _HOUR, concurrency, run)


def _runs(count: int, mean: float, random: Random, sigma: float = 0.6) -> list[float]:
    """Lognormal run times with this mean."""
    mu = log(mean) - sigma * sigma / 2
    return [exp(random.gauss(mu, sigma)) for _ in range(count)]


def _poisson(mean: float, random: Random) -> int:
    if mean > 50:
        return max(0, round(random.gauss(mean, mean**0.5)))
    limit, product, count = exp(-mean), random.random(), 0
    while product > limit:
        product *= random.random()
        count += 1
    return count


# --- recorded --------------------------------------------------------------------------------------------


def _rows(file: Path) -> list[list[str]]:
    with file.open(newline="") as text:
        return list(csv.reader(text))[1:]


def _counted(name: str, file: Path, *, run: float, concurrency: int) -> Case:
    random = Random(name)
    at: list[float] = []
    for second, count in _rows(file):
        at += sorted(int(second) + random.random() for _ in range(int(count)))
    return Case(name, "real", Load(at, _runs(len(at), run, random)), _DAY, concurrency, run)


def _tokens(name: str, file: Path, *, concurrency: int) -> Case:
    """A request runs 0.2 ms for each input token and 25 ms for each output token."""
    rows = [(float(at), 0.0002 * int(inputs) + 0.025 * int(outputs)) for at, inputs, outputs in _rows(file)]
    runs = [run for _, run in rows]
    load = Load([at for at, _ in rows], runs)
    return Case(name, "real", load, rows[-1][0], concurrency, sum(runs) / len(runs))


def _five_minutes(name: str, file: Path, first: int, scale: float, run: float) -> Case:
    """A day of counts; the jobs of each five minutes arrive at random times."""
    random = Random(name)
    at: list[float] = []
    for index, (_, count) in enumerate(_rows(file)[first : first + 288]):
        jobs = _poisson(float(count) * scale, random)
        at += sorted((index + random.random()) * 300 for _ in range(jobs))
    return Case(name, "real", Load(at, _runs(len(at), run, random)), _DAY, 5, run)
