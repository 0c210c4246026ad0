"""A slow network link: a TCP proxy on loopback that passes on so many bytes a second of the server's."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import suppress
from types import TracebackType
from typing import Final, Self

from lab.ports import free_port

_CHUNK: Final = 1 << 16
_BUFFER: Final = 1 << 17  # bytes that the kernel may hold at each side, so that the sender feels the link


class SlowLink:
    """Listens on a free port of loopback and connects to `port`; close() or the end of a `with` ends it."""

    def __init__(self, port: int, *, bytes_per_second: float) -> None:
        self._target = port
        self._rate = bytes_per_second
        self._sockets: list[socket.socket] = []
        self._closed = False
        self.sent = 0
        self.port = free_port()
        self._listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

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

    def _accept(self) -> None:
        while not self._closed:
            with suppress(OSError):
                client, _ = self._listener.accept()
                server = socket.socket()
                server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
                server.connect(("127.0.0.1", self._target))
                self._sockets += [client, server]
                for source, target, rate in ((client, server, None), (server, client, self._rate)):
                    threading.Thread(target=self._pass_on, args=(source, target, rate), daemon=True).start()

    def _pass_on(self, source: socket.socket, target: socket.socket, rate: float | None) -> None:
        due = time.monotonic()
        try:
            while chunk := source.recv(_CHUNK):
                if rate is not None:
                    self.sent += len(chunk)
                    due = max(due, time.monotonic() - 0.01) + len(chunk) / rate
                    time.sleep(max(0.0, due - time.monotonic()))
                target.sendall(chunk)
        except OSError:
            pass
        for one in (source, target):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
