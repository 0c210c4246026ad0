"""What was counted of the jobs of a queue by their name."""

from __future__ import annotations

from typing import NamedTuple

from exporter.snapshot.histogram import Histogram, NativeHistogram


class NativeOfName(NamedTuple):
    """The durations of a name in exponential buckets."""

    wait: NativeHistogram
    processing: NativeHistogram


class JobName(NamedTuple):
    """Jobs of one name since it has series of its own: jobs that were added, attempts that completed, that
    failed for good and after which the job is retried; how long jobs waited for an attempt, and how long
    attempts ran whatever their outcome (`native` None: they are not counted so)."""

    name: str
    added: int
    completed: int
    failed: int
    retried: int
    wait: Histogram
    processing: Histogram
    native: NativeOfName | None = None


class JobNames(NamedTuple):
    """Of a queue: the names that have series of their own, in the order of the alphabet; and, where there are
    some, the `rest`: all other names together, and the jobs whose name is unknown, as they were added before
    the queue was followed. Where no name has series there is no rest: it would be the queue once more."""

    named: tuple[JobName, ...] = ()
    rest: tuple[JobName, ...] = ()

    @property
    def all(self) -> tuple[JobName, ...]:
        """The named ones, and those of the rest that any job is counted in."""
        return (*self.named, *(each for each in self.rest if _any(each)))


def _any(counted: JobName) -> bool:
    return any((counted.added, counted.completed, counted.failed, counted.retried, *counted.wait.counts))
