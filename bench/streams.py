"""Writes BullMQ's events to a queue's event stream, faster than real workers."""

from __future__ import annotations

import socket
import time
from dataclasses import dataclass

from bench.queues import PREFIX, exchange
from exporter.redis.protocol import pack

EVENTS_A_JOB = 4


@dataclass
class Writer:
    """One queue's stream on a Redis on loopback, trimmed to about `most` entries as BullMQ trims it."""

    port: int
    queue: str
    most: int = 10_000
    jobs: int = 0

    def __post_init__(self) -> None:
        self._connection = socket.create_connection(("127.0.0.1", self.port), timeout=60)
        self._key = f"{PREFIX}:{self.queue}:events"

    def create(self) -> None:
        """The queue's meta key, so that it is discovered, and a first event."""
        meta = pack("HSET", f"{PREFIX}:{self.queue}:meta", "opts.maxLenEvents", self.most)
        exchange(self._connection, meta + self._event("resumed"), 2)

    def enqueue(self) -> None:
        """One job in the wait list: the exporter drops waiting jobs of the stream if the list is empty."""
        exchange(self._connection, pack("LPUSH", f"{PREFIX}:{self.queue}:wait", 1), 1)

    def write(self, jobs: int, *, finished: bool = True) -> None:
        """Events of `jobs` more jobs: each added and waiting and, if `finished`, active and completed."""
        packed = []
        for job in range(self.jobs + 1, self.jobs + jobs + 1):
            packed += [self._event("added", job, "name", "job"), self._event("waiting", job)]
            if finished:
                packed += [
                    self._event("active", job, "prev", "waiting"),
                    self._event("completed", job, "returnvalue", "null", "prev", "active"),
                ]
        self.jobs += jobs
        exchange(self._connection, b"".join(packed), len(packed))

    def steadily(self, rate: int, seconds: float) -> float:
        """Finished jobs at a rate per second; the rate that was reached."""
        started, before = time.monotonic(), self.jobs
        while (elapsed := time.monotonic() - started) < seconds:
            due = int(rate * elapsed) - (self.jobs - before)
            if due > 0:
                self.write(due)
            time.sleep(0.005)
        return (self.jobs - before) / elapsed

    def added(self) -> int:
        """The number of entries ever added to the stream."""
        (info,) = exchange(self._connection, pack("XINFO", "STREAM", self._key), 1)
        assert isinstance(info, list)
        return int(info[info.index(b"entries-added") + 1])

    def close(self) -> None:
        self._connection.close()

    def _event(self, name: str, job: int | None = None, *fields: str) -> bytes:
        named = () if job is None else ("jobId", job)
        return pack("XADD", self._key, "MAXLEN", "~", self.most, "*", "event", name, *named, *fields)
