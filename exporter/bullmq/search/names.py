"""The queues that the settings name, and which of all queues a shard watches. Without I/O."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from exporter.bullmq.keys import DEFAULT_PREFIX, is_pattern
from exporter.bullmq.sharding import owns
from exporter.config.bullmq import BullMQSettings
from exporter.config.shard import QueueShard
from exporter.snapshot.queues import QueueId


class QueueNames:
    """`queues`: those that the names of the settings may mean. With one prefix a name identifies the queue
    (`certain`); with several Redis decides, and without any it may have another one: the default prefix
    counts until Redis was searched. `elsewhere`: how many of them are other shards'."""

    def __init__(self, settings: BullMQSettings, shard: QueueShard) -> None:
        self._shard = shard
        self.prefixes: Final = settings.prefixes
        names = [entry for entry in settings.queues if not is_pattern(entry)]
        prefixes = settings.prefixes or (DEFAULT_PREFIX,)
        one_prefix = len(settings.prefixes) == 1
        # Where the prefix is open, a name is settled by any queue that has it, also by one of another shard.
        self.queues: Final = tuple(
            queue
            for queue in (QueueId(prefix, name) for prefix in prefixes for name in names)
            if not one_prefix or self.owns(queue)
        )
        self._open_names = frozenset(() if one_prefix else names)
        self._named = frozenset(self.queues)
        self.elsewhere: Final = len(prefixes) * len(names) - len(self.queues)
        self.certain: Final = frozenset(self.queues if one_prefix else ())
        self.all_certain: Final = one_prefix and bool(names)
        self.all_named: Final = bool(names) and len(names) == len(settings.queues)
        """Whether the settings have names and no pattern."""
        self.assumed: Final = tuple(sorted(self.of_shard(self.queues))) if len(prefixes) == 1 else ()
        """Those that count while Redis was not searched."""

    def owns(self, queue: QueueId) -> bool:
        return owns(self._shard, queue)

    def is_named(self, queue: QueueId) -> bool:
        """Whether the settings have its name."""
        return queue in self._named or queue.name in self._open_names

    def watches(self, queue: QueueId) -> bool:
        """Whether it is this shard's, or settles one of the names."""
        return self.owns(queue) or queue.name in self._open_names

    def of_shard(self, queues: Iterable[QueueId]) -> list[QueueId]:
        if not self._shard.divided:
            return list(queues)
        return [queue for queue in queues if self.owns(queue)]
