"""The jobs that a queue's history shows: how many arrived, when, and how long they ran. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, NamedTuple

_WINDOW: Final = 300.0  # of the mean run time, and longer where too few jobs end
_WINDOW_JOBS: Final = 20
_LIMITED_WAITING: Final = 0.2  # of the slots
_LIMITED_FREE: Final = 0.25


class NothingRecordedError(Exception):
    """The history has no jobs to replay; the text says what is missing."""


@dataclass(frozen=True, slots=True)
class HistoryPoint:
    """The history at one time: counters of ended jobs, jobs inside (waiting and active), seconds and number
    of finished attempts, workers. None: not recorded."""

    at: float
    ended: float | None
    inside: float | None
    active: float | None
    duration_sum: float | None
    duration_count: float | None
    workers: float | None


@dataclass(frozen=True, slots=True)
class ArrivalHistory:
    """What is replayed. `arrivals`: jobs that arrived in the step before each time, their mean run time (s);
    `begin` and `end` in unix seconds; recorded `worker_seconds`, None if they were not recorded; `limited`:
    share of the time in which jobs waited beside free slots, as behind a rate limit or a pause, which is not
    replayed (None: not known)."""

    arrivals: tuple[tuple[float, float, float], ...]  # time, jobs, mean run time
    begin: float
    end: float
    step: float
    worker_seconds: float | None
    limited: float | None = None

    @property
    def jobs(self) -> float:
        return sum(jobs for _, jobs, _ in self.arrivals)


class RecordedStep(NamedTuple):
    """`jobs` that arrived in the step that ends `at` (unix s), 0 if none did, and their mean run time (s)."""

    at: float
    jobs: float
    run: float


def recorded_steps(points: Sequence[HistoryPoint], step_seconds: float) -> list[RecordedStep]:
    """The steps of which both ends were recorded, without those with a counter reset: what is not among them
    is not known. Raises NothingRecordedError: the run time of jobs is not known."""
    run_times = _mean_run_times(points)
    steps = []
    for before, after in pairwise(points):
        if before.ended is None or before.inside is None or after.ended is None or after.inside is None:
            continue
        if after.ended < before.ended or after.at - before.at > 2.5 * step_seconds:
            continue
        ended = after.ended - before.ended
        if before.duration_count is not None and after.duration_count is not None:
            ended = max(ended, after.duration_count - before.duration_count)  # each attempt is work
        arrived = ended + after.inside - before.inside
        steps.append(RecordedStep(after.at, max(0.0, arrived), run_times(after.at)))
    return steps


def arrival_history(
    points: Sequence[HistoryPoint], step_seconds: float, concurrency: int | None = None
) -> ArrivalHistory:
    """The jobs that arrived, by the balance of the queue, as the policy counts them.

    `concurrency` of a worker tells whether the queue was limited. Steps without metrics, and those with a
    counter reset, are left out. Raises NothingRecordedError.
    """
    arrivals = [
        (step.at, step.jobs, step.run) for step in recorded_steps(points, step_seconds) if step.jobs > 0
    ]
    if not arrivals:
        raise NothingRecordedError(
            "no jobs were recorded: is bullmq.events on, and was the exporter scraped?"
        )
    workers = [point.workers for point in points if point.workers is not None]
    worker_seconds = sum(workers) / len(workers) * (points[-1].at - points[0].at) if workers else None
    return ArrivalHistory(
        tuple(arrivals),
        points[0].at,
        points[-1].at,
        step_seconds,
        worker_seconds,
        limited_share(points, concurrency),
    )


def limited_share(points: Sequence[HistoryPoint], concurrency: int | None) -> float | None:
    """The share of the points at which jobs waited beside free slots."""
    limited = known = 0
    for point in points:
        if concurrency and point.workers and point.inside is not None and point.active is not None:
            slots, waiting = point.workers * concurrency, point.inside - point.active
            known += 1
            limited += waiting > _LIMITED_WAITING * slots and slots - point.active > _LIMITED_FREE * slots
    return limited / known if known else None


class _MeanRunTimes:
    """The mean run time at a time, by windows."""

    def __init__(self, windows: Mapping[int, float], overall: float) -> None:
        self._windows = windows
        self._overall = overall

    def __call__(self, at: float) -> float:
        return self._windows.get(int(at // _WINDOW), self._overall)


def _mean_run_times(points: Sequence[HistoryPoint]) -> _MeanRunTimes:
    sums: dict[int, tuple[float, float]] = {}
    busy = done = 0.0
    for before, after in pairwise(points):
        if before.active is not None and after.active is not None:
            busy += (before.active + after.active) / 2 * (after.at - before.at)
        if before.ended is not None and after.ended is not None:
            done += max(0.0, after.ended - before.ended)
        figures = (before.duration_sum, after.duration_sum, before.duration_count, after.duration_count)
        if any(value is None for value in figures):
            continue
        seconds, count = figures[1] - figures[0], figures[3] - figures[2]  # type: ignore[operator]
        if count > 0 and seconds >= 0:
            window = int(after.at // _WINDOW)
            total = sums.get(window, (0.0, 0.0))
            sums[window] = total[0] + seconds, total[1] + count
    count = sum(count for _, count in sums.values())
    if count:
        overall = sum(seconds for seconds, _ in sums.values()) / count
        return _MeanRunTimes(_windowed(sums), overall)
    if done:
        return _MeanRunTimes({}, busy / done)
    raise NothingRecordedError("no job ended in this time: the run time of jobs is not known")


def _windowed(sums: Mapping[int, tuple[float, float]]) -> dict[int, float]:
    """The mean of each window, with the windows before it as far as its own jobs are too few."""
    means: dict[int, float] = {}
    seconds = count = 0.0
    for window, (more, jobs) in sorted(sums.items()):
        if jobs >= _WINDOW_JOBS:
            seconds, count = more, jobs
        else:
            weight = min(1.0, (_WINDOW_JOBS - jobs) / count) if count else 0.0
            seconds, count = more + seconds * weight, jobs + count * weight
        means[window] = seconds / count
    return means
