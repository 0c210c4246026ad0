"""Finds out which queues did not move since they were counted, with one XREAD for many of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Final, NamedTuple, TypeAlias

from exporter.bullmq.details import Read
from exporter.bullmq.keys import base, slot_of
from exporter.bullmq.placement import SlotMap
from exporter.bullmq.reading import POOL, Clock, QueueReader
from exporter.bullmq.search.ask import ask_nodes
from exporter.bullmq.search.known import KnownQueues
from exporter.bullmq.still.unmoved import Counted, apply_check, pack_check, period, reads, unmoved
from exporter.bullmq.streams.protocol import StreamMark
from exporter.bullmq.streams.stream import FOLLOWED_SECONDS, Stream
from exporter.redis.connection.served import SERVED, served
from exporter.redis.deployment import Deployment
from exporter.redis.protocol import MAX_COMMANDS, Request
from exporter.snapshot.queues import QueueId
from service.clock import Deadline, monotonic
from service.outcome import Failed

_READS: Final = MAX_COMMANDS - SERVED.replies


class _OfSlot(NamedTuple):
    """Queues of one slot, and the packed commands that read one new entry of each."""

    counted: list[Counted]
    reads: list[tuple[Request, Sequence[Counted]]]


_Pieces: TypeAlias = list[tuple[Request, list[Sequence[Counted]]]]


class _Server(NamedTuple):
    """What data a node serves, and since when that is known: 0 for the nodes of the first look."""

    data: object
    since: float


@dataclass
class QueueLook:
    """One look at all queues: those that stand as they were, those that are to be counted, and those whose
    node did not answer. `seen` are those in whose stream there was something new. `marks`, and the
    `connections` by number, are from before the counting."""

    standing: dict[QueueId, Read] = field(default_factory=dict)
    moved: list[QueueId] = field(default_factory=list)
    seen: list[QueueId] = field(default_factory=list)
    failed: dict[QueueId, Failed] = field(default_factory=dict)
    marks: dict[QueueId, StreamMark] = field(default_factory=dict)
    connections: dict[str, int] = field(default_factory=dict)


class StandingQueues:
    """The queues as they were counted last. Only what was read whole, of a queue whose stream is followed."""

    def __init__(self, deployment: Deployment, reader: QueueReader) -> None:
        self._deployment = deployment
        self._reader = reader
        self._counted: dict[QueueId, Counted] = {}
        self._servers: dict[str, _Server] = {}
        self._slot_map: SlotMap | None = None
        self._slots: dict[QueueId, int] = {}
        self._slot_reads: dict[int, _OfSlot] = {}
        self._asked: dict[str, tuple[list[Counted], _Pieces]] = {}

    def look(
        self, known: KnownQueues, streams: Mapping[QueueId, Stream], slot_map: SlotMap, deadline: Deadline
    ) -> QueueLook:
        """Ask for what moved."""
        if not streams:
            self._counted = {}
            return QueueLook(moved=list(known.queues))
        at = monotonic()
        owned, unowned = slot_map.by_owner(known.queues)
        first = self._slot_map is None
        if slot_map is not self._slot_map:  # a master or a slot has moved: what was counted may be undone
            self._counted, self._servers, self._asked, self._slot_map = {}, {}, {}, slot_map
            self._slot_reads = {}
        candidates = {
            address: self._candidates(queues, known.settings, streams, at)
            for address, queues in owned.items()
        }
        look = QueueLook(moved=unowned)
        still = self._unmoved(candidates, owned, look, deadline, 0.0 if first else at)
        tell_readers(look.seen, streams)
        look.standing = self._checked(still, deadline, at, Clock(self._deployment, slot_map))
        for address, queues in owned.items():
            since = self._servers[address].since if address in self._servers else inf
            moved = [queue for queue in queues if queue not in look.standing and queue not in look.failed]
            look.moved += moved
            for queue in moved:
                stream = streams.get(queue)
                mark = None if stream is None else stream.mark(at)
                # Another server's stream may begin before the position that was read of the one before it.
                if mark is not None and mark.compared_at > since:
                    look.marks[queue] = mark
        return look

    def remember(
        self,
        look: QueueLook,
        read: Mapping[QueueId, Read],
        known: KnownQueues,
        streams: Mapping[QueueId, Stream],
        slot_map: SlotMap,
    ) -> None:
        """Take what was counted after the look."""
        if slot_map is not self._slot_map:
            self._counted = {}
            return
        at, plans = monotonic(), self._reader.plans
        if self._counted.keys() - plans.keys():
            self._counted = {queue: each for queue, each in self._counted.items() if queue in plans}
            self._slots = {queue: slot for queue, slot in self._slots.items() if queue in plans}
            self._slot_reads = {}
        same = {
            address
            for address, number in look.connections.items()
            if number and number == self._deployment.connection_number(address, pool=POOL)
        }
        owner, setting_of = slot_map.owner, known.settings.get
        for queue, each in read.items():
            mark = look.marks.get(queue)
            if mark is None or not each.whole or owner(queue) not in same:
                self._counted.pop(queue, None)
                continue
            due = at + period(queue)
            self._counted[queue] = Counted(
                plans[queue], each, streams[queue].key, mark, setting_of(queue), due, at
            )

    def _candidates(
        self,
        queues: Iterable[QueueId],
        settings: Mapping[QueueId, object],
        streams: Mapping[QueueId, Stream],
        at: float,
    ) -> list[Counted]:
        """Those that may be as they were, as far as is known without asking Redis."""
        counted, plans, followed = self._counted.get, self._reader.plans, at - FOLLOWED_SECONDS
        return [
            each
            for queue in queues
            if (each := counted(queue)) is not None
            and at < each.recount_at
            and each.plan is plans[queue]
            and each.set == settings.get(queue)
            and (stream := streams.get(queue)) is not None
            # Most of ten thousand rest, as they did when they were compared: a fifth of the time.
            and (
                ((idle := stream.idle) is not None and stream.turn == each.turn and idle.at > followed)
                or _is_as_marked(each, stream, at)
            )
        ]

    def _unmoved(
        self,
        candidates: Mapping[str, list[Counted]],
        owned: Mapping[str, list[QueueId]],
        look: QueueLook,
        deadline: Deadline,
        since: float,
    ) -> dict[str, list[Counted]]:
        """Those whose stream has nothing new, by node. A node with other data than before, or that did not
        answer, has none."""
        asked = {address: self._pieces(address, each) for address, each in candidates.items()}
        requests = {address: [request for request, _ in pieces] for address, pieces in asked.items()}
        outcomes = self._deployment.execute_pieces(requests, deadline, pool=POOL)
        still: dict[str, list[Counted]] = {}
        for address, pieces in asked.items():
            number = look.connections[address] = self._deployment.connection_number(address, pool=POOL)
            still[address], seen = [], []
            same = True
            for (_, named), outcome in zip(pieces, outcomes[address], strict=True):
                if isinstance(outcome, Failed):
                    why = Failed(outcome.kind, f"{address}: {outcome.message}")
                    look.failed |= dict.fromkeys((each.plan.queue for some in named for each in some), why)
                    if outcome is outcomes[address][0]:
                        look.failed |= dict.fromkeys(owned[address], why)
                    continue
                same &= self._serves(address, served(outcome.value[:2]) or number, since)
                for some, reply in zip(named, outcome.value[2:], strict=True):
                    still[address] += (unread := unmoved(some, reply))
                    if isinstance(reply, list):
                        seen += [each.plan.queue for each in set(some).difference(unread)]
            if same:
                look.seen += seen
            else:
                still[address] = []
        return still

    def _serves(self, address: str, data: object, since: float) -> bool:
        """Whether the node serves the data that it did; other data is served `since` then."""
        before = self._servers.get(address)
        if before is not None and before.data == data:
            return True
        self._servers[address] = _Server(data, since)
        return False

    def _pieces(self, address: str, candidates: list[Counted]) -> _Pieces:
        """Requests, each with which data the node serves, and the queues of each of its further replies."""
        before = self._asked.get(address)
        if before is None or before[0] != candidates:  # by the objects, which keep their marks
            before = self._asked[address] = candidates, self._packed(candidates)
        return before[1]

    def _packed(self, candidates: Sequence[Counted]) -> _Pieces:
        commands: list[tuple[Request, Sequence[Counted]]]
        if self._slot_map is not None and self._slot_map.cluster:
            commands = [read for some in self._by_slot(candidates).values() for read in some.reads]
        else:
            commands = list(reads([candidates]))
        pieces = []
        for start in range(0, max(1, len(commands)), _READS):
            some = commands[start : start + _READS]
            packed = b"".join([SERVED.packed, *(request.packed for request, _ in some)])
            pieces.append((Request(packed, SERVED.replies + len(some)), [named for _, named in some]))
        return pieces

    def _by_slot(self, candidates: Sequence[Counted]) -> dict[int, _OfSlot]:
        """Those of each slot: one command names streams of one slot. Packed again where they are not the ones
        that they were, which is a few of ten thousand."""
        slots: dict[int, list[Counted]] = {}
        for each in candidates:
            slots.setdefault(self._slot(each.plan.queue), []).append(each)
        before = self._slot_reads.get
        of_slots = {
            slot: kept
            if (kept := before(slot)) is not None and kept.counted == some
            else _OfSlot(some, list(reads([some])))
            for slot, some in slots.items()
        }
        self._slot_reads |= of_slots
        return of_slots

    def _checked(
        self, still: Mapping[str, list[Counted]], deadline: Deadline, at: float, clock: Clock
    ) -> dict[QueueId, Read]:
        """The queues of which nothing changed that is not in their stream either."""
        standing: dict[QueueId, Read] = {}
        asked: dict[str, list[Counted]] = {}
        requests: dict[str, list[Request]] = {}
        for address, each_of_node in still.items():
            moment, some, of_node = clock.at(address), [], []
            standing |= {each.plan.queue: each.read for each in each_of_node if at < each.look_at}
            for each in [each for each in each_of_node if at >= each.look_at]:
                request = pack_check(each, at, moment)
                if request is None:
                    standing[each.plan.queue] = each.read
                else:
                    some.append(each)
                    of_node.append(request)
            asked[address], requests[address] = some, of_node
        for address, answers in ask_nodes(self._deployment, deadline, requests, pool=POOL).items():
            for each, answer in zip(asked[address], answers, strict=True):
                if not isinstance(answer, Failed) and apply_check(each, answer, at, clock.at(address)):
                    standing[each.plan.queue] = each.read
        return standing

    def _slot(self, queue: QueueId) -> int:
        if queue not in self._slots:
            self._slots[queue] = slot_of(base(queue))
        return self._slots[queue]


def tell_readers(seen: Iterable[QueueId], streams: Mapping[QueueId, Stream]) -> None:
    """The streams of these have new entries, and are to be read although they rest."""
    for queue in seen:
        if (stream := streams.get(queue)) is not None and (idle := stream.idle) is not None:
            idle.seen.add(stream)


def _is_as_marked(counted: Counted, stream: Stream, at: float) -> bool:
    """Whether nothing happened since the queue was counted, as far as is known without asking Redis."""
    turn = stream.turn
    if not (stream.is_at(counted.mark) and stream.tells(at)):
        return False
    if stream.idle is not None and stream.turn == turn:
        counted.turn = turn
    return True
