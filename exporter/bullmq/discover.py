"""Discovers the queues and counts their workers, in the background: a scrape never waits for a SCAN.

A queue is discovered in three ways: its name in the settings, a worker's connection in CLIENT LIST, and its
`meta` or `id` key in a SCAN of every master, which continues from its cursor with a few calls per second. A
candidate is verified once, by the types of its keys. Queues are confirmed in every round, so that an
obliterated queue is removed.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Final, NamedTuple

from exporter.bullmq.candidates import NotAQueue
from exporter.bullmq.keys import (
    OWN_COUNT_COMMANDS,
    QUEUE_KEYS,
    candidate_of,
    is_pattern,
    scan_pattern,
)
from exporter.bullmq.placement import SlotMap
from exporter.bullmq.queue_commands import Key, QueueCommands
from exporter.bullmq.search.ask import ask_packed
from exporter.bullmq.search.census import Census, WorkerCounts
from exporter.bullmq.search.registry import Registry
from exporter.bullmq.search.scan import Scan
from exporter.bullmq.search.verify import MARKS, Verifier, marked_by_bullmq
from exporter.bullmq.sharding import owns
from exporter.config.settings import BullMQSettings
from exporter.config.shard import UNDIVIDED, QueueShard
from exporter.redis.deployment import Deployment
from exporter.redis.protocol import Reply, ReplyError, pack_request
from exporter.snapshot.queues import Library, OwnCounts, QueueId, Search
from service.clock import Deadline, monotonic, now
from service.outcome import Failed, UnreadableError

_POOL: Final = "discover"
_NO_COUNTS: Final = OwnCounts(None, None, None)
_STALE_ROUNDS: Final = 3
_NAMED: Final = 10  # queues that a problem names
_RETRY_SECONDS: Final = 2.0
_ROUND_SECONDS: Final = 10.0
_VERIFIED_PER_CALL: Final = 200  # candidates: about the time that Redis needs for one SCAN call
_MOST_PENDING: Final = 1000  # candidates, above which the search waits
_MOST_DIGITS: Final = 20  # of a number: Redis' own have no more, and Python refuses those of thousands
_DEFAULT_PREFIX: Final = "bull"
_FIRST: Final = 10
"""How many times as fast as the later ones the first search is, at each master: until it ends, what is not
known yet is not absent, but nobody sees it either."""
_SETTLE_SECONDS: Final = 0.25  # for which candidates are collected before some are verified
_PUBLISH_SHARE: Final = 20  # a search publishes what it finds at most for a twentieth of its time
_OWN_ROUNDS: Final = 3  # of many queues, BullMQ's own counts and the locks are read in each third round
_MANY: Final = 1000
_ALIVE: Final = QueueCommands(("EXISTS", Key("id"), Key("events")))
_EXISTS: Final = QueueCommands(("EXISTS", *map(Key, QUEUE_KEYS)))
_OWN: Final = QueueCommands(
    (*MARKS, "paused", "concurrency", "max", "duration"),
    ("ZCARD", Key("repeat")),
    ("PTTL", Key("limiter")),
    *((verb, Key(name), *rest) for verb, name, *rest in OWN_COUNT_COMMANDS),
)
_SAME_LIMIT_SECONDS: Final = 2.0  # by which two looks at the end of the same limiter may differ
_NO_TAG: Final = NotAQueue("in a cluster a queue's name or prefix needs a {hash tag}")


@dataclass(frozen=True)
class KnownQueues:
    """The current result. `workers` is None if no node reports them, and has no queue whose workers are not
    known: `workers_unknown` says why. `complete` once the first search has ended, `refused` if no search so
    far could read any master; `libraries` has what made each queue, `unread` the queues that are refused;
    of the queues in `elsewhere`, workers of another database have the same prefix and name; `settings` is
    what is set for each queue and written without an event, only to see that it changed."""

    queues: tuple[QueueId, ...] = ()
    workers: dict[QueueId, int] | None = None
    workers_at: float = 0.0
    complete: bool = False
    problems: tuple[str, ...] = ()
    refused: bool = False
    own: Mapping[QueueId, OwnCounts] = field(default_factory=dict)
    libraries: Mapping[QueueId, Library] = field(default_factory=dict)
    workers_unknown: Mapping[QueueId, str] = field(default_factory=dict)
    unread: Mapping[QueueId, Failed] = field(default_factory=dict)
    search: Search = field(default_factory=Search)
    elsewhere: frozenset[QueueId] = frozenset()
    settings: Mapping[QueueId, object] = field(default_factory=dict)

    def made_by(self, library: Library) -> tuple[QueueId, ...]:
        """The queues of one library; what is not known is BullMQ's."""
        return self._by_library.get(library, ())

    @cached_property
    def _by_library(self) -> Mapping[Library, tuple[QueueId, ...]]:
        """Asked for each second."""
        queues: dict[Library, list[QueueId]] = {}
        for queue in self.queues:
            queues.setdefault(self.libraries.get(queue, "bullmq"), []).append(queue)
        return {library: tuple(those) for library, those in queues.items()}


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
        names = [entry for entry in settings.queues if not is_pattern(entry)]
        prefixes = settings.prefixes or (_DEFAULT_PREFIX,)
        one_prefix = len(settings.prefixes) == 1
        # Where the prefix is open, a name is settled by any queue that has it, also by one of another shard.
        self._named: Final = tuple(
            queue
            for queue in (QueueId(prefix, name) for prefix in prefixes for name in names)
            if not one_prefix or self._owns(queue)
        )
        self._open_names = frozenset(() if one_prefix else names)
        self._named_elsewhere = len(prefixes) * len(names) - len(self._named)
        # With one prefix a name identifies the queue. With several Redis decides, and without any it may have
        # another one: the default prefix counts until Redis was searched.
        self._certain = frozenset(self._named if one_prefix else ())
        self._all_certain = one_prefix and bool(names)
        self._all_named = bool(names) and len(names) == len(settings.queues)
        self._registry = Registry(settings.prefixes, settings.queues, self._watches)
        self._verifier = Verifier(deployment)
        self._census = Census(deployment, settings)
        self._scan: Scan | None = None
        self._search_completed = not settings.scan
        self._refused = False
        self._problems: dict[str, str] = {}
        self._interval = settings.discovery_interval_seconds
        self._round_due = 0.0
        self._scan_due = 0.0
        self._verify_due = 0.0
        self._publish_due = 0.0
        self._unpublished = False
        self._rounds = 0
        self._slots: SlotMap | None = None
        self._searched = Search(settings.prefixes, others=self._named_elsewhere)
        self._own: dict[QueueId, OwnCounts] = {}
        self._queue_settings: dict[QueueId, object] = {}
        self._workers = WorkerCounts()
        self._workers_at = 0.0
        assumed = self._of_shard(self._named) if len(prefixes) == 1 else ()
        complete = self._all_named and self._all_certain
        self._known = KnownQueues(tuple(sorted(assumed)), complete=complete, search=self._searched)

    def known(self) -> KnownQueues:
        """Queues and workers; workers that were counted too long ago are left out."""
        known = self._known
        stale = self._interval * _STALE_ROUNDS + _ROUND_SECONDS
        if known.workers is not None and monotonic() - known.workers_at > stale:
            problems = (*known.problems, "workers: not counted recently")
            unknown = dict.fromkeys(known.queues, "they were not counted recently")
            return replace(known, workers=None, workers_at=0.0, problems=problems, workers_unknown=unknown)
        return known

    def step(self) -> float:
        """One bounded round: clients and confirmation if they are due, one SCAN call for each master, and
        some candidates to verify.

        Returns the seconds until the next round. A Redis that does not answer is not an error: it retries.
        """
        deadline = Deadline.after(_ROUND_SECONDS)
        started = monotonic()
        try:
            slot_map = self._slot_map(deadline)
            if monotonic() >= self._round_due:
                self._round(slot_map, deadline)
                self._interval = self._settings.discovery_interval_seconds * self._slowdown()
                self._round_due = monotonic() + self._interval
            if self._scan is None and self._settings.scan and monotonic() >= self._scan_due:
                self._begin_search()
            calls = self._advance(slot_map, deadline)
        except UnreadableError:
            return _RETRY_SECONDS
        if self._scan is not None or self._registry.pending:
            rate = self._settings.scan_calls_per_second
            if self._search_completed:
                return max(1, calls) / rate * self._slowdown()
            return max(0.0, 1 / (rate * _FIRST) - (monotonic() - started))
        due = self._round_due if not self._settings.scan else min(self._round_due, self._scan_due)
        return max(0.05, due - monotonic())

    def discover_once(self, deadline: Deadline) -> None:
        """A complete discovery, for a command that runs once. Raises UnreadableError."""
        slot_map = self._slot_map(deadline)
        self._round(slot_map, deadline)
        if self._settings.scan:
            self._begin_search()
        while (self._scan is not None or self._registry.pending) and not deadline.passed():
            self._advance(slot_map, deadline)

    def _owns(self, queue: QueueId) -> bool:
        return owns(self._shard, queue)

    def _watches(self, queue: QueueId) -> bool:
        return self._owns(queue) or queue.name in self._open_names

    def _of_shard(self, queues: Iterable[QueueId]) -> list[QueueId]:
        return [queue for queue in queues if self._owns(queue)]

    # --- one round ---

    def _slot_map(self, deadline: Deadline) -> SlotMap:
        """The known one, which remembers the owners, unless a master or a slot has moved."""
        topology = self._deployment.topology(deadline)
        if self._slots is None or not self._slots.matches(topology):
            self._slots = SlotMap(topology)
        return self._slots

    def _round(self, slot_map: SlotMap, deadline: Deadline) -> None:
        """Read CLIENT LIST, propose what it names, and confirm the queues again."""
        if not self._shard.first:
            # Elsewhere each collection of Redis does it.
            self._deployment.refresh(deadline)
            slot_map = self._slot_map(deadline)
        addresses = [node.address for node in self._deployment.topology(deadline).nodes]
        self._census.read_clients(slot_map, addresses, deadline)
        self._set_problem("workers", self._census.refusal)
        at = monotonic()
        if not self._settings.scan:
            self._registry.begin_search()
        self._registry.retry()
        for queue in self._named:
            self._registry.propose(queue, at)
        idle = self._census.idle_queues()
        encoded = self._census.node_named()
        if not self._settings.scan:
            others = sum(not self._watches(queue) for queue in encoded) + self._named_elsewhere
            self._searched = replace(self._searched, others=others)
        for queue in sorted(self._census.named_queues(), key=lambda queue: queue not in encoded):
            # Thousands of clients may have names of this form, and none of them is a worker.
            if queue in idle or not self._settings.scan or not self._registry.has_no_keys(queue, at):
                self._registry.propose(queue, at, worker=queue in idle, encoded=queue in encoded)
        self._verify(slot_map, deadline)
        self._confirm(list(self._registry.queues), slot_map, deadline)
        known = list(self._registry.queues)
        self._own = {queue: self._own[queue] for queue in known if queue in self._own}
        self._queue_settings = {
            queue: self._queue_settings[queue] for queue in known if queue in self._queue_settings
        }
        self._rounds += 1
        turns = _OWN_ROUNDS if len(known) > _MANY else 1
        # A queue of Bull may become one of BullMQ with the same name.
        bull = [queue for queue, library in self._registry.queues.items() if library == "bull"]
        self._read_own({*known[self._rounds % turns :: turns], *bull}, slot_map, deadline)
        if not self._settings.scan and not self._registry.pending:
            self._registry.end_search()
        self._workers_at = monotonic()
        queues = {*self._registry.queues, *(queue for queue in self._named if slot_map.supports(queue))}
        self._census.forget_others(queues)
        mine = self._of_shard(queues)
        turn = self._rounds % turns
        self._workers = self._census.count(mine, slot_map, deadline, turn=turn, turns=turns)
        if self._search_completed or self._registry.queues or not self._registry.unanswered:
            self._publish(slot_map)
        # Else Redis is loading, or the like: what is assumed stands, unread, until a search tells more.

    def _confirm(self, queues: Collection[QueueId], slot_map: SlotMap, deadline: Deadline) -> None:
        """Remove those that are gone. A queue whose node does not answer keeps its state."""
        named = self._census.named(queues, cluster=slot_map.cluster)
        exists = self._ask(_ALIVE, queues, slot_map, deadline)
        # Nearly all have one of two keys: the others are only read of those that have neither.
        exists |= self._ask(
            _EXISTS, [queue for queue, reply in exists.items() if reply == [0]], slot_map, deadline
        )
        replies = [reply[0] for reply in exists.values() if isinstance(reply, list)]
        refused = next((reply for reply in replies if isinstance(reply, ReplyError)), None)
        self._set_problem("confirm", f"EXISTS: {refused}" if refused else None)
        gone = [queue for queue, reply in exists.items() if reply == [0] and not named.get(queue)]
        self._registry.remove(gone)
        for queue in gone:
            self._own.pop(queue, None)
            self._queue_settings.pop(queue, None)

    def _read_own(self, queues: Collection[QueueId], slot_map: SlotMap, deadline: Deadline) -> None:
        """BullMQ's own counts, its marks, and what is set for the queues."""
        known = self._registry.queues
        asked = [queue for queue in queues if queue in known]
        for queue, reply in self._ask(_OWN, asked, slot_map, deadline).items():
            if isinstance(reply, Failed):
                continue
            meta, schedulers, limiter, *counts = reply
            before = self._queue_settings.get(queue)
            self._queue_settings[queue] = _settings(meta, schedulers, limiter, monotonic(), before)
            own = _own_counts(counts)
            if own == _NO_COUNTS:
                self._own.pop(queue, None)
            else:
                self._own[queue] = own
            if known[queue] == "bull" and marked_by_bullmq(meta):
                self._registry.reconsider(queue)

    def _ask(
        self, commands: QueueCommands, queues: Collection[QueueId], slot_map: SlotMap, deadline: Deadline
    ) -> dict[QueueId, list[Reply] | Failed]:
        requests = {queue: commands.request(queue) for queue in queues}
        return ask_packed(self._deployment, slot_map, deadline, requests, pool=_POOL) if requests else {}

    def _count_workers(self, slot_map: SlotMap, deadline: Deadline, queues: Collection[QueueId]) -> None:
        counted = self._census.count(queues, slot_map, deadline)
        self._workers.counts.update(counted.counts)
        self._workers.unknown.update(counted.unknown)

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
                if queue is not None and not self._watches(queue):
                    self._others += 1
                elif queue is not None:
                    self._registry.propose(queue, at, has_key=True, has_meta=key.endswith(":meta"))
            for address, why in scan.refused.items():
                self._set_problem("scan", f"SCAN at {address}: {why}")
        found = self._verify_some(slot_map, deadline)
        ended = scan is not None and scan.done.issuperset(slot_map.masters) and not self._registry.pending
        if scan is not None and ended:
            self._end_search(scan)
        if found:
            self._confirm(found, slot_map, deadline)
            self._read_own(found, slot_map, deadline)
            self._count_workers(slot_map, deadline, self._of_shard(found))
            self._unpublished = True
        at = monotonic()
        if ended or (self._unpublished and at >= self._publish_due):
            self._publish(slot_map)
            self._publish_due = monotonic() + _PUBLISH_SHARE * (monotonic() - at)
        return calls

    def _verify_some(self, slot_map: SlotMap, deadline: Deadline) -> list[QueueId]:
        """Verify candidates once they are many, or are waiting for a moment; returns what `_verify` does."""
        scan = self._scan
        at = monotonic()
        few = self._registry.pending < _VERIFIED_PER_CALL
        if few and at < self._verify_due and scan is not None and not scan.done.issuperset(slot_map.masters):
            return []
        self._verify_due = at + _SETTLE_SECONDS
        return self._verify(slot_map, deadline)

    def _verify(self, slot_map: SlotMap, deadline: Deadline) -> list[QueueId]:
        """Verify some candidates; returns the queues that are new, or another library's now."""
        changed: list[QueueId] = []
        candidates = self._registry.take(_VERIFIED_PER_CALL, monotonic())
        supported = [candidate for candidate in candidates if slot_map.supports(candidate.queue)]
        answers = self._verifier.verify(supported, slot_map, deadline) if supported else {}
        for command in ("EXISTS", "TYPE"):
            self._set_problem(command, self._verifier.problems.get(command))
        at = monotonic()
        for candidate in candidates:
            answer = answers.get(candidate.queue, _NO_TAG)
            # Without a key it is only what a connection's name might mean, such as the base64 of a queue's.
            if answer is not _NO_TAG or candidate.has_key or candidate.worker:
                before = self._registry.queues.get(candidate.queue)
                self._registry.settle(candidate, answer, at)
                if before != self._registry.queues.get(candidate.queue):
                    changed.append(candidate.queue)
        return changed

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
                others=self._others + self._named_elsewhere,
            )
        self._refused = not self._search_completed
        if not scan.refused:
            self._set_problem("scan", None)
            self._registry.end_search()

    # --- the result ---

    def _set_problem(self, subject: str, problem: str | None) -> None:
        if problem is None:
            self._problems.pop(subject, None)
        else:
            self._problems[subject] = problem

    def _publish(self, slot_map: SlotMap) -> None:
        self._unpublished = False
        queues = self._registry.queues
        unread = self._registry.unread(self._named)
        listed = set(self._of_shard(self._listed(slot_map)))
        found = {queue.name for queue in (*queues, *unread)}
        unread = {queue: failed for queue, failed in unread.items() if self._owns(queue)}
        searched = self._search_completed or self._all_certain
        named = self._of_shard(self._named)
        missing = sorted({queue.name for queue in named if searched and queue.name not in found})
        untagged = sorted({queue.name for queue in named if not slot_map.supports(queue)} - found)
        missing = [name for name in missing if name not in untagged]
        self._set_problem("tags", f"{_NO_TAG.why}: {', '.join(untagged)}" if untagged else None)
        self._set_problem(
            "missing", f"in the settings, but not in Redis: {', '.join(missing)}" if missing else None
        )
        grouped = sorted(queue.name for queue, own in self._own.items() if own.groups and self._owns(queue))
        more = f" and {len(grouped) - _NAMED} more" if len(grouped) > _NAMED else ""
        names = ", ".join(grouped[:_NAMED]) + more
        self._set_problem(
            "groups", f"jobs in groups of BullMQ Pro are not counted: {names}" if grouped else None
        )
        failures = sorted({failed.message for failed in unread.values()})
        self._set_problem("unread", f"{len(unread)} queues cannot be read: {failures[0]}" if unread else None)
        all_named = self._all_named and all(queue.name in found for queue in self._named)
        complete = self._search_completed or all_named or (self._all_named and self._all_certain)
        workers = self._workers
        unknown = {queue: workers.unknown.get(queue, "") for queue in listed if queue not in workers.counts}
        self._known = KnownQueues(
            queues=tuple(sorted(listed)),
            workers=None if self._census.blind else dict(workers.counts),
            workers_at=self._workers_at,
            complete=complete,
            problems=tuple(dict.fromkeys(self._problems.values())),
            refused=self._refused and not complete,
            own={queue: counts for queue, counts in self._own.items() if queue in listed},
            settings=dict(self._queue_settings),
            libraries=dict(queues),
            workers_unknown=unknown,
            unread={queue: failed for queue, failed in unread.items() if queue not in listed},
            elsewhere=self._census.elsewhere() & listed,
            search=replace(
                self._searched,
                missing=tuple(missing),
                passed_over=self._reasons(self._registry.passed_over(), unread),
                refused=self._reasons(self._registry.refused(), unread),
            ),
        )

    def _reasons(self, reasons: Mapping[QueueId, str], unread: Collection[QueueId]) -> dict[QueueId, str]:
        return {queue: why for queue, why in reasons.items() if queue not in unread and self._owns(queue)}

    def _listed(self, slot_map: SlotMap) -> set[QueueId]:
        """The confirmed queues, and those of the settings that Redis does not have if only one is meant."""
        listed = set(self._registry.queues)
        unread = self._registry.unread(self._named)
        if self._certain:
            assumed = set(self._certain)
        elif self._settings.prefixes or not self._search_completed:
            assumed = set()
        else:
            names = {queue.name for queue in (*listed, *unread)}
            assumed = {queue for queue in self._named if queue.name not in names}
        return listed | {queue for queue in assumed if queue not in unread and slot_map.supports(queue)}


class _Set(NamedTuple):
    """What is set for a queue, to be compared. `limited_until`: when the limiter ends that runs, in monotonic
    s."""

    meta: tuple[Reply, ...] | None
    schedulers: str
    limited_until: float | None


def _settings(meta: Reply, schedulers: Reply, limiter: Reply, at: float, before: object) -> _Set:
    """What is set at `at`: of a limiter that ran `before`, too, its end as it was then. One that ended and
    began again in between has another end."""
    until = at + limiter / 1000 if isinstance(limiter, int) and limiter > 0 else None
    if until is not None and isinstance(before, _Set) and before.limited_until is not None:
        same = abs(until - before.limited_until) < _SAME_LIMIT_SECONDS
        until = before.limited_until if same else until
    return _Set(tuple(meta) if isinstance(meta, list) else None, str(schedulers), until)


def _own_counts(replies: Sequence[Reply]) -> OwnCounts:
    """A key that is absent, refused or not a number gives None."""
    values = (reply[0] if isinstance(reply, list) and reply else reply for reply in replies)
    return OwnCounts(*map(_count, values))


def _count(raw: Reply) -> int | None:
    if isinstance(raw, int):
        return raw or None
    return int(raw) if isinstance(raw, bytes) and raw.isdigit() and len(raw) <= _MOST_DIGITS else None
