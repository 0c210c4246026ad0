"""One collection of all known queues: one request to each node for the counts, and one for the ages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Final

from exporter.bullmq.bull.counts import plan_bull_queue, unpack_by_library
from exporter.bullmq.concurrency import ConcurrencyHistory
from exporter.bullmq.counts import (
    MOVED,
    TAIL_REPLIES,
    Ages,
    Counts,
    Plan,
    age_reply_count,
    ages,
    pack_ages,
    pack_plans,
    pack_tails,
    plan_queue,
    with_tails,
)
from exporter.bullmq.discover import Discovery, KnownQueues
from exporter.bullmq.locks import ActiveLocks
from exporter.bullmq.placement import SlotMap
from exporter.bullmq.schedulers.watch import SchedulerWatch
from exporter.bullmq.search.workers import StartsWithoutWorkers
from exporter.bullmq.streams.follow import Follower
from exporter.config.settings import BullMQSettings
from exporter.redis.deployment import Deployment
from exporter.redis.protocol import ReplyError, pack_request
from exporter.snapshot.queues import BullMQState, Events, Library, QueueId, QueueState
from exporter.snapshot.redis import Topology
from service.clock import Deadline, monotonic
from service.load_factor import worker_capacity
from service.outcome import Failed, UnreadableError

_POOL: Final = "bullmq"
_NO_AGES: Final = Ages()
_NO_OWNER: Final = Failed("unreachable", "no node owns its slot")


class BullMQSource:
    """Keeps what does not change between scrapes: the packed commands and the slot map."""

    def __init__(
        self,
        deployment: Deployment,
        discovery: Discovery,
        settings: BullMQSettings,
        follower: Follower | None = None,
        schedulers: SchedulerWatch | None = None,
    ) -> None:
        self._follower = follower
        self._schedulers = schedulers
        self._deployment = deployment
        self._discovery = discovery
        self._settings = settings
        self._concurrency = ConcurrencyHistory()
        self._locks = ActiveLocks(deployment, _POOL)
        self._slot_map: SlotMap | None = None
        self._plans: dict[QueueId, Plan] = {}
        self._starts = StartsWithoutWorkers()
        self._libraries: Mapping[QueueId, Library] = {}
        self._worker_settings: dict[QueueId, tuple[float, int | None]] = {}

    def collect(self, deadline: Deadline) -> BullMQState:
        """Every known queue, with its counts or the reason why it is unread.

        Raises UnreadableError if no node is known.
        """
        known = self._discovery.known()
        slot_map = self._current_slot_map(self._deployment.topology(deadline))
        self._update_plans(known)
        if not known.queues:
            self._ping_masters(slot_map, deadline)
        self._deployment.read_clocks(slot_map.by_owner(known.queues)[0], deadline, pool=_POOL)
        counts, unread = self._read(known.queues, slot_map, deadline)
        if any(map(_may_have_moved, unread.values())) and not deadline.passed():
            before, slot_map = slot_map, self._refresh(slot_map, deadline)
            retry = _queues_to_retry(unread, before, slot_map)
            if retry:
                retried, still_unread = self._read(retry, slot_map, deadline)
                counts |= retried
                unread = {
                    queue: failed for queue, failed in unread.items() if queue not in retried
                } | still_unread
        ages_by_queue = self._ages(counts, slot_map, deadline)
        states = [
            self._state(
                queue,
                queue_counts,
                known,
                ages_by_queue.get(queue, _NO_AGES),
            )
            for queue, queue_counts in counts.items()
        ]
        unread = {**known.unread, **unread}
        events = self._follower.events() if self._follower else None
        states = self._doubted(states, known, events or {})
        background = [part for part in (self._follower, self._schedulers) if part is not None]
        problems = (*known.problems, *(problem for part in background for problem in part.problems()))
        return BullMQState(
            tuple(self._concurrency.measured(monotonic(), states)),
            unread,
            discovered=known.complete,
            problems=problems,
            search_refused=known.refused,
            events=events,
            rates=self._follower.rates(events) if self._follower and events else {},
            own=known.own,
            search=known.search,
            unfollowed=self._follower.unfollowed() if self._follower else {},
            unlocked=self._locks.look(states, slot_map, deadline, monotonic()),
            schedulers=self._schedulers.schedulers() if self._schedulers else {},
        )

    def _doubted(
        self, states: list[QueueState], known: KnownQueues, events: Mapping[QueueId, Events]
    ) -> list[QueueState]:
        """The states; without the number of workers where none is known and jobs are started."""
        idle = {state.id for state in states if state.workers == 0 and state.id in events}
        self._starts.keep(idle)
        at = monotonic()
        doubts = {
            queue: self._starts.doubt(queue, known.workers_at, events[queue].counters.started, at)
            for queue in idle
        }
        return [
            state._replace(workers=None, workers_unknown=doubts[state.id]) if doubts.get(state.id) else state
            for state in states
        ]

    def _ping_masters(self, slot_map: SlotMap, deadline: Deadline) -> None:
        """Without a queue no request would be sent, and a Redis that is down would look like an empty one."""
        requests = dict.fromkeys(slot_map.masters, pack_request([("PING",)]))
        outcomes = self._deployment.execute(requests, deadline, pool=_POOL)
        failed = [(address, outcome) for address, outcome in outcomes.items() if isinstance(outcome, Failed)]
        if len(failed) == len(outcomes):
            address, why = failed[0] if failed else ("", _NO_OWNER)
            raise UnreadableError(why.kind, f"{address}: {why.message}" if address else "no master")

    def _refresh(self, slot_map: SlotMap, deadline: Deadline) -> SlotMap:
        try:
            return self._current_slot_map(self._deployment.refresh(deadline))
        except UnreadableError:
            return slot_map

    def _current_slot_map(self, topology: Topology) -> SlotMap:
        """The known slot map, which caches each queue's owner, unless a master or a slot has moved."""
        if self._slot_map is None or not self._slot_map.matches(topology):
            self._slot_map = SlotMap(topology)
        return self._slot_map

    def _update_plans(self, known: KnownQueues) -> None:
        """Keep the plans and worker settings of exactly these queues, each as its library has its keys."""
        if self._libraries is not known.libraries or self._plans.keys() != set(known.queues):
            self._libraries = known.libraries
            self._plans = {queue: self._plan(queue) for queue in known.queues}
            self._worker_settings = {queue: self._settings_of_worker(queue) for queue in known.queues}

    def _plan(self, queue: QueueId) -> Plan:
        library, before = self._libraries.get(queue, "bullmq"), self._plans.get(queue)
        if before is not None and before.library == library:
            return before
        return plan_bull_queue(queue) if library == "bull" else plan_queue(queue)

    def _settings_of_worker(self, queue: QueueId) -> tuple[float, int | None]:
        """Capacity and concurrency of one worker: of the first settings whose pattern matches."""
        settings = self._settings
        common = settings.capacity_per_worker if "capacity_per_worker" in settings.model_fields_set else None
        for rule in settings.settings:
            if fnmatchcase(queue.name, rule.match):
                capacity = worker_capacity(rule.capacity_per_worker or common, rule.worker_concurrency)
                return capacity, rule.worker_concurrency
        return worker_capacity(common, None), None

    def _read(
        self, queues: Iterable[QueueId], slot_map: SlotMap, deadline: Deadline
    ) -> tuple[dict[QueueId, Counts], dict[QueueId, Failed]]:
        owned, unowned = slot_map.by_owner(queues)
        plans = {address: [self._plans[queue] for queue in queues] for address, queues in owned.items()}
        requests = {
            address: pack_plans(node_plans, self._now_ms(address)) for address, node_plans in plans.items()
        }
        outcomes = self._deployment.execute(requests, deadline, pool=_POOL)
        counts: dict[QueueId, Counts] = {}
        unread = dict.fromkeys(unowned, _NO_OWNER)
        for address, node_queues in owned.items():
            outcome = outcomes[address]
            if isinstance(outcome, Failed):
                unread |= dict.fromkeys(node_queues, Failed(outcome.kind, f"{address}: {outcome.message}"))
                continue
            results = unpack_by_library(plans[address], outcome.value)
            for queue, queue_counts in zip(node_queues, results, strict=True):
                if isinstance(queue_counts, ReplyError):
                    unread[queue] = _refused(queue_counts)
                else:
                    counts[queue] = queue_counts
        unread |= self._read_tails(counts, slot_map, deadline)
        return counts, unread

    def _read_tails(
        self, counts: dict[QueueId, Counts], slot_map: SlotMap, deadline: Deadline
    ) -> dict[QueueId, Failed]:
        """Read the lists of paused queues and behind markers again; queues that fail leave `counts`."""
        owned, _ = slot_map.by_owner(
            [queue for queue, queue_counts in counts.items() if queue_counts.open_tails]
        )
        requests = {
            address: pack_tails([self._plans[queue] for queue in node_queues])
            for address, node_queues in owned.items()
        }
        outcomes = self._deployment.execute(requests, deadline, pool=_POOL)
        unread: dict[QueueId, Failed] = {}
        for address, node_queues in owned.items():
            outcome = outcomes[address]
            for index, queue in enumerate(node_queues):
                before = counts.pop(queue)
                if isinstance(outcome, Failed):
                    unread[queue] = Failed(outcome.kind, f"{address}: {outcome.message}")
                    continue
                start = index * TAIL_REPLIES
                queue_counts = with_tails(before, outcome.value[start : start + TAIL_REPLIES])
                if isinstance(queue_counts, ReplyError):
                    unread[queue] = _refused(queue_counts)
                else:
                    counts[queue] = queue_counts
        return unread

    def _ages(
        self, counts: Mapping[QueueId, Counts], slot_map: SlotMap, deadline: Deadline
    ) -> dict[QueueId, Ages]:
        """How long jobs wait, run and are due; a queue whose node does not answer this time has none."""
        queues = [queue for queue, queue_counts in counts.items() if age_reply_count(queue_counts)]
        owned, _ = slot_map.by_owner(queues)
        requests = {
            address: pack_ages((self._plans[queue], counts[queue]) for queue in node_queues)
            for address, node_queues in owned.items()
        }
        outcomes = self._deployment.execute(requests, deadline, pool=_POOL)
        ages_by_queue = {}
        for address, node_queues in owned.items():
            outcome = outcomes[address]
            if isinstance(outcome, Failed):
                continue
            start, now_ms = 0, self._now_ms(address)
            for queue in node_queues:
                queue_counts = counts[queue]
                end = start + age_reply_count(queue_counts)
                ages_by_queue[queue] = ages(queue_counts, outcome.value[start:end], now_ms)
                start = end
        return ages_by_queue

    def _now_ms(self, address: str) -> int:
        """By the node's clock: ours may be minutes off, and then every age would be."""
        return int(self._deployment.now(address) * 1000)

    def _state(
        self,
        queue: QueueId,
        queue_counts: Counts,
        known: KnownQueues,
        seconds: Ages,
    ) -> QueueState:
        capacity, concurrency = self._worker_settings[queue]
        return QueueState(
            id=queue,
            jobs=queue_counts.jobs,
            paused=queue_counts.paused,
            schedulers=queue_counts.schedulers,
            delayed_overdue=queue_counts.delayed_overdue,
            delayed_due=queue_counts.delayed_due,
            failed_last_hour=queue_counts.failed_last_hour,
            workers=None if known.workers is None else known.workers.get(queue),
            concurrency_limit=queue_counts.concurrency_limit,
            rate_limit_ttl=queue_counts.rate_limit_ttl,
            oldest_waiting=seconds.oldest,
            longest_active=seconds.longest,
            longest_overdue=seconds.late,
            longest_waiting_children=seconds.children,
            capacity_per_worker=capacity,
            worker_concurrency=concurrency,
            library=known.libraries.get(queue, "bullmq"),
            workers_unknown=known.workers_unknown.get(queue, ""),
            odd=queue_counts.odd,
            version=queue_counts.version,
        )


def _refused(error: ReplyError) -> Failed:
    return Failed("moved" if error.code in MOVED else "refused", str(error))


def _may_have_moved(failed: Failed) -> bool:
    return failed.kind in ("moved", "unreachable", "timeout")


def _queues_to_retry(unread: Mapping[QueueId, Failed], before: SlotMap, after: SlotMap) -> list[QueueId]:
    """A node that reported a move answers at once; a silent node would cost its time-out a second time."""
    return [
        queue
        for queue, failed in unread.items()
        if failed.kind == "moved" or (_may_have_moved(failed) and after.owner(queue) != before.owner(queue))
    ]
