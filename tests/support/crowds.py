"""Very many queues in a Redis, written in BullMQ's layout in a second or two, and their removal."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Iterator
from itertools import islice

import hiredis

from exporter.redis.protocol import Argument, pack
from lab.redis import RedisServer

_BATCH = 2_000


def make_queues(server: RedisServer, names: Iterable[str], *, prefix: str = "bull") -> None:
    """Each has a job that waits."""
    _write(server, (command for name in names for command in _commands(f"{prefix}:{name}:")))


def remove_queues(server: RedisServer, names: Iterable[str], *, prefix: str = "bull") -> None:
    _write(
        server,
        (
            ("DEL", *(f"{prefix}:{name}:{key}" for key in ("meta", "id", "events", "wait", "1")))
            for name in names
        ),
    )


def _commands(base: str) -> Iterator[tuple[Argument, ...]]:
    yield ("HSET", base + "meta", "opts.maxLenEvents", 10_000, "version", "bullmq:6.7.0")
    yield ("SET", base + "id", 1)
    yield ("XADD", base + "events", "*", "event", "added", "jobId", 1, "name", "job")
    yield ("RPUSH", base + "wait", 1)
    yield ("HSET", base + "1", "name", "job", "timestamp", 1, "delay", 0, "opts", "{}", "data", "{}")


def _write(server: RedisServer, commands: Iterable[tuple[Argument, ...]]) -> None:
    """Raises hiredis.ReplyError on an error reply."""
    remaining = iter(commands)
    with socket.create_connection((server.host, server.port)) as connection:
        reader = hiredis.Reader()
        while batch := list(islice(remaining, _BATCH)):
            connection.sendall(b"".join(pack(*command) for command in batch))
            left = len(batch)
            while left:
                reply = reader.gets()
                if reply is False:
                    reader.feed(connection.recv(1 << 16))
                    continue
                if isinstance(reply, hiredis.ReplyError):
                    raise reply
                left -= 1
