"""A server that answers each request with bytes: late, cut short, without end, or of another protocol."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

Respond = Callable[[socket.socket, threading.Event], None]


@contextmanager
def serving(respond: Respond, context: ssl.SSLContext | None = None) -> Iterator[tuple[str, list[bytes]]]:
    """A server that hands each connection to `respond`; its URL, and the heads of the requests."""
    stop, requests = threading.Event(), list[bytes]()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(10)

        def serve(connection: socket.socket) -> None:
            with suppress(OSError), connection:
                connection.settimeout(10)
                stream = context.wrap_socket(connection, server_side=True) if context else connection
                while head := _head(stream):
                    requests.append(head)
                    respond(stream, stop)

        def accept() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = listening.accept()
                    threading.Thread(target=serve, args=(connection,), daemon=True).start()

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        scheme = "https" if context else "http"
        try:
            yield f"{scheme}://127.0.0.1:{listening.getsockname()[1]}", requests
        finally:
            stop.set()
            listening.shutdown(socket.SHUT_RDWR)
            thread.join(5)


def _head(stream: socket.socket) -> bytes:
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        received = stream.recv(1)
        if not received:
            return b""
        head += received
    return head


def sending(raw: bytes) -> Respond:
    def respond(stream: socket.socket, _: threading.Event) -> None:
        stream.sendall(raw)
        stream.close()

    return respond


def trickling(raw: bytes) -> Respond:
    """A byte every 50 ms: each wait is short, and the whole takes long."""

    def respond(stream: socket.socket, stop: threading.Event) -> None:
        for position in range(len(raw)):
            stream.sendall(raw[position : position + 1])
            if stop.wait(0.05):
                return

    return respond


def endless(head: bytes, again: bytes) -> Respond:
    """`again` after `head`, as fast as it is taken, until the client is gone."""

    def respond(stream: socket.socket, stop: threading.Event) -> None:
        stream.sendall(head)
        while not stop.is_set():
            stream.sendall(again)

    return respond
