"""HTTP to one Prometheus server: connections kept alive, and every wait bounded by a deadline.

The standard library's client does: it follows no redirect and takes no proxy from the environment, so that a
token goes nowhere else. What bounds a whole answer, and not each byte of it, is the reader at the end.
"""

from __future__ import annotations

import http.client
import io
import socket
import ssl
from base64 import b64encode
from collections.abc import Mapping
from threading import Lock
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

from pydantic import SecretStr
from pydantic_core import from_json

from scaler.prometheus.parse import api_data
from scaler.prometheus.settings import PrometheusSettings, is_header_value
from service.clock import Deadline
from service.config.files import read_text
from service.config.load import ConfigError
from service.outcome import UnreadableError

_LARGEST: Final = 64 << 20
_PIECE: Final = 1 << 16
_REFUSALS: Final = (401, 403)
_HIDDEN: Final = "(hidden)"


class Server:
    """One of `PrometheusSettings.urls`. Threads may ask side by side, each on a connection of its own."""

    def __init__(self, url: str, settings: PrometheusSettings) -> None:
        parts = urlsplit(url)
        self.url: Final = url
        self._https = parts.scheme == "https"
        self._host = parts.hostname or ""
        self._port = parts.port or (443 if self._https else 80)
        self._path = parts.path.rstrip("/")
        self._settings = settings
        self._lock = Lock()
        self._idle: list[_Connection] = []
        self._post = True
        self.requests = 0

    def ask(self, path: str, parameters: Mapping[str, str], deadline: Deadline) -> dict[str, Any]:
        """The parsed JSON of /api/v1/`path`: a success without warnings.

        Raises UnreadableError: unreachable, timeout, refused, invalid, error; its text holds no secret.
        """
        headers, secrets = self._headers()
        body = urlencode(parameters)
        try:
            status, text = self._exchange(path, body, headers, deadline)
            if status == http.client.METHOD_NOT_ALLOWED and self._post:
                self._post = False  # something in between lets only GET through
                status, text = self._exchange(path, body, headers, deadline)
            return self._document(status, text)
        except UnreadableError as error:
            why = str(error)
            for secret in filter(None, secrets):
                why = why.replace(secret, _HIDDEN)
            raise type(error)(error.kind, f"{self.url}: {why}") from None

    def close(self) -> None:
        """Let go of the idle connections."""
        with self._lock:
            idle, self._idle = self._idle, []
        for one in idle:
            one.close()

    def _exchange(
        self, path: str, body: str, headers: Mapping[str, str], deadline: Deadline
    ) -> tuple[int, bytes]:
        target = f"{self._path}/api/v1/{path}"
        try:
            with self._lock:
                kept = self._idle.pop() if self._idle else None
            if kept is not None:
                try:
                    return self._on(kept, target, body, headers, deadline)
                except (ConnectionError, ssl.SSLError, http.client.BadStatusLine):
                    pass  # the server closed it while it was idle; to ask twice does no harm
            return self._on(self._connect(deadline), target, body, headers, deadline)
        except TimeoutError:
            raise UnreadableError("timeout", "no answer in time") from None
        except ssl.SSLError as error:
            why = getattr(error, "verify_message", "") or error.reason or "handshake failed"
            raise UnreadableError("unreachable", f"TLS: {why}") from None
        except OSError as error:
            raise UnreadableError("unreachable", error.strerror or type(error).__name__) from None
        except http.client.HTTPException:
            raise UnreadableError("invalid", "the answer is no HTTP, or was cut short") from None

    def _on(
        self, connection: _Connection, target: str, body: str, headers: Mapping[str, str], deadline: Deadline
    ) -> tuple[int, bytes]:
        with self._lock:
            self.requests += 1
        try:
            answered = connection.exchange(target, body, headers, deadline, post=self._post)
        except BaseException:
            connection.close()
            raise
        if connection.reusable:
            with self._lock:
                self._idle.append(connection)
        else:
            connection.close()
        return answered

    def _connect(self, deadline: Deadline) -> _Connection:
        context = self._tls() if self._https else None
        name = self._settings.tls.server_name or self._host
        return _Connection(self._host, self._port, deadline, context, name)

    def _tls(self) -> ssl.SSLContext:
        """Made anew for each connection: the files may have been replaced. Raises UnreadableError."""
        tls = self._settings.tls
        what = f"ca_file: {tls.ca_file}"
        try:
            context = ssl.create_default_context(cafile=tls.ca_file)
            if not tls.verify:
                context.check_hostname = False
                context.verify_mode = ssl.CERT_NONE
            what = f"cert_file: {tls.cert_file} with key_file {tls.key_file}"
            if tls.cert_file:
                context.load_cert_chain(tls.cert_file, tls.key_file, password=_no_passphrase)
        except (OSError, ValueError) as error:
            why = (
                "is no PEM file that fits" if isinstance(error, ssl.SSLError | ValueError) else error.strerror
            )
            raise UnreadableError("error", f"prometheus.tls.{what}: {why}") from None
        return context

    def _headers(self) -> tuple[dict[str, str], list[str]]:
        """Those of this request, and the secrets in them. Raises UnreadableError: a file cannot be read."""
        settings = self._settings
        headers = {name: secret.get_secret_value() for name, secret in settings.headers.items()}
        for name, path in settings.header_files.items():
            headers[name] = _secret(path, f"prometheus.header_files.{name}")
        secrets = list(headers.values())
        token = _either(settings.bearer_token, settings.bearer_token_file, "prometheus.bearer_token_file")
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
            secrets.append(token)
        password = _either(settings.password, settings.password_file, "prometheus.password_file")
        if password is not None:
            pair = b64encode(f"{settings.username}:{password}".encode()).decode()
            headers["Authorization"] = f"Basic {pair}"
            secrets += pair, password
        for name, value in headers.items():
            if not is_header_value(value):
                raise UnreadableError(
                    "error", f"prometheus: what is given for {name} cannot stand in a header"
                )
        return headers, secrets

    def _document(self, status: int, text: bytes) -> dict[str, Any]:
        """Raises UnreadableError unless a Prometheus gave the answer, and no error."""
        if status in _REFUSALS:
            raise UnreadableError("refused", f"answered {status}: is the user, or the token, right?")
        if http.client.MULTIPLE_CHOICES <= status < http.client.BAD_REQUEST:
            raise UnreadableError("error", f"answered {status}, which leads elsewhere: is the path right?")
        try:
            document = from_json(text, allow_inf_nan=False)
        except ValueError:
            document = None
        if not isinstance(document, dict) or document.get("status") not in ("success", "error"):
            if status == http.client.OK:
                raise UnreadableError("invalid", "answered something else than a Prometheus")
            kind = "unreachable" if status >= http.client.INTERNAL_SERVER_ERROR else "error"
            raise UnreadableError(kind, f"answered {status}: is it a Prometheus?")
        api_data(document)
        return document


class _Connection:
    """One connection: a request and its answer at a time, each within the deadline of its own."""

    def __init__(
        self, host: str, port: int, deadline: Deadline, context: ssl.SSLContext | None, server_name: str
    ) -> None:
        """Raises OSError."""
        self._stream = _Stream(_dial(host, port, deadline), deadline)
        if context is not None:
            try:
                self._stream.encrypt(context, server_name)
            except BaseException:
                self._stream.hang_up()
                raise
        self._http = http.client.HTTPConnection(host, port)
        self._http.auto_open = 0  # never a connection that was not made here
        # The client needs no more of a socket than these few methods.
        self._http.sock = self._stream
        self.reusable = True

    def exchange(
        self, target: str, body: str, headers: Mapping[str, str], deadline: Deadline, *, post: bool
    ) -> tuple[int, bytes]:
        """Status and body. Raises OSError, HTTPException, UnreadableError."""
        self._stream.deadline = deadline
        if post:
            form = {"Content-Type": "application/x-www-form-urlencoded"}
            self._http.request("POST", target, body=body.encode(), headers={**headers, **form})
        else:
            self._http.request("GET", f"{target}?{body}", headers=dict(headers))
        with self._http.getresponse() as answer:
            self.reusable = not answer.will_close
            return answer.status, _bounded(answer)

    def close(self) -> None:
        self._http.close()
        self._stream.hang_up()


def _bounded(answer: http.client.HTTPResponse) -> bytes:
    """The body. Raises UnreadableError for one that is too large, HTTPException for one that is cut short."""
    pieces = []
    size = 0
    while piece := answer.read(_PIECE):
        size += len(piece)
        if size > _LARGEST:
            raise UnreadableError("invalid", f"the answer is larger than {_LARGEST >> 20} MiB")
        pieces.append(piece)
    if answer.length:
        raise http.client.IncompleteRead(b"")
    return b"".join(pieces)


def _dial(host: str, port: int, deadline: Deadline) -> socket.socket:
    """A connection to the first address that takes one. Raises OSError."""
    problem: OSError | None = None
    for family, kind, protocol, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        one = socket.socket(family, kind, protocol)
        try:
            one.settimeout(_left(deadline))
            one.connect(address)
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError as error:
            one.close()
            problem = error
        else:
            return one
    raise problem or OSError("no address")


class _Stream:
    """A socket whose every wait ends at the deadline: a time-out of the socket's own begins anew with each
    byte, and one byte a second is an answer without end."""

    def __init__(self, sock: socket.socket, deadline: Deadline) -> None:
        self._sock = sock
        self.deadline = deadline

    def encrypt(self, context: ssl.SSLContext, server_name: str) -> None:
        """Raises OSError, of which SSLError is one."""
        self._sock.settimeout(_left(self.deadline))
        self._sock = context.wrap_socket(self._sock, server_hostname=server_name)

    def sendall(self, data: bytes) -> None:
        self._sock.settimeout(_left(self.deadline))
        self._sock.sendall(data)

    def recv_into(self, buffer: Any) -> int:
        self._sock.settimeout(_left(self.deadline))
        return self._sock.recv_into(buffer)

    def makefile(self, mode: str) -> io.BufferedReader:
        """What the client reads one answer from."""
        del mode
        return io.BufferedReader(_Reader(self), _PIECE)

    def close(self) -> None:
        """Nothing: the client says this of a connection that is to end, before it has read the answer."""

    def hang_up(self) -> None:
        self._sock.close()


class _Reader(io.RawIOBase):
    def __init__(self, stream: _Stream) -> None:
        self._stream = stream

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        return self._stream.recv_into(buffer)


def _left(deadline: Deadline) -> float:
    left = deadline.remaining()
    if left <= 0:
        raise TimeoutError
    return left


def _either(value: SecretStr | None, path: str | None, setting: str) -> str | None:
    """What is given, or what the file holds. Raises UnreadableError."""
    return _secret(path, setting) if path is not None else value.get_secret_value() if value else None


def _secret(path: str, setting: str) -> str:
    """What a file holds, without the white space around it. Raises UnreadableError."""
    try:
        text = read_text(path, setting).strip()
    except ConfigError as error:
        raise UnreadableError("error", f"{setting}: {path} {error.why}") from None
    if not text:
        raise UnreadableError("error", f"{setting}: {path} is empty")
    return text


def _no_passphrase() -> str:
    """Without it OpenSSL asks the terminal for one."""
    raise ValueError("the key needs a passphrase")
