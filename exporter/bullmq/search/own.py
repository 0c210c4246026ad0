"""What BullMQ itself counts for a queue, and what is set for it without an event. Without I/O."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from exporter.bullmq.keys import OWN_COUNT_COMMANDS
from exporter.bullmq.queue_commands import Key
from exporter.redis.protocol import Argument, Reply, whole_of
from exporter.snapshot.queues import OwnCounts, QueueId

MARKS: Final = ("HMGET", Key("meta"), "version", "opts.maxLenEvents")
"""The fields that only BullMQ writes, in every version and language; see `marked_by_bullmq`."""
OWN_COMMANDS: Final[tuple[tuple[Argument, ...], ...]] = (
    (*MARKS, "paused", "concurrency", "max", "duration"),
    ("ZCARD", Key("repeat")),
    ("PTTL", Key("limiter")),
    *((verb, Key(name), *rest) for verb, name, *rest in OWN_COUNT_COMMANDS),
)
"""What is asked for a queue. The first reply has BullMQ's marks, too."""

_NO_COUNTS: Final = OwnCounts(None, None, None)
_ABSENT: Final[Reply] = [None]
_SAME_LIMIT_SECONDS: Final = 2.0  # by which two looks at the end of the same limiter may differ


class _Set(NamedTuple):
    """What is set for a queue, to be compared. `limited_until`: when the limiter ends that runs, in monotonic
    s."""

    meta: list[Reply] | None
    schedulers: int | str
    limited_until: float | None


class OwnRecords:
    """Of each queue that was read: `counts` if it has any, and `settings`; `grouped` have groups of Pro.
    `changes`: how often `counts` has changed, and `settings_changes` the others."""

    def __init__(self) -> None:
        self.counts: dict[QueueId, OwnCounts] = {}
        self.settings: dict[QueueId, object] = {}
        self.grouped: set[QueueId] = set()
        self.changes = 0
        self.settings_changes = 0

    def take(self, queue: QueueId, replies: Sequence[Reply], at: float) -> bool:
        """The replies to `OWN_COMMANDS` at `at` (monotonic s); whether something else is set than before."""
        meta, schedulers, limiter, completed, failed, ids, groups = replies
        own = OwnCounts(_count(completed), _count(failed), _count(ids), _count(groups))
        if self.counts.get(queue, _NO_COUNTS) != own:
            self.changes += 1
            if own == _NO_COUNTS:
                del self.counts[queue]
            else:
                self.counts[queue] = own
        if own.groups:
            self.grouped.add(queue)
        elif self.grouped:
            self.grouped.discard(queue)
        before = self.settings.get(queue)
        current = _settings(meta, schedulers, limiter, at, before)
        if current == before:
            return False
        self.settings_changes += 1
        self.settings[queue] = current
        return True

    def keep_only(self, queues: Mapping[QueueId, object]) -> None:
        """Forget the others: one may be known by another prefix and name now."""
        self.forget(self.settings.keys() - queues.keys())

    def forget(self, queues: Iterable[QueueId]) -> None:
        for queue in queues:
            self.changes += 1
            self.settings_changes += 1
            self.counts.pop(queue, None)
            self.settings.pop(queue, None)
            self.grouped.discard(queue)


def marked_by_bullmq(reply: Reply) -> bool:
    """Whether the reply to `MARKS` is BullMQ's."""
    return (
        isinstance(reply, list)
        and len(reply) >= 2
        and (
            (isinstance(reply[0], bytes) and reply[0].startswith(b"bullmq"))
            or (isinstance(reply[1], bytes) and reply[1].isdigit())
        )
    )


def _settings(meta: Reply, schedulers: Reply, limiter: Reply, at: float, before: object) -> _Set:
    """What is set at `at`: of a limiter that ran `before`, too, its end as it was then. One that ended and
    began again in between has another end."""
    until = at + limiter / 1000 if isinstance(limiter, int) and limiter > 0 else None
    if until is not None and isinstance(before, _Set) and before.limited_until is not None:
        same = abs(until - before.limited_until) < _SAME_LIMIT_SECONDS
        until = before.limited_until if same else until
    return _Set(
        meta if isinstance(meta, list) else None,
        schedulers if isinstance(schedulers, int) else str(schedulers),
        until,
    )


def _count(reply: Reply) -> int | None:
    """A key that is absent, refused or not a number gives None."""
    if reply is None or reply == _ABSENT:
        return None
    raw = reply[0] if isinstance(reply, list) and reply else reply
    if isinstance(raw, int):
        return raw or None
    return whole_of(raw)
