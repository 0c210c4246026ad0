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

HOUR_MS: Final = 3_600_000
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
        self.since = bulks(now_ms - HOUR_MS, "+inf")


class Since(NamedTuple):
    """Unix ms by the node's clock since when the oldest job waits, the longest active one runs and the first
    parent waits for its children, and when the first delayed one is due; None without such a job, or where it
    is not known."""

    oldest: float | None = None
    longest: float | None = None
    first_due: float | None = None
    first_parent: float | None = None


NEVER: Final = Since()


class Read(NamedTuple):
    """What was read of a queue; `whole`: nothing of it is missing or odd."""

    counts: Counts
    since: Since
    whole: bool


def details(plan: Plan, counts: Counts, at: Moment, *, far: bool = False) -> list[bytes]:
    """The commands for a rate limit that runs, the jobs that failed in the last hour, those that wait and run
    longest, the first delayed one and how many are due, and the first parent.

    `far`: when the first delayed job was read last, it was not due soon; then only that is read again.
    """
    commands: list[bytes] = []
    if counts.window is not None:
        commands.append(plan.limiter)
    if counts.jobs.failed:
        commands.append(plan.failed_since + at.since)
    for job in counts.oldest:
        key = plan.base + job
        commands.append(_GET_OLDEST % (len(key), key))
    if counts.longest is not None:
        key = plan.base + counts.longest
        commands.append(_GET_LONGEST % (len(key), key))
    if counts.jobs.delayed:
        commands.append(plan.first_due)
        if not far:
            commands.append(plan.overdue + at.until)
            commands.append(plan.due + at.soon)
    if counts.jobs.waiting_children:
        commands.append(plan.first_parent)
    return commands


def with_details(
    counts: Counts, replies: Sequence[Reply], now_ms: int, *, far: bool = False
) -> tuple[Counts, Since] | Unreadable:
    """The counts, and the times of jobs, from the replies to `details`.

    A job that was taken in the meantime may have no hash any more, and then has no age.
    """
    for reply in replies:
        if isinstance(reply, ReplyError) and reply.code in MOVED:
            return reply
    jobs, take = counts.jobs, iter(cast("Sequence[Any]", replies)).__next__
    if counts.window is not None:
        counts = _with_limit(counts, counts.window, take())
    overdue, soon, failed = counts.delayed_overdue, counts.delayed_due, counts.failed_last_hour
    if jobs.failed:
        failed = take()
    oldest = longest = due = parent = None
    for _ in counts.oldest:
        since = _waiting_since(take())
        if since is not None and isfinite(since):
            oldest = since if oldest is None else min(since, oldest)
    if counts.longest is not None:
        longest = _started(take())
    if jobs.delayed:
        due = first_score(take(), DELAYED_FACTOR)
        if not far:
            overdue, soon = take(), take()
        elif due is not None and due > now_ms + SOON_MS:
            overdue = soon = 0
    if jobs.waiting_children:
        parent = first_score(take())
    moments = Since(oldest, longest, due, parent)
    if not (jobs.failed or jobs.delayed):
        return counts, moments
    if not (isinstance(overdue, int) and isinstance(soon, int) and isinstance(failed, int)):
        odd = Oddities()
        if jobs.failed:
            failed = odd.number("failed", failed)
        if jobs.delayed and not far:
            overdue, soon = odd.number("delayed", overdue), odd.number("delayed", soon)
        counts = _with_odd(counts, odd)
    # `_replace` takes three times as long.
    return Counts._make((*counts[:5], overdue, soon, failed, *counts[8:])), moments


def _with_limit(counts: Counts, window: LimitWindow, reply: Reply) -> Counts:
    odd = Oddities()
    ttl = odd.rate_limit(window.most, odd.text("limiter", reply), window.ttl_ms)
    return _with_odd(counts._replace(rate_limit_ttl=ttl, window=None), odd)


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
    for reply in replies:
        if isinstance(reply, ReplyError) and reply.code in MOVED:
            return reply
    odd = Oddities()
    overdue, due = (odd.number("delayed", reply) for reply in replies)
    return _with_odd(counts._replace(delayed_overdue=overdue, delayed_due=due), odd)


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


def first_score(reply: Reply, factor: int = 1) -> float | None:
    """Unix ms of the first member: when a delayed job is due, since when a parent waits."""
    try:
        _, score = cast("Any", reply)
        moment = float(score) / factor
    except (TypeError, ValueError):  # an error, or all were moved meanwhile
        return None
    return moment if isfinite(moment) else None
