"""The commands that read schedulers and the jobs of their next runs, and what their replies say. No I/O.

All of them only read, and take O(1) for a scheduler. Options and data of jobs are read up to a length.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from hashlib import md5
from typing import Any, Final, Literal, NamedTuple, TypeAlias

from exporter.bullmq.keys import DELAYED_FACTOR, base
from exporter.bullmq.schedulers.members import (
    RepeatKey,
    job_of,
    job_of_key,
    may_be_key,
    other_jobs,
    parse_key,
)
from exporter.redis.protocol import Argument, Reply, ReplyError, whole_of
from exporter.snapshot.queues import Library, QueueId

ReadCommand: TypeAlias = tuple[Argument, ...]
JobState: TypeAlias = Literal["pending", "active", "finished", "none"]

MOST_OPTIONS: Final = 8192
"""Bytes of a job's options up to which they are read."""
MOST_DATA: Final = 4096
"""Bytes of a job's data up to which two schedulers are compared."""

_FIELDS: Final = ("name", "every", "pattern", "tz", "startDate", "endDate", "limit", "ic")
_MOST_TEXT: Final = 512
_MOST_NUMBER: Final = 1e17  # of ms or of runs: sums and products of what is larger may not be finite


class Member(NamedTuple):
    """A member of the `repeat` set and its score, which is a part of its next job's id."""

    text: str
    next_ms: str
    key: RepeatKey | None

    @property
    def at_ms(self) -> float:
        return float(self.next_ms)


class JobFacts(NamedTuple):
    """The job of the next run: when it was added, taken and ended in unix ms, the lengths of its parts."""

    id: str
    created_ms: float | None
    started_ms: float | None
    ended_ms: float | None
    options_length: int
    data_length: int

    @property
    def state(self) -> JobState:
        if self.created_ms is None:
            return "none"
        if self.ended_ms is not None:
            return "finished"
        return "pending" if self.started_ms is None else "active"


class SchedulerFacts(NamedTuple):
    """A scheduler's own hash; a repeatable's has fewer fields, and an old one is in its key."""

    name: str
    every_ms: float | None
    pattern: str | None
    timezone: str | None
    starts_ms: float | None
    ends_ms: float | None
    limit: int | None
    iterations: int | None


class Options(NamedTuple):
    """What the options of the next job say: its delay, its number, and how many there will be."""

    delay_ms: float = 0.0
    number: int | None = None
    limit: int | None = None
    ends_ms: float | None = None


def head_command(queue: QueueId, most: int) -> ReadCommand:
    """The earliest members by their next run, with it."""
    return "ZRANGE", f"{base(queue)}repeat", 0, most - 1, "WITHSCORES"


def members(reply: Reply, library: Library) -> list[Member]:
    """The members of a reply to `head_command`; one whose score is no moment is left out."""
    if not isinstance(reply, list):
        return []
    texts = [each.decode("utf-8", "surrogateescape") for each in reply if isinstance(each, bytes)]
    pairs = zip(texts[::2], texts[1::2], strict=False)
    return [
        Member(text, score, parse_key(text, library) if may_be_key(text) else None)
        for text, score in pairs
        if _number(score) is not None
    ]


def commands(queue: QueueId, member: Member, library: Library) -> list[ReadCommand]:
    """A scheduler's commands; `parse_scheduler` takes as many replies."""
    keys = base(queue)
    facts: ReadCommand = ("HMGET", f"{keys}repeat:{member.text}", *_FIELDS)
    return [facts, *(command for job in _jobs(member, library) for command in job_commands(queue, job))]


def job_commands(queue: QueueId, job: str) -> list[ReadCommand]:
    key = base(queue) + job
    return [
        ("HMGET", key, "timestamp", "processedOn", "finishedOn"),
        ("HSTRLEN", key, "opts"),
        ("HSTRLEN", key, "data"),
    ]


def parse_scheduler(
    member: Member, library: Library, replies: Sequence[Reply]
) -> tuple[SchedulerFacts, JobFacts]:
    """The scheduler and its next job. An id that looks like a key is told from one by its hash."""
    facts = _facts(member, replies[0])
    jobs = [
        parse_job(job, replies[1 + 3 * index : 4 + 3 * index])
        for index, job in enumerate(_jobs(member, library))
    ]
    return facts, next((job for job in jobs if job.state != "none"), jobs[0])


def parse_job(job: str, replies: Sequence[Reply]) -> JobFacts:
    times = replies[0] if isinstance(replies[0], list) else [None] * 3
    lengths = [reply if isinstance(reply, int) else 0 for reply in replies[1:3]]
    created, started, ended = (_number(_text(each)) for each in [*times, None, None, None][:3])
    return JobFacts(job, created, started, ended, *lengths)


def second_look(queue: QueueId, member: Member, library: Library) -> list[ReadCommand]:
    """For a repeatable whose next job is not found by its name: whether any job is due then, other names."""
    if member.key is None:
        return []
    due = int(member.at_ms) * DELAYED_FACTOR
    at_that_moment: ReadCommand = ("ZCOUNT", f"{base(queue)}delayed", due, due + DELAYED_FACTOR - 1)
    others = other_jobs(member.text, member.key, member.next_ms, library)
    return [at_that_moment, *(command for job in others for command in job_commands(queue, job))]


def parse_second_look(
    member: Member, library: Library, replies: Sequence[Reply]
) -> tuple[JobFacts | None, bool]:
    """The next job under one of its other names, and whether some job is due at its moment."""
    if member.key is None or not replies:
        return None, False
    names = other_jobs(member.text, member.key, member.next_ms, library)
    jobs = (parse_job(job, replies[1 + 3 * index : 4 + 3 * index]) for index, job in enumerate(names))
    any_due = isinstance(replies[0], int) and replies[0] > 0
    return next((job for job in jobs if job.state != "none"), None), any_due


def due_command(queue: QueueId, due: float) -> ReadCommand:
    """How many delayed jobs are due within a second of this moment (unix s)."""
    earliest, latest = (int((due + seconds) * 1000) * DELAYED_FACTOR for seconds in (-1, 1))
    return "ZCOUNT", f"{base(queue)}delayed", earliest, latest


def names_by_data(version: str) -> bool:
    """Whether this BullMQ names the jobs of old repeatables by their data's id: none is found by its name.

    5.9 and later do. Before a run its moment in the delayed set shows that it is there, after that nothing.
    """
    parts = version.split(".")[:2]
    numbers = [whole_of(part.encode("utf-8", "surrogateescape")) for part in parts]
    return len(numbers) == 2 and None not in numbers and numbers >= [5, 9]


def options_command(queue: QueueId, job: JobFacts) -> ReadCommand:
    return "HMGET", base(queue) + job.id, "opts"


def data_command(queue: QueueId, job: JobFacts) -> ReadCommand:
    return "HMGET", base(queue) + job.id, "data"


def parse_options(reply: Reply) -> Options:
    """The options of a job; what is not there, or not as the libraries write it, is not known."""
    raw = reply[0] if isinstance(reply, list) and reply else None
    try:
        options: Any = json.loads(raw) if isinstance(raw, bytes) else {}
        repeat = options.get("repeat") or {}
        return Options(
            _number(options.get("delay")) or 0.0,
            _whole(repeat.get("count")),
            _whole(repeat.get("limit")),
            _number(repeat.get("endDate")),
        )
    except (ValueError, AttributeError, RecursionError):  # the producer of a job writes its options
        return Options()


def digest(reply: Reply) -> str | None:
    """A digest of a job's data; None if it could not be read."""
    raw = reply[0] if isinstance(reply, list) and reply else None
    return md5(raw, usedforsecurity=False).hexdigest() if isinstance(raw, bytes) else None


def refusal(replies: Iterable[Reply]) -> ReplyError | None:
    """An error that leaves a queue's schedulers unknown; a key of another type is only no hash."""
    errors = (reply for reply in replies if isinstance(reply, ReplyError))
    return next((error for error in errors if error.code != "WRONGTYPE"), None)


def _jobs(member: Member, library: Library) -> list[str]:
    """The ids that the next job may have."""
    by_id = job_of(member.text, member.next_ms)
    if member.key is None:
        return [by_id]
    by_key = job_of_key(member.text, member.key, member.next_ms, library)
    return [by_key] if library == "bull" else [by_key, by_id]


def _facts(member: Member, reply: Reply) -> SchedulerFacts:
    values = reply if isinstance(reply, list) and len(reply) == len(_FIELDS) else [None] * len(_FIELDS)
    name, every, pattern, timezone, starts, ends, limit, iterations = map(_text, values)
    key = member.key
    if name is None and key is not None:
        return SchedulerFacts(
            key.name, key.every_ms, key.pattern, key.timezone, None, key.ends_ms, None, None
        )
    return SchedulerFacts(
        name or member.text,
        _number(every),
        pattern,
        timezone,
        _number(starts),
        _number(ends),
        _whole(limit),
        _whole(iterations),
    )


def _text(reply: Reply) -> str | None:
    if not isinstance(reply, bytes):
        return None
    return reply[:_MOST_TEXT].decode("utf-8", "surrogateescape")


def _number(value: object) -> float | None:
    if not isinstance(value, str | int | float) or isinstance(value, bool):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if abs(number) <= _MOST_NUMBER else None


def _whole(value: object) -> int | None:
    number = _number(value)
    return None if number is None else int(number)
