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

_LONGEST_ID: Final = 41  # two numbers of 64 bits
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
            length=_count(fields[b"length"]) or 0,
            nodes=_count(fields.get(b"radix-tree-keys")) or 0,
            last=_id(fields[b"last-generated-id"]),
            first=first,
            added=_count(fields.get(b"entries-added")),
            first_bytes=first_bytes,
        )
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
    return (_id(entry[0]), sum(map(len, entry[1]))) if entry else (None, 0)


def _id(raw: Any) -> bytes:
    """Raises TypeError and ValueError."""
    if not isinstance(raw, bytes) or len(raw) > _LONGEST_ID:
        raise TypeError
    split_id(raw)
    return raw


def _count(raw: Any) -> int | None:
    """Raises TypeError."""
    if raw is not None and not isinstance(raw, int):
        raise TypeError
    return raw


def bulk(raw: bytes) -> bytes:
    """One argument as a RESP bulk string."""
    return b"$%d\r\n%b\r\n" % (len(raw), raw)


def xread(count: int, streams: Sequence[tuple[bytes, bytes]]) -> bytes:
    """The packed command; keys and positions are bulk strings already."""
    head = b"*%d\r\n" % (4 + 2 * len(streams)) + b"".join(
        map(bulk, (b"XREAD", b"COUNT", b"%d" % count, b"STREAMS"))
    )
    return b"".join((head, *(key for key, _ in streams), *(position for _, position in streams)))


def entries_of(reply: Reply) -> dict[bytes, list[Entry]] | ReplyError:
    """The entries of each stream in the answer of XREAD. An answer that makes no sense is an error: applied
    in part, its events would be counted again."""
    if reply is None or isinstance(reply, ReplyError):
        return reply or {}
    try:
        entries: dict[bytes, list[Entry]] = dict(cast("Any", reply))
        if all(map(_are_entries, entries.values())):
            return entries
    except (TypeError, ValueError, IndexError):
        pass
    return ReplyError("ERR an answer of XREAD that makes no sense")


def _are_entries(batch: list[Any]) -> bool:
    """Whether each has an id and fields. Raises TypeError, ValueError and IndexError: it is no such list.

    In a tenth of a microsecond for an entry. What the fields are `Jobs` finds out.
    """
    if not batch:
        return isinstance(batch, list)
    ids = [entry[0] for entry in batch]
    for raw in (ids[0], ids[-1], max(ids, key=len)):
        _id(raw)
    return set(map(type, ids)) == {bytes} and set(map(type, [entry[1] for entry in batch])) == {list}
