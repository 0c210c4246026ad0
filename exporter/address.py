"""Addresses and URLs, without I/O. No error text here repeats any part of a URL: with one wrong character
the password is where the host or the port should be."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final
from urllib.parse import unquote

REDIS_PORT: Final = 6379
SENTINEL_PORT: Final = 26379
_SCHEMES: Final = {"redis": False, "valkey": False, "rediss": True, "valkeys": True}


@dataclass(frozen=True, slots=True)
class RedisUrl:
    """The parts of a URL; None for a part that is absent. `address` is host:port."""

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


def parse_url(text: str) -> RedisUrl:
    """redis://, rediss:// (TLS), valkey:// or valkeys:// [user:password@]host[:port][/database].

    User and password are percent-decoded. Raises ValueError with a message that is safe to show.
    """
    scheme, separator, rest = text.strip().partition("://")
    tls = _SCHEMES.get(scheme.lower())
    if not separator or tls is None:
        raise ValueError("a Redis URL starts with redis://, rediss://, valkey:// or valkeys://")
    end = min((rest.find(sign) for sign in "/?#" if sign in rest), default=len(rest))
    authority, tail = rest[:end], rest[end:]
    if "@" in tail:
        raise ValueError("write '/', '?' and '#' in the user or the password as %2F, %3F and %23")
    userinfo, at, server = authority.rpartition("@")
    username, colon, password = userinfo.partition(":")
    try:
        host, port = split_address(server)
    except ValueError:
        raise ValueError("after the scheme (and user:password@) a Redis URL has host:port") from None
    return RedisUrl(
        address=join_address(host, port),
        tls=tls,
        username=_decoded(username) if at and username else None,
        password=_decoded(password) if colon and password else None,
        database=_database(tail),
    )


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 5 and 1 <= int(text) <= 65535):
        raise ValueError("the port is not a number from 1 to 65535")
    return int(text)


def _database(tail: str) -> int | None:
    number = tail.strip("/")
    if not number:
        return None
    if not (number.isascii() and number.isdigit() and len(number) <= 9):
        raise ValueError(
            "after host:port a Redis URL has at most /database, a number; other options are settings"
        )
    return int(number)


def _decoded(text: str) -> str:
    try:
        return unquote(text, errors="strict")
    except UnicodeDecodeError:
        raise ValueError("the user or the password is not percent-encoded UTF-8") from None
