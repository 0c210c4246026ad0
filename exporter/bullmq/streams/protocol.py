"""The commands of streams as they are sent, and their replies. Pure.

XINFO STREAM with FULL COUNT 1 answers with the first entry, without the last, and with the number of nodes.
A server before Redis 6 has only the short form, with both entries.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, cast

from exporter.bullmq.streams.events import Entry, split_id
from exporter.redis.protocol import Reply, ReplyError

MAX_STREAMS: Final = 1000
"""Streams that one XREAD names: about a ms of Redis, in which it answers nobody else."""


@dataclass(frozen=True, slots=True)
class StreamInfo:
    """`added` are the entries that it ever had, from Redis 7; ids are None for a stream without entries."""

    exists: bool = False
    length: int = 0
    nodes: int = 0
    last: bytes = b"0-0"
    first: bytes | None = None
    added: int | None = None
    first_bytes: int = 0

    @property
    def complete(self) -> bool:
        """Whether it still has every entry that it ever had."""
        return self.added == self.length


class StreamCheck(NamedTuple):
    """What was read of a stream besides its entries, just before them.

    `jobs` are the numbers of waiting, paused, prioritized and active jobs; None if one could not be read.
    """

    info: StreamInfo
    jobs: tuple[int, int, int, int] | None
    max_length: int | None


class StreamMark(NamedTuple):
    """What shows that a stream moved: the position after the last entry that was read, packed; the others are
    as in Events. `compared_at`: when it was compared with the stream itself, in monotonic seconds."""

    position: bytes
    lost: int
    undone: int
    gaps: int
    compared_at: float


def stream_info(reply: Reply) -> StreamInfo | ReplyError:
    """The report; of a key that does not exist an empty one. An answer that makes no sense is an error."""
    if isinstance(reply, ReplyError):
        return StreamInfo(added=0) if "no such key" in str(reply) else reply
    try:
        fields = _fields(reply)
        first, first_bytes = _first(fields)
        info = StreamInfo(
            exists=True,
            length=int(fields[b"length"]),
            nodes=int(fields.get(b"radix-tree-keys", 0)),
            last=bytes(fields[b"last-generated-id"]),
            first=first,
            added=fields.get(b"entries-added"),
            first_bytes=first_bytes,
        )
        split_id(info.last)
        split_id(info.first or info.last)
    except (KeyError, TypeError, ValueError, IndexError):
        return ReplyError("ERR an answer of XINFO STREAM that makes no sense")
    return info


def _fields(reply: Reply) -> Mapping[bytes, Any]:
    flat = cast("list[Any]", reply)
    return dict(zip(flat[::2], flat[1::2], strict=True))


def _first(fields: Mapping[bytes, Any]) -> tuple[bytes | None, int]:
    """The id of the first entry, and the bytes of its fields."""
    entries = fields.get(b"entries")
    entry = entries[0] if entries else fields.get(b"first-entry")
    return (bytes(entry[0]), sum(map(len, entry[1]))) if entry else (None, 0)


def bulk(raw: bytes) -> bytes:
    """One argument as a RESP bulk string."""
    return b"$%d\r\n%b\r\n" % (len(raw), raw)


def xread(count: int, streams: Sequence[tuple[bytes, bytes]]) -> bytes:
    """The packed command; keys and positions are bulk strings already."""
    head = b"*%d\r\n" % (4 + 2 * len(streams)) + b"".join(
        map(bulk, (b"XREAD", b"COUNT", b"%d" % count, b"STREAMS"))
    )
    return b"".join((head, *(key for key, _ in streams), *(position for _, position in streams)))


def entries_of(reply: Reply) -> list[Entry] | ReplyError:
    """The entries in the answer of XREAD with one stream."""
    if isinstance(reply, ReplyError):
        return reply
    return cast("Any", reply)[0][1] if reply else []
