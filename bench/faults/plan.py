"""What comes and what goes wrong in a soak: three loads, and a fault each minute. Pure. Seconds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle
from random import Random
from typing import Final, Literal, TypeAlias

EVERY: Final = 60.0
"""Seconds from the beginning of a fault to that of the next."""

INTERVAL: Final = 5
"""Seconds between two scrapes, and between two decisions."""

SLO: Final = 30.0
START: Final = (4.0, 8.0)
"""Least and most seconds from a worker's start until it takes jobs."""
START_COST: Final = 60.0
GRACE: Final = 30
"""Seconds: less than two of the three loads' jobs run."""

Kind: TypeAlias = Literal[
    "exporter restart",
    "exporter away",
    "both exporters restart",
    "Redis failover",
    "shard hangs",
    "Prometheus restart",
    "pause",
    "rate limit",
    "counters jump",
    "scaler stands still",
    "exporter killed",
    "exporter stands still",
    "disk full",
    "no more descriptors",
    "no more memory",
    "password rotated",
    "clients killed",
    "replica away",
    "replica hangs",
    "Prometheus hangs",
    "Redis' clock ahead",
    "odd entries and keys",
    "slow headers",
    "vanishing scrapers",
    "slow readers",
    "crowd of scrapes",
]

SECONDS: Final[dict[Kind, float]] = {
    "exporter restart": 2.0,
    "exporter away": 40.0,
    "both exporters restart": 5.0,
    "Redis failover": 1.0,
    "shard hangs": 8.0,
    "Prometheus restart": 3.0,
    "pause": 30.0,
    "rate limit": 35.0,
    "counters jump": 5.0,
    "scaler stands still": 15.0,
    "exporter killed": 3.0,
    "exporter stands still": 15.0,
    "disk full": 30.0,
    "no more descriptors": 20.0,
    "no more memory": 10.0,
    "password rotated": 2.0,
    "clients killed": 1.0,
    "replica away": 50.0,
    "replica hangs": 10.0,
    "Prometheus hangs": 15.0,
    "Redis' clock ahead": 1.0,
    "odd entries and keys": 20.0,
    "slow headers": 30.0,
    "vanishing scrapers": 10.0,
    "slow readers": 30.0,
    "crowd of scrapes": 10.0,
}
"""How long each lasts."""

ATTACKS: Final[frozenset[Kind]] = frozenset(
    {"slow headers", "vanishing scrapers", "slow readers", "crowd of scrapes"}
)
"""By clients without a key: each true scrape is answered meanwhile."""


_BESIDE: Final[frozenset[Kind]] = frozenset({"replica away", "replica hangs", "odd entries and keys"})
"""Of what the scaler and its workers do without."""


@dataclass(frozen=True, slots=True)
class Load:
    """The queue and the target of a name: jobs of `run` seconds (half to one and a half times that) come at
    `rate` jobs/s, in every other five minutes at twice that."""

    name: str
    run: float
    rate: float
    concurrency: int
    most: int

    @property
    def queue(self) -> str:
        return f"{{{self.name}}}"


LOADS: Final = (
    Load("second", 1.0, 3.0, 2, 14),
    Load("minute", 60.0, 0.06, 1, 16),
    Load("minutes", 240.0, 0.015, 1, 14),
)


@dataclass(frozen=True, slots=True)
class Fault:
    """Of one load's queue or of all; `begin` and `end` in seconds from the beginning."""

    kind: Kind
    load: str
    begin: float
    end: float


@dataclass(frozen=True, slots=True)
class Arrival:
    """A job that comes `at`; it runs `factor` times the mean."""

    at: float
    load: Load
    factor: float


def faults(seconds: float, random: Random) -> list[Fault]:
    """One each minute, from the second on, of every kind before any again; the last minutes have none, so
    that everything can be done."""
    kinds: list[Kind] = list(SECONDS)
    planned: list[Fault] = []
    loads = cycle(LOADS)
    begin = 2 * EVERY
    while begin + EVERY <= seconds:
        if len(planned) % len(kinds) == 0:
            random.shuffle(kinds)
        kind = kinds[len(planned) % len(kinds)]
        planned.append(Fault(kind, next(loads).name, begin, begin + SECONDS[kind]))
        begin += EVERY
    return planned


def arrivals(seconds: float, random: Random) -> list[Arrival]:
    """Poisson arrivals of all loads, in the order of their times."""
    jobs = []
    for load in LOADS:
        now = 0.0
        while now < seconds:
            rate = load.rate * (2.0 if now // 300 % 2 else 1.0)
            now += random.expovariate(rate)
            jobs.append(Arrival(now, load, random.uniform(0.5, 1.5)))
    return sorted((job for job in jobs if job.at < seconds), key=lambda job: job.at)


def affected(fault: Fault, load: str) -> bool:
    """Whether a fault may make jobs of this load wait."""
    if fault.kind in ATTACKS or fault.kind in _BESIDE:
        return False
    of_one = fault.kind in {"pause", "rate limit", "shard hangs", "Redis failover"}
    return fault.load == load or not of_one


def excused(wait: tuple[float, float], windows: Sequence[tuple[float, float]]) -> float:
    """How much of the time of a wait is in any of the windows, which ascend and do not overlap."""
    return sum(max(0.0, min(wait[1], end) - max(wait[0], begin)) for begin, end in windows)
