"""Fills a Redis with queues in BullMQ's layout; real producers would take minutes."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator

import hiredis

from exporter.redis.protocol import pack

PREFIX = "bull"
_BATCH = 20_000


def names(count: int) -> list[str]:
    return [f"queue-{number:04d}" for number in range(count)]


def commands_of(queue: str, *, jobs: int, now_ms: int) -> Iterator[bytes]:
    """A queue. Of 20 jobs 2 are waiting, 1 each active, delayed, prioritized and failed, 14 completed."""
    base = f"{PREFIX}:{queue}:"
    yield pack("HSET", base + "meta", "opts.maxLenEvents", 10_000, "version", "bullmq:6.7.0")
    yield pack("SET", base + "id", jobs)
    yield pack("XADD", base + "events", "*", "event", "added", "jobId", 1, "name", "job")
    for job in range(1, jobs + 1):
        yield pack(
            "HSET",
            f"{base}{job}",
            "name",
            "job",
            "timestamp",
            now_ms - job,
            "processedOn",
            now_ms,
            "data",
            "{}",
        )
        match job % 20:
            case 0 | 1:
                yield pack("LPUSH", base + "wait", job)
            case 2:
                yield pack("LPUSH", base + "active", job)
            case 3:
                yield pack("ZADD", base + "delayed", (now_ms + job) * 4096, job)
            case 4:
                yield pack("ZADD", base + "prioritized", job * 2**32, job)
            case 5:
                yield pack("ZADD", base + "failed", now_ms - job, job)
            case _:
                yield pack("ZADD", base + "completed", now_ms - job, job)


def fill(port: int, *, queues: int, jobs_per_queue: int) -> None:
    """Write the queues into the Redis on loopback; raises hiredis.ReplyError on an error reply."""
    now_ms = int(time.time() * 1000)
    with connected(port) as connection:
        batch: list[bytes] = []
        for queue in names(queues):
            for command in commands_of(queue, jobs=jobs_per_queue, now_ms=now_ms):
                batch.append(command)
                if len(batch) == _BATCH:
                    exchange(connection, b"".join(batch), len(batch))
                    batch.clear()
        exchange(connection, b"".join(batch), len(batch))


def connected(port: int) -> socket.socket:
    """A bare socket to the Redis on loopback."""
    return socket.create_connection(("127.0.0.1", port), timeout=60)


def exchange(connection: socket.socket, packed: bytes, replies: int) -> list[object]:
    """Write, then read `replies` replies on a bare socket with hiredis."""
    reader = hiredis.Reader()
    received: list[object] = []
    connection.sendall(
        packed
    )  # Redis buffers replies that are not read yet, so that this cannot block for ever
    while len(received) < replies:
        chunk = connection.recv(1 << 20)
        if not chunk:
            raise ConnectionError("Redis closed the connection")
        reader.feed(chunk)
        while (reply := reader.gets()) is not False:
            if isinstance(reply, hiredis.ReplyError):
                raise reply
            received.append(reply)
    return received
