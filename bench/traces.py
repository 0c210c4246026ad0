"""Slices of recorded loads: of a folder of traces that is not part of the project."""

from __future__ import annotations

import csv
from bisect import bisect_left
from pathlib import Path
from random import Random
from typing import Final

from bench.loads import poisson, run_times
from bench.scenarios import HOUR, Scenario
from scaler.backtest.plant import Load

_NASA: Final = ("05", "11", "13")
_AZURE: Final = ("code", "conv")
_NAB: Final = (
    ("Twitter_volume_AAPL", 9000, 2.0),
    ("Twitter_volume_FB", 10044, 15.0),
    ("Twitter_volume_GOOG", 9480, 8.0),
    ("elb_request_count_8c0756", 3396, 8.0),
)
_SLICE: Final = 3 * HOUR


def trace_names() -> list[str]:
    """The recorded scenarios, in the order of the tables."""
    return [
        *(f"nasa {day}" for day in _NASA),
        *(f"llm {kind}" for kind in _AZURE),
        *(f"nab {name}" for name, *_ in _NAB),
    ]


def recorded(folder: Path, name: str, seed: int) -> Scenario:
    """Three hours of a trace (or all, if it is shorter), from a random time on; run times are random."""
    random = Random(f"{name} {seed}")
    family, _, rest = name.partition(" ")
    if family == "nasa":
        rows = _rows(folder / f"nasa_1995-07-{rest}.csv")
        at = [int(second) + random.random() for second, count in rows for _ in range(int(count))]
        return _slice(name, sorted(at), random, run=8.0, concurrency=2)
    if family == "llm":
        requests = [
            (float(second), 0.0002 * int(read) + 0.025 * int(made))
            for second, read, made in _rows(folder / f"azure_llm_2023_{rest}.csv")
        ]
        load = Load([second for second, _ in requests], [run for _, run in requests])
        return Scenario(name, "recorded", load, requests[-1][0], 4)
    first, scale = next((first, scale) for trace, first, scale in _NAB if trace == rest)
    at = []
    for index, (_, count) in enumerate(_rows(folder / f"nab_{rest}.csv")[first : first + 288]):
        at += [(index + random.random()) * 300 for _ in range(poisson(float(count) * scale, random))]
    return _slice(name, sorted(at), random, run=12.0, concurrency=5)


def _slice(name: str, at: list[float], random: Random, *, run: float, concurrency: int) -> Scenario:
    begin = random.uniform(0, max(0.0, at[-1] - _SLICE))
    times = [time - begin for time in at[bisect_left(at, begin) : bisect_left(at, begin + _SLICE)]]
    return Scenario(name, "recorded", Load(times, run_times(times, run, random)), _SLICE, concurrency)


def _rows(file: Path) -> list[list[str]]:
    with file.open(newline="") as text:
        return list(csv.reader(text))[1:]
