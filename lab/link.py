"""Links on loopback: TCP proxies between a client and a server, as they are and slow."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Final, Self

_CHUNK: Final = 1 << 16
_BUFFER: Final = 1 << 17  # bytes that the kernel may hold at each side, so that the sender feels a slow link


class Link:
    """Listens on a free port of loopback and connects to `port`; close() or the end of a `with` ends it. What
    passes is seen by `_from_client` and `_from_server`, before it is sent on."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._sockets: list[socket.socket] = []
        self._closed = False
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._closed = True
        for one in (self._listener, *self._sockets):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _from_client(self, chunk: bytes) -> None:
        """Called with what a client has sent."""

    def _from_server(self, chunk: bytes) -> None:
        """Called with what the server has sent."""

    def _accept(self) -> None:
        while not self._closed:
            with suppress(OSError):
                client, _ = self._listener.accept()
                server = socket.socket()
                server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
                server.connect(("127.0.0.1", self._target))
                self._sockets += [client, server]
                for ends in ((client, server, self._from_client), (server, client, self._from_server)):
                    threading.Thread(target=self._pass_on, args=ends, daemon=True).start()

    @staticmethod
    def _pass_on(source: socket.socket, target: socket.socket, passes: Callable[[bytes], None]) -> None:
        with suppress(OSError):
            while chunk := source.recv(_CHUNK):
                passes(chunk)
                target.sendall(chunk)
        for one in (source, target):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)


class SlowLink(Link):
    """Passes on so many bytes a second of the server's, over each connection."""

    def __init__(self, port: int, *, bytes_per_second: float) -> None:
        self._rate = bytes_per_second
        self._due = threading.local()  # each connection has a thread for each direction
        self.sent = 0
        super().__init__(port)

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    def _from_server(self, chunk: bytes) -> None:
        self.sent += len(chunk)
        due = max(getattr(self._due, "at", 0.0), time.monotonic() - 0.01) + len(chunk) / self._rate
        self._due.at = due
        time.sleep(max(0.0, due - time.monotonic()))
