"""Active jobs without a lock: nobody works on them, and no worker gives them back.

A worker renews the lock of each job that it has. After it was killed, another one's stalled check puts its
jobs back within 60 s; where no check runs, they stay active for ever. Only jobs that run for longer than a
lock lives are looked at, or were taken and never begun (Bull, and BullMQ to version 4, take them before they
lock them), a few of each queue, every ten seconds. Where none of those has one, as where all workers hang,
the others are counted too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from exporter.bullmq.counts import may_be_marker
from exporter.bullmq.keys import base
from exporter.bullmq.placement import SlotMap
from exporter.bullmq.search.ask import ask_owners
from exporter.bullmq.work import ENOUGH_LOST
from exporter.redis.deployment import Deployment
from exporter.redis.protocol import Argument, Reply
from exporter.snapshot.queues import QueueId, QueueState, Unlocked
from service.clock import Deadline
from service.outcome import Failed

LOOK_SECONDS: Final = 10.0
"""Seconds between two looks."""
LOCK_SECONDS: Final = 30.0
"""The time to live of a lock (lockDuration), unless a worker sets another one."""
MOST_QUEUES: Final = 200
"""Queues of one look, those with the longest active jobs."""
MOST_JOBS: Final = 10
"""Jobs of a queue whose locks are watched, those that are active for longest."""
MOST_FURTHER: Final = ENOUGH_LOST
"""Further jobs of a queue that are counted where none of those has a lock."""
MOST_FURTHER_IN_ALL: Final = 20_000
"""Such jobs of all queues: some milliseconds of Redis in each look."""


class _Further(NamedTuple):
    """Active jobs beyond those watched that have no lock, and whether there may be more."""

    jobs: int
    more: bool


_NO_FURTHER: Final = _Further(0, more=False)


class ActiveLocks:
    """Since when the locks of active jobs are gone. `look` as often as wanted."""

    def __init__(self, deployment: Deployment, pool: str) -> None:
        self._deployment = deployment
        self._pool = pool
        self._looked_at: float | None = None
        self._known = 0  # queues at the last look
        self._gone: Mapping[QueueId, Mapping[bytes, float]] = {}
        self._further: Mapping[QueueId, _Further] = {}

    def look(
        self, queues: Sequence[QueueState], slot_map: SlotMap, deadline: Deadline, at: float
    ) -> dict[QueueId, Unlocked]:
        """The queues with active jobs whose lock is gone, as of the last look; `at` in monotonic seconds.
        Queues that come are looked at at once: else a start would take hung workers for busy ones."""
        if self._looked_at is None or len(queues) > self._known or at - self._looked_at >= LOOK_SECONDS:
            old = [queue for queue in queues if _may_lack_a_lock(queue)]
            self._looked_at, self._known = at, len(queues)
            if old or self._gone:
                old.sort(key=lambda queue: -(queue.longest_active or LOCK_SECONDS))
                looked_at = old[:MOST_QUEUES]
                jobs = self._without_lock(looked_at, slot_map, deadline)
                self._gone = gone_since(self._gone, jobs, at)
                full = [queue for queue in looked_at if len(self._gone.get(queue.id, ())) == MOST_JOBS]
                self._further = self._count_further(full, slot_map, deadline)
        return {
            queue: Unlocked(
                len(jobs) + (further := self._further.get(queue, _NO_FURTHER)).jobs,
                at - min(jobs.values()),
                further.more,
            )
            for queue, jobs in self._gone.items()
            if jobs
        }

    def _without_lock(
        self, queues: Sequence[QueueState], slot_map: SlotMap, deadline: Deadline
    ) -> dict[QueueId, frozenset[bytes] | None]:
        """The jobs without a lock; None where they could not be looked at."""
        jobs = self._active(dict.fromkeys(queues, (-MOST_JOBS, -1)), slot_map, deadline)
        locks = self._ask(
            {
                queue: [("EXISTS", key) for key in _lock_keys(queue, ids)]
                for queue, ids in jobs.items()
                if ids
            },
            slot_map,
            deadline,
        )
        return {
            queue: None if ids is None else _unlocked(ids, locks.get(queue, []))
            for queue, ids in jobs.items()
        }

    def _count_further(
        self, queues: Sequence[QueueState], slot_map: SlotMap, deadline: Deadline
    ) -> dict[QueueId, _Further]:
        """How many of the jobs beyond the longest active ones have no lock either."""
        ranges, left = {}, MOST_FURTHER_IN_ALL
        for queue in queues:
            number = min((queue.jobs.active or 0) - MOST_JOBS, MOST_FURTHER, left)
            if number > 0:
                ranges[queue] = (-MOST_JOBS - number, -MOST_JOBS - 1)
                left -= number
        jobs = self._active(ranges, slot_map, deadline)
        keys = {queue: _lock_keys(queue, ids) for queue, ids in jobs.items() if ids}
        locks = self._ask(
            {queue: [("EXISTS", *lock_keys)] for queue, lock_keys in keys.items()}, slot_map, deadline
        )
        further = {}
        for queue in queues:
            looked_at, reply = len(keys.get(queue.id, ())), locks.get(queue.id)
            exist = reply[0] if isinstance(reply, list) else None
            gone = looked_at - exist if isinstance(exist, int) else 0
            more = gone == looked_at and (queue.jobs.active or 0) > MOST_JOBS + looked_at
            further[queue.id] = _Further(gone, more or (looked_at > 0 and not isinstance(exist, int)))
        return further

    def _active(
        self, ranges: Mapping[QueueState, tuple[int, int]], slot_map: SlotMap, deadline: Deadline
    ) -> dict[QueueId, list[bytes] | None]:
        """The ids of active jobs in these ranges of the list; None where it could not be read."""
        commands: dict[QueueId, list[tuple[Argument, ...]]] = {
            queue.id: [("LRANGE", base(queue.id) + "active", first, last)]
            for queue, (first, last) in ranges.items()
        }
        replies = self._ask(commands, slot_map, deadline)
        return {queue.id: _ids(replies[queue.id], queue) for queue in ranges}

    def _ask(
        self, commands: Mapping[QueueId, list[tuple[Argument, ...]]], slot_map: SlotMap, deadline: Deadline
    ) -> dict[QueueId, list[Reply] | Failed]:
        return ask_owners(self._deployment, slot_map, deadline, commands, pool=self._pool)


def gone_since(
    before: Mapping[QueueId, Mapping[bytes, float]],
    jobs: Mapping[QueueId, frozenset[bytes] | None],
    at: float,
) -> dict[QueueId, Mapping[bytes, float]]:
    """Since when each job has no lock: from the first of the looks that found none, one after the other. A
    queue that could not be looked at keeps what is known of it."""
    gone = {}
    for queue, ids in jobs.items():
        known = before.get(queue, {})
        gone[queue] = known if ids is None else {job: known.get(job, at) for job in ids}
    return gone


def _may_lack_a_lock(queue: QueueState) -> bool:
    if queue.longest_active is None:
        return bool(queue.jobs.active)
    return queue.longest_active >= LOCK_SECONDS


def _ids(reply: list[Reply] | Failed, queue: QueueState) -> list[bytes] | None:
    if isinstance(reply, Failed) or not isinstance(reply[0], list):
        return None
    jobs = [job for job in reply[0] if isinstance(job, bytes)]
    # A worker that was killed as it took a marker leaves it here; it never had a lock.
    return jobs if queue.library == "bull" else [job for job in jobs if not may_be_marker(job)]


def _lock_keys(queue: QueueId, jobs: Iterable[bytes]) -> list[bytes]:
    prefix = base(queue).encode("utf-8", "surrogateescape")
    return [b"%b%b:lock" % (prefix, job) for job in jobs]


def _unlocked(jobs: list[bytes], replies: list[Reply] | Failed) -> frozenset[bytes] | None:
    if isinstance(replies, Failed) or not all(isinstance(reply, int) for reply in replies):
        return None
    return frozenset(job for job, exists in zip(jobs, replies, strict=True) if not exists)
