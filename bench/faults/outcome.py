"""What a soak shows: jobs lost, run twice, failed or starved, and workers that nobody needed. Pure."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from itertools import accumulate, chain
from math import ceil
from operator import attrgetter
from typing import Final

from bench.faults.plan import (
    FOUND_SECONDS,
    INTERVAL,
    SLO,
    STALLED_SECONDS,
    START,
    START_COST,
    Fault,
    Load,
    affected,
    excused,
    merged,
    redone,
)
from bench.programs import JobTimes

_AFTER: Final = START[1] + 2 * INTERVAL
"""Seconds after a fault's end: until a scrape and a decision have seen it, and a worker has started."""
_HELD: Final = START_COST + _AFTER + 2 * INTERVAL
"""Seconds that a worker may stay after jobs could have used it."""
_LOOK_SECONDS: Final = 1.0
_UNSEEN_RUNS: Final = 2.0
_UNSEEN_LEAST: Final = 120.0
_RUNS: Final = 3.0
"""Run times from the beginning: until some jobs have ended, nobody knows how long one runs, and those that
have not ended make it look longer. What was asked for until then is held once more."""


@dataclass(frozen=True, slots=True)
class Look:
    """A queue at one moment, and what is requested for it, and why."""

    at: float
    waiting: int
    active: int
    requested: int
    ready: int
    sentence: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """Of one load. `killed`: workers that did not end by themselves; `begun`: how often each job began.

    `stopped`: how many faults each job was running in that let BullMQ give it to another worker; `unseen`:
    when such a fault began, and how many it was for; `unheard`: jobs that a master was told just before it
    was killed, so that its replica may not know them.
    """

    load: Load
    jobs: Sequence[JobTimes]
    looks: Sequence[Look]
    added: AbstractSet[str]
    failed: AbstractSet[str]
    begun: Mapping[str, int]
    killed: Sequence[str]
    starts: int
    stopped: Mapping[str, int]
    unseen: Sequence[tuple[float, int]]
    unheard: AbstractSet[str]

    @property
    def lost(self) -> list[str]:
        """Those that nothing explains."""
        return sorted(self.added - {job.id for job in self.jobs} - self.failed - self.unheard)

    @property
    def repeated(self) -> list[str]:
        """Jobs that began more often than faults explain."""
        return sorted(job for job, times in self.begun.items() if times > 1 + self.stopped.get(job, 0))

    @property
    def wrongly_failed(self) -> list[str]:
        """BullMQ lets a job fail that it could not tell Redis of, or that stalled twice."""
        return sorted(self.failed - self.stopped.keys())


def findings(outcome: Outcome, faults: Iterable[Fault]) -> Iterator[str]:
    """A line for each thing that must not be."""
    name = outcome.load.name
    for jobs, what in (
        (outcome.lost, "lost"),
        (outcome.wrongly_failed, "failed"),
        (outcome.repeated, "begun too often"),
    ):
        if jobs:
            yield f"{name}: {len(jobs)} jobs {what}: {', '.join(jobs[:10])}"
    for worker in outcome.killed:
        yield f"{name}: {worker}"
    windows = windows_of(faults, name)
    excuses = merged([*windows, *_full(outcome)])
    starved = [job for job in outcome.jobs if job.id not in outcome.stopped and _late(job, excuses)]
    if starved:
        worst = max(starved, key=lambda job: job.taken - job.added)
        yield (
            f"{name}: {len(starved)} jobs starved, the worst from {worst.added:.0f} s on for "
            f"{worst.taken - worst.added:.0f} s"
        )
    idle = _idle(outcome, windows)
    if idle:
        worst_look = max(idle, key=lambda look: look.requested - usable(outcome, look.at))
        yield (
            f"{name}: {len(idle)} s with more workers than jobs could use, at {worst_look.at:.0f} s "
            f"{worst_look.requested} rather than {usable(outcome, worst_look.at)}: {worst_look.sentence}"
        )


def windows_of(faults: Iterable[Fault], load: str) -> list[tuple[float, float]]:
    """The times in which jobs of a load may wait over the SLO; they ascend and do not overlap."""
    return merged(
        (fault.begin, fault.end + _AFTER + (STALLED_SECONDS if redone(fault) else 0.0))
        for fault in faults
        if affected(fault, load)
    )


def _full(outcome: Outcome) -> Iterator[tuple[float, float]]:
    """The times in which each worker that there may be is there: nobody could do more."""
    for look in outcome.looks:
        if look.ready >= outcome.load.most:
            yield look.at - _LOOK_SECONDS, look.at + _LOOK_SECONDS


def _late(job: JobTimes, windows: Sequence[tuple[float, float]]) -> bool:
    wait = job.taken - job.added
    return wait - excused((job.added, job.taken), windows) > SLO


def _idle(outcome: Outcome, windows: Sequence[tuple[float, float]]) -> list[Look]:
    """The looks at more workers than jobs could use, where starts are known and no fault hides the jobs.

    One decision's worth is none: it goes by a scrape, and the looks miss a job that was there between them.
    """
    idle: list[Look] = []
    run: list[Look] = []
    learned = max(3 * START[1], _RUNS * outcome.load.run + _HELD)
    for look in outcome.looks:
        hidden = look.at < learned or any(begin <= look.at <= end for begin, end in windows)
        if not hidden and look.requested > usable(outcome, look.at):
            run.append(look)
            continue
        idle += run if run and run[-1].at - run[0].at > INTERVAL else ()
        run = []
    return idle + (run if run and run[-1].at - run[0].at > INTERVAL else [])


def usable(outcome: Outcome, at: float) -> int:
    """Workers that jobs could use: those inside lately, or within an SLO after a start; and one more.

    Inside is also the load as it is defined, the mean of two run times: it falls more slowly than the jobs.
    """
    begin, end = at - _HELD, at + START[1] + SLO
    inside = (look.waiting + look.active for look in outcome.looks if begin <= look.at <= end)
    most = max(chain(inside, _loads(outcome, begin, at)), default=0) + _unseen(outcome, at)
    return min(outcome.load.most, ceil(most / outcome.load.concurrency) + 1)


def _unseen(outcome: Outcome, at: float) -> int:
    """Jobs that BullMQ counts as waiting, and their workers may still run: for all that a scaler can know,
    for twice the mean run time from when they were found."""
    kept = FOUND_SECONDS + max(_UNSEEN_LEAST, _UNSEEN_RUNS * outcome.load.run) + _HELD
    return sum(jobs for begin, jobs in outcome.unseen if begin <= at <= begin + kept)


def _loads(outcome: Outcome, begin: float, end: float) -> Iterator[float]:
    """Jobs inside, as the mean of the last two run times, at each look from `begin` to `end`."""
    span = 2 * outcome.load.run
    looks = [look for look in outcome.looks if begin - span <= look.at <= end]
    sums = [0, *accumulate(look.waiting + look.active for look in looks)]
    for last, look in enumerate(looks, 1):
        first = bisect_left(looks, look.at - span, key=attrgetter("at"))
        if look.at >= max(begin, looks[0].at + span - 1):
            yield (sums[last] - sums[first]) / (last - first)


def late(outcome: Outcome) -> int:
    """Jobs that waited over the SLO, for whatever reason."""
    return sum(job.taken - job.added > SLO for job in outcome.jobs)
