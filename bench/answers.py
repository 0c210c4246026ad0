"""How long an exporter takes to answer: a TCP proxy between it and the Prometheus that scrapes it.

`scrape_duration_seconds` of Prometheus has, besides the answer, what Prometheus does with its samples: at
300,000 of them that is half of it. The scrape's time-out is for the answer alone.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Final, Self

_CHUNK: Final = 1 << 16


class TimedAnswers:
    """Listens on a free port of loopback, `address`, and connects to the exporter at `target`. `seconds` has
    of each request the time from its first byte to the last of its answer, once the next one has come or the
    connection has ended; of requests that are sent one after the other, as Prometheus does."""

    def __init__(self, target: str) -> None:
        host, _, port = target.rpartition(":")
        self._target = host, int(port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._sockets: list[socket.socket] = []
        self._answered: list[float] = []
        self._lock = threading.Lock()
        self._asked_at: float | None = None
        self._last_at = 0.0
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def seconds(self) -> list[float]:
        """Those of all requests that were answered, the last one too."""
        with self._lock:
            asked, last = self._asked_at, self._last_at
            return (
                [*self._answered, last - asked] if asked is not None and last > asked else [*self._answered]
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for one in (self._listener, *self._sockets):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._target)
                self._sockets += [client, server]
                threading.Thread(target=self._pass_on, args=(client, server, self._ask), daemon=True).start()
                threading.Thread(target=self._pass_on, args=(server, client, self._come), daemon=True).start()

    def _ask(self) -> None:
        """A part of a request: of a new one if the one before was answered."""
        with self._lock:
            if self._asked_at is None or self._last_at > self._asked_at:
                if self._asked_at is not None:
                    self._answered.append(self._last_at - self._asked_at)
                self._asked_at = time.monotonic()

    def _come(self) -> None:
        with self._lock:
            self._last_at = time.monotonic()

    @staticmethod
    def _pass_on(source: socket.socket, target: socket.socket, note: Callable[[], None]) -> None:
        try:
            while chunk := source.recv(_CHUNK):
                note()
                target.sendall(chunk)
        except OSError:
            pass
        for one in (source, target):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
