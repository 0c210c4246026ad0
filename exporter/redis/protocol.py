"""The wire form of commands and what a reply can be: all that pure code needs to know of Redis."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias

Argument: TypeAlias = str | bytes | int | float


class ReplyError(Exception):
    """An error that the server answered to one command (`NOPERM ...`, `MOVED ...`, `WRONGTYPE ...`)."""

    @property
    def code(self) -> str:
        """The first word: NOPERM, MOVED, NOAUTH, LOADING, ERR ..."""
        return str(self).partition(" ")[0]


Reply: TypeAlias = "bytes | int | ReplyError | list[Reply] | None"
"""One command's answer. An error is a value here: one refused command never costs the others."""


@dataclass(frozen=True, slots=True)
class Request:
    """Commands for one node, packed once: written in one go, answered by `replies` replies."""

    packed: bytes
    replies: int


def pack(*arguments: Argument) -> bytes:
    """One command as RESP: an array of bulk strings (redis.io/docs/reference/protocol-spec)."""
    parts = [b"*%d\r\n" % len(arguments)]
    for argument in arguments:
        raw = argument if isinstance(argument, bytes) else str(argument).encode("utf-8", "surrogateescape")
        parts.append(b"$%d\r\n%b\r\n" % (len(raw), raw))
    return b"".join(parts)


def request(commands: Iterable[tuple[Argument, ...]]) -> Request:
    """Several commands as one request."""
    packed = [pack(*command) for command in commands]
    return Request(b"".join(packed), len(packed))
