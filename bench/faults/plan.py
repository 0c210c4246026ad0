"""What comes and what goes wrong in a soak: three loads, and a fault each minute. Pure. Seconds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
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
    "master killed",
    "Redis sleeps",
    "slow wire",
    "broken wire",
    "endless replies",
    "wrong passwords",
    "wrong keys",
    "scaler killed",
    "endless bodies",
    "garbage",
    "names without queues",
    "careless queues",
    "writes refused",
    "state file not written",
    "scaler's state locked",
    "scaler's state gone",
    "events trimmed",
    "odd Prometheus",
    "odd scaler",
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
    "replica away": 90.0,  # its alert looks back half a minute, and waits for another
    "replica hangs": 10.0,
    "Prometheus hangs": 15.0,
    "Redis' clock ahead": 1.0,
    "odd entries and keys": 20.0,
    "slow headers": 30.0,
    "vanishing scrapers": 10.0,
    "slow readers": 30.0,
    "crowd of scrapes": 10.0,
    "master killed": 30.0,
    "Redis sleeps": 8.0,
    "slow wire": 20.0,
    "broken wire": 15.0,
    "endless replies": 10.0,
    "wrong passwords": 20.0,
    "wrong keys": 20.0,
    "scaler killed": 3.0,
    "endless bodies": 30.0,
    "garbage": 15.0,
    "names without queues": 20.0,
    "careless queues": 45.0,
    "writes refused": 90.0,  # its alert waits for a minute; the next fault begins later
    "state file not written": 30.0,
    "scaler's state locked": 20.0,
    "scaler's state gone": 10.0,
    "events trimmed": 1.0,
    "odd Prometheus": 15.0,
    "odd scaler": 20.0,
}
"""How long each lasts."""

ATTACKS: Final[frozenset[Kind]] = frozenset(
    {
        *("slow headers", "vanishing scrapers", "slow readers", "crowd of scrapes"),
        *("wrong passwords", "wrong keys", "endless bodies", "garbage"),
    }
)
"""By clients without a key: each true scrape is answered meanwhile."""


_BESIDE: Final[frozenset[Kind]] = frozenset(
    {
        *("replica away", "replica hangs", "odd entries and keys", "events trimmed"),
        *("slow wire", "broken wire", "endless replies"),  # to the second exporter
        *("names without queues", "careless queues", "odd scaler"),
        *("state file not written", "scaler's state locked", "scaler's state gone"),
    }
)
"""Of what the scaler and its workers do without."""

_OF_ONE_SHARD: Final[frozenset[Kind]] = frozenset(
    {"shard hangs", "Redis sleeps", "Redis failover", "master killed", "writes refused"}
)
_REDONE: Final[frozenset[Kind]] = frozenset({"master killed", "writes refused", "scaler killed"})
"""Jobs that run then stall, and BullMQ lets them begin again."""
STALLED_SECONDS: Final = 60.0
"""Until BullMQ has found that a job stalled: its lock ends after 30 s, and each 30 s are looked for such."""
FOUND_SECONDS: Final = max(SECONDS[kind] for kind in _REDONE) + STALLED_SECONDS
"""From the beginning of such a fault until the last of its jobs has been found."""


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


# Each is in a shard of its own.
LOADS: Final = (
    Load("seconds", 1.0, 3.0, 2, 14),
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


def faults(seconds: float, random: Random, only: Sequence[Kind] = ()) -> list[Fault]:
    """One each minute, from the second on, of every kind before any again; the last minutes have none, so
    that everything can be done. `only`: these in turn."""
    kinds: list[Kind] = list(only or SECONDS)
    planned: list[Fault] = []
    loads = cycle(LOADS)
    begin = 2 * EVERY
    while begin + EVERY <= seconds:
        if len(planned) % len(kinds) == 0 and not only:
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
    of_one = fault.kind in {"pause", "rate limit"} | _OF_ONE_SHARD
    return fault.load == load or not of_one


def redone(fault: Fault) -> bool:
    """Whether jobs that ran when it began may begin again."""
    return fault.kind in _REDONE


def merged(windows: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    """These times, ascending and without overlap."""
    apart: list[tuple[float, float]] = []
    for window in sorted(windows):
        if apart and window[0] <= apart[-1][1]:
            apart[-1] = apart[-1][0], max(window[1], apart[-1][1])
        else:
            apart.append(window)
    return apart


def excused(wait: tuple[float, float], windows: Sequence[tuple[float, float]]) -> float:
    """How much of the time of a wait is in any of the windows, which ascend and do not overlap."""
    return sum(max(0.0, min(wait[1], end) - max(wait[0], begin)) for begin, end in windows)
