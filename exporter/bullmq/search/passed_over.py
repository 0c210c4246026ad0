"""Candidates that are no queues: remembered, so that a search reads only how many of their keys exist."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Final, NamedTuple

from exporter.bullmq.candidates import NO_KEYS, NotAQueue
from exporter.snapshot.queues import QueueId

REMEMBERED: Final = 10_000
"""The maximum number that is remembered; others are read again in each search."""
SHOWN: Final = 100
"""The maximum number that is shown with its reason."""

_SECONDS: Final = 300.0  # another key of the same number would not be noticed before


class _Entry(NamedTuple):
    why: str
    at: float
    held: int | None
    has_meta: bool


class PassedOver:
    """The oldest is forgotten first."""

    def __init__(self) -> None:
        self._entries: OrderedDict[QueueId, _Entry] = OrderedDict()

    def add(self, queue: QueueId, classification: NotAQueue, at: float, *, has_meta: bool) -> None:
        before = self._entries.pop(queue, None)
        if before is not None and before.held == classification.held and before.why == classification.why:
            at = before.at if at - before.at < _SECONDS else at
        self._entries[queue] = _Entry(classification.why, at, classification.held, has_meta)
        if len(self._entries) > REMEMBERED:
            self._entries.popitem(last=False)

    def classification(self, queue: QueueId, at: float) -> NotAQueue | None:
        """The classification that holds while the same number of its keys exists; None: read all of it."""
        entry = self._entries.get(queue)
        if entry is None or entry.held is None or at - entry.at >= _SECONDS:
            return None
        return NotAQueue(entry.why, entry.held)

    def forget(self, queue: QueueId) -> None:
        self._entries.pop(queue, None)

    def shown(self) -> Mapping[QueueId, str]:
        """Some of them and why; first those that have a meta key, which look most like a queue."""
        there = [(queue, entry) for queue, entry in self._entries.items() if entry.why != NO_KEYS.why]
        entries = sorted(there, key=lambda item: (not item[1].has_meta, item[0]))
        return {queue: entry.why for queue, entry in entries[:SHOWN]}
