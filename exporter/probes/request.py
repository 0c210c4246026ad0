"""One probe: connect, ask, read, all within one time-out. The only place that talks to endpoints.

A server that sends a byte now and then keeps no socket's own time-out from beginning again: at the end of the
whole time the socket is shut, whatever it was waiting for.
"""

from __future__ import annotations

import http.client
import socket
import ssl
import threading
import urllib.parse
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from exporter.probes.checks import ProbeError, check_body, check_status, failure_of, next_url
from exporter.settings import ProbeSettings
from service.clock import Deadline

_LARGEST: Final = 1 << 20
_MOST_REDIRECTS: Final = 5
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """A probe that went well. `expires`: when the certificate does (unix s), None without TLS."""

    status: int | None = None
    expires: float | None = None


class _Watchdog:
    """Shuts the sockets that were handed to it when the time is over."""

    def __init__(self, seconds: float) -> None:
        self._lock = threading.Lock()
        self._sockets: list[socket.socket] = []
        self.barked = False
        self._timer = threading.Timer(seconds, self._bark)
        self._timer.daemon = True

    def guard(self, one: socket.socket) -> None:
        with self._lock:
            self._sockets.append(one)
            if self.barked:
                _shut(one)

    def _bark(self) -> None:
        with self._lock:
            self.barked = True
            for one in self._sockets:
                _shut(one)

    @contextmanager
    def watching(self) -> Iterator[None]:
        self._timer.start()
        try:
            yield
        finally:
            self._timer.cancel()


def probe(settings: ProbeSettings, deadline: Deadline) -> ProbeResult:
    """Ask the endpoint once. Raises ProbeError."""
    watchdog = _Watchdog(max(0.001, deadline.remaining()))
    with watchdog.watching():
        try:
            if settings.url.startswith("tcp://"):
                parts = urllib.parse.urlsplit(settings.url)
                _connect(parts.hostname or "", parts.port or 0, deadline, watchdog).close()
                return ProbeResult()
            return _ask(settings, deadline, watchdog)
        except (OSError, http.client.HTTPException, ValueError, ProbeError) as error:
            raise failure_of(error, late=watchdog.barked or deadline.passed()) from None


def _ask(settings: ProbeSettings, deadline: Deadline, watchdog: _Watchdog) -> ProbeResult:
    url, headers, status = settings.url, _headers(settings), 0
    for _ in range(_MOST_REDIRECTS + 1):
        connection = _open(url, settings, deadline, watchdog)
        try:
            parts = urllib.parse.urlsplit(url)
            path = urllib.parse.urlunsplit(("", "", parts.path or "/", parts.query, ""))
            expires = _expiry(connection.sock)  # before the answer, with which it may be closed
            connection.request(settings.method, path, headers=headers)
            answer = connection.getresponse()
            with closing(answer):
                body, status = answer.read(_LARGEST), answer.status
        finally:
            connection.close()
        if watchdog.barked:
            raise TimeoutError
        if answer.status not in _REDIRECTS or str(answer.status) in settings.expect_status:
            check_status(answer.status, settings.expect_status)
            check_body(body, settings.expect_body, answer.status)
            return ProbeResult(answer.status, expires)
        before = urllib.parse.urlsplit(url)
        url = next_url(url, answer.headers.get("location"), settings.follow_redirects, answer.status)
        if urllib.parse.urlsplit(url).hostname != before.hostname:
            headers = {"User-Agent": headers["User-Agent"]}  # what is for one host is for no other
    raise ProbeError("redirect", f"more than {_MOST_REDIRECTS} redirects", status=status)


def _open(
    url: str, settings: ProbeSettings, deadline: Deadline, watchdog: _Watchdog
) -> http.client.HTTPConnection:
    parts = urllib.parse.urlsplit(url)
    secure = parts.scheme == "https"
    host, port = parts.hostname or "", parts.port or (443 if secure else 80)
    connection = http.client.HTTPConnection(host, port)
    plain = _connect(host, port, deadline, watchdog)
    if not secure:
        connection.sock = plain
        return connection
    try:
        context = _context(settings)
        connection.sock = context.wrap_socket(plain, server_hostname=host)
    except BaseException:
        plain.close()
        raise
    watchdog.guard(connection.sock)
    return connection


def _connect(host: str, port: int, deadline: Deadline, watchdog: _Watchdog) -> socket.socket:
    one = socket.create_connection((host, port), timeout=max(0.001, deadline.remaining()))
    watchdog.guard(one)
    return one


def _context(settings: ProbeSettings) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=settings.ca_file)
    if not settings.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _headers(settings: ProbeSettings) -> dict[str, str]:
    """Those of files are read each time: a token may change."""
    read: Callable[[str], str] = lambda path: Path(path).read_text(encoding="utf-8").strip()  # noqa: E731
    try:
        secret: Mapping[str, str] = {name: read(path) for name, path in settings.header_files.items()}
    except (OSError, ValueError):
        raise ProbeError("protocol", "a file of header_files cannot be read") from None
    return {"User-Agent": "oxherd", "Accept": "*/*", **settings.headers, **secret}


def _expiry(connected: object) -> float | None:
    if not isinstance(connected, ssl.SSLSocket):
        return None
    certificate = connected.getpeercert()
    text = certificate.get("notAfter") if certificate else None
    return float(ssl.cert_time_to_seconds(text)) if isinstance(text, str) else None


def _shut(one: socket.socket) -> None:
    with suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
