"""Replies in the bytes as they arrive, bounded in bytes and in parts: the only user of hiredis's parser.

The parser believes what it reads. It makes an array as large as is announced (a billion elements take 8 GB of
addresses, and 2 s to give back); an empty array of 4 bytes takes 50, an error of 3 bytes 120. So what is
announced is added up before the parser sees it. That is a guess from lines that look like it, in a small part
of the parser's time; only where it is too much are the bytes read exactly, as an entry of a stream may hold
such lines.
"""

from __future__ import annotations

import re
from typing import Final

import hiredis

from exporter.redis.protocol import Reply, ReplyError
from exporter.redis.wire.room import FREE, OF_THE_PROCESS, NoRoomError, ReplyRoom
from service.clock import Deadline

MAX_BYTES: Final = 32 << 20
"""Bytes of all replies to one request: several times what is asked for at once."""
MAX_PARTS: Final = 2_500_000
"""Elements in them, of all arrays together: an entry of a stream that is read may have two million fields."""
MAX_HEAVY: Final = 500_000
"""Arrays and errors among them."""
_BYTE: Final = 2  # what a byte takes until its reply is whole: it may have to be read exactly
_PART: Final = 40  # what a part takes as an object, a short text 48
_HEAVY: Final = 120  # what an array or an error takes besides

_INCOMPLETE: Final = object()
_AGGREGATES: Final = (b"*", b"%", b"~", b">", b"|")  # arrays, and what RESP3 has besides
_ANNOUNCED: Final = re.compile(rb"\n[*%~>|](\d{1,19})\r")
_LONGEST_LINE: Final = 32  # bytes of a line that announces something


class TooLargeReplyError(Exception):
    """The replies have more bytes or parts than may be; the text says which."""


class NotRedisError(Exception):
    """The bytes received are not RESP."""


class ReplyReader:
    """For one connection. After an error there is only `give_up`.

    Bounded by itself, and by the room that all readers share.
    """

    def __init__(
        self,
        max_bytes: int = MAX_BYTES,
        max_parts: int = MAX_PARTS,
        max_heavy: int = MAX_HEAVY,
        room: ReplyRoom = OF_THE_PROCESS,
    ) -> None:
        self._room = room
        self._held = 0
        self._max_bytes = max_bytes
        self._max_parts = max_parts
        self._max_heavy = max_heavy
        self._begin()

    def _begin(self) -> None:
        self._parser = hiredis.Reader(
            protocolError=NotRedisError, replyError=ReplyError, notEnoughData=_INCOMPLETE, errors="replace"
        )
        self.request_done()

    def give_up(self) -> None:
        """The connection is of no use any more: nothing is kept of what was read."""
        self._unwalked = bytearray()
        self._begin()

    def request_done(self) -> None:
        """All replies to a request were read: what comes next is counted from 0."""
        self._bytes = 0
        self._lines = 0
        self._announced = 0
        self._heavy = 0
        self._tail = b"\n"
        self._unwalked = bytearray()  # not a list of chunks: a heap keeps the holes of such
        self._walk: _Walk | None = None
        held, self._held = self._held, 0
        self._room.give_back(held)

    def feed(self, received: bytes, deadline: Deadline) -> list[Reply]:
        """The replies that are complete by now. Waits for room. Raises TooLargeReplyError, NotRedisError,
        TimeoutError."""
        self._bytes += len(received)
        if self._bytes > self._max_bytes:
            raise TooLargeReplyError(f"more than {self._max_bytes >> 20} MiB")
        self._look_at(received)
        self._take_room(deadline)
        self._parser.feed(received)
        return list(iter(self._parser.gets, _INCOMPLETE))

    def _look_at(self, received: bytes) -> None:
        """Raises TooLargeReplyError where the parser would make too many parts."""
        self._unwalked += received
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
            walk = self._walked()
            if walk.parts > self._max_parts or walk.heavy > self._max_heavy:
                raise TooLargeReplyError(f"{max(walk.parts, walk.heavy)} parts")

    def _walked(self) -> _Walk:
        self._walk = self._walk or _Walk()
        self._walk.advance(bytes(self._unwalked))
        self._unwalked = bytearray()
        return self._walk

    def _take_room(self, deadline: Deadline) -> None:
        """Raises TooLargeReplyError, TimeoutError."""
        parts, heavy = max(self._lines, self._announced), self._heavy
        if self._walk is not None:
            parts, heavy = self._walk.parts, self._walk.heavy
        more = _BYTE * self._bytes + _PART * parts + _HEAVY * heavy - FREE - self._held
        if more <= 0:
            return
        more += -more % FREE  # as much as a few reads, so that it is seldom asked for
        try:
            self._room.take(more, self._held, deadline)
        except NoRoomError as error:
            raise TooLargeReplyError(str(error)) from None
        self._held += more


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
