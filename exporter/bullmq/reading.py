"""Reads queues: the counts of all of them, then what only some need, in pieces with a time-out each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from exporter.bullmq.bull.counts import plan_bull_queue, read_by_library
from exporter.bullmq.counts import MOVED, Counts, Plan, Unreadable, pack_tails, plan_queue, with_tails
from exporter.bullmq.details import (
    NEVER,
    Moment,
    Since,
    needs_due,
    pack_details,
    pack_due,
    with_details,
    with_due,
    without_details,
)
from exporter.bullmq.placement import SlotMap
from exporter.bullmq.search.ask import Answers, ask_packed
from exporter.redis.deployment import Deployment
from exporter.redis.protocol import Reply, ReplyError, Request
from exporter.snapshot.queues import Library, QueueId
from service.clock import Deadline
from service.outcome import Failed

POOL: Final = "bullmq"


class Read(NamedTuple):
    """What was read of a queue; `whole`: nothing of it is missing or odd."""

    counts: Counts
    since: Since
    whole: bool


class QueueReader:
    """Keeps the packed commands of the known queues."""

    def __init__(self, deployment: Deployment) -> None:
        self._deployment = deployment
        self._libraries: Mapping[QueueId, Library] = {}
        self.plans: dict[QueueId, Plan] = {}

    def keep_plans(self, queues: Iterable[QueueId], libraries: Mapping[QueueId, Library]) -> bool:
        """Keep the plans of exactly these queues, each as its library has its keys; whether that changed."""
        if self._libraries is libraries and self.plans.keys() == set(queues):
            return False
        self._libraries = libraries
        self.plans = {queue: self._plan(queue) for queue in queues}
        return True

    def _plan(self, queue: QueueId) -> Plan:
        library, before = self._libraries.get(queue, "bullmq"), self.plans.get(queue)
        if before is not None and before.library == library:
            return before
        return plan_bull_queue(queue) if library == "bull" else plan_queue(queue)

    def read(
        self, queues: Iterable[QueueId], slot_map: SlotMap, deadline: Deadline
    ) -> tuple[dict[QueueId, Read], dict[QueueId, Failed]]:
        """The queues that could be read, and why the others are unread."""
        counts: dict[QueueId, Counts] = {}
        unread: dict[QueueId, Failed] = {}
        plans = self.plans

        def take(queue: QueueId, result: Counts | Unreadable) -> None:
            if isinstance(result, ReplyError):
                counts.pop(queue, None)
                unread[queue] = refused(result)
            else:
                counts[queue] = result

        requests = {queue: plans[queue].request for queue in queues}
        for queue, answer in self.ask(requests, slot_map, deadline).items():
            if isinstance(answer, Failed):
                unread[queue] = answer
            else:
                take(queue, read_by_library(plans[queue], answer))
        requests = {queue: pack_tails(plans[queue]) for queue, each in counts.items() if each.open_tails}
        for queue, answer in self.ask(requests, slot_map, deadline).items():
            if isinstance(answer, Failed):
                del counts[queue]
                unread[queue] = answer
            else:
                take(queue, with_tails(counts[queue], answer))
        since = self._details(counts, unread, slot_map, deadline)
        return {
            queue: Read(
                each,
                since.get(queue, NEVER),
                queue in since and not each.odd and each.delayed_overdue is not None,
            )
            for queue, each in counts.items()
        }, unread

    def _details(
        self,
        counts: dict[QueueId, Counts],
        unread: dict[QueueId, Failed],
        slot_map: SlotMap,
        deadline: Deadline,
    ) -> dict[QueueId, Since]:
        """Read them into `counts`; the times of jobs of the queues whose node answers this time."""
        since: dict[QueueId, Since] = {}
        requests: dict[QueueId, Request] = {}
        clock = Clock(self._deployment, slot_map)
        for queue, queue_counts in counts.items():
            request = pack_details(self.plans[queue], queue_counts, clock.moment(queue))
            if request is None:
                since[queue] = NEVER
            else:
                requests[queue] = request
        for queue, answer in self.ask(requests, slot_map, deadline).items():
            if isinstance(answer, Failed):
                counts[queue] = without_details(counts[queue])
                continue
            result = with_details(counts[queue], answer)
            if isinstance(result, ReplyError):
                del counts[queue]
                unread[queue] = refused(result)
            else:
                counts[queue], since[queue] = result
        requests = {}
        for queue, moments in since.items():
            if counts[queue].jobs.delayed:
                moment = clock.moment(queue)
                if needs_due(counts[queue], moments, moment.now_ms):
                    requests[queue] = pack_due(self.plans[queue], moment)
                else:
                    counts[queue] = counts[queue]._replace(delayed_overdue=0, delayed_due=0)
        for queue, answer in self.ask(requests, slot_map, deadline).items():
            if isinstance(answer, Failed):
                continue
            due = with_due(counts[queue], answer)
            if isinstance(due, ReplyError):
                del counts[queue], since[queue]
                unread[queue] = refused(due)
            else:
                counts[queue] = due
        return since

    def ask(self, requests: Mapping[QueueId, Request], slot_map: SlotMap, deadline: Deadline) -> Answers:
        """Each queue's replies from its node."""
        return ask_packed(self._deployment, slot_map, deadline, requests, pool=POOL) if requests else {}


class Clock:
    """The time of the nodes that have queues: ours may be minutes off, and then every age would be."""

    def __init__(self, deployment: Deployment, slot_map: SlotMap) -> None:
        self._moments = {address: Moment(int(deployment.now(address) * 1000)) for address in slot_map.masters}
        self._owner = slot_map.owner

    def moment(self, queue: QueueId) -> Moment:
        """The time of the node that has this queue."""
        return self._moments[self._owner(queue) or ""]


def refused(error: Reply) -> Failed:
    """The reason for an error reply."""
    moved = isinstance(error, ReplyError) and error.code in MOVED
    return Failed("moved" if moved else "refused", str(error))
