"""What Redis keeps in its memory for the exporter: its output buffers, looked at all the time."""

from __future__ import annotations

import re
import socket
import threading
from types import TracebackType
from typing import Self

import hiredis

from exporter.redis.connect import CLIENT_NAME
from exporter.redis.protocol import pack
from lab.redis import RedisServer


class OutputBuffers:
    """In a `with`: `largest` is the most bytes that all output buffers of the exporter had at one look."""

    def __init__(self, server: RedisServer) -> None:
        self.largest = 0
        self.looks = 0
        self._connection = socket.create_connection((server.host, server.port))
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
        self._connection.close()

    def _run(self) -> None:
        reader = hiredis.Reader(encoding="utf-8", errors="replace")
        while not self._stop.wait(0.0005):
            self._connection.sendall(pack("CLIENT", "LIST"))
            while (reply := reader.gets()) is False:
                reader.feed(self._connection.recv(1 << 16))
            clients = [line for line in str(reply).splitlines() if f" name={CLIENT_NAME} " in line]
            used = sum(int(size) for line in clients for size in re.findall(r" omem=(\d+)", line))
            self.largest = max(self.largest, used)
            self.looks += 1
