"""What only some queues need besides their counts: how long jobs wait, run and are due, how many are due and
failed in the last hour, whether a rate limit is reached. No I/O and no clock."""

from __future__ import annotations

import json
from collections.abc import Sequence
from math import isfinite
from typing import Any, Final, NamedTuple, cast

from exporter.bullmq.counts import MOVED, Counts, LimitWindow, Oddities, Plan, Unreadable, bulks
from exporter.bullmq.keys import DELAYED_FACTOR
from exporter.redis.protocol import Reply, ReplyError, Request

_HOUR_MS: Final = 3_600_000
SOON_MS: Final = 60_000
"""A delayed job that is due within this time is counted as due soon."""

_JOB: Final = b"$5\r\nHMGET\r\n$%d\r\n%b\r\n"
_GET_LONGEST: Final = b"*3\r\n" + _JOB + bulks("processedOn")
# The number of attempts: atm since v5, attemptsMade before.
_GET_OLDEST: Final = b"*7\r\n" + _JOB + bulks("timestamp", "processedOn", "opts", "atm", "attemptsMade")


class Moment:
    """A time by a node's clock, and the arguments of commands for it, packed once for all its queues."""

    __slots__ = ("now_ms", "since", "soon", "until")

    def __init__(self, now_ms: int) -> None:
        due = now_ms * DELAYED_FACTOR
        self.now_ms = now_ms
        self.until = bulks(due)
        self.soon = bulks(f"({due}", (now_ms + SOON_MS) * DELAYED_FACTOR)
        self.since = bulks(now_ms - _HOUR_MS, "+inf")


class Since(NamedTuple):
    """Unix ms by the node's clock since when the oldest job waits, the longest active one runs and the first
    parent waits for its children, and when the first delayed one is due; None without such a job, or where it
    is not known."""

    oldest: float | None = None
    longest: float | None = None
    first_due: float | None = None
    first_parent: float | None = None


NEVER: Final = Since()


def pack_details(plan: Plan, counts: Counts, at: Moment) -> Request | None:
    """The commands for a rate limit that runs, the jobs that failed in the last hour, those that wait and run
    longest, the first delayed one and the first parent; None for none."""
    parts: list[bytes] = []
    if counts.window is not None:
        parts.append(plan.limiter)
    if counts.jobs.failed:
        parts.append(plan.failed_since + at.since)
    for job in counts.oldest:
        key = plan.base + job
        parts.append(_GET_OLDEST % (len(key), key))
    if counts.longest is not None:
        key = plan.base + counts.longest
        parts.append(_GET_LONGEST % (len(key), key))
    if counts.jobs.delayed:
        parts.append(plan.first_due)
    if counts.jobs.waiting_children:
        parts.append(plan.first_parent)
    return Request(b"".join(parts), len(parts)) if parts else None


def with_details(counts: Counts, replies: Sequence[Reply]) -> tuple[Counts, Since] | Unreadable:
    """The counts, and the times of jobs, from the replies to `pack_details`.

    A job that was taken in the meantime may have no hash any more, and then has no age.
    """
    for reply in replies:
        if isinstance(reply, ReplyError) and reply.code in MOVED:
            return reply
    at, jobs, oldest = 0, counts.jobs, counts.oldest
    if counts.window is not None:
        counts = _with_limit(counts, counts.window, replies[0])
        at = 1
    if jobs.failed:
        counts = _with_failed(counts, replies[at])
        at += 1
    since_oldest = None
    for reply in replies[at : at + len(oldest)]:
        since = _waiting_since(reply)
        if since is not None and isfinite(since):
            since_oldest = since if since_oldest is None else min(since, since_oldest)
    longest = None if counts.longest is None else _started(replies[at + len(oldest)])
    parent = _first_score(replies[-1]) if jobs.waiting_children else None
    due = _first_score(replies[-2 if jobs.waiting_children else -1], DELAYED_FACTOR) if jobs.delayed else None
    return counts, Since(since_oldest, longest, due, parent)


def _with_limit(counts: Counts, window: LimitWindow, reply: Reply) -> Counts:
    odd = Oddities()
    ttl = odd.rate_limit(window.most, odd.text("limiter", reply), window.ttl_ms)
    return _with_odd(counts._replace(rate_limit_ttl=ttl, window=None), odd)


def _with_failed(counts: Counts, reply: Reply) -> Counts:
    if isinstance(reply, int):
        return Counts._make((*counts[:7], reply, *counts[8:]))  # `_replace` takes three times as long
    odd = Oddities()
    odd.number("failed", reply)
    return _with_odd(counts, odd)


def _with_odd(counts: Counts, odd: Oddities) -> Counts:
    return counts._replace(odd=tuple(dict.fromkeys((*counts.odd, *odd.texts)))) if odd.texts else counts


def without_details(counts: Counts) -> Counts:
    """The counts of a queue whose details did not arrive: whether its limit is reached is not known."""
    return counts if counts.window is None else counts._replace(rate_limit_ttl=None, window=None)


def needs_due(counts: Counts, moments: Since, now_ms: int) -> bool:
    """Whether some of the delayed jobs may be due by now or soon, and not all of them."""
    if not counts.jobs.delayed or counts.delayed_overdue == counts.jobs.delayed:
        return False
    return moments.first_due is None or moments.first_due <= now_ms + SOON_MS


def pack_due(plan: Plan, at: Moment) -> Request:
    """The commands for how many delayed jobs are due, and within a minute from then."""
    return Request(b"".join((plan.overdue, at.until, plan.due, at.soon)), 2)


def with_due(counts: Counts, replies: Sequence[Reply]) -> Counts | Unreadable:
    """The counts with the replies to `pack_due`."""
    overdue, due = replies
    if isinstance(overdue, int) and isinstance(due, int):
        return Counts._make((*counts[:5], overdue, due, *counts[7:]))
    for reply in replies:
        if isinstance(reply, ReplyError) and reply.code in MOVED:
            return reply
    odd = Oddities()
    counts = counts._replace(
        delayed_overdue=odd.number("delayed", overdue), delayed_due=odd.number("delayed", due)
    )
    return _with_odd(counts, odd)


class Ages(NamedTuple):
    """Seconds that the oldest waiting job waits, the longest active one runs, the first delayed one is due,
    and the first parent waits for its children; None without such a job."""

    oldest: float | None = None
    longest: float | None = None
    late: float | None = None
    children: float | None = None


NO_AGES: Final = Ages()


def ages(counts: Counts, moments: Since, now_ms: int) -> Ages:
    """The ages at `now_ms` by the node's clock."""
    late = _age(moments.first_due, now_ms) if counts.delayed_overdue else None
    children = _age(moments.first_parent, now_ms)
    return Ages(_age(moments.oldest, now_ms), _age(moments.longest, now_ms), late, children)


def _waiting_since(reply: Reply) -> float | None:
    """Unix ms from which a job could be taken: when it was added and its delay had passed.

    For a job that BullMQ retries, the start of its last attempt: the end and the backoff are not stored. For
    a job that was retried by hand after it had failed or completed, only the time when it was added is
    stored, maybe a week ago: that is not how long it waits, so None.
    """
    try:
        added, processed_on, opts, *attempts = cast("Any", reply)
        if processed_on is not None:
            return float(processed_on)
        if any(int(count or 0) for count in attempts):
            return None
        return float(added) + (_delay(opts) if opts and b'"delay"' in opts else 0.0)
    except (TypeError, ValueError, OverflowError):  # an error, a removed job, or an invalid number
        return None


def _delay(opts: bytes) -> float:
    """The delay in ms with which a job was added; promotion sets its own field to 0, but not its options."""
    try:
        delay = json.loads(opts)["delay"]
    except (ValueError, KeyError, TypeError, RecursionError):  # the producer of a job writes its options
        return 0.0
    return float(delay) if isinstance(delay, int | float) and delay > 0 else 0.0


def _started(reply: Reply) -> float | None:
    try:
        started = float(cast("Any", reply)[0])
    except (TypeError, ValueError, IndexError):
        return None
    return started if isfinite(started) else None


def _first_score(reply: Reply, factor: int = 1) -> float | None:
    """Unix ms of the first member: when a delayed job is due, since when a parent waits."""
    try:
        _, score = cast("Any", reply)
        moment = float(score) / factor
    except (TypeError, ValueError):  # an error, or all were moved meanwhile
        return None
    return moment if isfinite(moment) else None


def _age(since_ms: float | None, now_ms: int) -> float | None:
    """Never below 0: producers' clocks may be ahead of ours."""
    return None if since_ms is None else max(0.0, (now_ms - since_ms) / 1000)
