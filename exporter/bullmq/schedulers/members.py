"""The members of a queue's `repeat` set: a scheduler's id, or the options of a repeatable job. No I/O.

BullMQ 5.16 and later, and Python's: the id; the job of the next run is `repeat:ID:MS`. Repeatables of BullMQ
5.10 and later: a hash of the options, jobs as above. Older ones, and Bull's: the options themselves, joined
by colons, and a job's id has a hash of them. So other options make another member, and the old one stays.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from hashlib import new as new_hash
from typing import Final, NamedTuple

from exporter.redis.protocol import MOST_DIGITS
from exporter.snapshot.queues import Library

_ALGORITHMS: Final = ("md5", "sha1", "sha256", "sha512")  # repeatKeyHashAlgorithm; md5 unless it is set
_HASHED: Final = re.compile(r"[0-9a-f]{32}\Z")
_LEAST_COLONS: Final = 3
_MOST_SPLITS: Final = 8


class RepeatKey(NamedTuple):
    """The options in the key of a repeatable job; `every_ms` or `pattern` is None, `head` is name and id."""

    head: str
    name: str
    id: str
    ends_ms: float | None
    timezone: str | None
    every_ms: float | None
    pattern: str | None


def parse_key(member: str, library: Library) -> RepeatKey | None:
    """The options that the member is made of; None for an id or a hash. Names and ids may have colons.

    BullMQ writes `name:id:endDate:tz:` and the pattern or the interval, Bull has no tz before an interval.
    """
    parts = member.rsplit(":", 3)
    if len(parts) == 4 and ":" in parts[0] and _is_moment(parts[1]):
        head, ends, timezone, suffix = parts
        if library == "bullmq" or not _is_number(suffix):
            return _key(head, ends, timezone, suffix)
    parts = member.rsplit(":", 2)
    if library == "bull" and len(parts) == 3 and ":" in parts[0] and _is_moment(parts[1]):
        head, ends, suffix = parts
        return _key(head, ends, "", suffix) if _is_number(suffix) else None
    return None


def is_repeatable(member: str, key: RepeatKey | None) -> bool:
    """Whether options made this member, and not an id that somebody chose."""
    return key is not None or _HASHED.match(member) is not None


def may_be_key(member: str) -> bool:
    return member.count(":") >= _LEAST_COLONS


def job_of(member: str, next_ms: str) -> str:
    """The id of a scheduler's next job."""
    return f"repeat:{member}:{next_ms}"


def job_of_key(member: str, key: RepeatKey, next_ms: str, library: Library) -> str:
    """The id of the next job of a repeatable whose key has its options."""
    return f"repeat:{_checksum(member, key.name, key.id, library, 'md5')}:{next_ms}"


def other_jobs(member: str, key: RepeatKey, next_ms: str, library: Library) -> Iterator[str]:
    """What the next job may be called otherwise: by another hash, by a name that has colons, or without the
    id, as BullMQ 5 does with what an older one has left."""
    splits = [(key.head[:at], key.head[at + 1 :]) for at, sign in enumerate(key.head) if sign == ":"][
        :_MOST_SPLITS
    ]
    names = dict.fromkeys(pair for name, job in splits for pair in ((name, job), (name, "")))
    for name, job in names:
        yield f"repeat:{_checksum(member, name, job, library, _ALGORITHMS[0])}:{next_ms}"
    for algorithm in _ALGORITHMS[1:]:
        yield f"repeat:{_checksum(member, key.name, key.id, library, algorithm)}:{next_ms}"


def _key(head: str, ends: str, timezone: str, suffix: str) -> RepeatKey:
    name, _, job = head.partition(":")
    interval = _is_number(suffix)
    return RepeatKey(
        head,
        name,
        job,
        float(ends) if ends else None,
        timezone or None,
        float(suffix) if interval else None,
        None if interval else suffix,
    )


def _checksum(member: str, name: str, job: str, library: Library, algorithm: str) -> str:
    between = (f"{job}:" if job else ":") if library == "bull" else job
    return _hash(f"{name}{between}{_hash(member, algorithm)}", algorithm)


def _hash(text: str, algorithm: str) -> str:
    return new_hash(algorithm, text.encode("utf-8", "surrogateescape"), usedforsecurity=False).hexdigest()


def _is_moment(text: str) -> bool:
    return not text or _is_number(text)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= MOST_DIGITS
