"""Writes the queues of a cluster, and the jobs in some of them, in BullMQ's layout and order."""

from __future__ import annotations

import socket
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from types import TracebackType
from typing import Final, Self

from redis.crc import key_slot

from bench.queues import PREFIX, commands_of, exchange
from exporter.redis.protocol import pack
from lab.cluster import LocalCluster

_BATCH: Final = 5_000
_JOBS: Final = 5  # in each queue from the beginning
_TICK_SECONDS: Final = 0.25
_KEPT: Final = 100  # completed jobs of a queue, as by removeOnComplete
_MOST_EVENTS: Final = 10_000
_FIRST: Final = 1_000  # after those, so that their keys are others


@dataclass
class _Jobs:
    """Those of one queue that were written since the beginning; `last`: the number of the last one."""

    last: int = _FIRST
    waiting: deque[int] = field(default_factory=deque)
    active: deque[int] = field(default_factory=deque)


class Writers:
    """The queues `{queue-00000}` and so on, and a connection to each master; the first ones are busy.
    `finished`: jobs that were completed since then, by queue."""

    def __init__(self, cluster: LocalCluster, queues: int, busy: int) -> None:
        self.queues: Final = [f"{{queue-{number:05d}}}" for number in range(queues)]
        self.finished: Counter[str] = Counter()
        self._busy: Final = self.queues[:busy]
        self._owner = _owners(cluster)
        self._connections = {
            master.port: socket.create_connection(("127.0.0.1", master.port), timeout=60)
            for master in cluster.masters()
        }
        self._jobs = {queue: _Jobs() for queue in self._busy}
        now_ms = int(time.time() * 1000)
        self._send(
            (queue, command)
            for queue in self.queues
            for command in commands_of(queue, jobs=_JOBS, now_ms=now_ms)
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for connection in self._connections.values():
            connection.close()

    def steadily(self, rate: float, seconds: float) -> None:
        """So many jobs a second for so long, in turn in the busy queues: each waits for one turn of its queue
        and is active for the next. The last ones are completed at the end."""
        began, turn = time.monotonic(), 0
        while (elapsed := time.monotonic() - began) < seconds:
            turns = range(turn, int(rate * elapsed))
            self._send(self._turns([self._busy[number % len(self._busy)] for number in turns], add=True))
            turn = turns.stop
            time.sleep(max(0.0, _TICK_SECONDS - (time.monotonic() - began - elapsed)))
        for _ in range(2):
            self._send(self._turns(self._busy, add=False))

    def _turns(self, queues: Sequence[str], *, add: bool) -> Iterator[tuple[str, bytes]]:
        for queue in queues:
            for command in self._turn(queue, self._jobs[queue], add=add):
                yield queue, command

    def _turn(self, queue: str, jobs: _Jobs, *, add: bool) -> Iterator[bytes]:
        """The writes of BullMQ's scripts for a job that ends, one that begins, and one that is added."""
        base, now_ms = f"{PREFIX}:{queue}:", int(time.time() * 1000)
        if jobs.active:
            job = jobs.active.popleft()
            yield pack("LREM", base + "active", -1, job)
            yield pack("ZADD", base + "completed", now_ms, job)
            yield pack("HSET", f"{base}{job}", "finishedOn", now_ms, "returnvalue", "null")
            yield _event(base, "completed", job, "returnvalue", "null", "prev", "active")
            yield pack("ZREM", base + "completed", job - _KEPT)
            yield pack("DEL", f"{base}{job - _KEPT}")
            self.finished[queue] += 1
        if jobs.waiting:
            job = jobs.waiting.popleft()
            yield pack("LREM", base + "wait", -1, job)
            yield pack("LPUSH", base + "active", job)
            yield pack("HSET", f"{base}{job}", "processedOn", now_ms)
            yield _event(base, "active", job, "prev", "waiting")
            jobs.active.append(job)
        if add:
            job = jobs.last = jobs.last + 1
            yield pack("INCR", base + "id")
            yield pack("HSET", f"{base}{job}", "name", "job", "timestamp", now_ms, "data", "{}", "opts", "{}")
            yield pack("LPUSH", base + "wait", job)
            yield _event(base, "added", job, "name", "job")
            yield _event(base, "waiting", job)
            jobs.waiting.append(job)

    def _send(self, commands: Iterator[tuple[str, bytes]]) -> None:
        """Each to the master of its queue, in order."""
        batches: dict[int, list[bytes]] = {port: [] for port in self._connections}
        for queue, command in commands:
            port = self._owner(queue)
            batches[port].append(command)
            if len(batches[port]) >= _BATCH:
                exchange(self._connections[port], b"".join(batches[port]), len(batches[port]))
                batches[port] = []
        for port, batch in batches.items():
            if batch:
                exchange(self._connections[port], b"".join(batch), len(batch))


def _event(base: str, event: str, job: int, *fields: str) -> bytes:
    return pack(
        "XADD", base + "events", "MAXLEN", "~", _MOST_EVENTS, "*", "event", event, "jobId", job, *fields
    )


def _owners(cluster: LocalCluster) -> Callable[[str], int]:
    """The port of the master of a queue."""
    ports = {master.address: master.port for master in cluster.masters()}
    slots = {
        slot: ports[member.address]
        for member in cluster.members()
        if member.is_master
        for slot in chain(*member.slots)
    }
    return lambda queue: slots[key_slot(f"{PREFIX}:{queue}:".encode())]
