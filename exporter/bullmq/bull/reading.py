"""What is read of Bull queues besides their messages, in bounded replies. Without I/O."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple, TypeAlias

from exporter.bullmq.bull.jobs import Balance
from exporter.bullmq.keys import base
from exporter.redis.protocol import Argument, Reply, whole_of
from exporter.snapshot.queues import QueueId

BullCommands: TypeAlias = list[tuple[Argument, ...]]

MAX_ACTIVE: Final = 1000
"""Active jobs of a queue that are read when it is first followed, or again after a gap."""
_KEPT_JOBS: Final = 3
_UPWARDS: Final = (
    ("LLEN", "active"),
    ("LLEN", "wait"),
    ("LLEN", "paused"),
    ("ZCARD", "delayed"),
    ("GET", "id"),
)
_RESULT_FIELDS: Final = {"completed": "returnvalue", "failed": "failedReason"}


class Lengths(NamedTuple):
    """A queue's own count of adds, and jobs that wait, wait for a delay, and are active; None: not readable.
    `active_ids` is None if they were not read, or are too many."""

    ids: int | None
    waiting: int | None
    delayed: int | None
    active: int | None
    active_ids: list[bytes] | None

    @property
    def balance(self) -> Balance | None:
        if self.ids is None or self.waiting is None or self.delayed is None or self.active is None:
            return None
        return Balance(self.ids, self.waiting + self.delayed, self.active)


def length_commands(queue: QueueId, *, with_active: bool) -> BullCommands:
    """Other clients' commands run between these. A job goes from `id` down to `active`: read upwards, one
    that moves meanwhile is nowhere; read downwards, as after a gap, it is twice. So no difference between a
    later and an earlier balance has more starts or ends than there were."""
    key = base(queue)
    commands: BullCommands = [(verb, key + name) for verb, name in _UPWARDS]
    if with_active:
        return [*reversed(commands), ("LRANGE", key + "active", 0, MAX_ACTIVE - 1)]
    return commands


def lengths(replies: Sequence[Reply]) -> Lengths:
    """From the replies to `length_commands`; those with the active jobs have one more."""
    with_active = len(replies) > len(_UPWARDS)
    listed = replies[-1] if with_active else None
    ordered = reversed(replies[:-1]) if with_active else replies
    active, wait, paused, delayed, ids = ordered
    complete = isinstance(listed, list) and isinstance(active, int) and active <= len(listed)
    return Lengths(
        0 if ids is None else whole_of(ids),
        wait + paused if isinstance(wait, int) and isinstance(paused, int) else None,
        delayed if isinstance(delayed, int) else None,
        active if isinstance(active, int) else None,
        [job for job in listed if isinstance(job, bytes)] if complete and isinstance(listed, list) else None,
    )


def kept_jobs_commands(queue: QueueId) -> BullCommands:
    """The jobs that ended last and are kept."""
    return [("ZRANGE", base(queue) + state, -_KEPT_JOBS, -1) for state in _RESULT_FIELDS]


def result_size_commands(queue: QueueId, kept: Sequence[Reply]) -> BullCommands:
    """The sizes of what those jobs returned, without reading it."""
    key = base(queue).encode("utf-8", "surrogateescape")
    return [
        ("HSTRLEN", key + job, field)
        for field, jobs in zip(_RESULT_FIELDS.values(), kept, strict=True)
        for job in (jobs if isinstance(jobs, list) else ())
        if isinstance(job, bytes)
    ]


def largest(sizes: Sequence[Reply]) -> int:
    """The largest of them; 0 if none is known."""
    return max((size for size in sizes if isinstance(size, int)), default=0)
