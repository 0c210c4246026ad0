"""uvicorn's server with a way of its own to accept connections: asyncio's knows no highest number and no
time-out of a handshake but a minute, and writes a traceback where there is no file descriptor.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import ssl
from asyncio import sslproto
from collections.abc import Callable
from functools import partial
from typing import Any, Final

import uvicorn

from service.clock import monotonic
from service.logs import ProblemLog
from service.web.connections.protocol import BoundedProtocol
from service.web.connections.traffic import REQUEST_SECONDS, Traffic

log = logging.getLogger(__name__)

_AT_ONCE: Final = 20  # of so many connections one is accepted at once: else many would wait for us;
# and one goes where there is no descriptor
_PAUSE: Final = 0.02  # seconds without accepting, after there was no descriptor
_CALM: Final = 10.0  # seconds with a descriptor for each, after which the log says so
_TICKS: Final = 5  # of 0.1 s, between two looks for connections that take too long
_TLS_BUFFER: Final = 32 << 10  # bytes read at a time; asyncio has 256 KiB of each connection, in use or not
_NO_ROOM: Final = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class Listener:
    """Accepts connections; in uvicorn's list of servers it stands for asyncio's."""

    def __init__(
        self,
        listening: socket.socket,
        make: Callable[[], BoundedProtocol],
        traffic: Traffic[BoundedProtocol],
        tls: ssl.SSLContext | None,
    ) -> None:
        self._listening = listening
        self._make = make
        self._traffic = traffic
        self._tls = tls
        self._loop = asyncio.get_running_loop()
        self._opening: set[asyncio.Task[Any]] = set()
        self._closed = False
        self._short_at = 0.0  # when there was no descriptor the last time
        self._problem = ProblemLog(log, "connections not accepted", "connections accepted again")
        listening.setblocking(False)
        sslproto.SSLProtocol.max_size = _TLS_BUFFER  # of all that asyncio does in this process: only this
        self._listen()

    def close(self) -> None:
        """Accept no more."""
        self._closed = True
        self._loop.remove_reader(self._listening)
        for task in list(self._opening):
            task.cancel()

    async def wait_closed(self) -> None:
        """Nothing is left to wait for."""

    def close_overdue(self) -> None:
        """Close the connections that take too long."""
        for connection, reason in self._traffic.overdue(monotonic()):
            connection.drop(reason)

    def _listen(self) -> None:
        if not self._closed:
            self._loop.add_reader(self._listening, self._accept)

    def _accept(self) -> None:
        for _ in range(max(1, self._traffic.most // _AT_ONCE)):
            try:
                accepted, address = self._listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                self._make_room(error)
                return
            if monotonic() > self._short_at + _CALM:
                self._problem.report("")
            accepted.setblocking(False)
            if _is_gone(accepted):
                accepted.close()
                continue
            self._open(accepted, str(address[0]))

    def _make_room(self, error: OSError) -> None:
        if error.errno not in _NO_ROOM:
            raise error
        self._problem.report(error.strerror or str(error))
        self._short_at = monotonic()
        slowest = self._traffic.slowest()
        for _ in range(1 + len(self._traffic) // _AT_ONCE):
            if slowest is not None:
                slowest.drop("full")
                slowest = self._traffic.slowest()
        self._loop.remove_reader(self._listening)
        self._loop.call_later(_PAUSE, self._listen)

    def _open(self, accepted: socket.socket, host: str) -> None:
        protocol = self._make()
        task = protocol.opening = self._loop.create_task(
            self._loop.connect_accepted_socket(
                lambda: protocol,
                accepted,
                ssl=self._tls,
                ssl_handshake_timeout=REQUEST_SECONDS if self._tls else None,
            )
        )
        self._opening.add(task)
        task.add_done_callback(partial(self._opened, protocol, accepted))
        self._traffic.enter(protocol, host, monotonic())
        surplus = self._traffic.surplus()
        if surplus is not None:
            surplus.drop("full")

    def _opened(self, protocol: BoundedProtocol, accepted: socket.socket, task: asyncio.Task[Any]) -> None:
        self._opening.discard(task)
        protocol.opening = None  # it holds the protocol
        if task.cancelled() or task.exception():  # no TLS, or not in time; or there was no room
            self._traffic.leave(protocol)
            accepted.close()
            protocol.never_made()
            if not task.cancelled():
                _forget_frames(task.exception())


def _forget_frames(error: BaseException | None) -> None:
    """They hold the error, and all of a handshake that failed, until there is a search for cycles."""
    while error is not None:
        error.__traceback__ = None
        error = error.__cause__ or error.__context__


def _is_gone(accepted: socket.socket) -> bool:
    """Whether the client has left already: to open its connection would cost many times as much."""
    return accepted.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) != 0  # it was reset; what it sent is there


class BoundedServer(uvicorn.Server):
    """`traffic` is that of its connections."""

    def __init__(self, config: uvicorn.Config, traffic: Traffic[BoundedProtocol]) -> None:
        super().__init__(config)
        self._traffic = traffic
        self._listeners: list[Listener] = []

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """With our listeners in place of asyncio's servers."""
        config = self.config
        await self.lifespan.startup()

        def make() -> BoundedProtocol:
            protocol: Any = config.http_protocol_class
            made: BoundedProtocol = protocol(
                config=config, server_state=self.server_state, app_state=self.lifespan.state
            )
            return made

        self._listeners = [
            Listener(listening, make, self._traffic, config.ssl) for listening in sockets or ()
        ]
        self.servers = list(self._listeners)  # type: ignore[arg-type]
        self.started = True

    async def on_tick(self, counter: int) -> bool:
        if counter % _TICKS == 0:
            for listener in self._listeners:
                listener.close_overdue()
        return await super().on_tick(counter)
