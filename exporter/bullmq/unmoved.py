"""Queues that did not move since they were counted keep their counts. No I/O and no clock.

Whatever BullMQ does with a job it writes into the queue's event stream, in the same script. A few calls write
nothing there; what they change is looked at besides, by what a queue has: see docs/counting.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from zlib import crc32

from exporter.bullmq.counts import Counts, Plan
from exporter.bullmq.details import Moment, Since, needs_due, pack_due, with_due
from exporter.bullmq.streams.protocol import MAX_STREAMS, StreamMark, bulk, xread
from exporter.redis.protocol import Reply, ReplyError, Request
from exporter.snapshot.queues import QueueId

CHECK_SECONDS: Final = 10.0
"""Seconds between two looks at the lists of a queue that has jobs in them and does not move."""
RECOUNT_SECONDS: Final = 120.0
"""Seconds after which a queue is counted although nothing moved, at least; twice as many at most."""
_LLEN: Final = b"*2\r\n$4\r\nLLEN\r\n$%d\r\n%b\r\n"
_ZCARD: Final = b"*2\r\n$5\r\nZCARD\r\n$%d\r\n%b\r\n"
_PTTL: Final = b"*2\r\n$4\r\nPTTL\r\n$%d\r\n%b\r\n"


@dataclass(slots=True)
class Counted:
    """A queue as it was counted, and what was known of it before: `mark` of its stream, what is `set` for it,
    the `connection` that read it. It is counted again from `recount_at` on, in monotonic seconds."""

    counts: Counts
    since: Since
    mark: StreamMark
    set: object
    connection: int
    recount_at: float
    checked_at: float


def recount_at(queue: QueueId, at: float) -> float:
    """When a queue that is counted at `at` is counted again for safety: spread evenly over the queues."""
    share = crc32(queue.name.encode("utf-8", "surrogateescape")) / (1 << 32)
    return at + RECOUNT_SECONDS * (1 + share)


def may_stand(counted: Counted, mark: StreamMark | None, setting: object, connection: int, at: float) -> bool:
    """Whether the queue may be as it was, as far as is known without asking Redis."""
    return (
        counted.mark == mark
        and counted.set == setting
        and counted.connection == connection
        and at < counted.recount_at
    )


def reads(streams: Mapping[int, Sequence[tuple[bytes, bytes]]]) -> Iterator[tuple[Request, list[bytes]]]:
    """Requests for one new entry of each stream, and the keys that each names; the streams, with their keys
    and positions, by what may be read together."""
    for each in streams.values():
        for start in range(0, len(each), MAX_STREAMS):
            some = each[start : start + MAX_STREAMS]
            packed = xread(1, [(bulk(key), bulk(position)) for key, position in some])
            yield Request(packed, 1), [key for key, _ in some]


def moved(keys: Sequence[bytes], reply: Reply) -> set[bytes]:
    """The keys with a new entry; all of them where that could not be read."""
    if reply is None:
        return set()
    if not isinstance(reply, list):
        return set(keys)
    return {stream[0] for stream in reply if isinstance(stream, list) and isinstance(stream[0], bytes)}


def pack_check(plan: Plan, counted: Counted, at: float, moment: Moment) -> Request | None:
    """What may change without an event, or with time, of a queue whose stream did not move.

    `drain`, `changePriority` and the like leave fewer jobs in one of the lists that have some. What is due
    and how long a limit runs is read each time.
    """
    counts = counted.counts
    parts = []
    if at - counted.checked_at >= CHECK_SECONDS:
        parts += [form % (len(key), key) for form, key, _ in _lengths(plan, counts)]
        if counts.failed_last_hour:
            parts.append(plan.failed_since + moment.since)
    if counts.rate_limit_ttl:
        key = plan.base + b"limiter"
        parts.append(_PTTL % (len(key), key))
    replies = len(parts)
    if needs_due(counts, counted.since, moment.now_ms):
        due = pack_due(plan, moment)
        parts.append(due.packed)
        replies += due.replies
    return Request(b"".join(parts), replies) if parts else None


def apply_check(plan: Plan, counted: Counted, replies: Sequence[Reply], at: float, moment: Moment) -> bool:
    """Take the replies to `pack_check` of the same times; False if the queue is to be counted."""
    if any(isinstance(reply, ReplyError) for reply in replies):
        return False
    counts, remaining = counted.counts, iter(replies)
    failed, ttl = counts.failed_last_hour, counts.rate_limit_ttl
    checked = at - counted.checked_at >= CHECK_SECONDS
    if checked:
        if any(next(remaining) != length for *_, length in _lengths(plan, counts)):
            return False
        reply = next(remaining) if failed else failed
        failed = reply if isinstance(reply, int) else None
    if ttl:
        left = next(remaining)
        if not isinstance(left, int) or left <= 0:
            return False
        ttl = left / 1000
    if (failed, ttl) != (counts.failed_last_hour, counts.rate_limit_ttl):
        counts = counts._replace(failed_last_hour=failed, rate_limit_ttl=ttl)
    if needs_due(counts, counted.since, moment.now_ms):
        overdue, due = remaining
        if (overdue, due) != (counts.delayed_overdue, counts.delayed_due):
            dated = with_due(counts, [overdue, due])
            if isinstance(dated, ReplyError):
                return False
            counts = dated
    counted.counts = counts
    counted.checked_at = at if checked else counted.checked_at
    return True


def _lengths(plan: Plan, counts: Counts) -> list[tuple[bytes, bytes, int]]:
    """Command, key and length of each list and set with jobs that may be taken out without an event."""
    wait, paused = counts.lists
    lengths = (
        (_LLEN, b"wait", wait),
        (_LLEN, b"paused", paused),
        (_ZCARD, b"prioritized", counts.jobs.prioritized),
        (_ZCARD, b"delayed", counts.jobs.delayed),
    )
    return [(form, plan.base + name, length) for form, name, length in lengths if length]
