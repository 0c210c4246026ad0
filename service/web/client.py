"""The HTTP client of both processes: one exchange within one deadline and of a bounded size.

http.client underneath: it follows no redirect and takes no proxy from the environment, so that a key goes
nowhere else. A socket's own time-out begins again with each byte; here every wait ends at the deadline.
"""

from __future__ import annotations

import http.client
import socket
import ssl
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from http import HTTPStatus
from typing import Final, Literal, NamedTuple, TypeAlias
from urllib.parse import urlsplit

from service.clock import Deadline
from service.net.stream import DeadlineStream, dial

ErrorKind: TypeAlias = Literal[
    "dns", "refused", "unreachable", "timeout", "certificate", "tls", "closed", "protocol", "too_large"
]

DEFAULT_LIMIT: Final = 64 << 20
"""Bytes of a body, unless the caller asks for less."""

_CHUNK: Final = 1 << 16


class HttpRequest(NamedTuple):
    """What is sent. `limit` is in bytes of the answer's body: more is an error, or is cut with `truncate`."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes | None = None
    limit: int = DEFAULT_LIMIT
    truncate: bool = False


class HttpClientError(Exception):
    """The exchange failed; the text says why in a few words and holds nothing that was sent.

    `kind` is one of: dns (the name is not known), refused, unreachable, timeout, certificate (not trusted),
    tls, closed (the server closed the connection, also within a body), protocol (not HTTP), too_large.
    """

    def __init__(self, kind: ErrorKind, message: str) -> None:
        super().__init__(message)
        self.kind: Final = kind


class HttpResponse(NamedTuple):
    """Whatever the status. `headers` have names in lower case. `certificate_expires` in unix s; None without
    TLS, or where the certificate is not verified."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    certificate_expires: float | None = None


def fetch(
    url: str,
    *,
    deadline: Deadline,
    headers: Mapping[str, str],
    method: str | None = None,
    body: bytes | None = None,
    limit: int = DEFAULT_LIMIT,
    truncate: bool = False,
    tls: ssl.SSLContext | None = None,
) -> HttpResponse:
    """GET, or POST of `body`, unless `method` says otherwise, on a connection of its own.

    `limit` is in bytes of the body. The URL's scheme, http or https, is the caller's to check.
    Raises HttpClientError.
    """
    try:
        origin = Origin.of(url)
    except ValueError:
        raise HttpClientError("protocol", "the URL is not valid") from None
    request = HttpRequest(
        method or ("GET" if body is None else "POST"), origin.target, headers, body, limit, truncate
    )
    try:
        connection = _Connection(origin, deadline, (tls or _default_tls()) if origin.secure else None)
        try:
            return connection.exchange(request, deadline)
        finally:
            connection.close()
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise _explained(error, deadline) from None


def connect(host: str, port: int, deadline: Deadline) -> None:
    """Open a TCP connection and close it. Raises HttpClientError."""
    try:
        dial(host, port, deadline).close()
    except OSError as error:
        raise _explained(error, deadline) from None


class Origin(NamedTuple):
    """Where a URL leads: scheme, host, port, and the path with its query."""

    secure: bool
    host: str
    port: int
    target: str

    @classmethod
    def of(cls, url: str) -> Origin:
        parts = urlsplit(url)
        secure = parts.scheme == "https"
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        return cls(secure, parts.hostname or "", parts.port or (443 if secure else 80), target)


class HttpClient:
    """Requests to one origin, on connections that are kept alive. For many threads, a connection each."""

    def __init__(
        self, url: str, *, tls: Callable[[], ssl.SSLContext] | None = None, server_name: str | None = None
    ) -> None:
        """`tls` makes the context of each new connection: its files may have been replaced. `server_name` is
        expected in the certificate instead of the URL's host."""
        self._origin = Origin.of(url)
        self._tls = tls or _default_tls
        self._server_name = server_name
        self._lock = threading.Lock()
        self._idle: list[_Connection] = []
        self._requests = 0

    @property
    def requests(self) -> int:
        """How many were sent so far."""
        return self._requests

    def exchange(self, request: HttpRequest, deadline: Deadline) -> HttpResponse:
        """One request, which must do no harm when sent twice: an idle connection may have been closed by the
        server, and then it is sent again on a new one. Raises HttpClientError, and what `tls` raises."""
        try:
            idle = self._take_idle()
            if idle is not None:
                with suppress(ConnectionError, ssl.SSLError, http.client.BadStatusLine):
                    return self._send(idle, request, deadline)
            context = self._tls() if self._origin.secure else None
            connection = _Connection(self._origin, deadline, context, self._server_name)
            return self._send(connection, request, deadline)
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise _explained(error, deadline) from None

    def close(self) -> None:
        """Close the idle connections."""
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def _take_idle(self) -> _Connection | None:
        """A connection that is quiet: bytes that nobody asked for would be read as the next response."""
        while True:
            with self._lock:
                if not self._idle:
                    return None
                connection = self._idle.pop()
            if connection.is_quiet():
                return connection
            connection.close()

    def _send(self, connection: _Connection, request: HttpRequest, deadline: Deadline) -> HttpResponse:
        with self._lock:
            self._requests += 1
        try:
            response = connection.exchange(request, deadline)
        except BaseException:
            connection.close()
            raise
        if connection.reusable:
            with self._lock:
                self._idle.append(connection)
        else:
            connection.close()
        return response


# --- one connection --------------------------------------------------------------------------------------


class _Connection:
    """A request and its response at a time, each within a deadline of its own."""

    def __init__(
        self,
        origin: Origin,
        deadline: Deadline,
        context: ssl.SSLContext | None,
        server_name: str | None = None,
    ) -> None:
        """Raises OSError."""
        self._stream = DeadlineStream(dial(origin.host, origin.port, deadline), deadline)
        if context is not None:
            try:
                self._stream.encrypt(context, server_name or origin.host)
            except BaseException:
                self._stream.hang_up()
                raise
        self._http = http.client.HTTPConnection(origin.host, origin.port)
        self._http.default_port = 443 if origin.secure else 80  # which the header Host leaves out
        self._http.auto_open = 0  # never a connection that was not made here
        self._http.sock = self._stream
        self._http.response_class = _FinalResponse
        self._certificate_expires = self._stream.certificate_expires()
        self.reusable = True

    def exchange(self, request: HttpRequest, deadline: Deadline) -> HttpResponse:
        """Raises OSError, HTTPException, HttpClientError."""
        self._stream.deadline = deadline
        headers = dict(request.headers)
        self._http.request(request.method, request.target, body=request.body, headers=headers)
        with self._http.getresponse() as response:
            content, whole = _content(response, request)
            self.reusable = whole and not response.will_close
            fields = {name.lower(): value for name, value in response.headers.items()}
            return HttpResponse(response.status, fields, content, self._certificate_expires)

    def is_quiet(self) -> bool:
        """Whether the server has neither closed it nor sent anything since the last response."""
        return self._stream.is_quiet()

    def close(self) -> None:
        self._http.close()
        self._stream.hang_up()


class _FinalResponse(http.client.HTTPResponse):
    """Skips interim responses, of which http.client knows only 100 (RFC 9110, 15.2: any number, before the
    final one)."""

    def _read_status(self) -> tuple[str, int, str]:
        while True:
            version, status, reason = super()._read_status()  # type: ignore[misc]
            if status == HTTPStatus.SWITCHING_PROTOCOLS:
                raise HttpClientError("protocol", "the server switched to another protocol")
            if not HTTPStatus.CONTINUE < status < HTTPStatus.OK:
                return version, status, reason
            http.client.parse_headers(self.fp)


def _content(response: http.client.HTTPResponse, request: HttpRequest) -> tuple[bytes, bool]:
    """The body, and whether it was read to its end. Raises HttpClientError for one that is over the limit,
    shorter than announced, or whose length is not clear."""
    lengths = {value.strip() for value in response.headers.get_all("content-length", [])}
    coding = (response.headers.get("transfer-encoding") or "chunked").strip().lower()
    if len(lengths) > 1 or coding != "chunked":
        raise HttpClientError("protocol", "the length of the answer is not clear")
    chunks: list[bytes] = []
    size = 0
    while chunk := response.read(_CHUNK):
        chunks.append(chunk)
        size += len(chunk)
        if size > request.limit:
            if not request.truncate:
                why = f"the answer is larger than {_size_text(request.limit)}"
                raise HttpClientError("too_large", why)
            return b"".join(chunks)[: request.limit], False
    if (
        response.length
    ):  # what was announced and did not come; http.client says so only where all is read at once
        raise HttpClientError("closed", f"the answer ended {response.length} bytes before its announced end")
    return b"".join(chunks), True


def _size_text(size: int) -> str:
    if size < 1 << 10:
        return f"{size} bytes"
    return f"{size >> 20} MiB" if size >= 1 << 20 else f"{size >> 10} KiB"


def _default_tls() -> ssl.SSLContext:
    return ssl.create_default_context()


# --- errors ----------------------------------------------------------------------------------------------


def _explained(error: Exception, deadline: Deadline) -> Exception:
    """An error of socket, ssl or http.client as a kind and a few words."""
    match error:
        case HttpClientError():
            return error
        case ssl.SSLCertVerificationError():
            return HttpClientError("certificate", f"certificate not trusted: {error.verify_message}")
        case TimeoutError():
            return HttpClientError("timeout", "no answer in time")
        case _ if deadline.passed():
            return HttpClientError("timeout", "no answer in time")
        case ssl.SSLError():
            return HttpClientError("tls", f"TLS: {getattr(error, 'reason', None) or 'handshake failed'}")
        case ConnectionRefusedError():
            return HttpClientError("refused", "connection refused")
        case ConnectionResetError() | BrokenPipeError():  # http.client's RemoteDisconnected too
            return HttpClientError("closed", "the server closed the connection")
        case socket.gaierror():
            return HttpClientError("dns", f"the host name cannot be resolved: {_lower(error.strerror)}")
        case OSError():
            return HttpClientError("unreachable", _lower(error.strerror) or type(error).__name__)
        case http.client.IncompleteRead():
            return HttpClientError("closed", "the answer ended before its announced end")
    return HttpClientError("protocol", f"the answer is not HTTP: {type(error).__name__}")


def _lower(text: str | None) -> str:
    return (text or "")[:1].lower() + (text or "")[1:]
