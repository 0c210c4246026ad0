"""A wire between a client and a server that does to the server's bytes what a mode says."""

from __future__ import annotations

import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Final, TypeAlias

Send: TypeAlias = Callable[[socket.socket, bytes], None]
"""Sends what the server sent, or something else; raises OSError to end the connection."""

_random = random.Random(20)


class BadWire:
    """Connections to `address` go to `target`; `mode` may change at any time."""

    def __init__(self, target: tuple[str, int]) -> None:
        self.mode: Send = as_it_is
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, name="wire", daemon=True).start()

    @property
    def address(self) -> str:
        host, port = self._listener.getsockname()
        return f"{host}:{port}"

    def leads_to(self, host: str, port: int) -> None:
        """New connections do."""
        self._target = (host, port)

    def cut(self) -> None:
        """All connections that there are."""
        _end(*self._open)

    def close(self) -> None:
        for one in (self._listener, *self._open):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                try:
                    server = socket.create_connection(self._target)
                except OSError:  # it is not there now
                    client.close()
                    continue
                self._open = [one for one in self._open if one.fileno() >= 0] + [client, server]
                for copy in (self._up, self._down):
                    threading.Thread(target=copy, args=(client, server), daemon=True).start()

    def _up(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError):
            while data := client.recv(1 << 16):
                server.sendall(data)
        _end(client, server)

    def _down(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError):
            while data := server.recv(1 << 16):
                self.mode(client, data)
        _end(client, server)
        client.close()
        server.close()


@contextmanager
def bad_wire(host: str, port: int) -> Iterator[BadWire]:
    wire = BadWire((host, port))
    try:
        yield wire
    finally:
        wire.close()


def _end(*ends: socket.socket) -> None:
    for one in ends:
        with suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)


# --- modes -----------------------------------------------------------------------------------------------


def as_it_is(client: socket.socket, data: bytes) -> None:
    client.sendall(data)


def late(client: socket.socket, data: bytes) -> None:
    time.sleep(0.5)
    client.sendall(data)


def slow(client: socket.socket, data: bytes) -> None:
    for at in range(0, len(data), 200):
        client.sendall(data[at : at + 200])
        time.sleep(0.05)


def cut(client: socket.socket, data: bytes) -> None:
    client.sendall(data[: len(data) // 2])
    raise OSError


def reset(client: socket.socket, _: bytes) -> None:
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    client.close()
    raise OSError


def flipped(client: socket.socket, data: bytes) -> None:
    changed = bytearray(data)
    for at in range(len(changed)):
        if _random.random() < 0.01:
            changed[at] ^= 1 << _random.randrange(8)
    client.sendall(changed)


def random_bytes(client: socket.socket, data: bytes) -> None:
    client.sendall(_random.randbytes(len(data)))


def doubled(client: socket.socket, data: bytes) -> None:
    client.sendall(data + data)


def swallowed(client: socket.socket, data: bytes) -> None:
    if _random.random() < 0.5:
        client.sendall(data)


def pushes(client: socket.socket, data: bytes) -> None:
    client.sendall(b">2\r\n$10\r\ninvalidate\r\n*1\r\n$3\r\nkey\r\n" + data)


MODES: Final = (late, slow, cut, reset, flipped, random_bytes, doubled, swallowed, pushes)


def endless(head: bytes, again: bytes) -> Send:
    """Instead of an answer this head, and then the same again and again at full speed."""
    block = again * max(1, (1 << 18) // len(again)) if again else b""

    def send(client: socket.socket, _: bytes) -> None:
        client.sendall(head)
        while block:
            client.sendall(block)

    return send
