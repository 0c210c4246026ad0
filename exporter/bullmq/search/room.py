"""How many queues are watched at most, which of them have a place, and what is left out. Without I/O.

Whoever may write to Redis can make any number of queues, and each has 54 series. Those that the settings name
keep their places; of the others the ones that were found first have one, until they are gone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import inf
from typing import Final, get_args

from exporter.bullmq.keys import base
from exporter.config.bullmq import LONGEST_NAME
from exporter.snapshot.queues import LeftOut, LeftOutReason, QueueId

MOST_COUNTED: Final = 100_000
"""Queues that are left out and counted exactly, and verified: of more it is known that they are more."""

_NAMED: Final = 5  # queues that are left out and named
_SHOWN: Final = 100  # characters of their prefixes and names


class Room:
    """Places for `most` queues, of which `reserved` are for those that are `named`.

    Each search counts what is left out from 0. It is remembered by a hash of its name, as thousands of
    long names would be what the bound is against.
    """

    def __init__(
        self, most: float = inf, named: Callable[[QueueId], bool] = lambda _: False, *, reserved: int = 0
    ) -> None:
        self.most: Final = most
        self._is_named = named
        self._open_to_all = most - min(most, reserved)
        self._taken = 0
        self._taken_by_others = 0
        self._before = _Count()
        self._now = _Count()
        self._searching = False

    def refusal(self, queue: QueueId) -> LeftOutReason | None:
        """Why there is no place for a queue that has none yet; None: there is one."""
        if len(base(queue).encode("utf-8", "surrogateescape")) - 1 > LONGEST_NAME:
            return "name_length"
        if self._taken >= self.most:
            return "max_queues"
        others_full = self._taken_by_others >= self._open_to_all
        return "max_queues" if others_full and not self._is_named(queue) else None

    def take(self, queue: QueueId) -> None:
        """It has a place from now on."""
        self._taken += 1
        self._taken_by_others += not self._is_named(queue)
        self._before.forget(queue)
        self._now.forget(queue)

    def give_back(self, queue: QueueId) -> None:
        """It is gone."""
        self._taken -= 1
        self._taken_by_others -= not self._is_named(queue)

    def leave_out(self, queue: QueueId, reason: LeftOutReason) -> None:
        """It is a queue, and has no place."""
        self._now.add(queue, reason)

    def stays_out(self, queue: QueueId) -> bool:
        """Whether its place is refused as it was before, or nobody counts any more: to verify it would tell
        nothing new."""
        known = queue in self._before or queue in self._now
        if not known and not self._now.full:
            return False
        reason = self.refusal(queue)
        if reason is not None:
            self._now.add(queue, reason)
        return reason is not None

    def begin_search(self) -> None:
        self._searching = True

    def end_search(self) -> None:
        """What was not found again is gone."""
        if self._searching:
            self._before, self._now, self._searching = self._now, _Count(), False

    def left_out(self) -> Mapping[LeftOutReason, LeftOut]:
        """By each reason; while a search goes on at least what it found so far."""
        before, now = self._before.by_reason(), self._now.by_reason()
        return {reason: max(before[reason], now[reason], key=lambda each: each.number) for reason in before}


class _Count:
    """Queues by the reason why they are left out."""

    def __init__(self) -> None:
        self._found: dict[LeftOutReason, set[int]] = {reason: set() for reason in get_args(LeftOutReason)}
        self._first: dict[LeftOutReason, list[QueueId]] = {reason: [] for reason in self._found}
        self.full = False

    def __contains__(self, queue: QueueId) -> bool:
        return any(hash(queue) in found for found in self._found.values())

    def add(self, queue: QueueId, reason: LeftOutReason) -> None:
        found, first = self._found[reason], self._first[reason]
        if hash(queue) in found:
            return
        if sum(map(len, self._found.values())) >= MOST_COUNTED:
            self.full = True
            return
        found.add(hash(queue))
        if len(first) < _NAMED:
            first.append(QueueId(queue.prefix[:_SHOWN], queue.name[:_SHOWN]))

    def forget(self, queue: QueueId) -> None:
        for found in self._found.values():
            found.discard(hash(queue))

    def by_reason(self) -> dict[LeftOutReason, LeftOut]:
        return {
            reason: LeftOut(len(found), self.full, tuple(self._first[reason]))
            for reason, found in self._found.items()
        }
