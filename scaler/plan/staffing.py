"""How many slots an hour takes, so that few jobs wait longer than the SLO. Pure.

The jobs of an hour are served first in, first out, by slots that are all there: what a fixed number would do.
An hour of very many jobs is a formula (Erlang C) instead, as the law of large numbers makes them alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from heapq import heapreplace
from math import ceil, exp
from typing import Final

MANY_JOBS: Final = 10_000
"""Of an hour: up to here each is served."""

_MOST_LOAD: Final = 10_000_000  # slots: more than any target may have, and the formula takes as many steps


def slots_for_jobs(at: Sequence[float], runs: Sequence[float], *, slo: float, late: float) -> int:
    """The fewest slots with which at most the share `late` (0 to 1) of these jobs waits longer than `slo`
    seconds. `at`: when they come (s, ascending), `runs`: how long they run (s). 0 without jobs."""
    if not at:
        return 0
    allowed = int(late * len(at) + 1e-9)

    def suffice(slots: int) -> bool:
        return _late_jobs(at, runs, slots, slo, allowed) <= allowed

    most = max(1, int(sum(runs) / max(at[-1] - at[0] + slo, 1.0)))
    least = 0  # so many do not suffice
    while not suffice(most):
        least, most = most, min(2 * most, len(at))
    while most - least > 1:
        middle = (least + most) // 2
        least, most = (least, middle) if suffice(middle) else (middle, most)
    return most


def _late_jobs(at: Sequence[float], runs: Sequence[float], slots: int, slo: float, enough: int) -> int:
    """How many wait longer, or one more than `enough`, from which on it does not matter."""
    free = [at[0]] * min(slots, len(at))
    late = 0
    for moment, run in zip(at, runs, strict=True):
        begin = max(moment, free[0])
        if begin - moment > slo:
            late += 1
            if late > enough:
                return late
        heapreplace(free, begin + run)
    return late


def slots_for_rate(rate: float, run: float, *, slo: float, late: float) -> int:
    """The same for jobs that come at random, `rate` a second, and run `run` seconds on average, their run
    times scattered as widely as their mean (M/M/c)."""
    load = rate * run
    if load <= 0:
        return 0
    if load > _MOST_LOAD:
        return _MOST_LOAD
    blocked, slots = 1.0, 0
    while True:
        slots += 1
        blocked = load * blocked / (slots + load * blocked)  # Erlang B
        if slots <= load:
            continue
        waiting = blocked * slots / (slots - load * (1 - blocked))  # Erlang C
        if waiting * exp(-(slots - load) * slo / run) <= late:
            return slots


def workers_for(slots: int, concurrency: int) -> int:
    """Workers of so many slots each."""
    return ceil(slots / concurrency)
