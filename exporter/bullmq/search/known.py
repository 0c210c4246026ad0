"""What is known of the queues of a deployment, as the search publishes it. Without I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from exporter.snapshot.queues import Library, OwnCounts, QueueId, Search
from service.outcome import Failed


@dataclass(frozen=True)
class KnownQueues:
    """The current result. `workers` is None if no node reports them, and has no queue whose workers are not
    known: `workers_unknown` says why. `complete` once the first search has ended, `refused` if no search so
    far could read any master; `libraries` has what made each queue, `unread` the queues that are refused;
    of the queues in `elsewhere`, workers of another database have the same prefix and name; `settings` is
    what is set for each queue and written without an event, only to see that it changed."""

    queues: tuple[QueueId, ...] = ()
    workers: dict[QueueId, int] | None = None
    workers_at: float = 0.0
    complete: bool = False
    problems: tuple[str, ...] = ()
    refused: bool = False
    own: Mapping[QueueId, OwnCounts] = field(default_factory=dict)
    libraries: Mapping[QueueId, Library] = field(default_factory=dict)
    workers_unknown: Mapping[QueueId, str] = field(default_factory=dict)
    unread: Mapping[QueueId, Failed] = field(default_factory=dict)
    search: Search = field(default_factory=Search)
    elsewhere: frozenset[QueueId] = frozenset()
    settings: Mapping[QueueId, object] = field(default_factory=dict)

    def made_by(self, library: Library) -> tuple[QueueId, ...]:
        """The queues of one library; what is not known is BullMQ's."""
        return self._by_library.get(library, ())

    @cached_property
    def _by_library(self) -> Mapping[Library, tuple[QueueId, ...]]:
        """Asked for each second."""
        queues: dict[Library, list[QueueId]] = {}
        for queue in self.queues:
            queues.setdefault(self.libraries.get(queue, "bullmq"), []).append(queue)
        return {library: tuple(those) for library, those in queues.items()}
