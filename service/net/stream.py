"""A TCP or TLS stream whose every wait ends at a deadline, as http.client reads and writes it."""

from __future__ import annotations

import io
import select
import socket
import ssl
from typing import Any, Final

from service.clock import Deadline
from service.net.addresses import addresses_of

_CHUNK: Final = 1 << 16


def dial(host: str, port: int, deadline: Deadline) -> socket.socket:
    """A connection to the first address that accepts one. Raises OSError."""
    problem: OSError | None = None
    try:
        for family, kind, protocol, _, address in addresses_of(host, port, deadline):
            candidate = socket.socket(family, kind, protocol)
            try:
                candidate.settimeout(_remaining(deadline))
                candidate.connect(address)
                candidate.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            except OSError as error:
                candidate.close()
                problem = error
            else:
                return candidate
        raise problem or OSError("no address")
    finally:
        del problem  # it has this frame, which would keep it


class DeadlineStream:
    """The few methods of a socket that http.client needs, each wait bounded by the deadline."""

    def __init__(self, plain: socket.socket, deadline: Deadline) -> None:
        self._socket = plain
        self.deadline = deadline
        self.surplus = False  # bytes came after the end of the last response

    def encrypt(self, context: ssl.SSLContext, server_name: str) -> None:
        """Raises OSError, of which SSLError is one."""
        self._socket.settimeout(_remaining(self.deadline))
        self._socket = context.wrap_socket(self._socket, server_hostname=server_name)

    def certificate_expires(self) -> float | None:
        certificate = self._socket.getpeercert() if isinstance(self._socket, ssl.SSLSocket) else None
        text = certificate.get("notAfter") if certificate else None
        return float(ssl.cert_time_to_seconds(text)) if isinstance(text, str) else None

    def is_quiet(self) -> bool:
        """Whether there is nothing to read, not even the end."""
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        pending = self._socket.pending() if isinstance(self._socket, ssl.SSLSocket) else 0
        return not self.surplus and not pending and not poll.poll(0)

    def sendall(self, data: bytes) -> None:
        self._socket.settimeout(_remaining(self.deadline))
        self._socket.sendall(data)

    def recv_into(self, buffer: Any) -> int:
        self._socket.settimeout(_remaining(self.deadline))
        return self._socket.recv_into(buffer)

    def makefile(self, mode: str) -> io.BufferedReader:
        """What http.client reads one response from."""
        del mode
        self.surplus = False
        return _ResponseBuffer(_Reader(self))

    def close(self) -> None:
        """Nothing: http.client closes a connection that is to end before it has read the response."""

    def hang_up(self) -> None:
        self._socket.close()


class _Reader(io.RawIOBase):
    def __init__(self, stream: DeadlineStream) -> None:
        self.stream = stream
        self.ended = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        return 0 if self.ended else self.stream.recv_into(buffer)


class _ResponseBuffer(io.BufferedReader):
    """Notes at its end whether it holds more than the response."""

    def __init__(self, reader: _Reader) -> None:
        super().__init__(reader, _CHUNK)
        self._reader = reader

    def close(self) -> None:
        if not self.closed:
            self._reader.ended = True  # peek would wait for more
            self._reader.stream.surplus = bool(self.peek(1))
        super().close()


def _remaining(deadline: Deadline) -> float:
    seconds = deadline.remaining()
    if seconds <= 0:
        raise TimeoutError
    return seconds
