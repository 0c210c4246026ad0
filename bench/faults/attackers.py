"""What clients without a key do to a port: ask and not read, begin and not end, ask and leave at once."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Final

_REQUEST: Final = b"GET /metrics HTTP/1.1\r\nHost: exporter\r\n\r\n"
_HALF: Final = b"GET /metrics HTTP/1.1\r\nHost: exporter\r\nX-Slow: "
_SLOW_HEADERS, _SLOW_READERS, _CROWD = 1_500, 60, 100
_RESET: Final = struct.pack("ii", 1, 0)
_VANISHING_EVERY: Final = 0.005  # seconds


@contextmanager
def slow_headers(address: str) -> Iterator[None]:
    """Connections with half of a request each, and a byte now and then."""
    with _connections(address, _SLOW_HEADERS, _HALF) as opened, _repeating(lambda: _drip(opened), every=5.0):
        yield


@contextmanager
def slow_readers(address: str) -> Iterator[None]:
    """Connections that ask twenty times each and read nothing."""
    with _connections(address, _SLOW_READERS, _REQUEST * 20):
        yield


@contextmanager
def vanishing_scrapers(address: str) -> Iterator[None]:
    """One after the other asks and resets its connection at once."""
    with _repeating(lambda: _vanish(address), every=_VANISHING_EVERY):
        yield


@contextmanager
def crowd_of_scrapes(address: str) -> Iterator[None]:
    """A hundred clients at once, each of which reads its answer and asks again."""
    with _repeating(lambda: _scrape(address), every=0.5, threads=_CROWD):
        yield


def _connect(address: str) -> socket.socket:
    host, _, port = address.rpartition(":")
    return socket.create_connection((host, int(port)), timeout=5.0)


@contextmanager
def _connections(address: str, number: int, sent: bytes) -> Iterator[list[socket.socket]]:
    """As many as are let in, each of which sends this at once."""
    opened: list[socket.socket] = []
    try:
        for _ in range(number):
            with suppress(OSError):
                connection = _connect(address)
                opened.append(connection)
                connection.settimeout(0.1)
                connection.sendall(sent)
        yield opened
    finally:
        for connection in opened:
            connection.close()


def _drip(opened: list[socket.socket]) -> None:
    for connection in opened:
        with suppress(OSError):
            connection.send(b"x")


def _vanish(address: str) -> None:
    with suppress(OSError):
        connection = _connect(address)
        connection.sendall(_REQUEST)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        connection.close()


def _scrape(address: str) -> None:
    with suppress(OSError), _connect(address) as connection:
        connection.settimeout(10.0)
        connection.sendall(_REQUEST.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        while connection.recv(1 << 16):
            pass


@contextmanager
def _repeating(do: Callable[[], None], *, every: float, threads: int = 1) -> Iterator[None]:
    """In so many threads, until the end."""
    ended = threading.Event()

    def run() -> None:
        while not ended.wait(every):
            do()

    running = [threading.Thread(target=run, daemon=True) for _ in range(threads)]
    for thread in running:
        thread.start()
    try:
        yield
    finally:
        ended.set()
        for thread in running:
            thread.join(15.0)
