"""Finds the queues and counts their workers, in the background: a scrape never waits for a SCAN.

Three ways lead to a queue: its name in the settings, a worker's connection in CLIENT LIST, and its `meta`
key in a SCAN of every master that goes on where it left off, a few calls a second. What was found is
confirmed, and confirmed again at each round, so that a queue that is obliterated goes away.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from exporter.bullmq.clients import client_names, count_workers
from exporter.bullmq.keys import (
    OWN_COUNTS,
    PROOFS,
    base,
    is_pattern,
    is_wanted,
    queue_of_meta,
    scan_pattern,
)
from exporter.bullmq.placement import SlotMap
from exporter.redis.deployment import Deployment
from exporter.redis.protocol import Reply, ReplyError, Request, pack_request
from exporter.settings import BullMQSettings
from exporter.snapshot import OwnCounts, QueueId
from service.clock import Deadline, monotonic
from service.outcome import Failed, Ok, Outcome, UnreadableError

_POOL: Final = "discover"
_COUNT: Final = 1000  # keys a SCAN call looks at: 0.6 ms of Redis' time, and the fewest round trips for it
_EXISTENCE: Final = 1 + len(OWN_COUNTS)  # replies a queue
_NO_COUNTS: Final = OwnCounts(None, None, None)
_STALE_ROUNDS: Final = 3
_RETRY_SECONDS: Final = 2.0
_ROUND_SECONDS: Final = 10.0


@dataclass(frozen=True)
class KnownQueues:
    """What is known now. `workers` is None when no node tells; `complete` once a first search has ended,
    `refused` when the searches so far ended without one master read."""

    queues: tuple[QueueId, ...] = ()
    workers: dict[QueueId, int] | None = None
    workers_at: float = 0.0
    complete: bool = False
    problems: tuple[str, ...] = ()
    refused: bool = False
    own: Mapping[QueueId, OwnCounts] = field(default_factory=dict)


@dataclass
class _Search:
    """A SCAN under way: each master's cursor, and what has been found since it began."""

    cursors: dict[str, bytes] = field(default_factory=dict)
    done: set[str] = field(default_factory=set)
    found: set[QueueId] = field(default_factory=set)
    read: bool = False  # one master at least has been read to its end
    refused: bool = False  # one master at least has not


class Discovery:
    """One thread calls `step`; anyone reads `known`, which is replaced as a whole."""

    def __init__(self, deployment: Deployment, settings: BullMQSettings) -> None:
        self._deployment = deployment
        self._settings = settings
        self._pattern = scan_pattern(settings.prefixes)
        names = [entry for entry in settings.queues if not is_pattern(entry)]
        self._named: Final = tuple(QueueId(prefix, name) for prefix in settings.prefixes for name in names)
        # With one prefix a name says all; with several it must be seen under which.
        self._certain = frozenset(self._named if len(settings.prefixes) == 1 else ())
        self._candidates: set[QueueId] = set(self._named)
        self._search: _Search | None = None
        self._searched = not settings.scan
        self._refused = False
        self._problems: dict[str, str] = {}
        self._round_due = 0.0
        self._scan_due = 0.0
        # A named list is complete at once; what is searched for, when the first search has ended.
        self._all_named = bool(self._certain) and len(self._certain) == len(settings.queues)
        self._known = KnownQueues(queues=tuple(sorted(self._certain)), complete=self._all_named)

    def known(self) -> KnownQueues:
        """Queues and workers; workers that were counted too long ago are not told."""
        known = self._known
        stale = self._settings.discovery_interval_seconds * _STALE_ROUNDS + _ROUND_SECONDS
        if known.workers is not None and monotonic() - known.workers_at > stale:
            problems = (*known.problems, "workers: not seen lately")
            return replace(known, workers=None, workers_at=0.0, problems=problems)
        return known

    def step(self) -> float:
        """One bounded round: clients and confirmation when they are due, else one SCAN call a master.

        Seconds until the next. A Redis that does not answer is no mistake: it is tried again.
        """
        deadline = Deadline.after(_ROUND_SECONDS)
        try:
            slot_map = self._slot_map(deadline)
            if monotonic() >= self._round_due:
                self._look(slot_map, deadline)
                self._round_due = monotonic() + self._settings.discovery_interval_seconds
            calls = self._scan(slot_map, deadline) if self._scanning() else 0
        except UnreadableError:
            return _RETRY_SECONDS
        if self._search is not None:
            return max(1, calls) / self._settings.scan_calls_per_second
        due = self._round_due if not self._settings.scan else min(self._round_due, self._scan_due)
        return max(0.05, due - monotonic())

    def look_once(self, deadline: Deadline) -> None:
        """Everything at once, for a command that asks a single time. Raises UnreadableError."""
        slot_map = self._slot_map(deadline)
        self._look(slot_map, deadline)
        self._search = _Search() if self._settings.scan else None
        while self._search is not None and not deadline.passed():
            self._scan(slot_map, deadline)

    # --- one round ---

    def _slot_map(self, deadline: Deadline) -> SlotMap:
        return SlotMap(self._deployment.topology(deadline))

    def _look(self, slot_map: SlotMap, deadline: Deadline) -> None:
        """Clients, then the candidates again."""
        addresses = [node.address for node in self._deployment.topology(deadline).nodes]
        asked = dict.fromkeys(addresses, pack_request([("CLIENT", "LIST")]))
        answers = self._deployment.execute(asked, deadline, pool=_POOL)
        names: list[Counter[str]] = []
        refused = None
        for answer in answers.values():
            reply = answer.value[0] if isinstance(answer, Ok) else None
            if isinstance(reply, bytes):
                names.append(client_names(reply))
            elif isinstance(reply, ReplyError):
                refused = str(reply)
        self._note("workers", None if names else f"CLIENT LIST: {refused or 'no node answers'}")
        counted = (
            count_workers(names, self._settings.prefixes, self._candidates, cluster=slot_map.cluster)
            if names
            else None
        )
        for queue in counted or ():
            if is_wanted(queue, self._settings.queues):
                self._candidates.add(queue)
        self._confirm(slot_map, deadline, counted, workers_at=monotonic())

    def _confirm(
        self, slot_map: SlotMap, deadline: Deadline, workers: dict[QueueId, int] | None, *, workers_at: float
    ) -> None:
        """Publish the candidates that are queues. One whose node does not answer stays what it was."""
        untagged = sorted(queue.name for queue in self._certain if not slot_map.possible(queue))
        self._note(
            "tags",
            f"in a cluster a queue's name or prefix needs a {{tag}}: {', '.join(untagged)}"
            if untagged
            else None,
        )
        candidates = [queue for queue in self._candidates if slot_map.possible(queue)]
        owned, _ = slot_map.by_owner(candidates)
        asked = {address: _existence(queues) for address, queues in owned.items()}
        answers = self._deployment.execute(asked, deadline, pool=_POOL)
        own: dict[QueueId, OwnCounts] = {}
        before = set(self._known.queues)
        real = set(candidates) & before
        refused = None
        for address, queues in owned.items():
            answer = answers[address]
            if isinstance(answer, Ok):
                found = [answer.value[n : n + _EXISTENCE] for n in range(0, len(answer.value), _EXISTENCE)]
                exist = [replies[0] for replies in found]
                real = _confirmed(real, queues, exist, workers or {})
                refused = next((one for one in exist if isinstance(one, ReplyError)), refused)
                own |= {queue: _own(replies[1:]) for queue, replies in zip(queues, found, strict=True)}
        self._note("confirm", f"EXISTS: {refused}" if refused else None)
        certain = {queue for queue in self._certain if slot_map.possible(queue)}
        missing = ", ".join(sorted(queue.name for queue in certain - real))
        self._note("missing", f"named, but not in Redis: {missing}" if missing else None)
        real |= certain
        self._candidates = real | set(self._named)
        own = {queue: counts for queue, counts in own.items() if queue in real and counts != _NO_COUNTS}
        self._publish(queues=tuple(sorted(real)), workers=workers, workers_at=workers_at, own=own)

    # --- the search ---

    def _scanning(self) -> bool:
        if self._search is None and self._settings.scan and monotonic() >= self._scan_due:
            self._search = _Search()
        return self._search is not None

    def _scan(self, slot_map: SlotMap, deadline: Deadline) -> int:
        """One call to each master that is not through yet; how many calls that were."""
        search = self._search = self._search or _Search()
        due = [address for address in slot_map.masters if address not in search.done]
        asked = {
            address: pack_request(
                [("SCAN", search.cursors.get(address, b"0"), "MATCH", self._pattern, "COUNT", _COUNT)]
            )
            for address in due
        }
        answers = self._deployment.execute(asked, deadline, pool=_POOL)
        for address, answer in answers.items():
            reply = answer.value[0] if isinstance(answer, Ok) else None
            if isinstance(reply, list) and len(reply) == 2 and isinstance(reply[0], bytes):
                search.cursors[address] = reply[0]
                search.found |= self._queues_of(reply[1])
                if reply[0] == b"0":
                    search.done.add(address)
                    search.read = True
            else:
                # Passed over until the next search: a node that is down must not hold up the others' queues.
                search.done.add(address)
                search.refused = True
                self._note("scan", f"SCAN at {address}: {_why(answer, reply)}")
        if search.done.issuperset(slot_map.masters):
            self._end_search(slot_map, deadline, search)
        return len(asked)

    def _end_search(self, slot_map: SlotMap, deadline: Deadline, search: _Search) -> None:
        self._search = None
        # A Redis that is still loading refuses: nothing would be known for as long as a rescan may wait.
        again = self._settings.rescan_interval_seconds
        self._scan_due = monotonic() + (
            again if search.read else min(again, self._settings.discovery_interval_seconds)
        )
        if search.read:
            self._searched = True
        self._refused = not self._searched
        if not search.refused:
            self._note("scan", None)
        self._candidates |= search.found
        self._confirm(slot_map, deadline, self._known.workers, workers_at=self._known.workers_at)

    def _queues_of(self, keys: Reply) -> set[QueueId]:
        found = set()
        for key in keys if isinstance(keys, list) else []:
            if isinstance(key, bytes):
                queue = queue_of_meta(key.decode("utf-8", "surrogateescape"), self._settings.prefixes)
                if queue and is_wanted(queue, self._settings.queues):
                    found.add(queue)
        return found

    # --- what is known ---

    def _note(self, subject: str, problem: str | None) -> None:
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
        complete = self._searched or self._all_named
        problems = tuple(self._problems.values())
        self._known = KnownQueues(
            queues, workers, workers_at, complete, problems, self._refused and not complete, own
        )


def _existence(queues: Iterable[QueueId]) -> Request:
    """Whether each of them is there, and in the same round what BullMQ counts itself."""
    return pack_request(
        command
        for queue in queues
        for command in (
            ("EXISTS", *(base(queue) + proof for proof in PROOFS)),
            *((verb, base(queue) + key, *rest) for verb, key, *rest in OWN_COUNTS),
        )
    )


def _own(replies: Sequence[Reply]) -> OwnCounts:
    """A key that is absent, refused or no number counts nothing."""
    values = (one[0] if isinstance(one, list) and one else one for one in replies)
    return OwnCounts(*(int(one) if isinstance(one, bytes) and one.isdigit() else None for one in values))


def _confirmed(
    real: set[QueueId], queues: list[QueueId], replies: list[Reply], workers: dict[QueueId, int]
) -> set[QueueId]:
    """`real`, corrected by what one node says of its queues. A worker that waits on one makes it real too."""
    told = {
        queue: reply > 0 or workers.get(queue, 0) > 0
        for queue, reply in zip(queues, replies, strict=True)
        if isinstance(reply, int)
    }
    gone = {queue for queue, exists in told.items() if not exists}
    return (real | {queue for queue, exists in told.items() if exists}) - gone


def _why(answer: Outcome[list[Reply]], reply: Reply) -> str:
    return answer.message if isinstance(answer, Failed) else str(reply)
