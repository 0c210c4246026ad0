"""One HTTP connection, bounded: uvicorn's protocol on h11, of which this is a subclass.

uvicorn has a time-out between two requests and none within one, writes an answer into the connection's buffer
as a whole, and works on for clients that are gone. All that is missing can be put around its callbacks: the
events of the connection tell `Traffic` what it does, and an answer is given to uvicorn in pieces, each when
the client has taken the one before. Of h11 only its documented states are used.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
import sys
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from functools import partial
from typing import Any, Final

import h11
from starlette.requests import ClientDisconnect
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.h11_impl import H11Protocol

from service.clock import monotonic
from service.turns.arrival import Arrival
from service.web.connections.traffic import HttpRefusal, Occupation, Traffic
from service.web.connections.unsent import UnsentAnswers

log = logging.getLogger(__name__)

_PIECE: Final = 16 << 10  # bytes of an answer that are in the connection's own buffer
_TURN: Final = 4 * _PIECE  # asyncio warns at the fifth piece for a client that is gone
_AT_ONCE: Final = struct.pack("ii", 1, 0)
_HEADER_BYTES: Final = 16 << 10
_CERTIFICATE: Final = "oxherd.client_certificate"
_MOST_CHUNKS: Final = 1000  # of a body: each costs as much as kilobytes of one do
_AMBIGUOUS: Final = b"Content-Length and Transfer-Encoding together are ambiguous\n"
_STOPPING: Final = b"The server is stopping\n"


class _Requests(h11.Connection):
    """h11's parser; a body in more chunks than any client makes of 64 KiB is not HTTP."""

    _chunks = 0

    def next_event(self) -> Any:
        event = super().next_event()
        if isinstance(event, h11.Request):
            self._chunks = 0
        elif isinstance(event, h11.Data) and event.chunk_start:
            self._chunks += 1
            if self._chunks > _MOST_CHUNKS:
                raise h11.RemoteProtocolError("too many chunks")
        return event


class BoundedProtocol(H11Protocol):
    """`opening` is the task that makes the transport, with TLS its handshake."""

    opening: asyncio.Task[Any] | None = None

    def __init__(
        self,
        *args: Any,
        traffic: Traffic[BoundedProtocol],
        unsent: UnsentAnswers[BoundedProtocol],
        **named: Any,
    ) -> None:
        super().__init__(*args, **named)
        self.conn = _Requests(h11.SERVER, self.config.h11_max_incomplete_event_size or _HEADER_BYTES)
        self._traffic = traffic
        self._unsent = unsent
        self._answer = self.app
        self.app = self._bounded
        self._arrival: Arrival | None = None
        self._begun = False  # some of a request is there
        self._served = False  # it had an answer

    def drop(self, reason: HttpRefusal) -> None:
        """Close it now, without what is not sent yet."""
        self._traffic.refuse(reason)
        self._traffic.leave(self)
        self._unsent.release(self)
        if self.transport is not None:
            # Else the kernel keeps what it has of the answer until the client takes it.
            self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
            self.transport.abort()
        elif self.opening is not None:
            self.opening.cancel()

    def never_made(self) -> None:
        """There will be no `connection_made`: it holds itself no more."""
        self.app = self._answer

    # --- what uvicorn and asyncio call -------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        transport.set_write_buffer_limits(high=1)  # the next piece is due when the last one is sent
        if self not in self._traffic:  # it had to go while it was made
            transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._traffic.leave(self)
        self._unsent.release(self)
        super().connection_lost(exc)
        if self._arrival is not None:
            self._arrival.leave()
        if self.timeout_keep_alive_task is not None:
            self.timeout_keep_alive_task.cancel()  # uvicorn lets it run on after a reset, and it holds us
        self.app = self._answer
        _forget_own_methods(self.transport)

    def data_received(self, data: bytes) -> None:
        self._begun = True
        super().data_received(data)
        self._tell()

    def send_400_response(self, msg: str) -> None:
        self._traffic.refuse("invalid")
        error = sys.exc_info()[1]
        if error is not None:
            error.__traceback__ = None  # h11's holds a frame that holds the error
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            super().send_400_response(msg)
        else:  # its answer has begun already: there is no other one
            self.transport.abort()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._tell()

    def on_response_complete(self) -> None:
        self._unsent.release(self)
        self._begun, self._served = False, True
        super().on_response_complete()
        self._tell()

    def _tell(self) -> None:
        if self in self._traffic:
            self._traffic.move(self, self._occupation(), monotonic())

    def _occupation(self) -> Occupation:
        ours, theirs = self.conn.our_state, self.conn.their_state
        if ours is h11.IDLE:
            waits = self._begun or bool(self.conn.trailing_data[0])
            occupation: Occupation = "reading" if waits else "idle" if self._served else "silent"
        elif ours is h11.SEND_RESPONSE:
            occupation = "reading" if theirs is h11.SEND_BODY else "working"
        elif ours is h11.DONE:
            occupation = "reading"  # the answer is complete, and the request is not
        else:
            occupation = "writing"
        return (
            "writing" if self.transport.get_write_buffer_size() or self.transport.is_closing() else occupation
        )

    # --- a request ---------------------------------------------------------------------------------------

    async def _bounded(
        self,
        scope: MutableMapping[str, Any],
        receive: Callable[[], Awaitable[MutableMapping[str, Any]]],
        send: Callable[[MutableMapping[str, Any]], Awaitable[None]],
    ) -> None:
        """The application, without anything to log where only the client is gone, or the server stops."""
        cycle, task = self.cycle, asyncio.current_task()
        arrival = self._arrival = Arrival(task.cancel if task else None, self._traffic.refuse)
        arrival.put_into(scope)
        scope[_CERTIFICATE] = self.transport.get_extra_info("peercert")
        names = [name for name, _ in scope["headers"]]
        try:
            if b"content-length" in names and b"transfer-encoding" in names:
                self._traffic.refuse("invalid")
                await _plain(send, 400, _AMBIGUOUS)
            elif await self._is_whole():
                await self._answer(scope, receive, partial(self._send_in_pieces, send))
        except asyncio.CancelledError:
            if not cycle.response_started and not self.flow.write_paused:
                await _plain(send, 503, _STOPPING)
            elif not cycle.response_complete:
                cycle.disconnected = True
                self.transport.abort()
        except ClientDisconnect:
            pass
        except Exception:
            if not cycle.disconnected:
                raise
            log.debug("failed for a client that is gone", exc_info=True)

    async def _is_whole(self) -> bool:
        """Wait for the body, of which uvicorn keeps 64 KiB; False if the client is gone by then."""
        cycle = self.cycle
        while cycle.more_body and not (
            cycle.disconnected or cycle.waiting_for_100_continue or len(cycle.body) > HIGH_WATER_LIMIT
        ):
            await cycle.message_event.wait()
            cycle.message_event.clear()
        cycle.message_event.set()
        return not cycle.disconnected

    async def _send_in_pieces(
        self, send: Callable[[MutableMapping[str, Any]], Awaitable[None]], message: MutableMapping[str, Any]
    ) -> None:
        body = message.get("body", b"")
        if len(body) > _PIECE:
            for slow in self._unsent.hold(self, body):
                slow.drop("unsent")
            whole = memoryview(body)
            last = (len(body) - 1) // _PIECE * _PIECE
            for start in range(0, last, _PIECE):
                await send({**message, "body": whole[start : start + _PIECE], "more_body": True})
                self._unsent.get_on(self)
                self._traffic.get_on(self)
                if start % _TURN == 0:
                    await asyncio.sleep(0)  # others have their turn; and the end of the connection is noticed
                if self.cycle.disconnected:
                    return
            message = {**message, "body": whole[last:]}
        await send(message)
        self._tell()


def client_certificate(scope: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """What TLS has verified of the client, as `ssl.SSLSocket.getpeercert` returns it; None: nothing."""
    return scope.get(_CERTIFICATE)


def _forget_own_methods(transport: object) -> None:
    """asyncio's transport holds methods of its own: without a search for cycles it would never go."""
    own = getattr(transport, "__dict__", {})
    for name in [name for name, value in own.items() if getattr(value, "__self__", None) is transport]:
        del own[name]


async def _plain(
    send: Callable[[MutableMapping[str, Any]], Awaitable[None]], status: int, text: bytes
) -> None:
    headers = [
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"content-length", str(len(text)).encode()),
        (b"connection", b"close"),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": text})
