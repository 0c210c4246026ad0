"""Finds out which queues did not move since they were counted, with one XREAD for many of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from exporter.bullmq.discover import KnownQueues
from exporter.bullmq.keys import base, slot_of
from exporter.bullmq.placement import SlotMap
from exporter.bullmq.reading import POOL, Clock, QueueReader, Read
from exporter.bullmq.streams.protocol import StreamMark
from exporter.bullmq.unmoved import (
    Counted,
    apply_check,
    may_stand,
    moved,
    pack_check,
    reads,
    recount_at,
)
from exporter.redis.deployment import Deployment
from exporter.redis.protocol import Request, in_pieces
from exporter.snapshot.queues import QueueId
from service.clock import Deadline, monotonic
from service.outcome import Failed


class Before(NamedTuple):
    """What is known before queues are counted: the position in each stream, what is set for each queue, and
    the number of the open connection to each node."""

    marks: Mapping[QueueId, StreamMark]
    settings: Mapping[QueueId, object]
    connections: Mapping[str, int]


class StandingQueues:
    """The queues as they were counted last. Only what was read whole, of a queue whose stream is followed."""

    def __init__(self, deployment: Deployment, reader: QueueReader) -> None:
        self._deployment = deployment
        self._reader = reader
        self._counted: dict[QueueId, Counted] = {}
        self._slot_map: SlotMap | None = None
        self._slots: dict[QueueId, int] = {}

    def before(self, known: KnownQueues, slot_map: SlotMap, marks: Mapping[QueueId, StreamMark]) -> Before:
        """What is known at this moment."""
        return Before(marks, known.settings, self._connections(slot_map))

    def look(
        self, before: Before, slot_map: SlotMap, deadline: Deadline
    ) -> tuple[dict[QueueId, Read], dict[QueueId, Failed]]:
        """Those that stand as they were and those whose node did not answer. The others are to be counted."""
        at = monotonic()
        if slot_map is not self._slot_map:  # a master or a slot has moved: what was counted may be undone
            self._counted, self._slot_map = {}, slot_map
        plans = self._reader.plans
        candidates: dict[str, list[QueueId]] = {}
        mark_of, setting_of = before.marks.get, before.settings.get
        for queue, counted in self._counted.items():
            owner = slot_map.owner(queue) or ""
            connection = before.connections.get(owner, 0)
            if queue in plans and may_stand(counted, mark_of(queue), setting_of(queue), connection, at):
                candidates.setdefault(owner, []).append(queue)
        unmoved, failed = self._unmoved(candidates, slot_map, deadline)
        return self._checked(unmoved, slot_map, deadline, at), failed

    def remember(self, before: Before, slot_map: SlotMap, read: Mapping[QueueId, Read]) -> None:
        """Take what was counted since `before`."""
        at = monotonic()
        if slot_map is not self._slot_map:
            self._counted = {}
            return
        plans = self._reader.plans
        self._counted = {queue: each for queue, each in self._counted.items() if queue in plans}
        for queue, each in read.items():
            mark = before.marks.get(queue)
            connection = before.connections.get(slot_map.owner(queue) or "", 0)
            if mark is None or not each.whole or not connection:
                self._counted.pop(queue, None)
                continue
            setting = before.settings.get(queue)
            due = recount_at(queue, at)
            self._counted[queue] = Counted(each.counts, each.since, mark, setting, connection, due, at)

    def _connections(self, slot_map: SlotMap) -> dict[str, int]:
        return {
            address: self._deployment.connection_number(address, pool=POOL) for address in slot_map.masters
        }

    def _unmoved(
        self, candidates: Mapping[str, list[QueueId]], slot_map: SlotMap, deadline: Deadline
    ) -> tuple[list[QueueId], dict[QueueId, Failed]]:
        """The queues whose stream has nothing new, and those whose node did not answer."""
        before = self._connections(slot_map)
        asked = {
            address: list(reads(self._streams(queues, slot_map))) for address, queues in candidates.items()
        }
        pieces = {address: in_pieces(request for request, _ in each) for address, each in asked.items()}
        outcomes = self._deployment.execute_pieces(
            {address: requests for address, (requests, _) in pieces.items()}, deadline, pool=POOL
        )
        unmoved: list[QueueId] = []
        failed: dict[QueueId, Failed] = {}
        for address, queues in candidates.items():
            named = iter([keys for _, keys in asked[address]])
            new: set[bytes] = set()
            unread: dict[bytes, Failed] = {}
            for outcome, number in zip(outcomes[address], pieces[address][1], strict=True):
                for index in range(number):
                    keys = next(named)
                    if isinstance(outcome, Failed):
                        why = Failed(outcome.kind, f"{address}: {outcome.message}")
                        unread |= dict.fromkeys(keys, why)
                    else:
                        new |= moved(keys, outcome.value[index])
            connected = self._deployment.connection_number(address, pool=POOL) == before[address]
            for queue in queues:
                key = self._key(queue)
                if key in unread:
                    failed[queue] = unread[key]
                elif key not in new and connected:
                    unmoved.append(queue)
        return unmoved, failed

    def _streams(self, queues: list[QueueId], slot_map: SlotMap) -> dict[int, list[tuple[bytes, bytes]]]:
        """The keys and positions of streams by what one XREAD may name: in a cluster those of one slot."""
        streams: dict[int, list[tuple[bytes, bytes]]] = {}
        for queue in queues:
            slot = self._slot(queue) if slot_map.cluster else 0
            streams.setdefault(slot, []).append((self._key(queue), self._counted[queue].mark.last))
        return streams

    def _checked(
        self, queues: list[QueueId], slot_map: SlotMap, deadline: Deadline, at: float
    ) -> dict[QueueId, Read]:
        """The queues of which nothing changed that is not in their stream either."""
        clock = Clock(self._deployment, slot_map)
        plans, standing = self._reader.plans, {}
        requests: dict[QueueId, Request] = {}
        times = {}
        for queue in queues:
            counted = self._counted[queue]
            moment = times[queue] = clock.moment(queue)
            request = pack_check(plans[queue], counted, at, moment)
            if request is not None:
                requests[queue] = request
        answers = self._reader.ask(requests, slot_map, deadline)
        for queue in queues:
            answer, counted = answers.get(queue), self._counted[queue]
            if queue in requests:
                if answer is None or isinstance(answer, Failed):
                    continue
                if not apply_check(plans[queue], counted, answer, at, times[queue]):
                    continue
            standing[queue] = Read(counted.counts, counted.since, whole=True)
        return standing

    def _key(self, queue: QueueId) -> bytes:
        return self._reader.plans[queue].base + b"events"

    def _slot(self, queue: QueueId) -> int:
        if queue not in self._slots:
            self._slots[queue] = slot_of(base(queue))
        return self._slots[queue]
