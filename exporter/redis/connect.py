"""One connection to one server: a socket (TCP, TLS or Unix), the handshake, writes, and reads with hiredis.

redis-py's handshake (AUTH, CLIENT SETNAME, CLIENT SETINFO, SELECT) takes one round trip for each command and
has no deadline for the whole, and a server without SETINFO counts an error each time. This one takes one
round trip, and each reply is a value. Reading 20,000 LLEN replies costs 13 ms of CPU with redis-py's
read_response and 2.2 ms with a hiredis.Reader on the same socket; over TLS 14 and 2.3 (redis-py 8.1,
hiredis 3.5, loopback). To import redis-py is a tenth of the CPU time of a start.
"""

from __future__ import annotations

import socket
import ssl
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from exporter.address import is_socket
from exporter.config.redis import TlsSettings
from exporter.redis.protocol import Argument, Reply, ReplyError, Request, pack_request
from exporter.redis.wire.replies import NotRedisError, ReplyReader, TooLargeReplyError
from service.clock import Deadline
from service.net.addresses import addresses_of
from service.outcome import UnreadableError

CLIENT_NAME: Final = "oxherd"
_CHUNK: Final = 1 << 16
_SAFE_ERRORS: Final = (
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
class ConnectionOptions:
    """User, password and database of the handshake, and the TLS context (None: plain TCP)."""

    username: str | None = None
    password: str | None = field(default=None, repr=False)
    database: int = 0
    tls: ssl.SSLContext | None = None
    server_name: str | None = None


class ClosedError(UnreadableError):
    """The server closed the connection. If the connection was idle before, connecting again may help.

    `last` is the error that the server may have sent before, such as that there are too many clients.
    """

    def __init__(self, message: str, last: Reply = None) -> None:
        super().__init__("unreachable", message)
        self.last = last if isinstance(last, ReplyError) else None


class Connection:
    """A connection after the handshake. Not for two threads at once; after any error it must be closed."""

    def __init__(self, connected: socket.socket, host: str) -> None:
        self._socket = connected
        self.host: str = "" if is_socket(host) else host
        """What was connected to, a name or an IP; `ip` is what that was at the time."""
        self.ip: str = _peer_ip(self._socket)
        self._reader = ReplyReader()

    def exchange(self, request: Request, deadline: Deadline) -> list[Reply]:
        """Write the request and read all its replies. Raises UnreadableError.

        The deadline is for the whole exchange: a server that sends one byte at a time does not extend it; and
        `ReplyReader` has the bounds of its size, alone and together with those of all other connections.
        """
        replies: list[Reply] = []
        try:
            self._exchange(request, deadline, replies)
        except BaseException:
            replies.clear()  # before others get its room
            self._reader.give_up()
            raise
        self._reader.request_done()
        return replies

    def _exchange(self, request: Request, deadline: Deadline, replies: list[Reply]) -> None:
        try:
            self._write(request.packed, deadline)
            while len(replies) < request.replies:
                replies += self._reader.feed(self._received(deadline), deadline)
        except TimeoutError:
            progress = f"{len(replies)} of {request.replies} replies" if replies else "no answer"
            raise UnreadableError("timeout", f"{progress} in time") from None
        except TooLargeReplyError as error:
            raise UnreadableError("protocol", f"the replies are too large: {error}") from None
        except NotRedisError:
            raise UnreadableError(
                "protocol", "the reply is not Redis protocol: another server, or TLS"
            ) from None
        except (ssl.SSLEOFError, ssl.SSLZeroReturnError, ConnectionError):
            raise ClosedError("the server closed the connection", *replies[-1:]) from None
        except ssl.SSLError as error:
            raise UnreadableError("tls", _tls_text(error)) from None
        except OSError as error:
            raise ClosedError(f"connection lost: {error.strerror or type(error).__name__}") from None
        if len(replies) > request.replies:
            raise UnreadableError("protocol", "more replies than commands")

    def send(self, packed: bytes, deadline: Deadline) -> None:
        """Write commands whose replies `receive` will return. Raises UnreadableError."""
        try:
            self._write(packed, deadline)
        except TimeoutError:
            raise UnreadableError("timeout", "no write in time") from None
        except OSError as error:
            raise ClosedError(f"connection lost: {error.strerror or type(error).__name__}") from None

    def receive(self, deadline: Deadline) -> bytes:
        """The bytes that have arrived, at least one, or b"" at the deadline. For a connection that is pushed
        to: never after `exchange`. Raises UnreadableError."""
        try:
            self._set_timeout(deadline)
            received = self._socket.recv(_CHUNK)
        except TimeoutError:
            return b""
        except OSError as error:
            raise ClosedError(f"connection lost: {error.strerror or type(error).__name__}") from None
        if not received:
            raise ClosedError("the server closed the connection")
        return received

    def close(self) -> None:
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)  # a thread that reads or writes it ends at once
        self._socket.close()

    def _write(self, packed: bytes, deadline: Deadline) -> None:
        unsent = memoryview(packed)
        while unsent:
            self._set_timeout(deadline)
            unsent = unsent[self._socket.send(unsent) :]

    def _received(self, deadline: Deadline) -> bytes:
        self._set_timeout(deadline)
        received = self._socket.recv(_CHUNK)
        if not received:
            raise ConnectionAbortedError
        return received

    def _set_timeout(self, deadline: Deadline) -> None:
        remaining = deadline.remaining()
        if remaining <= 0:
            raise TimeoutError
        self._socket.settimeout(remaining)


def open_connection(host: str, port: int, options: ConnectionOptions, deadline: Deadline) -> Connection:
    """Connect and do the handshake. A host that is a path is a unix socket.

    Raises UnreadableError (unreachable, timeout, tls, auth, refused, protocol).
    """
    try:
        connected = _connected(host, port, options, deadline)
    except OSError as error:
        raise _connect_error(error) from None
    connection = Connection(connected, host)
    try:
        _handshake(connection, options, deadline)
    except ClosedError as error:
        connection.close()
        raise _handshake_closed(error, options) from None
    except BaseException:
        connection.close()
        raise
    return connection


def tls_context(settings: TlsSettings) -> ssl.SSLContext:
    """The TLS context, built once for a deployment, as a CA bundle takes milliseconds to load.

    Raises UnreadableError, which names the file.
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


def _peer_ip(connected: socket.socket) -> str:
    """The IP of the other end; empty for a Unix socket, or if the server has closed the connection."""
    try:
        name = connected.getpeername()
    except OSError:
        return ""
    return str(name[0]) if isinstance(name, tuple) else ""


def _connected(host: str, port: int, options: ConnectionOptions, deadline: Deadline) -> socket.socket:
    """A socket that is connected, and encrypted if the options say so. Raises OSError and UnreadableError."""
    if is_socket(host):
        unix = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            unix.settimeout(max(0.001, deadline.remaining()))
            unix.connect(host)
        except BaseException:
            unix.close()
            raise
        return unix
    plain = _reached(host, port, deadline)
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if options.tls is None:
        return plain
    try:
        plain.settimeout(max(0.001, deadline.remaining()))
        return options.tls.wrap_socket(plain, server_hostname=options.server_name or host)
    except TimeoutError:
        plain.close()
        raise UnreadableError("timeout", "no TLS handshake in time: a port without TLS?") from None
    except BaseException:
        plain.close()
        raise


def _reached(host: str, port: int, deadline: Deadline) -> socket.socket:
    """Connected to the first address of the host that answers. Raises the error of the last one."""
    failure = OSError("the host name has no address")
    try:
        for family, kind, protocol, _, address in addresses_of(host, port, deadline):
            reached = socket.socket(family, kind, protocol)
            try:
                reached.settimeout(max(0.001, deadline.remaining()))
                reached.connect(address)
            except OSError as error:
                reached.close()
                failure = error
            else:
                return reached
        raise failure
    finally:
        del failure  # it has this frame, which would keep it


def _handshake(connection: Connection, options: ConnectionOptions, deadline: Deadline) -> None:
    """AUTH, CLIENT SETNAME and SELECT in one round trip. A refused SETNAME (ACL, proxy) is ignored."""
    commands: list[tuple[Argument, ...]] = [("CLIENT", "SETNAME", CLIENT_NAME)]
    if options.password is not None or options.username is not None:
        user = (options.username,) if options.username else ()
        commands.insert(0, ("AUTH", *user, options.password or ""))
    if options.database:
        commands.append(("SELECT", options.database))
    for command, reply in zip(commands, connection.exchange(pack_request(commands), deadline), strict=True):
        if isinstance(reply, ReplyError):
            _check_handshake(str(command[0]), reply, options.password or "")


def _check_handshake(command: str, reply: ReplyError, secret: str) -> None:
    """Raise UnreadableError for a reply that makes the connection unusable."""
    text = _safe_text(reply, secret)
    if command == "AUTH":
        raise UnreadableError("auth", f"user name or password refused: {text}")
    if command == "SELECT":
        raise UnreadableError("error", f"database refused: {text}")
    if reply.code in ("NOAUTH", "DENIED"):
        raise UnreadableError("auth", text)
    if "max number of clients" in text:
        raise UnreadableError("refused", text)


def _safe_text(reply: ReplyError, secret: str) -> str:
    """The server's text if it is known not to repeat our arguments, as "unknown command" does."""
    if not secret or (str(reply).startswith(_SAFE_ERRORS) and secret not in str(reply)):
        return str(reply)
    return "an error that is not shown, as it may repeat the password"


def _handshake_closed(error: ClosedError, options: ConnectionOptions) -> UnreadableError:
    """The server closed the connection in the handshake. TLS 1.3 refuses a client certificate only then."""
    if error.last is not None:
        return UnreadableError("refused", _safe_text(error.last, options.password or ""))
    hint = "a TLS port?" if options.tls is None else "does it require a client certificate?"
    return UnreadableError("unreachable", f"{error} before any reply: {hint}")


def _connect_error(cause: OSError) -> UnreadableError:
    """The reason, from the operating system's error."""
    match cause:
        case TimeoutError():
            return UnreadableError("timeout", "no connection in time")
        case socket.gaierror():
            return UnreadableError("unreachable", f"the host name cannot be resolved: {cause.strerror}")
        case ssl.SSLEOFError() | ssl.SSLZeroReturnError():
            return UnreadableError("unreachable", "the server closed the connection in the TLS handshake")
        case ssl.SSLError():
            return UnreadableError("tls", _tls_text(cause))
        case ConnectionRefusedError():
            return UnreadableError("unreachable", "connection refused")
    return UnreadableError("unreachable", cause.strerror or type(cause).__name__)


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
    """An empty passphrase, so that OpenSSL does not prompt on the terminal."""
    return ""
