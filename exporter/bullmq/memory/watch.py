"""Measures the memory of the queues in the background: one small request at a time to each node, with pauses
that keep it within its share of the node's time."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from random import random
from typing import Final

from exporter.bullmq.discover import Discovery
from exporter.bullmq.memory.commands import seconds_between, timed
from exporter.bullmq.memory.growth import Trend
from exporter.bullmq.memory.survey import Requests, Survey, survey
from exporter.bullmq.placement import SlotMap
from exporter.bullmq.search.ask import NO_OWNER
from exporter.config.memory import MemorySettings
from exporter.redis.deployment import Deployment
from exporter.redis.info import parse_info
from exporter.redis.protocol import Request, pack_request
from exporter.snapshot.memory import NodeMemory, QueueMemory, state_totals
from exporter.snapshot.queues import MeasuredMemory, QueueId
from service.clock import Deadline, monotonic, now, wait
from service.outcome import Failed, Ok, UnreadableError

_POOL: Final = "memory"
_INFO: Final = pack_request([("INFO", "memory")])
_FIRST_SECONDS: Final = 5.0
_SEARCH_SECONDS: Final = 60.0  # that the first search for queues is waited for
_RETRY_SECONDS: Final = 10.0
_SEARCH_PAUSE: Final = 1.0
_REQUEST_SECONDS: Final = 5.0
_LEAST_PAUSE, _LONGEST_PAUSE = 0.02, 30.0
_STALE_ROUNDS: Final = 3
_LONGEST_ROUND: Final = 3600.0  # that is waited for, of one that has not ended
# Of a survey that a person waits for: jobs of a node, and the share of its time.
_MOST_ONCE: Final = 2000
_RATIO_ONCE: Final = 0.05


@dataclass(slots=True)
class _Run:
    """A survey of one node that goes on: its next request, and when that may be sent (monotonic)."""

    requests: Requests[Survey]
    request: Request
    queues: list[QueueId]
    due: float


class MemoryWatch:
    """One thread calls `step`; any thread may call `memory`, which is replaced as a whole. `nodes`: whether
    the memory of the nodes is read too, which the first of several shards does."""

    def __init__(
        self,
        deployment: Deployment,
        discovery: Discovery,
        settings: MemorySettings,
        slowdown: Callable[[], float] = lambda: 1.0,
        *,
        nodes: bool = True,
        first_after: float = _FIRST_SECONDS,
    ) -> None:
        self._deployment = deployment
        self._discovery = discovery
        self._settings = settings
        self._slowdown = slowdown
        self._with_nodes = nodes
        self._samples = settings.samples
        self._ratio = settings.redis_ratio
        self._runs: dict[str, _Run] = {}
        self._begun = 0.0
        self._next = monotonic() + first_after
        self._search_until = monotonic() + _SEARCH_SECONDS
        self._round_seconds = 0.0
        self._known: frozenset[QueueId] = frozenset()
        self._queues: dict[QueueId, tuple[float, QueueMemory]] = {}
        self._nodes: dict[str, NodeMemory] = {}
        self._unread: dict[QueueId, str] = {}
        self._trends: dict[QueueId | str, Trend] = {}
        self._masters: tuple[str, ...] = ()
        self._memory = MeasuredMemory()
        self._stepped_at = monotonic()
        self.redis_seconds = 0.0
        """Seconds that the nodes took for the requests by their own clocks, since the start."""

    def memory(self) -> MeasuredMemory:
        """What was measured lately; nothing where the thread that should measure does not run."""
        return self._memory if monotonic() - self._stepped_at < self._stale_seconds else MeasuredMemory()

    @property
    def going_on(self) -> bool:
        """Whether a survey has begun and not ended."""
        return bool(self._runs)

    def step(self) -> float:
        """One request to each node whose pause is over; the seconds until the next. A Redis that does not
        answer is not an error: it retries, and what was known is served until it is old."""
        self._stepped_at = monotonic()
        if not self._runs:
            pause = self._next - monotonic()
            if pause > 0:
                return min(pause, _LONGEST_PAUSE)
            if self._searching():
                return _SEARCH_PAUSE
            try:
                self._begin(Deadline.after(_REQUEST_SECONDS))
            except UnreadableError:
                self._next = monotonic() + _RETRY_SECONDS
                self._publish()
                return _RETRY_SECONDS
        else:
            self._advance(Deadline.after(_REQUEST_SECONDS))
        if not self._runs:
            self._end()
            return _LEAST_PAUSE
        due = min(run.due for run in self._runs.values())
        return min(_LONGEST_PAUSE, max(_LEAST_PAUSE, due - monotonic()))

    def survey_once(self, deadline: Deadline) -> None:
        """One survey of fewer jobs in less time, for a person who waits; the rest is `pending`."""
        self._samples = min(self._settings.samples, _MOST_ONCE)
        self._ratio = max(self._settings.redis_ratio, _RATIO_ONCE)
        self._begin(deadline)
        never = threading.Event()
        while self._runs and not deadline.passed():
            due = min(run.due for run in self._runs.values())
            wait(never, min(due - monotonic(), deadline.remaining()))
            self._advance(deadline)
        self._runs.clear()
        self._end()

    def _searching(self) -> bool:
        """Whether the first search for queues goes on, which has more to say than a survey of a few."""
        known = self._discovery.known()
        return not (known.complete or known.refused) and monotonic() < self._search_until

    @property
    def _stale_seconds(self) -> float:
        going_on = monotonic() - self._begun if self._runs else 0.0
        longest = max(self._settings.interval_seconds, self._round_seconds, min(going_on, _LONGEST_ROUND))
        return _STALE_ROUNDS * longest + _SEARCH_SECONDS

    def _begin(self, deadline: Deadline) -> None:
        """Raises UnreadableError if no node is known."""
        known = self._discovery.known()
        slot_map = SlotMap(self._deployment.topology(deadline))
        self._begun = monotonic()
        self._masters = slot_map.masters
        supported = [queue for queue in known.queues if slot_map.supports(queue)]
        self._known = frozenset(supported)
        owned, unowned = slot_map.by_owner(supported)
        self._unread = dict.fromkeys(unowned, NO_OWNER.message)
        if self._with_nodes:
            self._read_nodes(slot_map, deadline)
        for address, queues in owned.items():
            requests = survey(queues, self._samples, random)
            self._runs[address] = _Run(requests, next(requests), queues, self._begun)

    def _read_nodes(self, slot_map: SlotMap, deadline: Deadline) -> None:
        requests = dict.fromkeys(slot_map.masters, _INFO)
        outcomes = self._deployment.execute(requests, deadline, pool=_POOL)
        self._nodes = {}
        for address, outcome in outcomes.items():
            reply = outcome.value[0] if isinstance(outcome, Ok) else None
            info = parse_info(reply) if isinstance(reply, bytes) else None
            used = info.number("used_memory") if info else None
            if info is None or used is None:
                continue
            trend = self._trends.setdefault(address, Trend())
            trend.add(monotonic(), used)
            maximum = info.number("maxmemory") or None
            self._nodes[address] = NodeMemory(used, maximum, now(), trend.growth())

    def _advance(self, deadline: Deadline) -> None:
        at = monotonic()
        due = {address: run for address, run in self._runs.items() if run.due <= at}
        requests = {address: timed([run.request]) for address, run in due.items()}
        outcomes = self._deployment.execute(requests, deadline, pool=_POOL)
        for address, run in due.items():
            outcome = outcomes[address]
            if isinstance(outcome, Failed):
                self._leave(address, outcome.message)
                continue
            first, *replies, last = outcome.value
            used = seconds_between(first, last)
            used = outcome.took if used is None else used
            self.redis_seconds += used
            pause = used / self._ratio * max(1.0, self._slowdown())
            run.due = monotonic() + max(_LEAST_PAUSE, pause)
            try:
                run.request = run.requests.send(replies)
            except StopIteration as ended:
                del self._runs[address]
                self._take(address, ended.value)

    def _leave(self, address: str, why: str) -> None:
        """A node that does not answer: what was known of its queues stays for a while."""
        run = self._runs.pop(address)
        self._unread |= dict.fromkeys(run.queues, f"{address}: {why}")
        self._publish()

    def _take(self, address: str, result: Survey) -> None:
        at, wall = monotonic(), now()
        self._unread |= result.unread
        for queue, states in result.measured.items():
            measured = QueueMemory(states, wall, address)
            trend = self._trends.setdefault(queue, Trend())
            trend.add(at, measured.bytes, measured.error)
            self._queues[queue] = at, measured._replace(growth=trend.growth())
        self._publish()

    def _end(self) -> None:
        self._round_seconds = monotonic() - self._begun
        self._next = max(self._begun + self._settings.interval_seconds, monotonic() + _LEAST_PAUSE)
        known: set[QueueId | str] = {*self._known, *self._masters}
        self._trends = {name: trend for name, trend in self._trends.items() if name in known}
        self._publish()

    def _publish(self) -> None:
        oldest = monotonic() - self._stale_seconds
        self._queues = {
            queue: (at, measured)
            for queue, (at, measured) in self._queues.items()
            if at >= oldest and queue in self._known
        }
        queues = {queue: measured for queue, (_, measured) in self._queues.items()}
        largest = sorted(queues, key=lambda queue: (-queues[queue].bytes, queue))
        unread = {queue: why for queue, why in self._unread.items() if queue not in queues}
        self._memory = MeasuredMemory(
            queues,
            dict(self._nodes),
            unread,
            {queue: queues[queue] for queue in sorted(largest[: self._settings.series_queues])},
            state_totals(queues.values()),
            pending=len(self._known - queues.keys() - unread.keys()),
        )
