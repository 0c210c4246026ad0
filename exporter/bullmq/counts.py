"""The commands that read a queue, packed once, and the counts from their replies. No I/O and no clock."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final, NamedTuple, TypeAlias, cast

from exporter.bullmq.keys import base
from exporter.bullmq.queue_commands import Key, QueueCommands
from exporter.redis.protocol import Argument, Reply, ReplyError, Request, pack, whole_of
from exporter.snapshot.queues import JobCounts, Library, QueueId

REPLIES: Final = 13
"""Number of replies to the commands of every queue."""
TAIL_REPLIES: Final = 6
"""Number of further replies for a queue whose lists must be read again."""

MOVED: Final = frozenset({"MOVED", "ASK", "CLUSTERDOWN", "TRYAGAIN", "READONLY"})
"""Errors of a node that does not hold the key, or not now."""
_ZERO: Final = b"0"
_MARKER: Final = b"0:"


def may_be_marker(job: bytes) -> bool:
    """Whether an id in a list may be no job, but a marker that wakes a worker for a delayed one: `0` of
    BullMQ 2, which is a job if it has a hash (1 and Python take it as an id), `0:<due ms>` of 3 and 4."""
    return job == _ZERO or job.startswith(_MARKER)


class Plan(NamedTuple):
    """One queue's commands, packed: those of every queue, and those that only some need, before the times."""

    queue: QueueId
    base: bytes
    request: Request
    tails: bytes
    limiter: bytes
    failed_since: bytes
    first_due: bytes
    first_parent: bytes
    overdue: bytes
    due: bytes
    library: Library = "bullmq"


class LimitWindow(NamedTuple):
    """A rate limit that runs: `max` of `meta`, and the ms to its end; whether it is reached is read next."""

    most: bytes
    ttl_ms: int


class Counts(NamedTuple):
    """What was read of a queue; `oldest` and `longest` are the ids of the jobs whose ages are read next.

    `open_tails`: the queue is paused, or a marker is at the place of its oldest or its newest job, or may be:
    the id `0` is a job until `with_tails` knows better. That is rare, and only then the commands of
    `pack_tails` are needed. `odd` has a sentence for each part that is None because it could not be read.
    `version` is what the library wrote last, such as 6.7.0. `window` is a limit of which it is not known yet
    whether it is reached, `lists` are the lengths of `wait` and `paused` with what is no job. Where jobs are
    delayed or failed, how many are due and of the last hour is None until it was read, too.
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
    window: LimitWindow | None = None
    lists: tuple[int | None, int | None] = (0, 0)


_new_tuple: Final = tuple.__new__
Unreadable: TypeAlias = ReplyError
"""The result for a queue of which nothing could be read."""


_COMMANDS: Final = QueueCommands(
    *(("LLEN", Key(name)) for name in ("wait", "paused", "active")),
    *(
        ("ZCARD", Key(name))
        for name in ("delayed", "prioritized", "waiting-children", "completed", "failed", "repeat")
    ),
    ("HMGET", Key("meta"), "paused", "concurrency", "max", "version"),
    ("LINDEX", Key("wait"), -1),
    ("LINDEX", Key("active"), -1),
    ("PTTL", Key("limiter")),
)
_TAILS: Final = QueueCommands(
    *(
        ("LINDEX", Key(name), index)
        for name, index in (("wait", -2), ("paused", -1), ("paused", -2), ("wait", 0), ("paused", 0))
    ),
    ("EXISTS", Key("0")),
)
_LIMITER: Final = QueueCommands(("GET", Key("limiter")))
_FAILED: Final = QueueCommands(("ZCOUNT", Key("failed")))
_FIRST_DUE: Final = QueueCommands(("ZRANGE", Key("delayed"), 0, 0, "WITHSCORES"))
_FIRST_PARENT: Final = QueueCommands(("ZRANGE", Key("waiting-children"), 0, 0, "WITHSCORES"))
_OVERDUE: Final = QueueCommands(("ZCOUNT", Key("delayed"), "-inf"))
_DUE: Final = QueueCommands(("ZCOUNT", Key("delayed")))


def plan_queue(queue: QueueId) -> Plan:
    """A queue's commands. None of them writes, and each is O(1)."""
    return pack_plan(queue, _COMMANDS)


def pack_plan(queue: QueueId, commands: QueueCommands, library: Library = "bullmq") -> Plan:
    """A queue's plan: these commands, and those that depend on the time or are needed rarely."""
    raw = base(queue).encode("utf-8", "surrogateescape")
    return Plan(
        queue,
        raw,
        commands.request(queue),
        _TAILS.packed(raw),
        _LIMITER.packed(raw),
        _with_times(_FAILED.packed(raw)),
        _FIRST_DUE.packed(raw),
        _FIRST_PARENT.packed(raw),
        _with_times(_OVERDUE.packed(raw)),
        _with_times(_DUE.packed(raw)),
        library,
    )


def _with_times(packed: bytes) -> bytes:
    """The beginning of a ZCOUNT, whose times follow when it is sent."""
    return b"*4" + packed[2:]


def read_counts(replies: Sequence[Reply]) -> Counts | Unreadable:
    """A queue's counts, or the error if nothing of it could be read."""
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
    limiter_ttl: int,
) -> Counts:
    is_paused, concurrency, max_jobs, version = meta
    has_marker = wait_last is not None and wait_last.startswith(_MARKER)
    if longest is not None and not isinstance(longest, bytes):
        raise TypeError
    waiting = wait - has_marker + paused
    return _new_tuple(  # for thousands of queues: `Counts(...)` takes three times as long
        Counts,
        (
            _new_tuple(
                JobCounts,
                (
                    max(0, waiting),
                    active + 0,
                    delayed + 0,
                    prioritized + 0,
                    waiting_children + 0,
                    completed + 0,
                    failed + 0,
                ),
            ),
            schedulers + 0,
            is_paused is not None,
            _whole(concurrency) if concurrency else None,  # "Infinity" and "2.5" go the slow way
            rate_limit(max_jobs, None, limiter_ttl + 0),
            0 if delayed == 0 else None,
            0 if delayed == 0 else None,
            0 if failed == 0 else None,
            () if wait_last is None or has_marker else (wait_last,),
            longest,
            has_marker
            or paused > 0
            or wait_last == _ZERO
            or (wait > 1 and bool(delayed or prioritized) and _has_markers(version)),
            (),
            _version(version),
            LimitWindow(max_jobs, limiter_ttl) if max_jobs and limiter_ttl > 0 else None,
            (wait, paused),
        ),
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
    ttl = odd.number("limiter", replies[12])
    has_marker = wait_last is not None and wait_last.startswith(_MARKER)
    waiting = None if wait is None or paused is None else max(0, wait - has_marker + paused)
    return Counts(
        JobCounts(waiting, active, delayed, prioritized, children, completed, failed),
        schedulers,
        is_paused,
        odd.limit(concurrency),
        None if ttl is None else odd.rate_limit(max_jobs, None, ttl),
        0 if delayed == 0 else None,
        0 if delayed == 0 else None,
        0 if failed == 0 else None,
        () if wait_last is None or has_marker else (wait_last,),
        longest,
        has_marker
        or (paused or 0) > 0
        or wait_last == _ZERO
        or ((wait or 0) > 1 and bool(delayed or prioritized) and _has_markers(version)),
        tuple(dict.fromkeys(odd.texts)),
        _version(version),
        LimitWindow(max_jobs, ttl) if isinstance(max_jobs, bytes) and max_jobs and ttl and ttl > 0 else None,
        (wait, paused),
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
            return _whole(raw)
        except ValueError:
            self._not_whole("concurrency", raw)
            return None

    def rate_limit(self, max_jobs: Reply, limiter: bytes | None, ttl: int) -> float | None:
        try:
            return rate_limit(max_jobs if isinstance(max_jobs, bytes) else None, limiter, ttl)
        except ValueError:
            self._not_whole("rate limit", max_jobs if isinstance(max_jobs, bytes) else limiter)
            return None

    def _odd(self, name: str, reply: Reply) -> None:
        self.texts.append(f"{name}: {reply if isinstance(reply, ReplyError) else 'an unexpected answer'}")

    def _not_whole(self, name: str, raw: bytes | None) -> None:
        shown = (raw or b"")[:40].decode("utf-8", "replace")
        self.texts.append(f"{name}: {shown!r} is not a whole number")


def pack_tails(plan: Plan) -> Request:
    """A second read of the lists of a queue with `open_tails`."""
    return Request(plan.tails, TAIL_REPLIES)


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
    return _version_of(raw[:64]) if isinstance(raw, bytes) else ""


@lru_cache(64)
def _version_of(raw: bytes) -> str:
    return raw.decode("utf-8", "replace").removeprefix("bullmq:")


def rate_limit(max_jobs: bytes | None, limiter: bytes | None, ttl_ms: int) -> float | None:
    """Seconds until the rate limit allows jobs again, as in BullMQ's getRateLimitTtl; None without a limit.

    If the limit is set in the workers (`max` is not in meta), the remaining time of its window.
    """
    if max_jobs:
        reached = _whole(max_jobs) <= _whole(limiter or b"0")
        return ttl_ms / 1000 if reached and ttl_ms > 0 else 0.0
    return ttl_ms / 1000 if ttl_ms > 0 else None


def _whole(raw: bytes) -> int:
    """As `whole_of`, where the slow way tells what is none. Raises ValueError."""
    number = whole_of(raw)
    if number is None:
        raise ValueError("no whole number of at least 0")
    return number


def bulks(*arguments: Argument) -> bytes:
    """Packed arguments without the RESP array header."""
    return pack(*arguments).partition(b"\r\n")[2]
