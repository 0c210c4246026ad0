"""Which workers have a job in hand, by the names that they were given: asked by hand and by the scaler.

BullMQ writes the worker's `name` into each job that it takes (field `pb`); a worker without one is nobody.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Final

from exporter.bullmq.discover import Discovery
from exporter.bullmq.keys import base
from exporter.bullmq.placement import SlotMap
from exporter.redis.deployment import Deployment
from exporter.redis.protocol import Reply, ReplyError, pack_request
from exporter.snapshot import QueueId
from service.clock import Deadline
from service.outcome import Failed, UnreadableError

MOST_JOBS: Final = 10_000
"""So many active jobs of a queue are looked at; more are told as cut off."""

_POOL: Final = "busy"


@dataclass(frozen=True, slots=True)
class BusyJobs:
    """Active jobs by worker name over some queues, those without a name, and whether jobs were left out."""

    queues: tuple[QueueId, ...]
    jobs: Mapping[str, int]
    unnamed: int = 0
    cut_off: bool = False


class BusyWorkers:
    """Asks for the active jobs of queues. One at a time: it is for seldom use."""

    def __init__(self, deployment: Deployment, discovery: Discovery) -> None:
        self._deployment = deployment
        self._discovery = discovery
        self._lock = threading.Lock()

    def of(self, prefix: str, names: Iterable[str], deadline: Deadline) -> BusyJobs:
        """The known queues that these names or patterns match. Raises UnreadableError; "not_found": none."""
        patterns = list(names)
        queues = tuple(
            queue
            for queue in self._discovery.known().queues
            if queue.prefix == prefix and any(fnmatchcase(queue.name, one) for one in patterns)
        )
        if not queues:
            raise UnreadableError("not_found", "no known queue is called so")
        with self._lock:
            slot_map = SlotMap(self._deployment.topology(deadline))
            active = self._ask(slot_map, deadline, {queue: [_active(queue)] for queue in queues})
            jobs = {queue: _ids(found[0]) for queue, found in active.items()}
            asked = {queue: [_worker(queue, job) for job in ids] for queue, ids in jobs.items() if ids}
            named = self._ask(slot_map, deadline, asked)
        counted = Counter(
            _text(reply[0]) if isinstance(reply, list) and reply[0] is not None else ""
            for found in named.values()
            for reply in found
        )
        unnamed = counted.pop("", 0)
        return BusyJobs(queues, dict(counted), unnamed, any(len(ids) >= MOST_JOBS for ids in jobs.values()))

    def _ask(
        self, slot_map: SlotMap, deadline: Deadline, commands: Mapping[QueueId, list[tuple[str, ...]]]
    ) -> dict[QueueId, list[Reply]]:
        """Each queue's replies, from its node."""
        owned, orphans = slot_map.by_owner(commands)
        if orphans:
            raise UnreadableError("unreachable", f"no node owns the slot of {orphans[0].name}")
        asked = {
            address: pack_request(one for queue in mine for one in commands[queue])
            for address, mine in owned.items()
        }
        answers = self._deployment.execute(asked, deadline, pool=_POOL)
        replies: dict[QueueId, list[Reply]] = {}
        for address, mine in owned.items():
            answer = answers[address]
            if isinstance(answer, Failed):
                raise UnreadableError(answer.kind, f"{address}: {answer.message}")
            rest = iter(answer.value)
            replies |= {queue: [next(rest) for _ in commands[queue]] for queue in mine}
        return replies


def _active(queue: QueueId) -> tuple[str, ...]:
    return "LRANGE", f"{base(queue)}active", "0", str(MOST_JOBS - 1)


def _worker(queue: QueueId, job: str) -> tuple[str, ...]:
    return "HMGET", f"{base(queue)}{job}", "pb"


def _ids(reply: Reply) -> list[str]:
    if isinstance(reply, ReplyError):
        raise UnreadableError("refused", str(reply))
    return [_text(one) for one in reply if isinstance(one, bytes)] if isinstance(reply, list) else []


def _text(reply: Reply) -> str:
    return reply.decode("utf-8", "surrogateescape") if isinstance(reply, bytes) else str(reply)
