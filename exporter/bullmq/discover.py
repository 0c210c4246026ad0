"""Discovers the queues and counts their workers, in the background: a scrape never waits for a SCAN.

A queue is discovered in three ways: its name in the settings, a worker's connection in CLIENT LIST, and its
`meta` or `id` key in a SCAN of every master, which continues from its cursor with a few calls per second. A
candidate is verified once, by the types of its keys: what has none is no queue, whoever has its name. All
queues are confirmed in each interval, so that an obliterated queue is removed; some at a time, so that a
scrape waits for none of it (`search/lap.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import inf
from typing import Final

from exporter.bullmq.keys import candidate_of, scan_pattern
from exporter.bullmq.placement import SlotMap
from exporter.bullmq.search.census import Census
from exporter.bullmq.search.known import KnownQueues
from exporter.bullmq.search.lap import MANY
from exporter.bullmq.search.names import QueueNames
from exporter.bullmq.search.own import OwnRecords
from exporter.bullmq.search.publish import NO_TAG, Progress, Publication
from exporter.bullmq.search.registry import Candidate, Registry
from exporter.bullmq.search.room import Room
from exporter.bullmq.search.rounds import QueueRounds
from exporter.bullmq.search.scan import Scan
from exporter.bullmq.search.verify import Verifier
from exporter.config.bullmq import BullMQSettings
from exporter.config.shard import UNDIVIDED, QueueShard
from exporter.redis.deployment import Deployment
from exporter.redis.protocol import pack_request
from exporter.snapshot.queues import Search
from service.clock import Deadline, monotonic, now
from service.outcome import UnreadableError

_POOL: Final = "discover"
_STALE_ROUNDS: Final = 3
_RETRY_SECONDS: Final = 2.0
_ROUND_SECONDS: Final = 10.0
_VERIFIED_PER_CALL: Final = 200  # candidates: about the time that Redis needs for one SCAN call
_MOST_PENDING: Final = 1000  # candidates, above which the search waits
_FIRST: Final = 10
"""How many times as fast as the later ones the first search is, at each master: until it ends, what is not
known yet is not absent, but nobody sees it either."""
_SETTLE_SECONDS: Final = 0.25  # for which candidates are collected before some are verified
_PUBLISH_SHARE: Final = 20  # what changes is published at most for a twentieth of the time
_LEAST_PAUSE: Final = 0.05


class Discovery:
    """One thread calls `step`; any thread may read `known`, which is replaced as a whole.

    It has the queues of one shard: the names of all are seen, and those of the others are left to them.
    """

    def __init__(
        self,
        deployment: Deployment,
        settings: BullMQSettings,
        shard: QueueShard = UNDIVIDED,
        *,
        slowdown: Callable[[], float] = lambda: 1.0,
    ) -> None:
        self._deployment = deployment
        self._slowdown = slowdown
        self._settings = settings
        self._shard = shard
        self._others = 0
        self._pattern = scan_pattern(settings.prefixes)
        self._names = QueueNames(settings, shard)
        names = self._names
        room = Room(settings.max_queues, names.is_named, reserved=len(names.of_shard(names.queues)))
        self._registry = Registry(settings.prefixes, settings.queues, names.watches, room)
        self._verifier = Verifier(deployment)
        self._census = Census(deployment, settings)
        own = OwnRecords()
        self._rounds = QueueRounds(deployment, self._names, self._registry, self._census, own)
        self._scan: Scan | None = None
        self._search_completed = not settings.scan
        self._refused = False
        self._interval = settings.discovery_interval_seconds
        self._round_due = 0.0
        self._lap_due = inf
        self._scan_due = 0.0
        self._verify_due = 0.0
        self._publish_due = 0.0
        self._unpublished = False
        self._slots: SlotMap | None = None
        self._searched = Search(settings.prefixes, others=names.elsewhere, most=settings.max_queues)
        self._workers_at = 0.0
        self._publication = Publication(self._names, self._registry, self._census, own, self._searched)

    def known(self) -> KnownQueues:
        """Queues and workers; workers that were counted too long ago are left out."""
        known = self._publication.known
        stale = self._interval * _STALE_ROUNDS + _ROUND_SECONDS
        if known.workers is not None and monotonic() - known.workers_at > stale:
            problems = (*known.problems, "workers: not counted recently")
            unknown = dict.fromkeys(known.queues, "they were not counted recently")
            return replace(known, workers=None, workers_at=0.0, problems=problems, workers_unknown=unknown)
        return known

    def step(self) -> float:
        """What is due, each of it bounded: the clients, one SCAN call for each master, some candidates to
        verify, some queues to confirm and to read.

        Returns the seconds until the next step. A Redis that does not answer is not an error: it retries.
        """
        deadline = Deadline.after(_ROUND_SECONDS)
        started = monotonic()
        try:
            slot_map = self._slot_map(deadline)
            in_round = started >= self._round_due
            if in_round:
                slot_map = self._round(slot_map, deadline)
                self._interval = self._settings.discovery_interval_seconds * self._slowdown()
                self._round_due = monotonic() + self._interval
                if self._rounds.done:
                    self._lap_due = monotonic()
            if self._scan is None and self._settings.scan and monotonic() >= self._scan_due:
                self._begin_search()
            calls = self._advance(slot_map, deadline)
            # Of many queues each of these takes some ms: they are steps of their own.
            if not in_round or len(self._registry.queues) <= MANY:
                self._go_on(slot_map, deadline)
        except UnreadableError:
            return _RETRY_SECONDS
        if self._scan is not None or self._registry.pending:
            rate = self._settings.scan_calls_per_second
            if self._search_completed:
                return max(1, calls) / rate * self._slowdown()
            return max(0.0, 1 / (rate * _FIRST) - (monotonic() - started))
        due = min(self._round_due, self._lap_due, self._rounds.due)
        if self._settings.scan:
            due = min(due, self._scan_due)
        if self._unpublished and self._may_publish:
            due = min(due, self._publish_due)
        return max(_LEAST_PAUSE, due - monotonic())

    def _go_on(self, slot_map: SlotMap, deadline: Deadline) -> None:
        """Take a part of the queues if one is due, and publish."""
        at = monotonic()
        if at >= self._lap_due:
            self._rounds.begin(slot_map, self._interval)
            self._lap_due = inf
        part_due = at >= self._rounds.due
        if part_due:
            self._take_part(slot_map, deadline)
        if not part_due or len(self._registry.queues) <= MANY:
            self._publish_if_due(slot_map)

    def discover_once(self, deadline: Deadline) -> None:
        """A complete discovery, for a command that runs once. Raises UnreadableError."""
        self._rounds.drop()
        slot_map = self._round(self._slot_map(deadline), deadline)
        self._rounds.begin(slot_map, self._interval)
        if self._settings.scan:
            self._begin_search()
        while (self._scan or self._registry.pending or not self._rounds.done) and not deadline.passed():
            self._advance(slot_map, deadline)
            self._take_part(slot_map, deadline)
        if self._may_publish:
            self._publish(slot_map)

    # --- one round ---

    def _slot_map(self, deadline: Deadline) -> SlotMap:
        """The known one, which remembers the owners, unless a master or a slot has moved."""
        topology = self._deployment.topology(deadline)
        if self._slots is None or not self._slots.matches(topology):
            self._slots = SlotMap(topology)
        return self._slots

    def _round(self, slot_map: SlotMap, deadline: Deadline) -> SlotMap:
        """Read CLIENT LIST, propose what it names, count the workers by it. Returns the slot map of now."""
        if not self._shard.first:
            # Elsewhere each collection of Redis does it.
            self._deployment.refresh(deadline)
            slot_map = self._slot_map(deadline)
        census, registry, names = self._census, self._registry, self._names
        addresses = [node.address for node in self._deployment.topology(deadline).nodes]
        census.read_clients(slot_map, addresses, deadline)
        self._workers_at = at = monotonic()
        self._publication.set_problem("workers", census.refusal)
        if not self._settings.scan:
            registry.begin_search()
        registry.retry()
        for queue in names.queues:
            registry.propose(queue, at)
        idle = census.idle_queues()
        encoded = census.node_named()
        if not self._settings.scan:
            others = sum(not names.watches(queue) for queue in encoded) + names.elsewhere
            self._searched = replace(self._searched, others=others)
        proposed = [queue for queue in census.named_queues() if not registry.was_verified(queue, at)]
        for queue in sorted(proposed, key=lambda queue: queue not in encoded):
            # Thousands of clients may have names of this form, and none of them is a worker.
            if queue in idle or not self._settings.scan or not registry.has_no_keys(queue, at):
                registry.propose(queue, at, worker=queue in idle, encoded=queue in encoded)
        self._verify_due = at
        self._rounds.count_named(slot_map)
        self._unpublished = True
        return slot_map

    def _take_part(self, slot_map: SlotMap, deadline: Deadline) -> None:
        self._unpublished |= self._rounds.take(slot_map, deadline)
        self._unpublished |= self._publication.set_problem("confirm", self._rounds.refused)

    # --- the search ---

    def _begin_search(self) -> None:
        self._registry.begin_search()
        self._others = 0
        self._scan = Scan(self._deployment.database)

    def _advance(self, slot_map: SlotMap, deadline: Deadline) -> int:
        """One SCAN call to each master that is not done yet, and some candidates; the number of calls."""
        calls = 0
        scan = self._scan
        if scan is not None and self._registry.pending < _MOST_PENDING:
            commands = scan.commands(slot_map.masters, self._pattern)
            requests = {address: pack_request(each) for address, each in commands.items()}
            calls = len(requests)
            at = monotonic()
            for key in scan.take(self._deployment.execute(requests, deadline, pool=_POOL)):
                queue = candidate_of(key, self._settings.prefixes)
                if queue is not None and not self._registry.propose(
                    queue, at, has_key=True, has_meta=key.endswith(":meta")
                ):
                    self._others += 1
            for address, why in scan.refused.items():
                self._publication.set_problem("scan", f"SCAN at {address}: {why}")
        self._verify_some(slot_map, deadline)
        if scan is not None and scan.done.issuperset(slot_map.masters) and not self._registry.pending:
            self._end_search(scan)
            self._publish(slot_map)
        return calls

    def _verify_some(self, slot_map: SlotMap, deadline: Deadline) -> None:
        """Verify candidates once they are many, or are waiting for a moment."""
        scan = self._scan
        at = monotonic()
        few = self._registry.pending < _VERIFIED_PER_CALL
        if few and at < self._verify_due and scan is not None and not scan.done.issuperset(slot_map.masters):
            return
        self._verify_due = at + _SETTLE_SECONDS
        found = self._verify(slot_map, deadline)
        if found:
            self._rounds.found(found, slot_map, deadline)
            self._unpublished = True
        if not self._settings.scan and not self._registry.pending:
            self._registry.end_search()

    def _verify(self, slot_map: SlotMap, deadline: Deadline) -> list[Candidate]:
        """Verify some candidates; returns those that are queues and were not, or another library's."""
        found: list[Candidate] = []
        registry = self._registry
        candidates = registry.take(_VERIFIED_PER_CALL, monotonic())
        supported = [candidate for candidate in candidates if slot_map.supports(candidate.queue)]
        answers = self._verifier.verify(supported, slot_map, deadline) if supported else {}
        for command in ("EXISTS", "TYPE"):
            self._publication.set_problem(command, self._verifier.problems.get(command))
        at = monotonic()
        for candidate in candidates:
            answer = answers.get(candidate.queue, NO_TAG)
            # Without a key it is only what a connection's name might mean, such as the base64 of a queue's.
            if answer is not NO_TAG or candidate.has_key or candidate.worker:
                before = registry.queues.get(candidate.queue)
                registry.settle(candidate, answer, at)
                if before != registry.queues.get(candidate.queue):
                    found.append(candidate)
        return found

    def _end_search(self, scan: Scan) -> None:
        self._scan = None
        # A Redis that is still loading refuses: without an early retry no queue is known until a rescan.
        interval = self._settings.rescan_interval_seconds * self._slowdown()
        self._scan_due = monotonic() + (
            interval if scan.read else min(interval, self._settings.discovery_interval_seconds)
        )
        if scan.read:
            self._search_completed = True
            self._searched = replace(
                self._searched,
                keys=sum(scan.keys.values()),
                ended_at=now(),
                others=self._others + self._names.elsewhere,
            )
        self._refused = not self._search_completed
        if not scan.refused:
            self._publication.set_problem("scan", None)
            self._registry.end_search()

    # --- the result ---

    @property
    def _may_publish(self) -> bool:
        """Else Redis is loading, or the like: what is assumed stands, unread, until a search tells more."""
        return self._search_completed or bool(self._registry.queues) or not self._registry.unanswered

    def _publish_if_due(self, slot_map: SlotMap) -> None:
        if self._unpublished and self._may_publish and monotonic() >= self._publish_due:
            self._publish(slot_map)

    def _publish(self, slot_map: SlotMap) -> None:
        at = monotonic()
        progress = Progress(
            self._search_completed, self._refused, self._searched, by_keys=self._settings.scan
        )
        self._publication.publish(slot_map, progress, self._workers_at)
        self._unpublished = False
        self._publish_due = monotonic() + _PUBLISH_SHARE * (monotonic() - at)
