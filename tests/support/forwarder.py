"""A load balancer: one address, and a server behind it that can change while connections stay."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import ExitStack, suppress
from types import TracebackType
from typing import Self


class Forwarder:
    """Forwards each new connection to `target`, a host and a port.

    `pace`: bytes a second that it lets through of the answers, if not all at once; `remaining`: bytes of the
    answers after which it lets nothing through any more.
    """

    def __init__(self, target: tuple[str, int]) -> None:
        self.target = target
        self.accepted = 0
        self.pace: float | None = None
        self.remaining: int | None = None
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open = ExitStack()
        self._thread = threading.Thread(target=self._accept, daemon=True)

    @property
    def address(self) -> str:
        host, port = self._listener.getsockname()
        return f"{host}:{port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join(10)
        self._listener.close()
        self._open.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self.accepted += 1
            server = socket.create_connection(self.target)
            for one, other, copy in ((client, server, _copy), (server, client, self._answer)):
                self._open.callback(one.close)
                self._open.callback(_end, one)
                threading.Thread(target=copy, args=(one, other), daemon=True).start()

    def _answer(self, server: socket.socket, client: socket.socket) -> None:
        """Copy the server's answers, at the pace, to the end of what is let through."""
        with suppress(OSError):
            while data := server.recv(2048):
                if self.remaining is not None:
                    data, self.remaining = data[: self.remaining], self.remaining - len(data)
                    self.remaining = max(self.remaining, 0)
                if self.pace is not None:
                    time.sleep(len(data) / self.pace)
                client.sendall(data)
        _end(client)


def _copy(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    _end(sink)


def _end(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
