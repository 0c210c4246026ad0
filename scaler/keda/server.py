"""The gRPC server that KEDA asks: externalscaler.ExternalScaler, on a loop in a thread of its own.

A loop, not gRPC's own threads: those are held by a stream each, and a thousand ScaledObjects with push
triggers would need a thousand. Here streams have a bound of their own below that of all requests, and no
number of them keeps a request from being answered: a step costs 9 ms of CPU with a thousand, and a change for
all of them 95 ms.

Imported only where `keda.listen` is set: with gRPC's own seven threads it takes 13 MB, and a stream 24 KB.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as LateError
from contextlib import suppress
from functools import partial
from threading import Thread
from typing import Any, Final, TypeAlias

os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # it would write lines of its own to standard error

import grpc
import grpc.aio

from scaler.config.keda import MOST_KEDA_CONNECTIONS
from scaler.engines.certificates import Certificates
from scaler.engines.decisions import Decisions, NoAnswer, active, recommended
from scaler.keda.answers import METRIC, METRIC_TARGET, known_target
from scaler.keda.messages import (
    ScaledObjectRef,
    is_active_response,
    metric_spec_response,
    metrics_response,
    read_metrics_request,
    read_ref,
)
from scaler.keda.series import KedaRequests
from service.clock import monotonic
from service.files.from_files import FromFiles
from service.threads import NoThreadError, start_thread
from service.web.server import BindError, listening_socket

log = logging.getLogger(__name__)

SERVICE: Final = "externalscaler.ExternalScaler"
MOST_STREAMS: Final = 2_000
"""Streams at a time: one for each ScaledObject with a push trigger."""
MOST_CALLS: Final = 100
"""Other requests at a time, beside the streams. Each takes a fraction of a millisecond."""

_MOST_BYTES: Final = 64 << 10  # of a request: names, and the metadata of a trigger
_MOST_HEADERS: Final = 16 << 10
_LONGEST_WHY: Final = 500  # characters: it travels as a header
_START_SECONDS: Final = 10.0
_GRACE_SECONDS: Final = 2.0  # for requests that are being answered when a stop is asked for

_OPTIONS: Final = (
    ("grpc.so_reuseport", 0),  # two servers would share the port, and nobody would be told
    ("grpc.max_receive_message_length", _MOST_BYTES),
    ("grpc.max_metadata_size", _MOST_HEADERS),
    ("grpc.absolute_max_metadata_size", _MOST_HEADERS),
    # KEDA has one connection for all: what is too much has to be refused, not to wait in the client.
    ("grpc.max_concurrent_streams", 2 * (MOST_STREAMS + MOST_CALLS)),
    ("grpc.server_handshake_timeout_ms", 10_000),
    ("grpc.max_connection_idle_ms", 10 * 60_000),
    # A client that is gone without a word is noticed, with its streams.
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.http2.min_ping_interval_without_data_ms", 30_000),
    ("grpc.http2.max_ping_strikes", 2),
)

_Context: TypeAlias = "grpc.aio.ServicerContext[bytes, bytes]"


class KedaServer:
    """Answers KEDA by the decisions that were published last. `publish` is for any thread."""

    def __init__(
        self,
        host: str,
        port: int,
        decisions: Decisions,
        *,
        most_connections: int = MOST_KEDA_CONNECTIONS,
        certificates: FromFiles[Certificates] | None = None,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        """`decisions`: the targets, before the first step; `most_connections`: at a time, a further one is
        closed; `clock`: that of `Decisions.ended`."""
        self.requests: Final = KedaRequests()
        self._host, self._port = host, port
        self._options = (*_OPTIONS, ("grpc.max_allowed_incoming_connections", most_connections))
        self._certificates = certificates
        self._clock = clock
        self._decisions = decisions
        self._changed = asyncio.Event()  # replaced by each publication, so that each is seen once
        self._ending = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: Thread | None = None

    def start(self) -> None:
        """Listen and answer. Raises BindError; nothing runs then."""
        started: Future[int] = Future()
        try:
            self._thread = start_thread(partial(self._run, started), "keda", daemon=False)
            self._port = started.result(_START_SECONDS)
        except NoThreadError as error:
            raise BindError(str(error), "keda.listen") from None
        except LateError:
            self.stop()
            raise BindError("the server did not start in time", "keda.listen") from None
        tls = self._certificates.current() if self._certificates else None
        clients = "with a certificate" if tls and tls.client_ca else "all"
        facts = {"address": self.address, "tls": "on" if tls else "off", "clients": clients}
        log.info("answering KEDA", extra=facts)

    @property
    def address(self) -> str:
        """host:port that is listened on. Only once started."""
        return f"[{self._host}]:{self._port}" if ":" in self._host else f"{self._host}:{self._port}"

    @property
    def alive(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def publish(self, decisions: Decisions) -> None:
        """Answer by these from now on, and tell the streams what they change."""
        self._soon(partial(self._take, decisions))

    def stop(self, seconds: float = _GRACE_SECONDS + 2.0) -> bool:
        """End the streams, let requests end for a moment; whether the thread has ended."""
        if self._thread is None:
            return True
        self._soon(self._end)
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def _soon(self, call: Callable[[], None]) -> None:
        if self._loop is not None:
            with suppress(RuntimeError):  # it has ended
                self._loop.call_soon_threadsafe(call)

    # --- in the thread -----------------------------------------------------------------------------------

    def _run(self, started: Future[int]) -> None:
        try:
            asyncio.run(self._serve(started))
        except BaseException as error:
            if not started.done():
                started.set_exception(error)
                return
            log.exception("answering KEDA failed")
            raise

    async def _serve(self, started: Future[int]) -> None:
        server = grpc.aio.server(options=self._options, maximum_concurrent_rpcs=MOST_STREAMS + MOST_CALLS)
        server.add_generic_rpc_handlers((self._handler(),))
        port = self._bound(server)
        await server.start()
        self._loop = asyncio.get_running_loop()
        started.set_result(port)
        await self._ending.wait()
        await server.stop(_GRACE_SECONDS)

    def _bound(self, server: grpc.aio.Server) -> int:
        """The port. Raises BindError."""
        try:
            if self._certificates is None:
                return server.add_insecure_port(self.address)
            return server.add_secure_port(self.address, _credentials(self._certificates))
        except RuntimeError:  # it does not say why
            listening_socket(self._host, self._port, "keda.listen").close()
            raise BindError("the address cannot be used", "keda.listen") from None

    def _handler(self) -> grpc.GenericRpcHandler:
        """Messages are read by our own code, in the methods: what is none is an answer, too."""
        return grpc.method_handlers_generic_handler(
            SERVICE,
            {
                "IsActive": grpc.unary_unary_rpc_method_handler(self._is_active),
                "StreamIsActive": grpc.unary_stream_rpc_method_handler(self._stream_is_active),
                "GetMetricSpec": grpc.unary_unary_rpc_method_handler(self._metric_spec),
                "GetMetrics": grpc.unary_unary_rpc_method_handler(self._metrics),
            },
        )

    def _take(self, decisions: Decisions) -> None:
        self._decisions = decisions
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def _end(self) -> None:
        self._ending.set()
        self._changed.set()

    # --- the methods -------------------------------------------------------------------------------------

    async def _is_active(self, raw: bytes, context: _Context) -> bytes:
        name = self._target_of(raw)
        known = name if isinstance(name, NoAnswer) else active(self._decisions, name, self._clock())
        answer = known if isinstance(known, NoAnswer) else is_active_response(active=known)
        return await self._answered("IsActive", answer, context)

    async def _metric_spec(self, raw: bytes, context: _Context) -> bytes:
        """The same for every target, also without a decision: KEDA makes its HPA of it."""
        name = self._target_of(raw)
        answer = name if isinstance(name, NoAnswer) else metric_spec_response(METRIC, METRIC_TARGET)
        return await self._answered("GetMetricSpec", answer, context)

    async def _metrics(self, raw: bytes, context: _Context) -> bytes:
        return await self._answered("GetMetrics", self._metric_of(raw), context)

    def _metric_of(self, raw: bytes) -> bytes | NoAnswer:
        try:
            request = read_metrics_request(raw)
        except ValueError as error:
            return _no_message(error)
        if request.metric != METRIC:
            return NoAnswer("NOT_FOUND", f"there is no such metric, only {METRIC}")
        name = known_target(self._decisions.targets, request.ref.metadata)
        number = name if isinstance(name, NoAnswer) else recommended(self._decisions, name, self._clock())
        return number if isinstance(number, NoAnswer) else metrics_response(METRIC, number)

    async def _stream_is_active(self, raw: bytes, context: _Context) -> AsyncIterator[bytes]:
        """Whether the target is active, now and at each change. While that is not known the stream is silent:
        an error would make KEDA wait up to a minute before it opens the next one. It learns of it by
        IsActive, which it asks besides."""
        code = "CANCELLED"
        self.requests.streams += 1
        try:
            known: bool | NoAnswer | None = None
            async for known in self._changes(raw):
                if isinstance(known, NoAnswer):
                    break
                yield is_active_response(active=known)
            code = known.code if isinstance(known, NoAnswer) else "OK"
            if isinstance(known, NoAnswer):
                await _abort(context, known)
        finally:
            self.requests.streams -= 1
            self.requests.count("StreamIsActive", code)

    async def _changes(self, raw: bytes) -> AsyncIterator[bool | NoAnswer]:
        """What a stream is told until the server ends, or until no later decision can be told to it."""
        ref = _ref_of(raw)
        if self.requests.streams > MOST_STREAMS:
            ref = NoAnswer("RESOURCE_EXHAUSTED", f"{MOST_STREAMS} streams are open already")
        if isinstance(ref, NoAnswer):
            yield ref
            return
        told: bool | None = None
        targets, name = self._decisions.targets, known_target(self._decisions.targets, ref.metadata)
        while not self._ending.is_set():
            changed, decisions = self._changed, self._decisions
            if decisions.targets is not targets:  # the settings have changed
                targets, name = decisions.targets, known_target(decisions.targets, ref.metadata)
            if isinstance(name, NoAnswer):
                yield name
                return
            known = active(decisions, name, self._clock())
            if isinstance(known, bool) and known is not told:
                told = known
                yield known
            await changed.wait()

    def _target_of(self, raw: bytes) -> str | NoAnswer:
        ref = _ref_of(raw)
        return ref if isinstance(ref, NoAnswer) else known_target(self._decisions.targets, ref.metadata)

    async def _answered(self, method: str, answer: bytes | NoAnswer, context: _Context) -> bytes:
        self.requests.count(method, answer.code if isinstance(answer, NoAnswer) else "OK")
        if isinstance(answer, NoAnswer):
            await _abort(context, answer)
        return answer if isinstance(answer, bytes) else b""


def _ref_of(raw: bytes) -> ScaledObjectRef | NoAnswer:
    try:
        return read_ref(raw)
    except ValueError as error:
        return _no_message(error)


def _no_message(error: ValueError) -> NoAnswer:
    return NoAnswer("INVALID_ARGUMENT", f"not a message of {SERVICE}: {error}")


async def _abort(context: Any, refusal: NoAnswer) -> None:
    await context.abort(grpc.StatusCode[refusal.code], refusal.why[:_LONGEST_WHY])


def _credentials(certificates: FromFiles[Certificates]) -> grpc.ServerCredentials:
    """Of now, and for each connection of then: gRPC asks before a handshake."""
    known = certificates.current()

    def latest() -> grpc.ServerCertificateConfiguration | None:
        nonlocal known
        current = certificates.current()
        if current == known:
            return None
        known = current
        return _configuration(current)

    return grpc.dynamic_ssl_server_credentials(
        _configuration(known),
        latest,  # type: ignore[arg-type]  # None: they are the same, which the stubs do not know
        require_client_authentication=known.client_ca is not None,
    )


def _configuration(certificates: Certificates) -> grpc.ServerCertificateConfiguration:
    pair = [(certificates.key, certificates.certificate)]
    return grpc.ssl_server_certificate_configuration(pair, root_certificates=certificates.client_ca)
