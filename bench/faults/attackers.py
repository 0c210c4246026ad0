"""What clients without a key do to a port: ask and not read, begin and not end, ask and leave at once."""

from __future__ import annotations

import base64
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import count, cycle
from typing import Final

_REQUEST: Final = b"GET /metrics HTTP/1.1\r\nHost: exporter\r\n\r\n"
_HALF: Final = b"GET /metrics HTTP/1.1\r\nHost: exporter\r\nX-Slow: "
_BODY: Final = b"POST /api/monitoring HTTP/1.1\r\nHost: exporter\r\nContent-Length: 60000\r\n\r\n{"
_SLOW_HEADERS, _SLOW_READERS, _CROWD, _GUESSERS = 1_500, 60, 100, 50
_GARBAGE: Final = (
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(256)) * 2,  # a TLS handshake
    bytes(range(255, 0, -1)) * 8,
    b"GET /metrics HTTP/9.9\r\n\r\n",
    b"GET /metrics HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nG",
    b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /" + b"../" * 5_000 + b" HTTP/1.1\r\n\r\n",
    b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 5_000 + b"\r\n",
)
_GUESS: Final = (
    b"GET /metrics HTTP/1.1\r\nHost: exporter\r\nConnection: close\r\nAuthorization: Basic %b\r\n\r\n"
)
_KEYS: Final = (b"a-wrong-key-%d", b"\\ud800-%d")
_KEY_HEAD: Final = (
    b"POST /api/monitoring HTTP/1.1\r\nHost: exporter\r\nConnection: close\r\n"
    b"Content-Type: application/json\r\n"
)
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
def endless_bodies(address: str) -> Iterator[None]:
    """Connections with a body each that does not end, and a byte now and then."""
    with _connections(address, _SLOW_HEADERS, _BODY) as opened, _repeating(lambda: _drip(opened), every=1.0):
        yield


@contextmanager
def garbage(address: str) -> Iterator[None]:
    """One after the other sends what is no request, or an ambiguous one."""
    sent = cycle(_GARBAGE)
    with _repeating(lambda: _answer(address, next(sent)), every=0.02):
        yield


@contextmanager
def wrong_passwords(address: str) -> Iterator[None]:
    """Many clients, of many addresses, guess the password of the user."""
    numbers = count()

    def guess() -> None:
        number = next(numbers)
        coded = base64.b64encode(b"scraper:guess-%d" % number)
        _answer(address, _GUESS % coded, source=_source(number))

    with _repeating(guess, every=0.1, threads=_GUESSERS):
        yield


@contextmanager
def wrong_keys(address: str) -> Iterator[None]:
    """Many clients, of many addresses, guess the key of the API."""
    numbers = count()

    def guess() -> None:
        number = next(numbers)
        key = _KEYS[number % len(_KEYS)] % number
        body = b'{"action": "stop_monitoring", "apiKey": "%b"}' % key
        head = _KEY_HEAD + b"Content-Length: %d\r\n\r\n" % len(body)
        _answer(address, head + body, source=_source(number))

    with _repeating(guess, every=0.1, threads=_GUESSERS):
        yield


@contextmanager
def crowd_of_scrapes(address: str) -> Iterator[None]:
    """A hundred clients at once, each of which reads its answer and asks again."""
    with _repeating(lambda: _scrape(address), every=0.5, threads=_CROWD):
        yield


def _connect(address: str, source: str = "127.0.0.1") -> socket.socket:
    host, _, port = address.rpartition(":")
    return socket.create_connection((host, int(port)), timeout=5.0, source_address=(source, 0))


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
    _answer(address, _REQUEST.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))


def _answer(address: str, request: bytes, *, source: str = "127.0.0.1") -> None:
    """Send this, and read until the other side is done."""
    with suppress(OSError), _connect(address, source) as connection:
        connection.settimeout(10.0)
        connection.sendall(request)
        while connection.recv(1 << 16):
            pass


def _source(number: int) -> str:
    """One of 250 addresses of this machine."""
    return f"127.0.1.{1 + number % 250}"


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
