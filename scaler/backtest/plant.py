"""What is simulated: the jobs, and the workers and metrics that they meet. No I/O, no clock."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Literal, TypeAlias

Victims: TypeAlias = Literal["youngest", "random", "idle"]
"""Which ready workers go when the target scales in."""


@dataclass(frozen=True, slots=True)
class Load:
    """Jobs by the time from which each can be taken (s, ascending) and their run times (s).

    `announced`: they were delayed jobs, which the queue knew before (`due`). `weight`: so many real jobs are
    one simulated job. `failing`: how many attempts of a job fail, by its index; of `attempts` at most, with a
    backoff of `backoff` s that doubles (0: it waits again at once). `limit`: at most so many jobs start in so
    many seconds. In each of `pauses` (from, to) no job starts. `concurrency_limit`: at most so
    many run at once.
    """

    at: Sequence[float]
    runs: Sequence[float]
    announced: bool = False
    weight: float = 1.0
    failing: Mapping[int, int] = field(default_factory=dict)
    attempts: int = 1
    backoff: float = 0.0
    limit: tuple[int, float] | None = None
    pauses: Sequence[tuple[float, float]] = ()
    concurrency_limit: int | None = None

    def __post_init__(self) -> None:
        if len(self.at) != len(self.runs):
            raise ValueError("each job needs its time of arrival and its seconds of run time")


@dataclass(frozen=True, slots=True)
class Plant:
    """The controlled system (control theory's plant): workers that run `concurrency` jobs at once each;
    `start` returns the seconds until the next started worker is ready (inf: it never is).

    Metrics are scraped every `scrape` seconds and can be read `age` seconds later; the controller decides
    every `interval`, for the first time `phase` seconds after a scrape. Between the two times of each of
    `outages` (s) nothing is scraped. At the time of each of `jumps` the counters rise by so many attempts
    that nobody ran, as those of an older exporter that takes over. A worker that has to go ends its jobs, but
    is killed after `grace` seconds; its jobs then run again, after the 30 s that BullMQ needs to notice.
    `crash` returns the seconds until a ready worker crashes, which then starts again. `knows_idle`: the
    controller sees how many workers are idle; `chance`: numbers from 0 to 1, for random `victims`.
    """

    concurrency: int
    start: Callable[[], float]
    workers: int = 1
    interval: float = 5.0
    scrape: float = 5.0
    phase: float = 0.0
    age: float = 0.0
    outages: Sequence[tuple[float, float]] = ()
    jumps: Sequence[tuple[float, float]] = ()
    grace: float = inf
    victims: Victims = "youngest"
    crash: Callable[[], float] | None = None
    knows_idle: bool = False
    chance: Callable[[], float] = lambda: 0.5


@dataclass(frozen=True, slots=True)
class TimelinePoint:
    """A point of the plot: simulated seconds, waiting jobs, ready and requested workers."""

    time: float
    waiting: float
    ready: int
    requested: int


@dataclass(frozen=True, slots=True)
class Report:
    """The result. Waits in seconds, of each attempt since it could be taken; `over` is the share of attempts
    that waited longer than the SLO, including those that still waited at the end; `worker_seconds` from the
    request of a worker to its end, `least_worker_seconds` those of the same attempts on workers that are
    always full. A reversal is a change in the opposite direction of the change before it; `starts` are
    workers that were requested, `killed` attempts that were."""

    jobs: float
    over: float
    waits: dict[float, float]
    longest: float
    worker_seconds: float
    least_worker_seconds: float
    changes: int
    reversals: int
    starts: int
    killed: float
    seconds: float
    timeline: tuple[TimelinePoint, ...] = field(repr=False)

    @property
    def cost(self) -> float:
        """Worker time divided by the least possible."""
        return self.worker_seconds / self.least_worker_seconds if self.least_worker_seconds else inf
