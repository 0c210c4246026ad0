"""Active jobs without a lock: nobody works on them, and no worker gives them back.

A worker renews the lock of each job that it has. After it was killed, another one's stalled check puts its
jobs back within 60 s; where no check runs, they stay active for ever. Only jobs that run for longer than a
lock lives are looked at, or were taken and never begun (Bull, and BullMQ to version 4, take them before they
lock them), a few of each queue, every ten seconds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from exporter.bullmq.keys import base
from exporter.bullmq.placement import SlotMap
from exporter.bullmq.search.ask import ask_owners
from exporter.redis.deployment import Deployment
from exporter.redis.protocol import Argument, Reply
from exporter.snapshot import QueueId, QueueState, Unlocked
from service.clock import Deadline
from service.outcome import Failed

LOOK_SECONDS: Final = 10.0
"""Seconds between two looks."""
LOCK_SECONDS: Final = 30.0
"""The time to live of a lock (lockDuration), unless a worker sets another one."""
MOST_QUEUES: Final = 200
"""Queues of one look, those with the longest active jobs."""
MOST_JOBS: Final = 10
"""Jobs of a queue that are looked at, those that are active for longest."""


class ActiveLocks:
    """Since when the locks of active jobs are gone. `look` as often as wanted."""

    def __init__(self, deployment: Deployment, pool: str) -> None:
        self._deployment = deployment
        self._pool = pool
        self._looked_at: float | None = None
        self._gone: Mapping[QueueId, Mapping[bytes, float]] = {}

    def look(
        self, queues: Iterable[QueueState], slot_map: SlotMap, deadline: Deadline, at: float
    ) -> dict[QueueId, Unlocked]:
        """The queues with active jobs whose lock is gone, as of the last look; `at` in monotonic seconds."""
        if self._looked_at is None or at - self._looked_at >= LOOK_SECONDS:
            old = [queue for queue in queues if _may_lack_a_lock(queue)]
            self._looked_at = at
            if old or self._gone:
                old.sort(key=lambda queue: -(queue.longest_active or LOCK_SECONDS))
                jobs = self._without_lock([queue.id for queue in old[:MOST_QUEUES]], slot_map, deadline)
                self._gone = gone_since(self._gone, jobs, at)
        return {
            queue: Unlocked(len(jobs), at - min(jobs.values())) for queue, jobs in self._gone.items() if jobs
        }

    def _without_lock(
        self, queues: list[QueueId], slot_map: SlotMap, deadline: Deadline
    ) -> dict[QueueId, frozenset[bytes] | None]:
        """The jobs without a lock; None where they could not be looked at."""
        active = self._ask(
            {queue: [("LRANGE", base(queue) + "active", -MOST_JOBS, -1)] for queue in queues},
            slot_map,
            deadline,
        )
        jobs: dict[QueueId, list[bytes] | None] = {queue: _ids(reply) for queue, reply in active.items()}
        locks = self._ask(
            {
                queue: [
                    ("EXISTS", b"%b%b:lock" % (base(queue).encode("utf-8", "surrogateescape"), job))
                    for job in ids
                ]
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


def _ids(reply: list[Reply] | Failed) -> list[bytes] | None:
    if isinstance(reply, Failed) or not isinstance(reply[0], list):
        return None
    return [job for job in reply[0] if isinstance(job, bytes)]


def _unlocked(jobs: list[bytes], replies: list[Reply] | Failed) -> frozenset[bytes] | None:
    if isinstance(replies, Failed) or not all(isinstance(reply, int) for reply in replies):
        return None
    return frozenset(job for job, exists in zip(jobs, replies, strict=True) if not exists)
