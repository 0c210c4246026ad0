"""Which queues are gone: all of them are asked for in each interval, so that they cost next to nothing.

One key of each is enough, and nearly all have `id`. Where a command may name keys of several slots, one asks
for those of a hundred queues: only if fewer exist does it matter which. The requests are kept packed while
they name the same queues.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from exporter.bullmq.keys import QUEUE_KEYS, WORKER_KEYS, base
from exporter.bullmq.placement import SlotMap
from exporter.bullmq.queue_commands import Key, QueueCommands
from exporter.bullmq.search.ask import ask_packed
from exporter.redis.deployment import Deployment
from exporter.redis.protocol import ReplyError, Request, pack_request
from exporter.snapshot.queues import QueueId
from service.clock import Deadline
from service.outcome import Failed

_POOL: Final = "discover"
_PROOF: Final = "id"
_TOGETHER: Final = 100  # keys of one EXISTS: 30 us of Redis
_SINGLY: Final = QueueCommands(
    ("EXISTS", Key(_PROOF)), ("EXISTS", *map(Key, QUEUE_KEYS)), ("EXISTS", *map(Key, WORKER_KEYS))
)


@dataclass(frozen=True)
class _Asked:
    """The request for a part of the queues at each node, the replies if all of them exist, and the queues of
    each command. `others` have to be asked for singly."""

    queues: Sequence[QueueId]
    slot_map: SlotMap
    requests: dict[str, Request]
    expected: dict[str, list[int]]
    named: dict[str, list[list[QueueId]]]
    others: list[QueueId]


class Confirmation:
    """`refused`: why Redis does not say of some queues whether they exist, since it was last set to None."""

    def __init__(self, deployment: Deployment) -> None:
        self._deployment = deployment
        self._kept: dict[int, _Asked] = {}
        self._without_proof: set[QueueId] = set()
        self.refused: str | None = None

    def gone(
        self,
        number: int,
        queues: Sequence[QueueId],
        silent: set[str],
        slot_map: SlotMap,
        deadline: Deadline,
    ) -> Mapping[QueueId, bool]:
        """Those that have no keys of a queue, and whether they have what workers leave. The queues of a node
        that does not answer are not among them: it is added to `silent`, which are not asked. `number`: of
        the part that these queues are; the request for the same ones is kept."""
        asked = self._kept.get(number)
        if asked is None or asked.slot_map is not slot_map or asked.queues != queues:
            asked = self._kept[number] = self._pack(queues, slot_map)
        singly = [queue for queue in asked.others if not silent or slot_map.owner(queue) not in silent]
        requests = {address: each for address, each in asked.requests.items() if address not in silent}
        for address, outcome in self._deployment.execute(requests, deadline, pool=_POOL).items():
            if isinstance(outcome, Failed):
                silent |= {address} if outcome.kind == "timeout" else set()
                continue
            if outcome.value == asked.expected[address]:
                continue
            expected = zip(asked.named[address], outcome.value, asked.expected[address], strict=True)
            singly += [
                queue for named, reply, all_of_them in expected if reply != all_of_them for queue in named
            ]
        before = set(self._without_proof)
        gone = self.without_keys(singly, slot_map, deadline)
        if self._without_proof != before:
            self._kept.pop(number, None)  # they are asked for singly from now on, or are so no more
        return gone

    def keep_only(self, parts: int) -> None:
        """Keep no more than the requests for so many parts."""
        self._kept = {number: asked for number, asked in self._kept.items() if number < parts}

    def _pack(self, queues: Sequence[QueueId], slot_map: SlotMap) -> _Asked:
        together = 1 if slot_map.cluster else _TOGETHER
        owned, _ = slot_map.by_owner(queue for queue in queues if queue not in self._without_proof)
        named = {
            address: [of_node[start : start + together] for start in range(0, len(of_node), together)]
            for address, of_node in owned.items()
        }
        requests = {
            address: pack_request(("EXISTS", *(base(queue) + _PROOF for queue in some)) for some in groups)
            for address, groups in named.items()
        }
        expected = {address: [len(some) for some in groups] for address, groups in named.items()}
        others = [queue for queue in queues if queue in self._without_proof]
        return _Asked(queues, slot_map, requests, expected, named, others)

    def without_keys(
        self, queues: Collection[QueueId], slot_map: SlotMap, deadline: Deadline
    ) -> Mapping[QueueId, bool]:
        """Those that have none of a queue's keys, each asked for by itself, and whether they have what
        workers leave."""
        if not queues:
            return {}
        gone: dict[QueueId, bool] = {}
        requests = {queue: _SINGLY.request(queue) for queue in queues}
        for queue, replies in ask_packed(self._deployment, slot_map, deadline, requests, pool=_POOL).items():
            if isinstance(replies, Failed):
                continue
            proof, held, left = replies
            if isinstance(held, ReplyError):
                self.refused = f"EXISTS: {held}"
            elif proof == 0 != held:
                self._without_proof.add(queue)
            else:
                self._without_proof.discard(queue)
                if not held:
                    gone[queue] = left != 0
        return gone
