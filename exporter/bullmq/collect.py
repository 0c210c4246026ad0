"""One collection of all known queues: one request to each node for the counts, and one for the ages."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Final

from exporter.bullmq.concurrency import ConcurrencyHistory
from exporter.bullmq.discover import Discovery
from exporter.bullmq.locks import ActiveLocks
from exporter.bullmq.memory.watch import MemoryWatch
from exporter.bullmq.placement import SlotMap
from exporter.bullmq.reading import POOL, Clock, QueueReader
from exporter.bullmq.schedulers.watch import SchedulerWatch
from exporter.bullmq.search.ask import NO_OWNER
from exporter.bullmq.search.known import KnownQueues
from exporter.bullmq.search.workers import StartsWithoutWorkers
from exporter.bullmq.still.standing import StandingQueues
from exporter.bullmq.still.states import QueueFacts, QueueStates
from exporter.bullmq.streams.follow import Follower
from exporter.config.bullmq import BullMQSettings
from exporter.redis.deployment import Deployment
from exporter.redis.protocol import pack_request
from exporter.snapshot.queues import BullMQState, Changes, Events, QueueId, Queues, QueueState
from exporter.snapshot.redis import Topology
from service.clock import Deadline, monotonic, now
from service.load_factor import worker_capacity
from service.outcome import Failed, UnreadableError

_LOST: Final = Events._fields.index("lost")
_UNDONE: Final = slice(Events._fields.index("undone"), Events._fields.index("max_length"))
_RESERVED_SHARE, _MOST_RESERVED = 0.1, 1.0  # of the time and in seconds, to build the states


class BullMQSource:
    """Keeps what does not change between scrapes: the packed commands, the slot map, and the counts of queues
    that do not move."""

    def __init__(  # noqa: PLR0917  # the parts that the settings may switch off come last
        self,
        deployment: Deployment,
        discovery: Discovery,
        settings: BullMQSettings,
        follower: Follower | None = None,
        schedulers: SchedulerWatch | None = None,
        memory: MemoryWatch | None = None,
    ) -> None:
        self._follower = follower
        self._memory = memory
        self._schedulers = schedulers
        self._deployment = deployment
        self._discovery = discovery
        self._settings = settings
        self._concurrency = ConcurrencyHistory()
        self._locks = ActiveLocks(deployment, POOL)
        self._slot_map: SlotMap | None = None
        self._reader = QueueReader(deployment)
        self._standing = StandingQueues(deployment, self._reader)
        self._states = QueueStates()
        self._number = 0
        self._changed: set[QueueId] = set()  # since the last collection that did not fail
        self._events: Mapping[QueueId, Events] = {}
        self._measured: Mapping[QueueId, float] = {}
        self._doubts: Mapping[QueueId, str] = {}
        self.counted = 0
        """Queues that were counted in the last collection: those that moved, or may have."""
        self._starts = StartsWithoutWorkers()
        self._worker_settings: dict[QueueId, tuple[float, int | None]] = {}

    def collect(self, deadline: Deadline) -> BullMQState:
        """Every known queue, with its counts or the reason why it is unread.

        Raises UnreadableError if no node is known.
        """
        # What was read must be put together in time, too.
        deadline = Deadline(deadline.at - min(_MOST_RESERVED, deadline.remaining() * _RESERVED_SHARE))
        known = self._discovery.known()
        slot_map = self._current_slot_map(self._deployment.topology(deadline))
        if self._reader.keep_plans(known.queues, known.libraries):
            self._worker_settings = {queue: self._settings_of_worker(queue) for queue in known.queues}
        if not known.queues:
            self._ping_masters(slot_map, deadline)
        self._deployment.read_clocks(slot_map.by_owner(known.queues)[0], deadline, pool=POOL)
        streams = self._follower.streams() if self._follower else {}
        look = self._standing.look(known, streams, slot_map, deadline)
        counted, unread = self._reader.read(look.moved, slot_map, deadline)
        unread |= look.failed
        if any(map(_may_have_moved, unread.values())) and not deadline.passed():
            before, slot_map = slot_map, self._refresh(slot_map, deadline)
            retry = _queues_to_retry(unread, before, slot_map)
            if retry:
                retried, still_unread = self._reader.read(retry, slot_map, deadline)
                counted |= retried
                unread = {
                    queue: failed for queue, failed in unread.items() if queue not in retried
                } | still_unread
        self._standing.remember(look, counted, known, streams, slot_map)
        self.counted = len(counted)
        reads = look.standing | counted
        facts = QueueFacts(known.workers, known.libraries, known.workers_unknown)
        self._changed |= self._states.update(reads, facts, self._worker_settings)
        states = self._aged(slot_map)
        unread = {**known.unread, **unread}
        events, lags = self._follower.followed() if self._follower else (None, {})
        self._changed |= changed_events(self._events, events or {})
        self._events = events or {}
        states = self._with_doubts(states, known, self._events)
        states = self._with_concurrency(states)
        background = [part for part in (self._follower, self._schedulers) if part is not None]
        problems = (*known.problems, *(problem for part in background for problem in part.problems()))
        state = BullMQState(
            Queues.by_ids(states),
            unread,
            discovered=known.complete,
            problems=problems,
            search_refused=known.refused,
            events=events,
            node_lags=lags,
            event_totals=self._follower.totals() if self._follower else None,
            checkpoint=self._follower.checkpoint_writes() if self._follower else None,
            rates=self._follower.rates(events) if self._follower and events else {},
            own=known.own,
            search=known.search,
            unfollowed=self._follower.unfollowed() if self._follower else {},
            unlocked=self._locks.look([*states.values()], slot_map, deadline, monotonic()),
            schedulers=self._schedulers.schedulers() if self._schedulers else {},
            changes=Changes(self._number + 1, self._changed),
            memory=self._memory.memory() if self._memory else None,
        )
        self._number, self._changed = self._number + 1, set()
        return state

    def _aged(self, slot_map: SlotMap) -> dict[QueueId, QueueState]:
        """The states with the ages of now, by the clock of each queue's node."""
        clock = Clock(self._deployment, slot_map)
        owned, unowned = slot_map.by_owner(self._states.aging)
        moments = [(clock.at(address).now_ms, queues) for address, queues in owned.items()]
        return self._states.aged([*moments, (int(now() * 1000), unowned)])

    def _with_doubts(
        self, states: dict[QueueId, QueueState], known: KnownQueues, events: Mapping[QueueId, Events]
    ) -> dict[QueueId, QueueState]:
        """The states; without the number of workers where none is known and jobs are started."""
        started = {
            queue: events[queue].counters.started for queue in self._states.without_workers if queue in events
        }
        doubts = self._starts.doubts(started, known.workers_at, monotonic())
        self._changed |= doubts.keys() ^ self._doubts.keys()
        self._doubts = doubts
        return states | {
            queue: states[queue]._replace(workers=None, workers_unknown=doubt)
            for queue, doubt in doubts.items()
        }

    def _with_concurrency(self, states: dict[QueueId, QueueState]) -> dict[QueueId, QueueState]:
        """The states, with what the workers of some were seen to run at once."""
        measured = self._concurrency.measured(monotonic(), states, self._changed)
        self._changed |= {queue for queue, _ in measured.items() ^ self._measured.items()}
        self._measured = measured
        return states | {
            queue: states[queue]._replace(measured_concurrency=most) for queue, most in measured.items()
        }

    def _ping_masters(self, slot_map: SlotMap, deadline: Deadline) -> None:
        """Without a queue no request would be sent, and a Redis that is down would look like an empty one."""
        requests = dict.fromkeys(slot_map.masters, pack_request([("PING",)]))
        outcomes = self._deployment.execute(requests, deadline, pool=POOL)
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

    def _settings_of_worker(self, queue: QueueId) -> tuple[float, int | None]:
        """Capacity and concurrency of one worker: of the first settings whose pattern matches."""
        settings = self._settings
        common = settings.capacity_per_worker if "capacity_per_worker" in settings.model_fields_set else None
        for rule in settings.settings:
            if fnmatchcase(queue.name, rule.match):
                capacity = worker_capacity(rule.capacity_per_worker or common, rule.worker_concurrency)
                return capacity, rule.worker_concurrency
        return worker_capacity(common, None), None


def changed_events(before: Mapping[QueueId, Events], now: Mapping[QueueId, Events]) -> set[QueueId]:
    """The queues of which other events are counted than before, or not the same ones are missing."""
    changed = {
        queue
        for queue, events in now.items()
        if (last := before.get(queue)) is not events
        and (
            last is None
            or events.counters is not last.counters
            or events[_LOST] != last[_LOST]
            or events[_UNDONE] != last[_UNDONE]
        )
    }
    return changed | (before.keys() - now.keys()) if len(now) < len(before) + len(changed) else changed


def _may_have_moved(failed: Failed) -> bool:
    return failed.kind in ("moved", "unreachable", "timeout")


def _queues_to_retry(unread: Mapping[QueueId, Failed], before: SlotMap, after: SlotMap) -> list[QueueId]:
    """A node that reported a move answers at once; a silent node would cost its time-out a second time."""
    return [
        queue
        for queue, failed in unread.items()
        if failed.kind == "moved" or (_may_have_moved(failed) and after.owner(queue) != before.owner(queue))
    ]
