"""Clients without manners and without a key, in a process of their own:
`python -m tests.support.attackers HOST:PORT KIND COUNT`. What the server closes is opened again at once.

headers: half a request, and a byte of a header each second. bodies: a byte of a body each second. readers:
ask for the series and read nothing. scrapers: ask for them and are gone. resetters: ask for health, read the
answer and reset the connection. passwords: guess, of many addresses.
"""

from __future__ import annotations

import base64
import http.client
import os
import resource
import select
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
_OPENINGS: Final = {
    "headers": b"GET /metrics HTTP/1.1\r\nHost: x\r\nX-Slow: ",
    "bodies": b"POST /api/monitoring HTTP/1.1\r\nHost: x\r\nContent-Length: 60000\r\n\r\n{",
    "readers": b"GET /metrics HTTP/1.1\r\nHost: x\r\nAccept-Encoding: identity\r\n\r\n",
    "scrapers": b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n",
}
_HEALTH: Final = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
_RESET: Final = struct.pack("ii", 1, 0)


@contextmanager
def attack(url: str, kind: str, count: int) -> Iterator[subprocess.Popen[bytes]]:
    """So many of this kind, until the block ends."""
    command = [sys.executable, "-m", "tests.support.attackers", url.removeprefix("http://"), kind, str(count)]
    process = subprocess.Popen(command, cwd=ROOT)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def reset_after(address: tuple[str, int], raw: bytes) -> None:
    """Send this, and be gone."""
    with socket.create_connection(address, timeout=10) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        connection.sendall(raw)


def vanish(url: str, times: int) -> None:
    """Ask for the series so many times, and be gone each time."""
    host, _, port = url.removeprefix("http://").rpartition(":")
    for _ in range(times):
        reset_after((host, int(port)), _OPENINGS["scrapers"])


class _Crowd:
    """Non-blocking sockets that all do the same."""

    def __init__(self, address: tuple[str, int], kind: str, count: int) -> None:
        self._address = address
        self._opening = _OPENINGS[kind]
        self._reads = kind != "readers"
        self._count = count
        self._poll = select.epoll()
        self._sockets: dict[int, socket.socket] = {}

    def run(self) -> None:
        dripped = time.monotonic()
        while True:
            for _ in range(min(100, self._count - len(self._sockets))):
                self._open()
            for number, event in self._poll.poll(0.02):
                self._on(number, event)
            if time.monotonic() > dripped + 1:
                dripped = time.monotonic()
                for connection in list(self._sockets.values()):
                    with suppress(OSError):
                        connection.send(b"x") if self._reads else None

    def _open(self) -> None:
        connection = socket.socket()
        connection.setblocking(False)
        if not self._reads:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect_ex(self._address)
        self._sockets[connection.fileno()] = connection
        self._poll.register(connection, select.EPOLLOUT | select.EPOLLRDHUP)

    def _on(self, number: int, event: int) -> None:
        connection = self._sockets[number]
        if event & (select.EPOLLHUP | select.EPOLLERR | select.EPOLLRDHUP):
            self._close(number)
        elif event & select.EPOLLOUT:
            try:
                connection.send(self._opening)
            except OSError:
                self._close(number)
            else:
                self._poll.modify(number, select.EPOLLRDHUP | (select.EPOLLIN if self._reads else 0))
        elif not _read(connection):
            self._close(number)

    def _close(self, number: int) -> None:
        self._poll.unregister(number)
        self._sockets.pop(number).close()


def _read(connection: socket.socket) -> bool:
    """Whether it is still open."""
    try:
        return bool(connection.recv(65536))
    except BlockingIOError:
        return True
    except OSError:
        return False


def _scrape_and_leave(address: tuple[str, int], _: str) -> None:
    while True:
        with suppress(OSError):
            reset_after(address, _OPENINGS["scrapers"])


def _read_and_reset(address: tuple[str, int], _: str) -> None:
    while True:
        with suppress(OSError), socket.create_connection(address, timeout=10) as connection:
            connection.sendall(_HEALTH)
            connection.recv(65536)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)


def _guess(address: tuple[str, int], source: str) -> None:
    number = 0
    while True:
        connection = http.client.HTTPConnection(*address, timeout=30, source_address=(source, 0))
        with suppress(OSError, http.client.HTTPException):
            while True:
                number += 1
                coded = base64.b64encode(f"ann:guess-{source}-{number}".encode()).decode()
                connection.request("GET", "/metrics", headers={"authorization": f"Basic {coded}"})
                connection.getresponse().read()
        connection.close()


_ONE_BY_ONE: Final[Mapping[str, Callable[[tuple[str, int], str], None]]] = {
    "passwords": _guess,
    "scrapers": _scrape_and_leave,
    "resetters": _read_and_reset,
}
"""Each on a thread: the server's address and one of its own."""


def main() -> None:
    where, kind, count = sys.argv[1:]
    host, _, port = where.rpartition(":")
    address = (host, int(port))
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    if kind in _ONE_BY_ONE:
        for number in range(int(count)):
            source = f"127.0.1.{1 + number % 250}"
            threading.Thread(target=_ONE_BY_ONE[kind], args=(address, source), daemon=True).start()
        while os.getppid() != 1:
            time.sleep(1)
    else:
        _Crowd(address, kind, int(count)).run()


if __name__ == "__main__":
    main()
