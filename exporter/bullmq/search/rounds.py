"""Confirms the known queues and reads what no event tells of them, a part of them at a time.

The requests are those of `confirm.py`, `own.py` and `census.py`; `lap.py` says which queues are in which
part.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Final

from exporter.bullmq.placement import SlotMap
from exporter.bullmq.queue_commands import QueueCommands
from exporter.bullmq.search.ask import ask_packed
from exporter.bullmq.search.census import Census, look_commands
from exporter.bullmq.search.confirm import Confirmation
from exporter.bullmq.search.lap import Lap, LapPart
from exporter.bullmq.search.names import QueueNames
from exporter.bullmq.search.own import OWN_COMMANDS, OwnRecords, marked_by_bullmq
from exporter.bullmq.search.registry import Candidate, Registry
from exporter.redis.deployment import Deployment
from exporter.redis.protocol import Argument, Reply
from exporter.snapshot.queues import QueueId
from service.clock import Deadline, monotonic
from service.outcome import Failed

_POOL: Final = "discover"
_UNTRACED_SECONDS: Final = 90.0
"""For so long a queue stays without any key while connections have the name of its workers: `stalled-check`
is gone for half a minute now and then. A name alone does not make a queue, nor keeps it."""
_LATE: Final = Failed("timeout", "its node did not answer before")


class QueueRounds:
    """`begin` once in an interval when the one before is `done`, and `take` a part when one is `due`.
    `refused`: why Redis does not say of some queues whether they exist."""

    def __init__(
        self,
        deployment: Deployment,
        names: QueueNames,
        registry: Registry,
        census: Census,
        own: OwnRecords,
    ) -> None:
        self._deployment = deployment
        self._names = names
        self._registry = registry
        self._census = census
        self._own = own
        self._confirmation = Confirmation(deployment)
        self._lap = Lap()
        self._divided_by: object = None
        self._counted_by: object = None
        self._counted: Mapping[QueueId, object] = {}
        self._commands: dict[tuple[object, ...], QueueCommands] = {}
        self._own_published = 0
        self._silent: set[str] = set()  # nodes that did not answer in time: once in a round is enough
        self._untraced: dict[QueueId, float] = {}  # since when queues with named workers have no key
        self.refused: str | None = None

    @property
    def done(self) -> bool:
        return self._lap.done

    @property
    def due(self) -> float:
        """When the next part is, in monotonic s; inf without one."""
        return self._lap.due

    def count_named(self, slot_map: SlotMap) -> None:
        """Count workers by the connections that were read; where that leaves doubt, their locks come next."""
        queues = self._with_named(slot_map)
        self._census.keep_only(queues)
        mine = self._names.of_shard(queues)
        self._lap.read_first(self._census.recount(mine, queues, cluster=slot_map.cluster))

    def begin(self, slot_map: SlotMap, seconds: float) -> None:
        """Spread the parts over so many seconds."""
        queues = self._registry.queues
        by = self._registry.changes, slot_map
        if by != self._divided_by:
            self._divided_by = by
            # A queue of Bull may become one of BullMQ with the same name.
            bull = [queue for queue, library in queues.items() if library == "bull"]
            self._confirmation.keep_only(self._lap.divide(queues, self._with_named(slot_map), bull))
            self._own.keep_only(queues)
        self._confirmation.refused = None
        self._silent.clear()
        self._lap.begin(at=monotonic(), seconds=seconds)

    def drop(self) -> None:
        """Leave the parts that were not taken."""
        self._lap.drop()

    def take(self, slot_map: SlotMap, deadline: Deadline) -> bool:
        """Confirm and read the next part; whether something is to be published. BullMQ's own counts, which
        change all the time, are so at the end of a round."""
        part = self._lap.take()
        if part is None:
            return False
        before = self._registry.changes, self._own.settings_changes, self._census.changes
        self._confirm(part, slot_map, deadline)
        self._read(part.read, slot_map, deadline, together=part.together)
        if part.last or self._confirmation.refused is not None:
            self.refused = self._confirmation.refused
        counted = part.last and self._own.changes != self._own_published
        if part.last:
            self._own_published = self._own.changes
        return counted or (self._registry.changes, self._own.settings_changes, self._census.changes) != before

    def found(self, candidates: Sequence[Candidate], slot_map: SlotMap, deadline: Deadline) -> None:
        """Read queues that were just verified."""
        queues = [candidate.queue for candidate in candidates]
        self._census.learn(queues, self._with_named(slot_map), cluster=slot_map.cluster)
        named = self._census.workers_named
        # A worker's name is enough, but it may have another meaning that counts: then its keys decide.
        doubtful = [each.queue for each in candidates if each.worker and not named(each.queue)]
        self._remove(list(self._confirmation.without_keys(doubtful, slot_map, deadline)))
        self._read(queues, slot_map, deadline, together=len(queues))

    def _with_named(self, slot_map: SlotMap) -> Mapping[QueueId, object]:
        """The queues whose workers are counted: those of the settings may have some before they have keys."""
        by = self._registry.changes, slot_map
        if by != self._counted_by:
            named = [queue for queue in self._names.queues if slot_map.supports(queue)]
            queues = self._registry.queues
            self._counted = dict.fromkeys([*queues, *named]) if named else queues
            self._counted_by = by
        return self._counted

    def _confirm(self, part: LapPart, slot_map: SlotMap, deadline: Deadline) -> None:
        """Remove those that are gone. A queue whose node does not answer keeps its state."""
        if not part.confirmed:
            return
        known, named = self._registry.queues, self._census.workers_named
        gone = self._confirmation.gone(part.number, part.confirmed, self._silent, slot_map, deadline)
        if gone or self._untraced:
            at = monotonic()
            traced = set(part.confirmed).difference(queue for queue, left in gone.items() if not left)
            self._untraced = {queue: since for queue, since in self._untraced.items() if queue not in traced}
            self._remove(
                [
                    queue
                    for queue, left in gone.items()
                    if queue in known
                    and not (named(queue) and (left or self._untraced_seconds(queue, at) < _UNTRACED_SECONDS))
                ]
            )

    def _untraced_seconds(self, queue: QueueId, at: float) -> float:
        return at - self._untraced.setdefault(queue, at)

    def _remove(self, queues: Collection[QueueId]) -> None:
        for queue in queues:
            self._untraced.pop(queue, None)
        self._registry.remove(queues)
        self._own.forget(queues)
        self._census.forget(queues)

    def _read(
        self, queues: Sequence[QueueId], slot_map: SlotMap, deadline: Deadline, *, together: int
    ) -> None:
        """BullMQ's own counts, its marks, what is set for the queues, and the traces of their workers."""
        counted = self._with_named(slot_map)
        queues = [queue for queue in queues if queue in counted]
        if not queues:
            return
        mine = self._names.of_shard(queues)
        doubtful = set(self._census.in_doubt(mine, cluster=slot_map.cluster))
        alone, both = self._own_commands(), self._own_commands(*look_commands(together))
        silent, owner = self._silent, slot_map.owner
        requests = {
            queue: (both if queue in doubtful else alone).request(queue)
            for queue in queues
            if not silent or owner(queue) not in silent
        }
        known, own, at = self._registry.queues, len(OWN_COMMANDS), monotonic()
        looks: dict[QueueId, Sequence[Reply] | Failed] = {
            queue: _LATE for queue in doubtful if queue not in requests
        }
        for queue, reply in ask_packed(self._deployment, slot_map, deadline, requests, pool=_POOL).items():
            if isinstance(reply, Failed):
                if reply.kind == "timeout":
                    silent.add(owner(queue) or "")
                looks |= {queue: reply} if queue in doubtful else {}
                continue
            if queue in doubtful:
                looks[queue] = reply[own:]
            library = known.get(queue)
            if library is None:
                continue
            self._own.take(queue, reply[:own], at)
            if library == "bull" and marked_by_bullmq(reply[0]):
                self._registry.reconsider(queue)
        self._census.take(mine, looks, slot_map, deadline)

    def _own_commands(self, *looked: tuple[Argument, ...]) -> QueueCommands:
        """Those for a queue, and those that look for traces of its workers, if any."""
        commands = self._commands.get(looked)
        if commands is None:
            commands = self._commands[looked] = QueueCommands(*OWN_COMMANDS, *looked)
        return commands
