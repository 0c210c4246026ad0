"""Replies in the bytes as they arrive, bounded in bytes and in parts: the only user of hiredis's parser.

The parser believes what it reads. It makes an array as large as is announced (a billion elements take 8 GB of
addresses, and 2 s to give back); an empty array of 4 bytes takes 50, an error of 3 bytes 120. So what is
announced is added up before the parser sees it. That is a guess from lines that look like it, in a small part
of the parser's time; only where it is too much are the bytes read exactly, as an entry of a stream may hold
such lines.
"""

from __future__ import annotations

import re
from typing import Final, Protocol

import hiredis

from exporter.redis.protocol import Reply, ReplyError

MAX_BYTES: Final = 32 << 20
"""Bytes of all replies to one request: several times what is asked for at once."""
MAX_PARTS: Final = 2_500_000
"""Elements in them, of all arrays together: an entry of a stream that is read may have two million fields."""
MAX_HEAVY: Final = 500_000
"""Arrays and errors among them."""

OWN_BYTES: Final = 1 << 20
"""Bytes of memory that each connection has for its replies; what is more is taken from the room of all."""

_INCOMPLETE: Final = object()
_COPIES: Final = 2  # the parser's and ours of what was received
_LINE_BYTES: Final = 16  # of memory that a part takes besides its own, at least
_HEAVY_BYTES: Final = 64
_AGGREGATES: Final = (b"*", b"%", b"~", b">", b"|")  # arrays, and what RESP3 has besides
_ANNOUNCED: Final = re.compile(rb"\n[*%~>|](\d{1,19})\r")
_LONGEST_LINE: Final = 32  # bytes of a line that announces something


class TooLargeReplyError(Exception):
    """The replies have more bytes or parts than may be; the text says which."""


class NotRedisError(Exception):
    """The bytes received are not RESP."""


class Room(Protocol):
    """What the replies of all connections may take together: exporter/redis/wire/room.py."""

    def hold(self, reader: int, size: int) -> bool: ...

    def give_back(self, reader: int) -> None: ...


class ReplyReader:
    """For one connection. After an error it must not be used again."""

    def __init__(
        self,
        max_bytes: int = MAX_BYTES,
        max_parts: int = MAX_PARTS,
        max_heavy: int = MAX_HEAVY,
        *,
        room: Room | None = None,
    ) -> None:
        self._room = room
        self._holds = False
        self._max_bytes = max_bytes
        self._max_parts = max_parts
        self._max_heavy = max_heavy
        self._parser = hiredis.Reader(
            protocolError=NotRedisError, replyError=ReplyError, notEnoughData=_INCOMPLETE, errors="replace"
        )
        self.request_done()

    def request_done(self) -> None:
        """All replies to a request were read: what comes next is counted from 0."""
        self._give_back()
        self._bytes = 0
        self._lines = 0
        self._announced = 0
        self._heavy = 0
        self._tail = b"\n"
        self._unwalked: list[bytes] = []
        self._walk: _Walk | None = None

    def feed(self, received: bytes) -> list[Reply]:
        """The replies that are complete by now. Raises TooLargeReplyError, NotRedisError."""
        self._bytes += len(received)
        if self._bytes > self._max_bytes:
            raise TooLargeReplyError(f"more than {self._max_bytes >> 20} MiB")
        self._look_at(received)
        self._hold()
        self._parser.feed(received)
        return list(iter(self._parser.gets, _INCOMPLETE))

    def __del__(self) -> None:
        self._give_back()  # and not before: until then its memory is taken

    def _hold(self) -> None:
        """Raises TooLargeReplyError where all replies together are too large, and these are the largest."""
        size = (
            _COPIES * self._bytes
            + _LINE_BYTES * max(self._lines, self._announced)
            + _HEAVY_BYTES * self._heavy
        )
        if self._room is not None and size > OWN_BYTES:
            self._holds = True
            if not self._room.hold(id(self), size):
                raise TooLargeReplyError(f"{size >> 20} MiB, and others are large too")

    def _give_back(self) -> None:
        if self._holds and self._room is not None:
            self._room.give_back(id(self))
            self._holds = False

    def _look_at(self, received: bytes) -> None:
        """Raises TooLargeReplyError where the parser would make too many parts."""
        self._unwalked.append(received)
        self._lines += received.count(b"\n")
        begun = self._tail + received
        if any(mark in begun for mark in _AGGREGATES):
            sizes = _ANNOUNCED.findall(begun)
            self._announced += sum(map(int, sizes))
            self._heavy += len(sizes)
        if b"-" in begun:
            self._heavy += begun.count(b"\n-")
        line = begun.rfind(b"\n", -_LONGEST_LINE)
        self._tail = begun[line:] if line >= 0 and b"\r" not in begun[line:] else b""
        if self._heavy > self._max_heavy or max(self._lines, self._announced) > self._max_parts:
            self._walk = self._walk or _Walk()
            self._walk.advance(b"".join(self._unwalked))
            self._unwalked = []
            if self._walk.parts > self._max_parts or self._walk.heavy > self._max_heavy:
                raise TooLargeReplyError(f"{max(self._walk.parts, self._walk.heavy)} parts")


class _Walk:
    """Counts the parts exactly: it reads the lines that say what comes, and passes over the rest."""

    def __init__(self) -> None:
        self._begun = b""
        self._skip = 0  # bytes of a text that are still to come
        self._seen = 0
        self._announced = 0
        self.heavy = 0  # arrays and errors

    @property
    def parts(self) -> int:
        return max(self._seen, self._announced)

    def advance(self, data: bytes) -> None:
        data, at = self._begun + data, self._skip
        while (end := data.find(b"\r\n", at)) >= 0:
            mark, size = data[at : at + 1], _size(data[at + 1 : end])
            at = end + 2
            self._seen += 1
            if mark == b"$" and size >= 0:
                at += size + 2
            elif mark in _AGGREGATES:
                self._announced += max(0, size)
                self.heavy += 1
            elif mark == b"-":
                self.heavy += 1
        self._skip = max(0, at - len(data))
        self._begun = data[at:]
        if len(self._begun) > _LONGEST_LINE:  # a text that ends with its line; only its end is looked for
            self._begun = self._begun[:1] + self._begun[-1:]


def _size(text: bytes) -> int:
    try:
        return int(text)
    except ValueError:
        return 0
