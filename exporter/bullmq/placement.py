"""Which node holds which queue: the slot map. Without I/O."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable

from exporter.bullmq.keys import base, is_tagged, slot_of
from exporter.snapshot.queues import QueueId
from exporter.snapshot.redis import Topology


class SlotMap:
    """The owner of each queue's keys: in a cluster the owner of their slot, else the master."""

    def __init__(self, topology: Topology) -> None:
        self._source = _layout(topology)
        self.cluster = topology.mode == "cluster"
        self.masters = tuple(node.address for node in topology.masters())
        if not self.cluster and not self.masters:
            # A replica of a master that is not in the settings: its queues can still be read.
            self.masters = tuple(node.address for node in topology.nodes[:1])
        self._ranges = sorted((*span, node.address) for node in topology.masters() for span in node.slots)
        self._starts = [start for start, _, _ in self._ranges]
        self._owners: dict[QueueId, str | None] = {}
        self._last: tuple[tuple[QueueId, ...], dict[str, list[QueueId]], list[QueueId]] = (), {}, []

    def matches(self, topology: Topology) -> bool:
        """Whether this topology would give the same owners."""
        return self._source == _layout(topology)

    def owner(self, queue: QueueId) -> str | None:
        """The address of the node; None for a slot without an owner, and without a master."""
        if not self.cluster:
            return self.masters[0] if self.masters else None
        if queue not in self._owners:
            self._owners[queue] = self._owner_of(slot_of(base(queue)))
        return self._owners[queue]

    def _owner_of(self, slot: int) -> str | None:
        index = bisect_right(self._starts, slot) - 1
        if index < 0 or slot > self._ranges[index][1]:
            return None
        return self._ranges[index][2]

    def supports(self, queue: QueueId) -> bool:
        """Whether BullMQ can have this queue here: in a cluster its keys must share a slot.

        Servers that call themselves a cluster of one node may take other names too: there Redis decides.
        """
        return not self.cluster or is_tagged(queue) or len(self.masters) == 1

    def by_owner(self, queues: Iterable[QueueId]) -> tuple[dict[str, list[QueueId]], list[QueueId]]:
        """The queues of each node, and the queues without an owner. Of a tuple that is asked for again and
        again, as all known queues are, they are looked up once."""
        if isinstance(queues, tuple):
            of, owned, unowned = self._last
            if of is not queues:
                owned, unowned = self._by_owner(queues)
                self._last = queues, owned, unowned
            return {address: [*those] for address, those in owned.items()}, [*unowned]
        return self._by_owner(queues)

    def _by_owner(self, queues: Iterable[QueueId]) -> tuple[dict[str, list[QueueId]], list[QueueId]]:
        if not self.cluster and self.masters:
            all_of_them = list(queues)
            return {self.masters[0]: all_of_them} if all_of_them else {}, []
        owned: dict[str, list[QueueId]] = {}
        unowned = []
        for queue in queues:
            owner = self.owner(queue)
            if owner is None:
                unowned.append(queue)
            else:
                owned.setdefault(owner, []).append(queue)
        return owned, unowned


def _layout(topology: Topology) -> tuple[object, ...]:
    """The parts of a topology that determine where a queue is."""
    return topology.mode, tuple((node.address, node.role, node.slots) for node in topology.nodes)
