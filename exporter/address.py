"""Addresses and URLs, without I/O. No error text here repeats any part of a URL: with one wrong character
the password is where the host or the port should be."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final
from urllib.parse import parse_qsl, unquote

REDIS_PORT: Final = 6379
SENTINEL_PORT: Final = 26379
_SCHEMES: Final = {"redis": False, "valkey": False, "rediss": True, "valkeys": True}
_SOCKET_SCHEMES: Final = frozenset(
    {"unix", "redis+unix", "valkey+unix", "redis+socket", "redis-socket", "unix+redis"}
)
_DATABASE_OPTIONS: Final = frozenset({"db", "database"})
_MEANINGLESS_OPTIONS: Final = frozenset({"family"})
"""Options of clients' URLs that change nothing here: both families of addresses are tried anyway."""


@dataclass(frozen=True, slots=True)
class RedisUrl:
    """The parts of a URL; None for a part that is absent. `address` is host:port, or the path of a socket."""

    address: str
    tls: bool
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    database: int | None = None


def join_address(host: str, port: int) -> str:
    """host:port, an IPv6 host in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def split_address(text: str, default_port: int = REDIS_PORT) -> tuple[str, int]:
    """Host and port of `host`, `host:port`, `[v6]:port` or the bare `v6:port` of CLUSTER NODES.

    Raises ValueError with a message that does not repeat `text`.
    """
    if "@" in text:
        raise ValueError("expected host:port, found an '@': user and password have their own settings")
    host, port = text.strip(), ""
    if host.startswith("["):
        host, bracket, rest = host[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            raise ValueError("expected [address]:port")
        port = rest[1:]
    elif ":" in host:
        host, _, port = host.rpartition(":")
    if not host or any(sign.isspace() or sign in "/?#[]" for sign in host):
        raise ValueError("expected host:port")
    return host, _port(port) if port else default_port


def is_socket(address: str) -> bool:
    """Whether the address is the path of a unix socket."""
    return address.startswith("/")


def server_at(host: str | None, port: int | None) -> RedisUrl:
    """The server at a host (or host:port, or the path of a unix socket) and a port, each with its default.

    Raises ValueError with a message that does not repeat them.
    """
    if host and is_socket(host):
        return RedisUrl(host, tls=False)
    if host and "://" in host:
        raise ValueError("is a URL: set REDIS_URL instead")
    bare_v6 = host is not None and host.count(":") > 1 and not host.startswith("[")
    name, own_port = split_address(f"[{host}]" if bare_v6 else host or "127.0.0.1", 0)
    if own_port and port and own_port != port:
        raise ValueError("has a port, and REDIS_PORT (redis.port) is another one")
    return RedisUrl(join_address(name, port or own_port or REDIS_PORT), tls=False)


def parse_url(text: str) -> RedisUrl:
    """redis://, rediss:// (TLS), valkey:// or valkeys:// [user:password@]host[:port][/database], or unix://
    [user:password@]/path/of/socket; each may end in ?db=database.

    User and password are percent-decoded. Raises ValueError with a message that is safe to show.
    """
    scheme, separator, rest = text.strip().partition("://")
    scheme = scheme.lower()
    tls = _SCHEMES.get(scheme)
    if not separator or (tls is None and scheme not in _SOCKET_SCHEMES):
        raise ValueError("a Redis URL starts with redis://, rediss://, valkey://, valkeys:// or unix://")
    if tls is None:
        return _socket_url(rest)
    end = min((rest.find(sign) for sign in "/?#" if sign in rest), default=len(rest))
    authority, tail = rest[:end], rest[end:]
    if "@" in tail:
        raise ValueError("write '/', '?' and '#' in the user or the password as %2F, %3F and %23")
    username, password, server = _user(authority)
    try:
        host, port = split_address(server)
    except ValueError:
        raise ValueError("after the scheme (and user:password@) a Redis URL has host:port") from None
    return RedisUrl(join_address(host, port), tls, username, password, _database(tail))


def _socket_url(rest: str) -> RedisUrl:
    authority, at, path = rest.rpartition("@")
    username, password, _ = _user(f"{authority}{at}")
    path, question, query = path.partition("?")
    if not is_socket(path) or path == "/" or "#" in path:
        raise ValueError("after unix:// (and user:password@) there is the absolute path of a socket")
    return RedisUrl(_decoded(path), False, username, password, _database(f"{question}{query}"))


def _user(authority: str) -> tuple[str | None, str | None, str]:
    """User, password and the rest of user:password@rest."""
    userinfo, at, rest = authority.rpartition("@")
    username, colon, password = userinfo.partition(":")
    return (
        _decoded(username) if at and username else None,
        _decoded(password) if colon and password else None,
        rest,
    )


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 5 and 1 <= int(text) <= 65535):
        raise ValueError("the port is not a number from 1 to 65535")
    return int(text)


def _database(tail: str) -> int | None:
    """The database of `/1`, `?db=1` or `/1?db=1`; None if there is none."""
    path, _, query = tail.partition("?")
    options = dict(parse_qsl(query, keep_blank_values=True))
    names = options.keys() - _MEANINGLESS_OPTIONS
    numbers = {path.strip("/"), *(options[name] for name in names & _DATABASE_OPTIONS)} - {""}
    plain = all(number.isascii() and number.isdigit() and len(number) <= 9 for number in numbers)
    if not plain or names - _DATABASE_OPTIONS:
        raise ValueError(
            "after host:port a Redis URL has at most /database or ?db=database, a number; other options "
            "are settings"
        )
    if len(numbers) > 1:
        raise ValueError("the URL names two databases")
    return int(numbers.pop()) if numbers else None


def _decoded(text: str) -> str:
    try:
        return unquote(text, errors="strict")
    except UnicodeDecodeError:
        raise ValueError("the user or the password is not percent-encoded UTF-8") from None
