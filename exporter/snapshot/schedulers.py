"""The job schedulers of a queue."""

from __future__ import annotations

from math import inf
from typing import Literal, NamedTuple, TypeAlias

NextJob: TypeAlias = Literal["pending", "active", "gone", "over", "unknown"]
"""The job of a scheduler's next run: pending until a worker takes it, gone if there is none."""


class Scheduler(NamedTuple):
    """A job scheduler or repeatable job. Times are unix s by the node's clock; None: not set, or not known.

    `id` is the library's key of it, `name` that of its jobs; `chosen_id`: upsertJobScheduler made it, and not
    the older queue.add; every `every` s, or by the cron `pattern` in
    `timezone`. `next_run`: when its next job is due; `last_run`: when a worker took the one before.
    `iterations` of `limit` jobs were added. `job` is the next job's state: "gone" if there is none although
    one should be, so that none will ever be added again, "over" if there is none as the limit or `ends_at` is
    reached. `missing_since`: since when it was seen to be gone. `quiet_since`: since when one with an
    interval is known not to have run.
    """

    id: str
    name: str
    chosen_id: bool
    next_run: float
    last_run: float | None
    every: float | None
    pattern: str | None
    timezone: str | None
    ends_at: float | None
    limit: int | None
    iterations: int | None
    job: NextJob
    missing_since: float | None = None
    quiet_since: float | None = None


class QueueSchedulers(NamedTuple):
    """A queue's schedulers by their next runs, how many more there are, and the node's time then (unix s).

    `held_at`, `limited_at`: when the queue was last seen paused, and at its rate limit or its global
    concurrency; 0: never. `duplicates`: the ids of schedulers that add the same jobs. `published`: those that
    have series of their own. `missing`: those whose next job is gone. `silent_at`:
    the first moment at which one has not run for two of its intervals.
    """

    schedulers: tuple[Scheduler, ...]
    now: float
    unread: int = 0
    held_at: float = 0.0
    limited_at: float = 0.0
    duplicates: tuple[tuple[str, ...], ...] = ()
    published: tuple[Scheduler, ...] = ()
    missing: tuple[Scheduler, ...] = ()
    silent_at: float = inf
