"""Which workers have jobs, as the exporter reports it: read just before a scale-in."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeAlias
from urllib.parse import urlencode

from scaler.model import Stalled
from service.clock import Deadline
from service.json_text import read_json
from service.outcome import UnreadableError
from service.units import plain
from service.web.client import HttpClientError, fetch

_LIMIT: Final = 16 << 20


class WorkerJobs(NamedTuple):
    """Jobs by worker name; `complete`: every active job was read, and has a worker's name."""

    jobs: Mapping[str, int]
    complete: bool


BusyLookup: TypeAlias = Callable[[Deadline], WorkerJobs]
"""Reads the busy workers. Raises UnreadableError."""


class ExporterBusy:
    """Asks an exporter for the workers of some queues, which are names or patterns: a `BusyLookup`."""

    def __init__(
        self,
        exporter_url: str,
        prefix: str,
        queues: Sequence[str],
        key: Callable[[], str | None] = lambda: None,
    ) -> None:
        query = urlencode([("prefix", prefix), *(("queue", queue) for queue in queues)])
        self._url = f"{exporter_url.rstrip('/')}/busy.json?{query}"
        self._key = key

    def __call__(self, deadline: Deadline) -> WorkerJobs:
        if deadline.passed():
            raise UnreadableError(
                "timeout", "the exporter was not asked for the busy workers: no time was left"
            )
        headers = {"accept": "application/json", **({"x-api-key": key} if (key := self._key()) else {})}
        try:
            response = fetch(self._url, deadline=deadline, headers=headers, limit=_LIMIT)
            if response.status != 200:
                raise ValueError(f"it answered {response.status}")  # noqa: TRY301
            return busy_jobs_of(read_json(response.body))
        except (HttpClientError, ValueError) as error:
            why = f"the exporter does not report the busy workers: {error}"
            raise UnreadableError("unreachable", why) from None


def busy_jobs_of(answer: Any) -> WorkerJobs:
    """The content of an answer. Raises ValueError: not what an exporter answers."""
    workers = answer.get("workers") if isinstance(answer, dict) else None
    if not isinstance(workers, dict):
        raise ValueError("not an exporter's answer")  # noqa: TRY004  # it is data
    jobs = {name: _count(number) for name, number in workers.items()}
    complete = answer.get("unnamed") == 0 and answer.get("cut_off") is False
    return WorkerJobs(jobs, complete)


def _count(number: Any) -> int:
    if type(number) is not int or number < 0:
        raise ValueError(f"{str(number)[:20]!r} is not a number of jobs")
    return number


def unlisted_jobs(stalled: Stalled, time: float) -> str | None:
    """Why no worker is known to be idle, though the exporter reports of each active job whose it is: those
    that stalled are not active, or by another worker, and the one that lost them may still run them.

    `time`: now (unix seconds). None: none may.
    """
    running = [(until, jobs) for until, jobs in stalled if until > time]
    if not running:
        return None
    jobs, longest = sum(jobs for _, jobs in running), max(until for until, _ in running) - time
    return f"{plain(jobs)} jobs that stalled may still run, for {longest:.0f} s more"


def idle_workers(busy: WorkerJobs, prefix: str, ready: int) -> int | None:
    """How many of the `ready` workers, whose names begin with `prefix`, have no job.

    None if not every job is known to be one of theirs. Workers that are terminating, or not ready for a
    moment, count as ready ones: the number is too low rather than too high, and below 0 where more have a job
    than are ready.
    """
    if not busy.complete or not all(name.startswith(prefix) for name in busy.jobs):
        return None
    return ready - sum(jobs > 0 for jobs in busy.jobs.values())
