"""One collection of all known queues: one request to each node for the counts, and one for the ages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Final

from exporter.bullmq.bull.counts import plan_bull_queue, unpack_by_library
from exporter.bullmq.concurrency import ConcurrencyHistory
from exporter.bullmq.counts import (
    MOVED,
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
from exporter.bullmq.search.ask import NO_OWNER, Answers, ask_packed
from exporter.bullmq.search.workers import StartsWithoutWorkers
from exporter.bullmq.streams.follow import Follower
from exporter.config.settings import BullMQSettings
from exporter.redis.deployment import Deployment
from exporter.redis.protocol import ReplyError, Request, pack_request
from exporter.snapshot.queues import BullMQState, Events, Library, QueueId, QueueState
from exporter.snapshot.redis import Topology
from service.clock import Deadline, monotonic
from service.load_factor import worker_capacity
from service.outcome import Failed, UnreadableError

_POOL: Final = "bullmq"
_NO_AGES: Final = Ages()
_RESERVED_SHARE, _MOST_RESERVED = 0.1, 1.0  # of the time and in seconds, to build the states


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
        # What was read must be put together in time, too.
        deadline = Deadline(deadline.at - min(_MOST_RESERVED, deadline.remaining() * _RESERVED_SHARE))
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
            event_totals=self._follower.totals() if self._follower else None,
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
            address, why = failed[0] if failed else ("", NO_OWNER)
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
        owners = {queue: slot_map.owner(queue) for queue in queues}
        now_ms = {address: self._now_ms(address) for address in {*owners.values()} if address is not None}
        requests = {
            queue: pack_plans([self._plans[queue]], now_ms.get(address or "", 0))
            for queue, address in owners.items()
        }
        counts: dict[QueueId, Counts] = {}
        unread: dict[QueueId, Failed] = {}
        for queue, answer in self._ask(requests, slot_map, deadline).items():
            if isinstance(answer, Failed):
                unread[queue] = answer
                continue
            (queue_counts,) = unpack_by_library([self._plans[queue]], answer)
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
        requests = {
            queue: pack_tails([self._plans[queue]])
            for queue, queue_counts in counts.items()
            if queue_counts.open_tails
        }
        unread: dict[QueueId, Failed] = {}
        for queue, answer in self._ask(requests, slot_map, deadline).items():
            before = counts.pop(queue)
            if isinstance(answer, Failed):
                unread[queue] = answer
                continue
            queue_counts = with_tails(before, answer)
            if isinstance(queue_counts, ReplyError):
                unread[queue] = _refused(queue_counts)
            else:
                counts[queue] = queue_counts
        return unread

    def _ages(
        self, counts: Mapping[QueueId, Counts], slot_map: SlotMap, deadline: Deadline
    ) -> dict[QueueId, Ages]:
        """How long jobs wait, run and are due; a queue whose node does not answer this time has none."""
        requests = {
            queue: pack_ages([(self._plans[queue], queue_counts)])
            for queue, queue_counts in counts.items()
            if age_reply_count(queue_counts)
        }
        answers = self._ask(requests, slot_map, deadline)
        now_ms = {address: self._now_ms(address) for address in {*map(slot_map.owner, requests)} if address}
        return {
            queue: ages(counts[queue], answer, now_ms[slot_map.owner(queue) or ""])
            for queue, answer in answers.items()
            if not isinstance(answer, Failed)
        }

    def _ask(self, requests: Mapping[QueueId, Request], slot_map: SlotMap, deadline: Deadline) -> Answers:
        return ask_packed(self._deployment, slot_map, deadline, requests, pool=_POOL)

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
