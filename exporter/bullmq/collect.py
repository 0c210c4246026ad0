"""One collection of all known queues: a request to each node for the counts, and one for the ages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Final

from exporter.bullmq.counts import (
    TAIL_REPLIES,
    Counts,
    Plan,
    ages,
    ages_asked,
    pack_ages,
    pack_plans,
    pack_tails,
    plan,
    unpack,
    with_tails,
)
from exporter.bullmq.discover import Discovery
from exporter.bullmq.follow import Follower
from exporter.bullmq.placement import SlotMap
from exporter.redis.deployment import Deployment
from exporter.redis.protocol import ReplyError, pack_request
from exporter.settings import BullMQSettings
from exporter.snapshot import BullMQState, QueueId, QueueState, Topology
from service.clock import Deadline, now
from service.outcome import Failed, UnreadableError

_POOL: Final = "bullmq"
_MOVED: Final = frozenset({"MOVED", "ASK", "CLUSTERDOWN", "TRYAGAIN", "READONLY"})
_NOBODY: Final = Failed("unreachable", "no node owns its slot")


class BullMQSource:
    """Keeps what is the same from scrape to scrape: packed commands and which node to send them to."""

    def __init__(
        self,
        deployment: Deployment,
        discovery: Discovery,
        settings: BullMQSettings,
        follower: Follower | None = None,
    ) -> None:
        self._follower = follower
        self._deployment = deployment
        self._discovery = discovery
        self._settings = settings
        self._slot_map: SlotMap | None = None
        self._plans: dict[QueueId, Plan] = {}
        self._loads: dict[QueueId, tuple[float, int | None]] = {}

    def collect(self, deadline: Deadline) -> BullMQState:
        """Every known queue, read or not and why. Raises UnreadableError when no node can be found."""
        known = self._discovery.known()
        slot_map = self._follow(self._deployment.topology(deadline))
        self._remember(known.queues)
        now_ms = int(now() * 1000)
        if not known.queues:
            self._knock(slot_map, deadline)
        counts, unread = self._read(known.queues, slot_map, deadline, now_ms)
        if any(map(_may_have_moved, unread.values())) and not deadline.passed():
            before, slot_map = slot_map, self._look_again(slot_map, deadline)
            again = _worth_asking_again(unread, before, slot_map)
            if again:
                more, still = self._read(again, slot_map, deadline, now_ms)
                counts |= more
                unread = {queue: failed for queue, failed in unread.items() if queue not in more} | still
        found = self._ages(counts, slot_map, deadline, now_ms)
        workers = known.workers
        states = [
            self._state(
                queue,
                one,
                None if workers is None else workers.get(queue, 0),
                *found.get(queue, (None, None)),
            )
            for queue, one in counts.items()
        ]
        events = self._follower.events() if self._follower else None
        problems = (*known.problems, *(self._follower.problems() if self._follower else ()))
        return BullMQState(
            tuple(states),
            unread,
            discovered=known.complete,
            problems=problems,
            search_refused=known.refused,
            events=events,
            rates=self._follower.rates(events) if self._follower and events else {},
            own=known.own,
        )

    def _knock(self, slot_map: SlotMap, deadline: Deadline) -> None:
        """Without a queue nothing would be asked, and a dead Redis look like an empty one."""
        requests = dict.fromkeys(slot_map.masters, pack_request([("PING",)]))
        answers = self._deployment.execute(requests, deadline, pool=_POOL)
        failed = [(address, one) for address, one in answers.items() if isinstance(one, Failed)]
        if len(failed) == len(answers):
            address, why = failed[0] if failed else ("", _NOBODY)
            raise UnreadableError(why.kind, f"{address}: {why.message}" if address else "no master")

    def _look_again(self, slot_map: SlotMap, deadline: Deadline) -> SlotMap:
        try:
            return self._follow(self._deployment.refresh(deadline))
        except UnreadableError:
            return slot_map

    def _follow(self, topology: Topology) -> SlotMap:
        """The routes as before, which remember each queue's owner, unless a master or a slot has moved."""
        if self._slot_map is None or not self._slot_map.matches(topology):
            self._slot_map = SlotMap(topology)
        return self._slot_map

    def _remember(self, queues: Iterable[QueueId]) -> None:
        """Plans and loads of just these queues."""
        if self._plans.keys() != set(queues):
            self._plans = {queue: self._plans.get(queue) or plan(queue) for queue in queues}
            self._loads = {queue: self._load(queue) for queue in queues}

    def _load(self, queue: QueueId) -> tuple[float, int | None]:
        """Capacity and concurrency of one worker: the first of the settings whose pattern matches."""
        for one in self._settings.settings:
            if fnmatchcase(queue.name, one.match):
                return one.capacity_per_worker or self._settings.capacity_per_worker, one.worker_concurrency
        return self._settings.capacity_per_worker, None

    def _read(
        self, queues: Iterable[QueueId], slot_map: SlotMap, deadline: Deadline, now_ms: int
    ) -> tuple[dict[QueueId, Counts], dict[QueueId, Failed]]:
        owned, orphans = slot_map.by_owner(queues)
        asked = {
            address: pack_plans([self._plans[queue] for queue in mine], now_ms)
            for address, mine in owned.items()
        }
        answers = self._deployment.execute(asked, deadline, pool=_POOL)
        counts: dict[QueueId, Counts] = {}
        unread = dict.fromkeys(orphans, _NOBODY)
        for address, mine in owned.items():
            answer = answers[address]
            if isinstance(answer, Failed):
                unread |= dict.fromkeys(mine, Failed(answer.kind, f"{address}: {answer.message}"))
                continue
            for queue, one in zip(mine, unpack(answer.value), strict=True):
                if isinstance(one, ReplyError):
                    unread[queue] = _refused(one)
                else:
                    counts[queue] = one
        unread |= self._close_tails(counts, slot_map, deadline)
        return counts, unread

    def _close_tails(
        self, counts: dict[QueueId, Counts], slot_map: SlotMap, deadline: Deadline
    ) -> dict[QueueId, Failed]:
        """Look again at the lists of paused queues and behind markers; those that fail leave `counts`."""
        owned, _ = slot_map.by_owner([queue for queue, one in counts.items() if one.open_tails])
        requests = {
            address: pack_tails([self._plans[queue] for queue in mine]) for address, mine in owned.items()
        }
        answers = self._deployment.execute(requests, deadline, pool=_POOL)
        unread: dict[QueueId, Failed] = {}
        for address, mine in owned.items():
            answer = answers[address]
            for place, queue in enumerate(mine):
                before = counts.pop(queue)
                if isinstance(answer, Failed):
                    unread[queue] = Failed(answer.kind, f"{address}: {answer.message}")
                    continue
                start = place * TAIL_REPLIES
                one = with_tails(before, answer.value[start : start + TAIL_REPLIES])
                if isinstance(one, ReplyError):
                    unread[queue] = _refused(one)
                else:
                    counts[queue] = one
        return unread

    def _ages(
        self, counts: Mapping[QueueId, Counts], slot_map: SlotMap, deadline: Deadline, now_ms: int
    ) -> dict[QueueId, tuple[float | None, float | None]]:
        """Seconds of waiting and of running; a queue whose node does not answer a second time has none."""
        asked = [queue for queue, one in counts.items() if ages_asked(one)]
        owned, _ = slot_map.by_owner(asked)
        requests = {
            address: pack_ages((self._plans[queue], counts[queue]) for queue in mine)
            for address, mine in owned.items()
        }
        answers = self._deployment.execute(requests, deadline, pool=_POOL)
        found = {}
        for address, mine in owned.items():
            answer = answers[address]
            if isinstance(answer, Failed):
                continue
            start = 0
            for queue in mine:
                one = counts[queue]
                end = start + ages_asked(one)
                found[queue] = ages(one, answer.value[start:end], now_ms)
                start = end
        return found

    def _state(
        self, queue: QueueId, one: Counts, workers: int | None, oldest: float | None, longest: float | None
    ) -> QueueState:
        capacity, concurrency = self._loads[queue]
        return QueueState(
            queue,
            one.waiting,
            one.active,
            one.delayed,
            one.prioritized,
            one.waiting_children,
            one.completed,
            one.failed,
            one.paused,
            one.schedulers,
            one.delayed_overdue,
            one.delayed_due,
            one.failed_last_hour,
            workers,
            one.concurrency_limit,
            one.rate_limit_ttl,
            oldest,
            longest,
            capacity,
            concurrency,
        )


def _refused(error: ReplyError) -> Failed:
    return Failed("moved" if error.code in _MOVED else "refused", str(error))


def _may_have_moved(failed: Failed) -> bool:
    return failed.kind in ("moved", "unreachable", "timeout")


def _worth_asking_again(unread: Mapping[QueueId, Failed], before: SlotMap, after: SlotMap) -> list[QueueId]:
    """A node that told of a move answers at once; one that is silent costs its time-out a second time."""
    return [
        queue
        for queue, failed in unread.items()
        if failed.kind == "moved" or (_may_have_moved(failed) and after.owner(queue) != before.owner(queue))
    ]
