"""The wire format of commands, and the types of replies: all that pure code needs to know of Redis."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple, TypeAlias

MAX_COMMANDS: Final = 5000
"""Commands of one request of many: a few ms of Redis."""
MOST_DIGITS: Final = 20
"""Digits of a number that is read from a text: Redis' own have no more. Whoever writes a key may write
thousands, which Python refuses to read, and hundreds make a number that no series can show."""

Argument: TypeAlias = str | bytes | int | float


_LONGEST_ERROR: Final = 1000
"""Characters of an error that are kept: it is searched, shown and logged. Redis' own are far shorter."""


class ReplyError(Exception):
    """An error reply to one command (`NOPERM ...`, `MOVED ...`, `WRONGTYPE ...`)."""

    def __init__(self, text: str) -> None:
        super().__init__(text if len(text) <= _LONGEST_ERROR else text[:_LONGEST_ERROR] + "...")

    @property
    def code(self) -> str:
        """The first word: NOPERM, MOVED, NOAUTH, LOADING, ERR ..."""
        return str(self).partition(" ")[0]


Reply: TypeAlias = "bytes | int | ReplyError | list[Reply] | None"
"""The reply to one command. An error is a value here: one refused command does not affect the others."""


def whole_of(reply: Reply) -> int | None:
    """The whole number of at least 0 that a text is, as an application wrote it; None for anything else."""
    return int(reply) if isinstance(reply, bytes) and reply.isdigit() and len(reply) <= MOST_DIGITS else None


class Request(NamedTuple):
    """Commands for one node, packed once: sent in one write; the node sends `replies` replies."""

    packed: bytes
    replies: int


def pack(*arguments: Argument) -> bytes:
    """One command as RESP: an array of bulk strings (redis.io/docs/reference/protocol-spec)."""
    parts = [b"*%d\r\n" % len(arguments)]
    for argument in arguments:
        raw = argument if isinstance(argument, bytes) else str(argument).encode("utf-8", "surrogateescape")
        parts.append(b"$%d\r\n%b\r\n" % (len(raw), raw))
    return b"".join(parts)


def pack_request(commands: Iterable[tuple[Argument, ...]]) -> Request:
    """Several commands as one request."""
    packed = [pack(*command) for command in commands]
    return Request(b"".join(packed), len(packed))


def in_pieces(parts: Iterable[Request]) -> tuple[list[Request], list[int]]:
    """Small requests joined, in their order, to some of at most `MAX_COMMANDS` commands; and how many of the
    parts each has. A part is never divided."""
    pieces: list[Request] = []
    numbers: list[int] = []
    packed: list[bytes] = []
    replies = 0
    for part in parts:
        if packed and replies + part.replies > MAX_COMMANDS:
            pieces.append(Request(b"".join(packed), replies))
            numbers.append(len(packed))
            packed, replies = [], 0
        packed.append(part.packed)
        replies += part.replies
    if packed:
        pieces.append(Request(b"".join(packed), replies))
        numbers.append(len(packed))
    return pieces, numbers
