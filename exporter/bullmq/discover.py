"""Discovers the queues and counts their workers, in the background: a scrape never waits for a SCAN.

A queue is discovered in three ways: its name in the settings, a worker's connection in CLIENT LIST, and its
`meta` key in a SCAN of every master, which continues from its cursor with a few calls per second. Discovered
queues are confirmed in every round, so that an obliterated queue is removed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from exporter.bullmq.clients import client_names, count_workers
from exporter.bullmq.keys import (
    OWN_COUNT_COMMANDS,
    QUEUE_KEYS,
    base,
    is_pattern,
    is_selected,
    queue_of_meta,
    scan_pattern,
)
from exporter.bullmq.placement import SlotMap
from exporter.config.settings import BullMQSettings
from exporter.redis.deployment import Deployment
from exporter.redis.protocol import Reply, ReplyError, Request, pack_request
from exporter.snapshot import Library, OwnCounts, QueueId
from service.clock import Deadline, monotonic
from service.outcome import Failed, Ok, Outcome, UnreadableError

_POOL: Final = "discover"
_COUNT: Final = 1000  # keys per SCAN call: 0.6 ms of Redis' time, and the fewest round trips for it
_REPLIES_PER_QUEUE: Final = 1 + len(OWN_COUNT_COMMANDS)  # EXISTS and the own counts
_NO_COUNTS: Final = OwnCounts(None, None, None)
_STALE_ROUNDS: Final = 3
_RETRY_SECONDS: Final = 2.0
_ROUND_SECONDS: Final = 10.0


@dataclass(frozen=True)
class KnownQueues:
    """The current result. `workers` is None if no node reports them; `complete` once the first search has
    ended, `refused` if no search so far could read any master; `libraries` has what made each queue."""

    queues: tuple[QueueId, ...] = ()
    workers: dict[QueueId, int] | None = None
    workers_at: float = 0.0
    complete: bool = False
    problems: tuple[str, ...] = ()
    refused: bool = False
    own: Mapping[QueueId, OwnCounts] = field(default_factory=dict)
    libraries: Mapping[QueueId, Library] = field(default_factory=dict)


@dataclass
class _Search:
    """A running SCAN: each master's cursor, and the queues found since it began."""

    cursors: dict[str, bytes] = field(default_factory=dict)
    done: set[str] = field(default_factory=set)
    queues: set[QueueId] = field(default_factory=set)
    read: bool = False  # at least one master was scanned to its end
    refused: bool = False  # at least one master was not


class Discovery:
    """One thread calls `step`; any thread may read `known`, which is replaced as a whole."""

    def __init__(self, deployment: Deployment, settings: BullMQSettings) -> None:
        self._deployment = deployment
        self._settings = settings
        self._pattern = scan_pattern(settings.prefixes)
        names = [entry for entry in settings.queues if not is_pattern(entry)]
        self._named: Final = tuple(QueueId(prefix, name) for prefix in settings.prefixes for name in names)
        # With one prefix a name identifies the queue; with several prefixes Redis decides.
        self._certain = frozenset(self._named if len(settings.prefixes) == 1 else ())
        self._candidates: set[QueueId] = set(self._named)
        self._search: _Search | None = None
        self._search_completed = not settings.scan
        self._refused = False
        self._problems: dict[str, str] = {}
        self._round_due = 0.0
        self._scan_due = 0.0
        # A list of names is complete immediately; otherwise when the first search has ended.
        self._all_named = bool(self._certain) and len(self._certain) == len(settings.queues)
        self._known = KnownQueues(queues=tuple(sorted(self._certain)), complete=self._all_named)

    def known(self) -> KnownQueues:
        """Queues and workers; workers that were counted too long ago are left out."""
        known = self._known
        stale = self._settings.discovery_interval_seconds * _STALE_ROUNDS + _ROUND_SECONDS
        if known.workers is not None and monotonic() - known.workers_at > stale:
            problems = (*known.problems, "workers: not counted recently")
            return replace(known, workers=None, workers_at=0.0, problems=problems)
        return known

    def step(self) -> float:
        """One bounded round: clients and confirmation if they are due, and one SCAN call for each master.

        Returns the seconds until the next round. A Redis that does not answer is not an error: it retries.
        """
        deadline = Deadline.after(_ROUND_SECONDS)
        try:
            slot_map = self._slot_map(deadline)
            if monotonic() >= self._round_due:
                self._refresh_clients(slot_map, deadline)
                self._round_due = monotonic() + self._settings.discovery_interval_seconds
            calls = self._scan(slot_map, deadline) if self._scan_due_or_running() else 0
        except UnreadableError:
            return _RETRY_SECONDS
        if self._search is not None:
            return max(1, calls) / self._settings.scan_calls_per_second
        due = self._round_due if not self._settings.scan else min(self._round_due, self._scan_due)
        return max(0.05, due - monotonic())

    def discover_once(self, deadline: Deadline) -> None:
        """A complete discovery, for a command that runs once. Raises UnreadableError."""
        slot_map = self._slot_map(deadline)
        self._refresh_clients(slot_map, deadline)
        self._search = _Search() if self._settings.scan else None
        while self._search is not None and not deadline.passed():
            self._scan(slot_map, deadline)

    # --- one round ---

    def _slot_map(self, deadline: Deadline) -> SlotMap:
        return SlotMap(self._deployment.topology(deadline))

    def _refresh_clients(self, slot_map: SlotMap, deadline: Deadline) -> None:
        """Read CLIENT LIST, then confirm the candidates again."""
        addresses = [node.address for node in self._deployment.topology(deadline).nodes]
        requests = dict.fromkeys(addresses, pack_request([("CLIENT", "LIST")]))
        outcomes = self._deployment.execute(requests, deadline, pool=_POOL)
        names: list[Counter[str]] = []
        refused = None
        for outcome in outcomes.values():
            reply = outcome.value[0] if isinstance(outcome, Ok) else None
            if isinstance(reply, bytes):
                names.append(client_names(reply))
            elif isinstance(reply, ReplyError):
                refused = str(reply)
        self._set_problem("workers", None if names else f"CLIENT LIST: {refused or 'no node answers'}")
        workers = (
            count_workers(names, self._settings.prefixes, self._candidates, cluster=slot_map.cluster)
            if names
            else None
        )
        for queue in workers or ():
            if is_selected(queue, self._settings.queues):
                self._candidates.add(queue)
        self._confirm(slot_map, deadline, workers, workers_at=monotonic())

    def _confirm(
        self, slot_map: SlotMap, deadline: Deadline, workers: dict[QueueId, int] | None, *, workers_at: float
    ) -> None:
        """Publish the candidates that are queues. A queue whose node does not answer keeps its state."""
        untagged = sorted(queue.name for queue in self._certain if not slot_map.supports(queue))
        self._set_problem(
            "tags",
            f"in a cluster a queue's name or prefix needs a {{hash tag}}: {', '.join(untagged)}"
            if untagged
            else None,
        )
        candidates = [queue for queue in self._candidates if slot_map.supports(queue)]
        owned, _ = slot_map.by_owner(candidates)
        requests = {address: _exists_request(queues) for address, queues in owned.items()}
        outcomes = self._deployment.execute(requests, deadline, pool=_POOL)
        own: dict[QueueId, OwnCounts] = {}
        before = set(self._known.queues)
        confirmed = set(candidates) & before
        refused = None
        for address, queues in owned.items():
            outcome = outcomes[address]
            if isinstance(outcome, Ok):
                starts = range(0, len(outcome.value), _REPLIES_PER_QUEUE)
                by_queue = [outcome.value[start : start + _REPLIES_PER_QUEUE] for start in starts]
                exists_replies = [replies[0] for replies in by_queue]
                confirmed = _confirmed(confirmed, queues, exists_replies, workers or {})
                refused = next((error for error in exists_replies if isinstance(error, ReplyError)), refused)
                own |= {
                    queue: _own_counts(replies[1:]) for queue, replies in zip(queues, by_queue, strict=True)
                }
        self._set_problem("confirm", f"EXISTS: {refused}" if refused else None)
        certain = {queue for queue in self._certain if slot_map.supports(queue)}
        missing = ", ".join(sorted(queue.name for queue in certain - confirmed))
        self._set_problem("missing", f"in the settings, but not in Redis: {missing}" if missing else None)
        confirmed |= certain
        self._candidates = confirmed | set(self._named)
        own = {queue: counts for queue, counts in own.items() if queue in confirmed and counts != _NO_COUNTS}
        self._publish(queues=tuple(sorted(confirmed)), workers=workers, workers_at=workers_at, own=own)

    # --- the search ---

    def _scan_due_or_running(self) -> bool:
        if self._search is None and self._settings.scan and monotonic() >= self._scan_due:
            self._search = _Search()
        return self._search is not None

    def _scan(self, slot_map: SlotMap, deadline: Deadline) -> int:
        """One SCAN call to each master that is not done yet; the number of calls."""
        search = self._search = self._search or _Search()
        due = [address for address in slot_map.masters if address not in search.done]
        requests = {
            address: pack_request(
                [("SCAN", search.cursors.get(address, b"0"), "MATCH", self._pattern, "COUNT", _COUNT)]
            )
            for address in due
        }
        outcomes = self._deployment.execute(requests, deadline, pool=_POOL)
        for address, outcome in outcomes.items():
            reply = outcome.value[0] if isinstance(outcome, Ok) else None
            if isinstance(reply, list) and len(reply) == 2 and isinstance(reply[0], bytes):
                search.cursors[address] = reply[0]
                search.queues |= self._queues_of(reply[1])
                if reply[0] == b"0":
                    search.done.add(address)
                    search.read = True
            else:
                # Skipped until the next search: a node that is down must not block the queues of the others.
                search.done.add(address)
                search.refused = True
                self._set_problem("scan", f"SCAN at {address}: {_why(outcome, reply)}")
        if search.done.issuperset(slot_map.masters):
            self._end_search(slot_map, deadline, search)
        return len(requests)

    def _end_search(self, slot_map: SlotMap, deadline: Deadline, search: _Search) -> None:
        self._search = None
        # A Redis that is still loading refuses: without an early retry no queue is known until a rescan.
        interval = self._settings.rescan_interval_seconds
        self._scan_due = monotonic() + (
            interval if search.read else min(interval, self._settings.discovery_interval_seconds)
        )
        if search.read:
            self._search_completed = True
        self._refused = not self._search_completed
        if not search.refused:
            self._set_problem("scan", None)
        self._candidates |= search.queues
        self._confirm(slot_map, deadline, self._known.workers, workers_at=self._known.workers_at)

    def _queues_of(self, keys: Reply) -> set[QueueId]:
        queues = set()
        for key in keys if isinstance(keys, list) else []:
            if isinstance(key, bytes):
                queue = queue_of_meta(key.decode("utf-8", "surrogateescape"), self._settings.prefixes)
                if queue and is_selected(queue, self._settings.queues):
                    queues.add(queue)
        return queues

    # --- the result ---

    def _set_problem(self, subject: str, problem: str | None) -> None:
        if problem is None:
            self._problems.pop(subject, None)
        else:
            self._problems[subject] = problem

    def _publish(
        self,
        *,
        queues: tuple[QueueId, ...],
        workers: dict[QueueId, int] | None,
        workers_at: float,
        own: Mapping[QueueId, OwnCounts],
    ) -> None:
        complete = self._search_completed or self._all_named
        problems = tuple(self._problems.values())
        self._known = KnownQueues(
            queues, workers, workers_at, complete, problems, self._refused and not complete, own
        )


def _exists_request(queues: Iterable[QueueId]) -> Request:
    """Whether each of the queues exists, and in the same request BullMQ's own counts."""
    return pack_request(
        command
        for queue in queues
        for command in (
            ("EXISTS", *(base(queue) + key_name for key_name in QUEUE_KEYS)),
            *((verb, base(queue) + key, *rest) for verb, key, *rest in OWN_COUNT_COMMANDS),
        )
    )


def _own_counts(replies: Sequence[Reply]) -> OwnCounts:
    """A key that is absent, refused or not a number gives None."""
    values = (reply[0] if isinstance(reply, list) and reply else reply for reply in replies)
    return OwnCounts(*(int(raw) if isinstance(raw, bytes) and raw.isdigit() else None for raw in values))


def _confirmed(
    confirmed: set[QueueId], queues: list[QueueId], replies: list[Reply], workers: dict[QueueId, int]
) -> set[QueueId]:
    """`confirmed`, updated by one node's replies for its queues. A queue with a waiting worker exists too."""
    existing = {
        queue: reply > 0 or workers.get(queue, 0) > 0
        for queue, reply in zip(queues, replies, strict=True)
        if isinstance(reply, int)
    }
    removed = {queue for queue, exists in existing.items() if not exists}
    return (confirmed | {queue for queue, exists in existing.items() if exists}) - removed


def _why(outcome: Outcome[list[Reply]], reply: Reply) -> str:
    return outcome.message if isinstance(outcome, Failed) else str(reply)
