"""One connection to one server: redis-py connects (TCP, TLS), we greet, write and read.

redis-py's own greeting (AUTH, CLIENT SETNAME, CLIENT SETINFO, SELECT) takes a round trip for each, has no
deadline for the whole, and a server that knows no SETINFO counts an error each time. Ours is one round trip,
each reply a value. Reading: 20,000 LLEN replies cost 13 ms of CPU by redis-py's read_response, 2.2 ms by a
hiredis.Reader on the same socket; over TLS 14 and 2.3 (redis-py 8.1, hiredis 3.5, loopback).
"""

from __future__ import annotations

import socket
import ssl
from dataclasses import dataclass, field
from typing import Any, Final

import hiredis
from redis.connection import Connection as RedisPyConnection
from redis.connection import SSLConnection as RedisPySslConnection
from redis.exceptions import RedisError

from exporter.redis.protocol import Argument, Reply, ReplyError, Request, request
from exporter.settings import TlsSettings
from service.clock import Deadline
from service.outcome import UnreadableError

CLIENT_NAME: Final = "oxherd"
_MORE: Final = object()
_CHUNK: Final = 1 << 16
_SHOWN: Final = (
    *(
        "WRONGPASS",
        "NOAUTH",
        "NOPERM",
        "DENIED",
        "LOADING",
        "ERR AUTH <password> called",
        "ERR max number of",
    ),
    *("ERR DB index", "ERR SELECT is not allowed", "ERR invalid DB index"),
)


@dataclass(frozen=True)
class Access:
    """How to be let in: what is sent once connected, and the TLS context (None: plain TCP)."""

    username: str | None = None
    password: str | None = field(default=None, repr=False)
    database: int = 0
    tls: ssl.SSLContext | None = None
    server_name: str | None = None


class ClosedError(UnreadableError):
    """The server closed the connection: where it was an idle one from before, worth connecting anew.

    `last` is the error that it may have said before, such as that there are too many clients.
    """

    def __init__(self, message: str, last: Reply = None) -> None:
        super().__init__("unreachable", message)
        self.last = last if isinstance(last, ReplyError) else None


class Connection:
    """An open, greeted connection. Not for two threads at once; any error leaves it useless, to be closed."""

    def __init__(self, raw: Any) -> None:
        self._raw = raw  # redis-py's, whose methods have no types
        self._socket: socket.socket = raw._sock  # noqa: SLF001  # it has no public name
        self._reader = hiredis.Reader(
            protocolError=_NotRedisError, replyError=ReplyError, notEnoughData=_MORE, errors="replace"
        )

    def exchange(self, asked: Request, deadline: Deadline) -> list[Reply]:
        """Write, and read as many replies as are due. Raises UnreadableError.

        The deadline is for the whole: a server that trickles one byte at a time gains nothing by it.
        """
        replies: list[Reply] = []
        try:
            self._write(asked.packed, deadline)
            while len(replies) < asked.replies:
                self._receive(deadline)
                replies.extend(iter(self._reader.gets, _MORE))
        except TimeoutError:
            got = f"{len(replies)} of {asked.replies} replies" if replies else "no answer"
            raise UnreadableError("timeout", f"{got} in time") from None
        except _NotRedisError:
            raise UnreadableError(
                "protocol", "the answer is not Redis protocol: another server, or TLS"
            ) from None
        except (ssl.SSLEOFError, ssl.SSLZeroReturnError, ConnectionError):
            raise ClosedError("the server closed the connection", *replies[-1:]) from None
        except ssl.SSLError as error:
            raise UnreadableError("tls", _tls_text(error)) from None
        except OSError as error:
            raise ClosedError(f"connection lost: {error.strerror or type(error).__name__}") from None
        if len(replies) > asked.replies:
            raise UnreadableError("protocol", "more replies than commands")
        return replies

    def close(self) -> None:
        self._raw.disconnect()

    def _write(self, packed: bytes, deadline: Deadline) -> None:
        rest = memoryview(packed)
        while rest:
            self._bound(deadline)
            rest = rest[self._socket.send(rest) :]

    def _receive(self, deadline: Deadline) -> None:
        self._bound(deadline)
        received = self._socket.recv(_CHUNK)
        if not received:
            raise ConnectionAbortedError
        self._reader.feed(received)

    def _bound(self, deadline: Deadline) -> None:
        remaining = deadline.remaining()
        if remaining <= 0:
            raise TimeoutError
        self._socket.settimeout(remaining)


def open_connection(host: str, port: int, access: Access, deadline: Deadline) -> Connection:
    """Connect and greet. Raises UnreadableError (unreachable, timeout, tls, auth, refused, protocol)."""
    raw = _redis_py_connection(host, port, access, deadline)
    try:
        raw.connect()
        connection = Connection(raw)
        _greet(connection, access, deadline)
    except RedisError as error:
        raise _explained(error) from None
    except ClosedError as error:
        raw.disconnect()
        raise _unwelcome(error, access) from None
    except BaseException:
        raw.disconnect()
        raise
    return connection


def tls_context(settings: TlsSettings) -> ssl.SSLContext:
    """One for a deployment, as a CA bundle takes milliseconds to load.

    Raises UnreadableError naming the file.
    """
    try:
        context = ssl.create_default_context(cafile=settings.ca_file)
    except (OSError, ssl.SSLError) as error:
        raise UnreadableError("tls", f"tls.ca_file {settings.ca_file}: {_file_text(error)}") from None
    if settings.cert_file:
        try:
            context.load_cert_chain(settings.cert_file, settings.key_file, password=_no_passphrase)
        except (OSError, ssl.SSLError) as error:
            files = f"tls.cert_file {settings.cert_file}, tls.key_file {settings.key_file}"
            raise UnreadableError("tls", f"{files}: {_file_text(error)}") from None
    if not settings.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


class _NotRedisError(Exception):
    """The bytes that came are not RESP."""


class _TlsConnection(RedisPySslConnection):
    """redis-py's, with one context for all and a server name that need not be the address."""

    def __init__(self, context: ssl.SSLContext, server_name: str, deadline: Deadline, **options: Any) -> None:
        super().__init__(**options)
        self._context = context
        self._server_name = server_name
        self._deadline = deadline

    def _wrap_socket_with_ssl(self, sock: socket.socket) -> ssl.SSLSocket:
        sock.settimeout(max(0.001, self._deadline.remaining()))
        try:
            return self._context.wrap_socket(sock, server_hostname=self._server_name)
        except TimeoutError:
            sock.close()
            raise UnreadableError("timeout", "no TLS handshake in time: a port without TLS?") from None


def _redis_py_connection(host: str, port: int, access: Access, deadline: Deadline) -> Any:
    seconds = max(0.001, deadline.remaining())
    options: dict[str, Any] = {
        "host": host,
        "port": port,
        "protocol": 2,
        "socket_connect_timeout": seconds,
        "socket_timeout": seconds,
        "redis_connect_func": _no_greeting,
    }
    if access.tls is None:
        return RedisPyConnection(**options)  # type: ignore[no-untyped-call]
    return _TlsConnection(access.tls, access.server_name or host, deadline, **options)


def _no_greeting(_: object) -> None:
    """In place of redis-py's own."""


def _greet(connection: Connection, access: Access, deadline: Deadline) -> None:
    """AUTH, name and database in one round trip. A refused name (ACL, proxy) is done without."""
    commands: list[tuple[Argument, ...]] = [("CLIENT", "SETNAME", CLIENT_NAME)]
    if access.password is not None or access.username is not None:
        user = (access.username,) if access.username else ()
        commands.insert(0, ("AUTH", *user, access.password or ""))
    if access.database:
        commands.append(("SELECT", access.database))
    for command, reply in zip(commands, connection.exchange(request(commands), deadline), strict=True):
        if isinstance(reply, ReplyError):
            _judge(str(command[0]), reply, access.password or "")


def _judge(command: str, reply: ReplyError, secret: str) -> None:
    """Raise for a greeting that was refused for good."""
    text = _safe(reply, secret)
    if command == "AUTH":
        raise UnreadableError("auth", f"user name or password refused: {text}")
    if command == "SELECT":
        raise UnreadableError("error", f"database refused: {text}")
    if reply.code in ("NOAUTH", "DENIED"):
        raise UnreadableError("auth", text)
    if "max number of clients" in text:
        raise UnreadableError("refused", text)


def _safe(reply: ReplyError, secret: str) -> str:
    """The server's words, where they are known not to repeat our arguments, as "unknown command" does."""
    if not secret or (str(reply).startswith(_SHOWN) and secret not in str(reply)):
        return str(reply)
    return "an error that is not shown, as it may repeat the password"


def _unwelcome(error: ClosedError, access: Access) -> UnreadableError:
    """A server that hangs up at the first words. TLS 1.3 refuses a client certificate only then."""
    if error.last is not None:
        return UnreadableError("refused", _safe(error.last, access.password or ""))
    guess = "a TLS port?" if access.tls is None else "does it want a client certificate?"
    return UnreadableError("unreachable", f"{error} before any answer: {guess}")


def _explained(error: RedisError) -> UnreadableError:
    """redis-py keeps the operating system's error as the context of its own."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, OSError):
        cause = cause.__context__
    match cause:
        case TimeoutError():
            return UnreadableError("timeout", "no connection in time")
        case socket.gaierror():
            return UnreadableError("unreachable", f"the name is not known: {cause.strerror}")
        case ssl.SSLEOFError() | ssl.SSLZeroReturnError():
            return UnreadableError("unreachable", "the server closed the connection in the TLS handshake")
        case ssl.SSLError():
            return UnreadableError("tls", _tls_text(cause))
        case ConnectionRefusedError():
            return UnreadableError("unreachable", "connection refused")
        case OSError():
            return UnreadableError("unreachable", cause.strerror or type(cause).__name__)
    return UnreadableError("unreachable", type(error).__name__)


def _tls_text(error: ssl.SSLError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the server's certificate: {error.verify_message}"
    return f"TLS: {(error.reason or type(error).__name__).replace('_', ' ').lower()}"


def _file_text(error: OSError) -> str:
    return (
        error.strerror
        if not isinstance(error, ssl.SSLError) and error.strerror
        else "not a PEM file of that kind"
    )


def _no_passphrase() -> str:
    """Instead of OpenSSL's question on the terminal."""
    return ""
