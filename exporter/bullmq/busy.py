"""Which workers are processing jobs, by worker name; read on demand, by a person or by the scaler.

BullMQ writes the worker's `name` into each job that it takes (field `pb`); workers without a name are counted
together.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Final

from exporter.bullmq.discover import Discovery
from exporter.bullmq.keys import base, is_pattern
from exporter.bullmq.placement import SlotMap
from exporter.config.shard import UNDIVIDED, QueueShard
from exporter.redis.deployment import Deployment
from exporter.redis.protocol import Reply, ReplyError, pack_request
from exporter.snapshot.queues import QueueId
from service.clock import Deadline
from service.outcome import Failed, UnreadableError

MAX_ACTIVE_JOBS: Final = 10_000
"""The maximum number of active jobs read per queue; if there are more, the result is marked as cut off."""

_POOL: Final = "busy"


@dataclass(frozen=True, slots=True)
class BusyJobs:
    """Active jobs of some queues by worker name, jobs without one, and whether jobs were left out."""

    queues: tuple[QueueId, ...]
    jobs: Mapping[str, int]
    unnamed: int = 0
    cut_off: bool = False


class BusyWorkers:
    """Reads the active jobs of queues. One request at a time: it is for infrequent use."""

    def __init__(self, deployment: Deployment, discovery: Discovery, shard: QueueShard = UNDIVIDED) -> None:
        self._deployment = deployment
        self._discovery = discovery
        self._shard = shard
        self._lock = threading.Lock()

    def active_jobs(self, prefix: str, names: Iterable[str], deadline: Deadline) -> BusyJobs:
        """The active jobs of the known queues that match the names or patterns, and where the queues are
        divided of those with these names: they may be of another shard.

        Raises UnreadableError; its kind is "not_found" if no queue matches.
        """
        patterns = list(names)
        if self._shard.divided:
            queues = _named(prefix, patterns, self._shard)
        else:
            queues = tuple(
                queue
                for queue in self._discovery.known().queues
                if queue.prefix == prefix and any(fnmatchcase(queue.name, pattern) for pattern in patterns)
            )
        if not queues:
            raise UnreadableError("not_found", "no matching queue")
        with self._lock:
            slot_map = SlotMap(self._deployment.topology(deadline))
            active = self._execute(slot_map, deadline, {queue: [_active(queue)] for queue in queues})
            jobs = {queue: _job_ids(replies[0]) for queue, replies in active.items()}
            requests = {queue: [_worker(queue, job) for job in ids] for queue, ids in jobs.items() if ids}
            named = self._execute(slot_map, deadline, requests)
        jobs_by_worker = Counter(
            _text(reply[0]) if isinstance(reply, list) and reply[0] is not None else ""
            for replies in named.values()
            for reply in replies
        )
        unnamed = jobs_by_worker.pop("", 0)
        return BusyJobs(
            queues, dict(jobs_by_worker), unnamed, any(len(ids) >= MAX_ACTIVE_JOBS for ids in jobs.values())
        )

    def _execute(
        self, slot_map: SlotMap, deadline: Deadline, commands: Mapping[QueueId, list[tuple[str, ...]]]
    ) -> dict[QueueId, list[Reply]]:
        """Each queue's replies from its node."""
        owned, unowned = slot_map.by_owner(commands)
        if unowned:
            raise UnreadableError("unreachable", f"no node owns the slot of {unowned[0].name}")
        requests = {
            address: pack_request(command for queue in queues for command in commands[queue])
            for address, queues in owned.items()
        }
        outcomes = self._deployment.execute(requests, deadline, pool=_POOL)
        replies: dict[QueueId, list[Reply]] = {}
        for address, queues in owned.items():
            outcome = outcomes[address]
            if isinstance(outcome, Failed):
                raise UnreadableError(outcome.kind, f"{address}: {outcome.message}")
            remaining = iter(outcome.value)
            replies |= {queue: [next(remaining) for _ in commands[queue]] for queue in queues}
        return replies


def _named(prefix: str, names: Iterable[str], shard: QueueShard) -> tuple[QueueId, ...]:
    """Raises UnreadableError for a pattern: what it matches in other shards is not known, and a worker that
    is busy there would look idle."""
    pattern = next(filter(is_pattern, names), None)
    if pattern is not None:
        why = f"{pattern!r} may match queues of other shards than {shard}: their names are needed"
        raise UnreadableError("divided", why)
    return tuple(QueueId(prefix, name) for name in names)


def _active(queue: QueueId) -> tuple[str, ...]:
    return "LRANGE", f"{base(queue)}active", "0", str(MAX_ACTIVE_JOBS - 1)


def _worker(queue: QueueId, job: str) -> tuple[str, ...]:
    return "HMGET", f"{base(queue)}{job}", "pb"


def _job_ids(reply: Reply) -> list[str]:
    if isinstance(reply, ReplyError):
        raise UnreadableError("refused", str(reply))
    return [_text(job) for job in reply if isinstance(job, bytes)] if isinstance(reply, list) else []


def _text(reply: Reply) -> str:
    return reply.decode("utf-8", "surrogateescape") if isinstance(reply, bytes) else str(reply)
