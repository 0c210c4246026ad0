"""The commands that read a queue, packed once, and the counts from their replies. No I/O and no clock."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from itertools import chain
from math import isfinite
from typing import Any, Final, NamedTuple, TypeAlias, cast

from exporter.bullmq.keys import DELAYED_FACTOR, base
from exporter.redis.protocol import Argument, Reply, ReplyError, Request, pack
from exporter.snapshot.queues import JobCounts, Library, QueueId

REPLIES: Final = 17
"""Number of replies to the commands of a queue."""
TAIL_REPLIES: Final = 6
"""Number of further replies for a queue whose lists must be read again."""

MOVED: Final = frozenset({"MOVED", "ASK", "CLUSTERDOWN", "TRYAGAIN", "READONLY"})
"""Errors of a node that does not hold the key, or not now."""
_HOUR_MS: Final = 3_600_000
_SOON_MS: Final = 60_000
_ZERO: Final = b"0"
_MARKER: Final = b"0:"


def may_be_marker(job: bytes) -> bool:
    """Whether an id in a list may be no job, but a marker that wakes a worker for a delayed one: `0` of
    BullMQ 2, which is a job if it has a hash (1 and Python take it as an id), `0:<due ms>` of 3 and 4."""
    return job == _ZERO or job.startswith(_MARKER)


class Plan(NamedTuple):
    """One queue's commands, packed: the fixed part, and the part before each of the times."""

    queue: QueueId
    base: bytes
    fixed: bytes
    tails: bytes
    overdue: bytes
    due: bytes
    failed_since: bytes
    library: Library = "bullmq"


class Counts(NamedTuple):
    """What was read of a queue; `oldest` and `longest` are the ids of the jobs whose ages are read next.

    `open_tails`: the queue is paused, or a marker is at the place of its oldest or its newest job, or may be:
    the id `0` is a job until `with_tails` knows better. That is rare, and only then the commands of
    `pack_tails` are needed. `odd` has a sentence for each part that is None because it could not be read.
    `version` is what the library wrote last, such as 6.7.0.
    """

    jobs: JobCounts
    schedulers: int | None
    paused: bool | None
    concurrency_limit: int | None
    rate_limit_ttl: float | None
    delayed_overdue: int | None
    delayed_due: int | None
    failed_last_hour: int | None
    oldest: tuple[bytes, ...]
    longest: bytes | None
    open_tails: bool = False
    odd: tuple[str, ...] = ()
    version: str = ""


Unreadable: TypeAlias = ReplyError
"""The result for a queue of which nothing could be read."""


def plan_queue(queue: QueueId) -> Plan:
    """A queue's commands. None of them writes; each is O(1), except ZCOUNT, which is O(log n)."""
    key = base(queue)
    lengths: list[tuple[Argument, ...]] = [("LLEN", key + name) for name in ("wait", "paused", "active")]
    sets = ("delayed", "prioritized", "waiting-children", "completed", "failed", "repeat")
    lengths += [("ZCARD", key + name) for name in sets]
    others: list[tuple[Argument, ...]] = [
        ("HMGET", key + "meta", "paused", "concurrency", "max", "version"),
        ("LINDEX", key + "wait", -1),
        ("LINDEX", key + "active", -1),
        ("GET", key + "limiter"),
        ("PTTL", key + "limiter"),
    ]
    return pack_plan(queue, (*lengths, *others))


def pack_plan(queue: QueueId, commands: Iterable[tuple[Argument, ...]], library: Library = "bullmq") -> Plan:
    """A queue's plan: these commands, and those that depend on the time or are needed rarely."""
    key = base(queue)
    tails = (("wait", -2), ("paused", -1), ("paused", -2), ("wait", 0), ("paused", 0))
    commands_of_tails = [*[("LINDEX", key + name, index) for name, index in tails], ("EXISTS", key + "0")]
    return Plan(
        queue,
        key.encode("utf-8", "surrogateescape"),
        b"".join(pack(*command) for command in commands),
        b"".join(pack(*command) for command in commands_of_tails),
        b"*4\r\n" + _bulks("ZCOUNT", key + "delayed", "-inf"),
        b"*4\r\n" + _bulks("ZCOUNT", key + "delayed"),
        b"*4\r\n" + _bulks("ZCOUNT", key + "failed"),
        library,
    )


def pack_plans(plans: Sequence[Plan], now_ms: int) -> Request:
    """The commands of several queues for the time `now_ms`, in the order of `plans`."""
    due = now_ms * DELAYED_FACTOR
    until = _bulks(due)
    soon = _bulks(f"({due}", (now_ms + _SOON_MS) * DELAYED_FACTOR)
    since = _bulks(now_ms - _HOUR_MS, "+inf")
    parts = ((plan.fixed, plan.overdue, until, plan.due, soon, plan.failed_since, since) for plan in plans)
    return Request(b"".join(chain.from_iterable(parts)), REPLIES * len(plans))


def unpack(replies: Sequence[Reply]) -> list[Counts | Unreadable]:
    """Each queue's counts in the order of the plans, or the error if nothing of it could be read."""
    read = _read_parts if ReplyError in set(map(type, replies)) else _read
    return [read(replies[start : start + REPLIES]) for start in range(0, len(replies), REPLIES)]


def _read(replies: Sequence[Reply]) -> Counts | Unreadable:
    # A reply of an unexpected type fails in the arithmetic, which avoids a check of each reply.
    try:
        return _counts(*cast("Any", replies))
    except (TypeError, ValueError, AttributeError):
        return _read_parts(replies)


def _counts(  # noqa: PLR0917  # one parameter a reply, in the order of `plan_queue`
    wait: int,
    paused: int,
    active: int,
    delayed: int,
    prioritized: int,
    waiting_children: int,
    completed: int,
    failed: int,
    schedulers: int,
    meta: list[bytes | None],
    wait_last: bytes | None,
    longest: bytes | None,
    limiter: bytes | None,
    limiter_ttl: int,
    overdue: int,
    due: int,
    failed_last_hour: int,
) -> Counts:
    is_paused, concurrency, max_jobs, version = meta
    has_marker = wait_last is not None and wait_last.startswith(_MARKER)
    if not isinstance(longest, bytes | None):
        raise TypeError
    return Counts(
        JobCounts(  # by position: keywords take a fifth longer here, for thousands of queues
            max(0, wait - has_marker + paused),
            active + 0,
            delayed + 0,
            prioritized + 0,
            waiting_children + 0,
            completed + 0,
            failed + 0,
        ),
        schedulers + 0,
        is_paused is not None,
        int(concurrency) if concurrency else None,  # "Infinity" and "2.5" go the slow way
        _rate_limit(max_jobs, limiter, limiter_ttl + 0),
        overdue + 0,
        due + 0,
        failed_last_hour + 0,
        () if wait_last is None or has_marker else (wait_last,),
        longest,
        has_marker
        or paused > 0
        or wait_last == _ZERO
        or (wait > 1 and bool(delayed or prioritized) and _has_markers(version)),
        version=_version(version),
    )


_LENGTHS: Final = (
    "wait",
    "paused",
    "active",
    "delayed",
    "prioritized",
    "waiting-children",
    "completed",
    "failed",
    "repeat",
)


def _read_parts(replies: Sequence[Reply]) -> Counts | Unreadable:
    """The counts of a queue one by one: what cannot be read is None, with a sentence in `odd`.

    An error for both lists that make a queue (wait and active), or a move, is the result for the queue.
    """
    errors = [reply for reply in replies if isinstance(reply, ReplyError)]
    moved = next((error for error in errors if error.code in MOVED), None)
    if moved is not None:
        return moved
    if isinstance(replies[0], ReplyError) and isinstance(replies[2], ReplyError):
        return replies[0]
    odd = Oddities()
    wait, paused, active, delayed, prioritized, children, completed, failed, schedulers = map(
        odd.number, _LENGTHS, replies[:9]
    )
    is_paused, concurrency, max_jobs, version = odd.meta(replies[9])
    wait_last, longest = odd.text("wait", replies[10]), odd.text("active", replies[11])
    limiter, ttl = odd.text("limiter", replies[12]), odd.number("limiter", replies[13])
    overdue, due, failed_last_hour = map(odd.number, ("delayed", "delayed", "failed"), replies[14:])
    has_marker = wait_last is not None and wait_last.startswith(_MARKER)
    waiting = None if wait is None or paused is None else max(0, wait - has_marker + paused)
    return Counts(
        JobCounts(waiting, active, delayed, prioritized, children, completed, failed),
        schedulers,
        is_paused,
        odd.limit(concurrency),
        None if ttl is None else odd.rate_limit(max_jobs, limiter, ttl),
        overdue,
        due,
        failed_last_hour,
        () if wait_last is None or has_marker else (wait_last,),
        longest,
        has_marker
        or (paused or 0) > 0
        or wait_last == _ZERO
        or ((wait or 0) > 1 and bool(delayed or prioritized) and _has_markers(version)),
        tuple(dict.fromkeys(odd.texts)),
        _version(version),
    )


class Oddities:
    """Takes the parts of a queue that can be read; each other part is None and becomes a sentence."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def number(self, name: str, reply: Reply) -> int | None:
        if isinstance(reply, int):
            return reply
        self._odd(name, reply)
        return None

    def text(self, name: str, reply: Reply) -> bytes | None:
        if isinstance(reply, bytes | None):
            return reply
        self._odd(name, reply)
        return None

    def meta(self, reply: Reply) -> tuple[bool | None, Reply, Reply, Reply]:
        """Whether the queue is paused, its concurrency, its `max` and its `version`."""
        if isinstance(reply, list) and len(reply) == 4:
            return reply[0] is not None, reply[1], reply[2], reply[3]
        self._odd("meta", reply)
        return None, None, None, None

    def limit(self, raw: Reply) -> int | None:
        """The global concurrency; None without one: setGlobalConcurrency(Infinity) sets none."""
        if not isinstance(raw, bytes) or raw in (b"", b"Infinity"):
            return None
        try:
            return int(raw)
        except ValueError:
            self._not_whole("concurrency", raw)
            return None

    def rate_limit(self, max_jobs: Reply, limiter: bytes | None, ttl: int) -> float | None:
        try:
            return _rate_limit(max_jobs if isinstance(max_jobs, bytes) else None, limiter, ttl)
        except ValueError:
            self._not_whole("rate limit", max_jobs if isinstance(max_jobs, bytes) else limiter)
            return None

    def _odd(self, name: str, reply: Reply) -> None:
        self.texts.append(f"{name}: {reply if isinstance(reply, ReplyError) else 'an unexpected answer'}")

    def _not_whole(self, name: str, raw: bytes | None) -> None:
        shown = (raw or b"")[:40].decode("utf-8", "replace")
        self.texts.append(f"{name}: {shown!r} is not a whole number")


def pack_tails(plans: Sequence[Plan]) -> Request:
    """A second read of the lists of queues with `open_tails`."""
    return Request(b"".join(plan.tails for plan in plans), TAIL_REPLIES * len(plans))


_TAIL_TYPES: Final = (*[bytes | None] * 5, int)


def with_tails(counts: Counts, replies: Sequence[Reply]) -> Counts | Unreadable:
    """The counts without markers, with the oldest jobs that are before one or in a paused queue's list."""
    for reply, kind in zip(replies, _TAIL_TYPES, strict=True):
        if isinstance(reply, ReplyError) and reply.code in MOVED:
            return reply
        if not isinstance(reply, kind):
            odd = Oddities()
            odd.text("oldest job", reply)
            return counts._replace(oldest=(), open_tails=False, odd=(*counts.odd, *odd.texts))
    wait_second, paused_last, paused_second, wait_first, paused_first, zero_exists = cast("Any", replies)
    waiting, oldest = counts.jobs.waiting, counts.oldest
    if oldest == (_ZERO,) and not zero_exists:
        waiting, oldest = None if waiting is None else waiting - 1, ()
    # Other clients' commands may run between ours: a list that had jobs may be empty now.
    oldest = oldest or (() if wait_second is None else (wait_second,))
    if paused_last is not None and may_be_marker(paused_last) and not (paused_last == _ZERO and zero_exists):
        waiting, paused_last = None if waiting is None else waiting - 1, paused_second
    if paused_last is not None:
        oldest = (*oldest, paused_last)
    # LIFO and priority jobs go behind a marker, and it stays where the newest job is.
    for first, second in ((wait_first, wait_second), (paused_first, paused_second)):
        is_marker = first is not None and may_be_marker(first) and not (first == _ZERO and zero_exists)
        if is_marker and second is not None and waiting is not None:
            waiting -= 1
    jobs = counts.jobs._replace(waiting=None if waiting is None else max(0, waiting))
    return counts._replace(jobs=jobs, oldest=oldest, open_tails=False)


def _has_markers(version: Reply) -> bool:
    """Whether the library may put markers among the jobs that wait: BullMQ 2 to 4 do; 2 writes no version."""
    return version is None or _version(version).startswith(("3.", "4."))


def _version(raw: Reply) -> str:
    return raw[:64].decode("utf-8", "replace").removeprefix("bullmq:") if isinstance(raw, bytes) else ""


def _rate_limit(max_jobs: bytes | None, limiter: bytes | None, ttl_ms: int) -> float | None:
    """Seconds until the rate limit allows jobs again, as in BullMQ's getRateLimitTtl; None without a limit.

    If the limit is set in the workers (`max` is not in meta), the remaining time of its window.
    """
    if max_jobs:
        reached = int(max_jobs) <= int(limiter or 0)
        return ttl_ms / 1000 if reached and ttl_ms > 0 else 0.0
    return ttl_ms / 1000 if ttl_ms > 0 else None


def _bulks(*arguments: Argument) -> bytes:
    """Packed arguments without the RESP array header."""
    return pack(*arguments).partition(b"\r\n")[2]


# --- ages, the second request ----------------------------------------------------------------------------

_JOB: Final = b"$5\r\nHMGET\r\n$%d\r\n%b\r\n"
_GET_LONGEST: Final = b"*3\r\n" + _JOB + _bulks("processedOn")
_GET_FIRST: Final = b"*5\r\n$6\r\nZRANGE\r\n$%d\r\n%b\r\n" + _bulks(0, 0, "WITHSCORES")
# The number of attempts: atm since v5, attemptsMade before.
_GET_OLDEST: Final = b"*7\r\n" + _JOB + _bulks("timestamp", "processedOn", "opts", "atm", "attemptsMade")


def pack_ages(jobs: Iterable[tuple[Plan, Counts]]) -> Request:
    """The commands for the jobs that wait, run, are due and wait for children longest, queue by queue."""
    parts, replies = [], 0
    for plan, counts in jobs:
        replies += age_reply_count(counts)
        for job in counts.oldest:
            key = plan.base + job
            parts.append(_GET_OLDEST % (len(key), key))
        if counts.longest is not None:
            key = plan.base + counts.longest
            parts.append(_GET_LONGEST % (len(key), key))
        if counts.delayed_overdue:
            key = plan.base + b"delayed"
            parts.append(_GET_FIRST % (len(key), key))
        if counts.jobs.waiting_children:
            key = plan.base + b"waiting-children"
            parts.append(_GET_FIRST % (len(key), key))
    return Request(b"".join(parts), replies)


def age_reply_count(counts: Counts) -> int:
    """Number of replies to `pack_ages` for this queue."""
    firsts = bool(counts.delayed_overdue) + bool(counts.jobs.waiting_children)
    return len(counts.oldest) + (counts.longest is not None) + firsts


class Ages(NamedTuple):
    """Seconds that the oldest waiting job waits, the longest active one runs, the first delayed one is due,
    and the first parent waits for its children; None without such a job."""

    oldest: float | None = None
    longest: float | None = None
    late: float | None = None
    children: float | None = None


def ages(counts: Counts, replies: Sequence[Reply], now_ms: int) -> Ages:
    """The ages from the replies to `pack_ages`.

    A job that was taken in the meantime may have no hash any more, and then has no age.
    """
    waits = [_waiting_since(reply) for reply in replies[: len(counts.oldest)]]
    since = [moment for moment in waits if moment is not None and isfinite(moment)]
    started = _started(replies[len(counts.oldest)]) if counts.longest is not None else None
    late = children = None
    if counts.jobs.waiting_children:
        children = _age(_first_score(replies[-1]), now_ms)
        replies = replies[:-1]
    if counts.delayed_overdue:
        late = _age(_first_score(replies[-1], DELAYED_FACTOR), now_ms)
    return Ages(_age(min(since) if since else None, now_ms), _age(started, now_ms), late, children)


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
