"""What discovery publishes: the queues that are listed, and what hinders it.

A part that is as it was before is the same object: to copy and to compare all of them takes 15 ms at 10,000
queues, and its readers see at once that nothing changed.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Final, Generic, TypeVar

from exporter.bullmq.candidates import NotAQueue
from exporter.bullmq.placement import SlotMap
from exporter.bullmq.search.census import Census
from exporter.bullmq.search.known import KnownQueues
from exporter.bullmq.search.names import QueueNames
from exporter.bullmq.search.own import OwnRecords
from exporter.bullmq.search.registry import Registry
from exporter.snapshot.queues import Library, OwnCounts, QueueId, Search

NO_TAG: Final = NotAQueue("in a cluster a queue's name or prefix needs a {hash tag}")

_NAMED: Final = 10  # queues that a problem names
_Value = TypeVar("_Value")


class _Kept(Generic[_Value]):
    """A value that is made again only when what it is made from has changed, which `by` stands for."""

    def __init__(self, value: _Value) -> None:
        self._by: object = None
        self.value = value

    def current(self, by: object, make: Callable[[], _Value]) -> _Value:
        if by != self._by:
            self._by, self.value = by, make()
        return self.value


@dataclass(frozen=True, slots=True)
class Progress:
    """Where the search is: whether one has ended (`completed`), none so far could read anything (`refused`),
    and what the last one went through; `by_keys`: whether there are searches at all."""

    completed: bool
    refused: bool
    searched: Search
    by_keys: bool = True


class Publication:
    """`known` is replaced as a whole."""

    def __init__(
        self, names: QueueNames, registry: Registry, census: Census, own: OwnRecords, search: Search
    ) -> None:
        self._names = names
        self._registry = registry
        self._census = census
        self._own = own
        self._problems: dict[str, str] = {}
        self._listed: _Kept[set[QueueId]] = _Kept(set())
        self._queues: _Kept[tuple[QueueId, ...]] = _Kept(names.assumed)
        self._libraries: _Kept[dict[QueueId, Library]] = _Kept({})
        self._counts: _Kept[dict[QueueId, OwnCounts]] = _Kept({})
        self._settings: _Kept[dict[QueueId, object]] = _Kept({})
        self._workers: _Kept[dict[QueueId, int]] = _Kept({})
        self._unknown: _Kept[dict[QueueId, str]] = _Kept({})
        self.known = KnownQueues(names.assumed, complete=names.all_named and names.all_certain, search=search)

    def set_problem(self, subject: str, problem: str | None) -> bool:
        """What hinders that part of discovery; None: nothing. Returns whether it is another than before."""
        before = self._problems.get(subject)
        if problem is None:
            self._problems.pop(subject, None)
        else:
            self._problems[subject] = problem
        return problem != before

    def publish(self, slot_map: SlotMap, progress: Progress, workers_at: float) -> None:
        """`workers_at`: when the connections were read, in monotonic s."""
        names, registry, census, own = self._names, self._registry, self._census, self._own
        unread = registry.unread(names.queues, keyed=progress.by_keys)
        by = registry.changes, tuple(unread), progress.completed, slot_map
        listed = self._listed.current(by, partial(self._list, slot_map, progress, unread))
        found = {queue.name for queue in (*registry.queues, *unread)} if names.queues else set()
        unread = {queue: failed for queue, failed in unread.items() if names.owns(queue)}
        missing = self._missing(slot_map, progress, found)
        self._note_groups()
        failures = sorted({failed.message for failed in unread.values()})
        self.set_problem("unread", f"{len(unread)} queues cannot be read: {failures[0]}" if unread else None)
        all_named = names.all_named and all(queue.name in found for queue in names.queues)
        complete = progress.completed or all_named or (names.all_named and names.all_certain)
        workers = self._workers.current(census.changes, lambda: dict(census.counts))
        self.known = KnownQueues(
            queues=self._queues.current(by, lambda: _ordered(listed, self._queues.value)),
            workers=None if census.blind else workers,
            workers_at=workers_at,
            complete=complete,
            problems=tuple(dict.fromkeys(self._problems.values())),
            refused=progress.refused and not complete,
            own=self._counts.current((own.changes, by), lambda: _only(own.counts, listed)),
            settings=self._settings.current(own.settings_changes, lambda: dict(own.settings)),
            libraries=self._libraries.current(registry.changes, lambda: dict(registry.queues)),
            workers_unknown=self._unknown.current(
                (census.changes, by),
                lambda: {queue: census.unknown.get(queue, "") for queue in listed.difference(workers)},
            ),
            unread={queue: failed for queue, failed in unread.items() if queue not in listed},
            elsewhere=census.elsewhere() & listed,
            search=replace(
                progress.searched,
                missing=missing,
                passed_over=self._reasons(registry.passed_over(), unread),
                refused=self._reasons(registry.refused(), unread),
                left_out=registry.left_out(),
            ),
        )

    def _missing(self, slot_map: SlotMap, progress: Progress, found: Collection[str]) -> tuple[str, ...]:
        """The names of the settings that no queue has, as far as is known."""
        searched = progress.completed or self._names.all_certain
        named = self._names.of_shard(self._names.queues)
        missing = sorted({queue.name for queue in named if searched and queue.name not in found})
        untagged = sorted({queue.name for queue in named if not slot_map.supports(queue)}.difference(found))
        missing = [name for name in missing if name not in untagged]
        self.set_problem("tags", f"{NO_TAG.why}: {', '.join(untagged)}" if untagged else None)
        self.set_problem(
            "missing", f"in the settings, but not in Redis: {', '.join(missing)}" if missing else None
        )
        return tuple(missing)

    def _note_groups(self) -> None:
        grouped = sorted(queue.name for queue in self._own.grouped if self._names.owns(queue))
        more = f" and {len(grouped) - _NAMED} more" if len(grouped) > _NAMED else ""
        names = ", ".join(grouped[:_NAMED]) + more
        self.set_problem(
            "groups", f"jobs in groups of BullMQ Pro are not counted: {names}" if grouped else None
        )

    def _reasons(self, reasons: Mapping[QueueId, str], unread: Collection[QueueId]) -> dict[QueueId, str]:
        owns = self._names.owns
        return {queue: why for queue, why in reasons.items() if queue not in unread and owns(queue)}

    def _list(self, slot_map: SlotMap, progress: Progress, unread: Collection[QueueId]) -> set[QueueId]:
        """The confirmed queues, and those of the settings that Redis does not have if only one is meant."""
        names, queues = self._names, self._registry.queues
        if names.certain:
            assumed = set(names.certain)
        elif names.prefixes or not progress.completed or not names.queues:
            assumed = set()
        else:
            found = {queue.name for queue in (*queues, *unread)}
            assumed = {queue for queue in names.queues if queue.name not in found}
        assumed = {queue for queue in assumed if queue not in unread and slot_map.supports(queue)}
        return set(names.of_shard([*queues, *assumed]))


def _ordered(queues: set[QueueId], before: tuple[QueueId, ...]) -> tuple[QueueId, ...]:
    """Sorted, from those that were so before: to sort ten thousand that have no order takes 20 ms."""
    kept = [queue for queue in before if queue in queues]
    if len(kept) == len(before) == len(queues):
        return before
    return tuple(sorted([*kept, *sorted(queues.difference(kept))]))


def _only(counts: Mapping[QueueId, _Value], listed: set[QueueId]) -> dict[QueueId, _Value]:
    return {queue: count for queue, count in counts.items() if queue in listed}
