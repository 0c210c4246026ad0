"""The commands that read a Bull queue, packed once, and the counts from their replies. No I/O and no clock.

As many replies as for a BullMQ queue, and most of the same keys. What differs: a pause is the string
`meta-paused`, jobs with a priority are in `wait` (the key `priority` only orders them), no list has markers,
and no job waits for children.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from exporter.bullmq.counts import MOVED, Counts, Oddities, Plan, Unreadable, pack_plan, read_counts
from exporter.bullmq.queue_commands import Key, QueueCommands
from exporter.redis.protocol import Reply, ReplyError
from exporter.snapshot.queues import JobCounts, QueueId

_LENGTHS: Final = ("wait", "paused", "active")
_SETS: Final = ("delayed", "completed", "failed", "repeat")


_COMMANDS: Final = QueueCommands(
    *(("LLEN", Key(name)) for name in _LENGTHS),
    *(("ZCARD", Key(name)) for name in _SETS),
    ("EXISTS", Key("meta-paused")),
    ("HMGET", Key("meta"), "paused"),  # written for BullMQ; Bull's isPaused reads both
    ("LINDEX", Key("wait"), -1),
    ("LINDEX", Key("paused"), -1),
    ("LINDEX", Key("active"), -1),
    ("PTTL", Key("limiter")),
)


def plan_bull_queue(queue: QueueId) -> Plan:
    """A queue's commands. None of them writes, and each is O(1)."""
    return pack_plan(queue, _COMMANDS, library="bull")


def read_by_library(plan: Plan, replies: Sequence[Reply]) -> Counts | Unreadable:
    """A queue's counts, or the error if nothing of it could be read."""
    return read_bull(replies) if plan.library == "bull" else read_counts(replies)


def read_bull(replies: Sequence[Reply]) -> Counts | Unreadable:
    """One queue's counts: what cannot be read is None, with a sentence in `odd`."""
    moved = next((reply for reply in replies if isinstance(reply, ReplyError) and reply.code in MOVED), None)
    if moved is not None:
        return moved
    if isinstance(replies[0], ReplyError) and isinstance(replies[2], ReplyError):
        return replies[0]
    odd = Oddities()
    wait, paused_length, active, delayed, completed, failed, repeat = map(
        odd.number, (*_LENGTHS, *_SETS), replies[:7]
    )
    oldest = [odd.text(name, reply) for name, reply in zip(("wait", "paused"), replies[9:11], strict=True)]
    longest, ttl = odd.text("active", replies[11]), odd.number("limiter", replies[12])
    return Counts(
        JobCounts(
            None if wait is None or paused_length is None else wait + paused_length,
            active,
            delayed,
            0,
            0,
            completed,
            failed,
        ),
        repeat,
        _paused(odd, replies[7], replies[8]),
        None,
        ttl / 1000 if ttl is not None and ttl > 0 else None,
        0 if delayed == 0 else None,
        0 if delayed == 0 else None,
        0 if failed == 0 else None,
        tuple(job for job in oldest if job is not None),
        longest,
        odd=tuple(dict.fromkeys(odd.texts)),
        lists=(wait, paused_length),
    )


def _paused(odd: Oddities, flag: Reply, meta: Reply) -> bool | None:
    """Whether either key says so; None if one that could cannot be read."""
    texts = len(odd.texts)
    exists = odd.number("meta-paused", flag)
    field = meta[0] if isinstance(meta, list) and len(meta) == 1 else odd.text("meta", meta)
    if exists or isinstance(field, bytes):
        del odd.texts[texts:]  # the other one does not matter then
        return True
    return None if len(odd.texts) > texts else False
