"""Queues that did not move since they were counted keep their counts. No I/O and no clock.

Whatever BullMQ does with a job it writes into the queue's event stream, in the same script. A few calls write
nothing there; what they change is looked at besides, by what a queue has: see docs/counting.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import inf
from typing import Final
from zlib import crc32

from exporter.bullmq.counts import Counts, Plan
from exporter.bullmq.details import (
    HOUR_MS,
    SOON_MS,
    Moment,
    Read,
    first_score,
    needs_due,
    pack_due,
    with_due,
)
from exporter.bullmq.streams.protocol import MAX_STREAMS, StreamMark, bulk, xread
from exporter.redis.protocol import Reply, ReplyError, Request
from exporter.snapshot.queues import QueueId

CHECK_SECONDS: Final = 10.0
"""Seconds between two looks at the jobs of a queue that has some and does not move."""
RECOUNT_SECONDS: Final = 120.0
"""Seconds after which a queue is counted although nothing moved, at least; twice as many at most."""
_LLEN: Final = b"*2\r\n$4\r\nLLEN\r\n$%d\r\n%b\r\n"
_ZCARD: Final = b"*2\r\n$5\r\nZCARD\r\n$%d\r\n%b\r\n"
_PTTL: Final = b"*2\r\n$4\r\nPTTL\r\n$%d\r\n%b\r\n"
_ZRANGE: Final = b"*5\r\n$6\r\nZRANGE\r\n$%d\r\n%b\r\n%b%b$10\r\nWITHSCORES\r\n"


@dataclass(slots=True, eq=False)
class Counted:
    """A queue as it was counted: its stream's `key`, packed, its `mark` from before, what is `set` for it.

    It is counted again from `recount_at` on, and looked at from `look_at` on. `fewer_failed_at`: when the
    first of the jobs that failed in the last hour did so an hour ago, in unix ms; None: not known. Other
    times are monotonic seconds. `turn` is that of the stream when it was last compared with the mark at rest.
    """

    plan: Plan
    read: Read
    key: bytes
    mark: StreamMark
    set: object
    recount_at: float
    checked_at: float
    look_at: float = 0.0
    fewer_failed_at: float | None = None
    turn: int = -1


def period(queue: QueueId) -> float:
    """Seconds after which this queue is counted again for safety: spread evenly over the queues."""
    share = crc32(queue.name.encode("utf-8", "surrogateescape")) / (1 << 32)
    return RECOUNT_SECONDS * (1 + share)


def reads(groups: Iterable[Sequence[Counted]]) -> Iterator[tuple[Request, Sequence[Counted]]]:
    """Requests for one new entry of each stream, and the queues that each is for. One command names streams
    of one group only."""
    for group in groups:
        for start in range(0, len(group), MAX_STREAMS):
            some = group[start : start + MAX_STREAMS]
            yield Request(xread(1, [(each.key, each.mark.position) for each in some]), 1), some


def unmoved(asked: Sequence[Counted], reply: Reply) -> Sequence[Counted]:
    """Those without a new entry; none of them where that could not be read."""
    if reply is None:
        return asked
    if not isinstance(reply, list):
        return ()
    new = {bulk(stream[0]) for stream in reply if isinstance(stream, list) and isinstance(stream[0], bytes)}
    return [each for each in asked if each.key not in new]


def pack_check(counted: Counted, at: float, moment: Moment) -> Request | None:
    """What may change without an event, or with time, of a queue whose stream did not move; None for nothing.

    How long a limit runs is read each time, how many jobs are due where that may change, and from time to
    time whether the jobs are still there: see `_lengths`.
    """
    counts, plan, parts = counted.read.counts, counted.plan, []
    if at - counted.checked_at >= CHECK_SECONDS:
        for form, name, _ in _lengths(counts):
            key = plan.base + name
            parts.append(form % (len(key), key))
    if counts.failed_last_hour and _fewer_failed(counted, at, moment):
        key, first = plan.base + b"failed", bulk(b"%d" % -counts.failed_last_hour)
        parts.append(plan.failed_since + moment.since)
        parts.append(_ZRANGE % (len(key), key, first, first))
    if counts.rate_limit_ttl:
        key = plan.base + b"limiter"
        parts.append(_PTTL % (len(key), key))
    replies = len(parts)
    if needs_due(counts, counted.read.since, moment.now_ms):
        due = pack_due(plan, moment)
        parts.append(due.packed)
        replies += due.replies
    if parts:
        return Request(b"".join(parts), replies)
    counted.look_at = _look_at(counted, at, moment)
    return None


def apply_check(counted: Counted, replies: Sequence[Reply], at: float, moment: Moment) -> bool:
    """Take the replies to `pack_check` of the same times; False if the queue is to be counted."""
    if any(isinstance(reply, ReplyError) for reply in replies):
        return False
    counts, take = counted.read.counts, iter(replies).__next__
    failed, ttl = counts.failed_last_hour, counts.rate_limit_ttl
    check = at - counted.checked_at >= CHECK_SECONDS
    if check and any(take() != length for _, _, length in _lengths(counts)):
        return False
    fewer_failed_at = counted.fewer_failed_at
    if failed and _fewer_failed(counted, at, moment):
        reply, first = take(), first_score(take())
        # Where there are fewer by now another one is the first of them.
        fewer_failed_at = None if first is None or reply != failed else first + HOUR_MS
        failed = reply if isinstance(reply, int) else None
    if ttl:
        left = take()
        if not isinstance(left, int) or left <= 0:
            return False
        ttl = left / 1000
    if (failed, ttl) != (counts.failed_last_hour, counts.rate_limit_ttl):
        counts = counts._replace(failed_last_hour=failed, rate_limit_ttl=ttl)
    if needs_due(counts, counted.read.since, moment.now_ms):
        due = with_due(counts, [take(), take()])
        if isinstance(due, ReplyError):
            return False
        counts = counts if due == counts else due
    if counts is not counted.read.counts:
        counted.read = counted.read._replace(counts=counts)
    counted.fewer_failed_at = fewer_failed_at
    counted.checked_at = at if check else counted.checked_at
    counted.look_at = _look_at(counted, at, moment)
    return True


def _lengths(counts: Counts) -> Iterator[tuple[bytes, bytes, int]]:
    """Command, key and length of what shows that something happens to jobs without an event.

    The first list or set with jobs: `drain` leaves none in any, and `changePriority` takes one out of the
    first, or puts it in. The active ones: before BullMQ 5 one becomes a parent that waits for its children.
    Such parents: calls that remove the last child in another queue have them wait for a worker.
    """
    jobs = counts.jobs
    wait, paused = counts.lists
    if wait:
        yield _LLEN, b"wait", wait
    elif paused:
        yield _LLEN, b"paused", paused
    elif jobs.prioritized:
        yield _ZCARD, b"prioritized", jobs.prioritized
    elif jobs.delayed:
        yield _ZCARD, b"delayed", jobs.delayed
    if jobs.active:
        yield _LLEN, b"active", jobs.active
    if jobs.waiting_children:
        yield _ZCARD, b"waiting-children", jobs.waiting_children


def _fewer_failed(counted: Counted, at: float, moment: Moment) -> bool:
    """Whether fewer jobs may have failed in the last hour than were counted."""
    if counted.fewer_failed_at is None:
        return at - counted.checked_at >= CHECK_SECONDS
    return moment.now_ms > counted.fewer_failed_at


def _look_at(counted: Counted, at: float, moment: Moment) -> float:
    """When `pack_check` has something to ask again, at the earliest."""
    counts, since = counted.read.counts, counted.read.since
    if counts.rate_limit_ttl:
        return 0.0
    times = [inf]
    if any(_lengths(counts)) or (counts.failed_last_hour and counted.fewer_failed_at is None):
        times.append(counted.checked_at + CHECK_SECONDS)
    if counts.failed_last_hour and counted.fewer_failed_at is not None:
        times.append(at + (counted.fewer_failed_at - moment.now_ms) / 1000)
    if counts.jobs.delayed and counts.delayed_overdue != counts.jobs.delayed:
        due = since.first_due
        times.append(0.0 if due is None else at + (due - SOON_MS - moment.now_ms) / 1000)
    return min(times)
