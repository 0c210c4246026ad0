"""What a trial recorded, and what it sums up to. Pure. Seconds, from the end of the lead."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from bench.programs import JobTimes
from bench.trial.scenarios import Plant, Scenario, takeable

COLUMNS: Final = (
    "scenario",
    "jobs",
    "over the SLO",
    "longest wait",
    "worker-seconds",
    "by the least possible",
    "starts",
    "most workers",
)


@dataclass(frozen=True, slots=True)
class Look:
    """The queue at one moment, and the scaler's last decision: when it was `decided`, how many workers were
    `ready` then and how many are `requested` since."""

    at: float
    decided: float
    waiting: int
    active: int
    requested: int
    ready: int
    reason: str
    sentence: str
    inputs: dict[str, float]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Recording:
    """`workers`: when each process started and ended (None: it ran on). `lost`: jobs that did not complete,
    `repeated`: that began twice."""

    scenario: Scenario
    plant: Plant
    jobs: tuple[JobTimes, ...]
    looks: tuple[Look, ...]
    workers: tuple[tuple[float, float | None], ...]
    lost: int = 0
    repeated: int = 0


@dataclass(frozen=True, slots=True)
class Summary:
    """`late`: jobs that waited over the SLO; `late_takeable` and `longest_takeable` count only the time in
    which a job could have been taken; `most_workers` since the disturbance began. Times in seconds."""

    jobs: int
    late: int
    longest: float
    late_takeable: int
    longest_takeable: float
    worker_seconds: float
    least: float
    starts: int
    most_workers: int


def waits(recording: Recording) -> list[tuple[JobTimes, float, float]]:
    """Each job in the order in which it came, its wait, and its wait while it could have been taken."""
    jobs = sorted(recording.jobs, key=lambda job: job.added)
    free = takeable([job.added for job in jobs], recording.scenario.disturbances)
    pauses = [disturbance for disturbance in recording.scenario.disturbances if disturbance.kind == "pause"]
    return [
        (
            job,
            job.taken - job.added,
            max(0.0, job.taken - at)
            - sum(_overlap(disturbance.begin, disturbance.end, job.taken, at) for disturbance in pauses),
        )
        for job, at in zip(jobs, free, strict=True)
    ]


def summary_of(recording: Recording) -> Summary:
    """Of the jobs that came after the lead; workers and their work until no more jobs come."""
    slo, end = recording.plant.slo, recording.scenario.seconds
    disturbed = min((disturbance.begin for disturbance in recording.scenario.disturbances), default=0.0)
    judged = [(wait, free) for job, wait, free in waits(recording) if job.added >= 0]
    work = sum(_overlap(job.taken, job.finished, end) for job in recording.jobs)
    return Summary(
        jobs=len(judged),
        late=sum(wait > slo for wait, _ in judged),
        longest=max(wait for wait, _ in judged),
        late_takeable=sum(free > slo for _, free in judged),
        longest_takeable=max(free for _, free in judged),
        worker_seconds=sum(_overlap(begin, stop, end) for begin, stop in recording.workers),
        least=work / recording.plant.concurrency,
        starts=sum(0 <= begin < end for begin, _ in recording.workers),
        most_workers=max(look.requested for look in recording.looks if look.at >= disturbed),
    )


def changes(looks: Iterable[Look]) -> list[tuple[Look, Look]]:
    """The looks before and after each change of the requested workers."""
    return [(before, after) for before, after in pairwise(looks) if before.requested != after.requested]


def row(recording: Recording) -> list[str]:
    """The cells of COLUMNS. Where a pause or a limit held jobs back, in brackets the whole wait."""
    total = summary_of(recording)
    late, longest = f"{100 * total.late_takeable / total.jobs:.2f} %", f"{total.longest_takeable:.1f} s"
    if any(disturbance.kind in {"pause", "limit"} for disturbance in recording.scenario.disturbances):
        late += f" ({100 * total.late / total.jobs:.1f} %)"
        longest += f" ({total.longest:.1f} s)"
    return [
        recording.scenario.name,
        f"{total.jobs:,}",
        late,
        longest,
        f"{total.worker_seconds:,.0f}",
        f"{total.worker_seconds / total.least:.2f}",
        str(total.starts),
        str(total.most_workers),
    ]


def _overlap(begin: float, stop: float | None, end: float, start: float = 0.0) -> float:
    """The part of it that is between `start` and `end`."""
    return max(0.0, min(end if stop is None else stop, end) - max(start, begin))
