"""Event streams with entries of many MB, and what Redis keeps in its memory for those who read them."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Iterable
from types import TracebackType
from typing import Any, Self

import hiredis

from exporter.redis.connect import CLIENT_NAME
from exporter.redis.protocol import pack
from lab.redis import RedisServer


class RawConnection:
    """A connection that sends what redis-cli cannot take as an argument."""

    def __init__(self, server: RedisServer) -> None:
        self._socket = socket.create_connection((server.host, server.port))
        self._reader = hiredis.Reader(encoding="utf-8", errors="replace")
        self.received = 0

    def ask(self, *command: str | bytes | int) -> Any:
        self._socket.sendall(pack(*command))
        while (reply := self._reader.gets()) is False:
            received = self._socket.recv(1 << 16)
            self.received += len(received)
            self._reader.feed(received)
        return reply

    def close(self) -> None:
        self._socket.close()


def add_completed(server: RedisServer, queue: str, sizes: Iterable[int]) -> int:
    """Events as BullMQ writes them for jobs that return so many bytes each; how many."""
    connection = RawConnection(server)
    key = f"bull:{queue}:events"
    added = 0
    for number, size in enumerate(sizes):
        value = b"x" * size
        fields = ("event", "completed", "jobId", str(number), "returnvalue", value, "prev", "active")
        assert isinstance(connection.ask("XADD", key, "*", *fields), str)
        added += 1
    connection.close()
    return added


def add_waiting(server: RedisServer, queue: str, jobs: int) -> int:
    """Small events, two for each job; how many."""
    connection = RawConnection(server)
    for number in range(jobs):
        job = f"w{number}"
        connection.ask("XADD", f"bull:{queue}:events", "*", "event", "added", "jobId", job, "name", "x")
        connection.ask("XADD", f"bull:{queue}:events", "*", "event", "waiting", "jobId", job)
    connection.close()
    return 2 * jobs


class OutputBuffers:
    """In a `with`, looks all the time: `largest` is the most bytes of all output buffers of the exporter at
    one look, `used` the most memory of Redis; afterwards `sent` are all bytes that Redis sent to others."""

    def __init__(self, server: RedisServer) -> None:
        self.largest = 0
        self.used = 0
        self.looks = 0
        self._connection = RawConnection(server)
        self.sent = -self._sent()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join(20)
        assert self.looks > 0
        self.sent += self._sent()
        self._connection.close()

    def _sent(self) -> int:
        own = self._connection.received
        stats = str(self._connection.ask("INFO", "stats"))
        (sent,) = re.findall(r"^total_net_output_bytes:(\d+)", stats, re.MULTILINE)
        return int(sent) - own

    def _run(self) -> None:
        while self.looks == 0 or not self._stop.wait(0.0005):
            clients = str(self._connection.ask("CLIENT", "LIST")).splitlines()
            ours = [line for line in clients if f" name={CLIENT_NAME} " in line]
            buffers = sum(int(size) for line in ours for size in re.findall(r" omem=(\d+)", line))
            self.largest = max(self.largest, buffers)
            memory = str(self._connection.ask("INFO", "memory"))
            (used,) = re.findall(r"^used_memory:(\d+)", memory, re.MULTILINE)
            self.used = max(self.used, int(used))
            self.looks += 1
