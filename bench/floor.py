"""What each scrape is compared with: the same each time, whatever the exporter does, on any machine.

Ten counts of each queue on a bare socket, read with hiredis, and forty lines of each queue made and joined:
the least that an exporter of all queues in Python does.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Sequence
from typing import Final, NamedTuple

from bench.queues import PREFIX, exchange
from bench.watched import cpu_seconds
from exporter.redis.protocol import pack

LINES: Final = 40
_LISTS: Final = ("wait", "paused", "active")
_SETS: Final = ("delayed", "prioritized", "waiting-children", "completed", "failed", "repeat")


class FloorCost(NamedTuple):
    """CPU in ms of this process and of Redis."""

    own: float
    redis: float


class Floor:
    """The floor for some queues of a Redis on loopback, whose process id is `pid`."""

    def __init__(self, port: int, pid: int, queues: Sequence[str]) -> None:
        self._pid = pid
        self._queues = queues
        self._connection = socket.create_connection(("127.0.0.1", port), timeout=60)
        packed = []
        for queue in queues:
            key = f"{PREFIX}:{queue}:"
            packed += [pack("LLEN", key + name) for name in _LISTS]
            packed += [pack("ZCARD", key + name) for name in _SETS]
            packed.append(pack("HMGET", key + "meta", "paused", "concurrency", "max", "version"))
        self._packed, self._replies = b"".join(packed), len(packed)
        self._heads = [
            f'floor_{number}{{prefix="{PREFIX}",queue="{queue}"}} '
            for number in range(LINES)
            for queue in queues
        ]

    def run(self) -> FloorCost:
        """One scrape."""
        redis, own = cpu_seconds(self._pid), time.process_time()
        replies = exchange(self._connection, self._packed, self._replies)
        counts = [reply for reply in replies if reply.__class__ is int]
        each = len(counts) // len(self._queues)
        lines = []
        for number in range(LINES):
            start = number * len(self._queues)
            heads = self._heads[start : start + len(self._queues)]
            lines += [
                f"{head}{count}.0" for head, count in zip(heads, counts[number % each :: each], strict=True)
            ]
        "\n".join(lines).encode()
        return FloorCost((time.process_time() - own) * 1000, (cpu_seconds(self._pid) - redis) * 1000)

    def close(self) -> None:
        self._connection.close()
