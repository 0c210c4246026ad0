"""Reads queues: the counts of all of them, then what only some need, in pieces with a time-out each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, TypeAlias

from exporter.bullmq.bull.counts import plan_bull_queue, read_by_library
from exporter.bullmq.counts import MOVED, Counts, Plan, pack_tails, plan_queue, with_tails
from exporter.bullmq.details import (
    NEVER,
    SOON_MS,
    Moment,
    Read,
    details,
    pack_due,
    with_details,
    with_due,
    without_details,
)
from exporter.bullmq.placement import SlotMap
from exporter.bullmq.search.ask import NO_OWNER, Answers, ask_nodes, ask_packed
from exporter.redis.deployment import Deployment
from exporter.redis.protocol import Reply, ReplyError, Request
from exporter.snapshot.queues import Library, QueueId
from service.clock import Deadline
from service.outcome import Failed

_Counted: TypeAlias = dict[str, list[tuple[Plan, Counts]]]
POOL: Final = "bullmq"
_AT_ONCE: Final = 2_000  # queues
_OF_QUEUES: Final = frozenset({"moved", "refused"})  # why a node that answers gives nothing of one queue


class QueueReader:
    """Keeps the packed commands of the known queues."""

    def __init__(self, deployment: Deployment) -> None:
        self._deployment = deployment
        self._libraries: Mapping[QueueId, Library] = {}
        self._queues: tuple[QueueId, ...] = ()
        self._far: set[QueueId] = set()  # whose first delayed job is not due soon
        self.plans: dict[QueueId, Plan] = {}

    def keep_plans(self, queues: tuple[QueueId, ...], libraries: Mapping[QueueId, Library]) -> bool:
        """Keep the plans of exactly these queues, each as its library has its keys; whether that changed."""
        if self._libraries is libraries and (queues is self._queues or self.plans.keys() == set(queues)):
            return False
        self._libraries, self._queues = libraries, queues
        self.plans = {queue: self._plan(queue) for queue in queues}
        self._far &= self.plans.keys()
        return True

    def _plan(self, queue: QueueId) -> Plan:
        library, before = self._libraries.get(queue, "bullmq"), self.plans.get(queue)
        if before is not None and before.library == library:
            return before
        return plan_bull_queue(queue) if library == "bull" else plan_queue(queue)

    def read(
        self, queues: Iterable[QueueId], slot_map: SlotMap, deadline: Deadline
    ) -> tuple[dict[QueueId, Read], dict[QueueId, Failed]]:
        """The queues that could be read, and why the others are unread.

        Of one node some at a time: the commands and the replies of ten thousand are 20 MB, which a process
        that had them once keeps. Several nodes have fewer each, and one that hangs must not delay the others.
        """
        owned, unowned = slot_map.by_owner(queues)
        unread: dict[QueueId, Failed] = dict.fromkeys(unowned, NO_OWNER)
        if len(owned) != 1:
            read, others = self._read(owned, slot_map, deadline)
            return read, unread | others
        read = {}
        ((address, left),) = owned.items()
        while left:
            some, left = left[:_AT_ONCE], left[_AT_ONCE:]
            answered, others = self._read({address: some}, slot_map, deadline)
            read |= answered
            unread |= others
            failed = others.get(some[-1])
            if failed is not None and failed.kind not in _OF_QUEUES:
                unread |= dict.fromkeys(left, failed)  # it is not asked again: its time-out would pass again
                break
        return read, unread

    def _read(
        self, owned: Mapping[str, list[QueueId]], slot_map: SlotMap, deadline: Deadline
    ) -> tuple[dict[QueueId, Read], dict[QueueId, Failed]]:
        unread: dict[QueueId, Failed] = {}
        counted = self._count(owned, unread, deadline)
        if any(counts.open_tails for each in counted.values() for _, counts in each):
            counted = self._read_tails(counted, unread, deadline)
        read = self._details(counted, unread, Clock(self._deployment, slot_map), deadline)
        self._late_due(read, unread, slot_map, deadline)
        return read, unread

    def _count(
        self, owned: Mapping[str, list[QueueId]], unread: dict[QueueId, Failed], deadline: Deadline
    ) -> _Counted:
        plans = {address: [self.plans[queue] for queue in queues] for address, queues in owned.items()}
        requests = {address: [plan.request for plan in each] for address, each in plans.items()}
        counted: _Counted = {}
        for address, answers in self._ask(requests, deadline).items():
            counted[address] = []
            for plan, answer in zip(plans[address], answers, strict=True):
                result = answer if isinstance(answer, Failed) else read_by_library(plan, answer)
                if isinstance(result, Counts):
                    counted[address].append((plan, result))
                else:
                    unread[plan.queue] = _why(result)
        return counted

    def _read_tails(self, counted: _Counted, unread: dict[QueueId, Failed], deadline: Deadline) -> _Counted:
        """The counts without what is no job."""
        requests = {
            address: [pack_tails(plan) for plan, counts in each if counts.open_tails]
            for address, each in counted.items()
        }
        answers = self._ask(requests, deadline)
        read: _Counted = {}
        for address, each in counted.items():
            remaining = iter(answers[address])
            read[address] = []
            for plan, counts in each:
                result: Counts | ReplyError | Failed = counts
                if counts.open_tails:
                    answer = next(remaining)
                    result = answer if isinstance(answer, Failed) else with_tails(counts, answer)
                if isinstance(result, Counts):
                    read[address].append((plan, result))
                else:
                    unread[plan.queue] = _why(result)
        return read

    def _details(
        self, counted: _Counted, unread: dict[QueueId, Failed], clock: Clock, deadline: Deadline
    ) -> dict[QueueId, Read]:
        """What only some queues need; a queue whose node does not answer this time has its counts alone."""
        far = self._far
        read: dict[QueueId, Read] = {}
        asked: _Counted = {}
        requests: dict[str, list[Request]] = {}
        for address, each in counted.items():
            moment = clock.at(address)
            some = asked[address] = []
            of_node = requests[address] = []
            for plan, counts in each:
                commands = details(plan, counts, moment, far=plan.queue in far)
                if commands:
                    some.append((plan, counts))
                    of_node.append(Request(b"".join(commands), len(commands)))
                else:
                    read[plan.queue] = Read(
                        counts, NEVER, not counts.odd and counts.delayed_overdue is not None
                    )
        for address, answers in self._ask(requests, deadline).items():
            now_ms = clock.at(address).now_ms
            for (plan, counts), answer in zip(asked[address], answers, strict=True):
                queue = plan.queue
                if isinstance(answer, Failed):
                    read[queue] = Read(without_details(counts), NEVER, whole=False)
                    continue
                result = with_details(counts, answer, now_ms, far=queue in far)
                if isinstance(result, ReplyError):
                    unread[queue] = _why(result)
                    continue
                known, since = result
                read[queue] = Read(known, since, not known.odd and known.delayed_overdue is not None)
                if known.jobs.delayed and since.first_due is not None and since.first_due > now_ms + SOON_MS:
                    far.add(queue)
                else:
                    far.discard(queue)
        return read

    def _late_due(
        self,
        read: dict[QueueId, Read],
        unread: dict[QueueId, Failed],
        slot_map: SlotMap,
        deadline: Deadline,
    ) -> None:
        """Read how many jobs are due where that was not expected."""
        clock = Clock(self._deployment, slot_map)
        requests = {
            queue: pack_due(self.plans[queue], clock.moment(queue))
            for queue, each in read.items()
            if each.counts.delayed_overdue is None and not each.counts.odd and each.since is not NEVER
        }
        for queue, answer in self.ask(requests, slot_map, deadline).items():
            counts, since, _ = read[queue]
            due = answer if isinstance(answer, Failed) else with_due(counts, answer)
            if isinstance(due, ReplyError):
                del read[queue]
                unread[queue] = _why(due)
            elif isinstance(due, Counts):
                read[queue] = Read(due, since, whole=not due.odd)

    def _ask(
        self, requests: Mapping[str, list[Request]], deadline: Deadline
    ) -> dict[str, list[list[Reply] | Failed]]:
        return ask_nodes(self._deployment, deadline, requests, pool=POOL)

    def ask(self, requests: Mapping[QueueId, Request], slot_map: SlotMap, deadline: Deadline) -> Answers:
        """Each queue's replies from its node."""
        return ask_packed(self._deployment, slot_map, deadline, requests, pool=POOL) if requests else {}


class Clock:
    """The time of the nodes that have queues: ours may be minutes off, and then every age would be."""

    def __init__(self, deployment: Deployment, slot_map: SlotMap) -> None:
        self._moments = {address: Moment(int(deployment.now(address) * 1000)) for address in slot_map.masters}
        self._owner = slot_map.owner

    def at(self, address: str) -> Moment:
        """The time of this node."""
        return self._moments[address]

    def moment(self, queue: QueueId) -> Moment:
        """The time of the node that has this queue."""
        return self._moments[self._owner(queue) or ""]


def _why(error: ReplyError | Failed) -> Failed:
    """Why a queue is unread."""
    if isinstance(error, Failed):
        return error
    return Failed("moved" if error.code in MOVED else "refused", str(error))  # see _OF_QUEUES
