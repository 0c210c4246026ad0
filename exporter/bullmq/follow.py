"""Follows the queues' event streams in the background, only reading: XREAD without groups.

A queue that is known for the first time is followed from its stream's end, so that nothing counts that was
before; one that came into being after the exporter, and whose stream is still whole, from its beginning; one
that the state file knows, from where it was left. What was trimmed unread is known from the stream's own
count of what was ever added.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any, Final, cast

from exporter.bullmq.events import Entry, Jobs
from exporter.bullmq.placement import SlotMap
from exporter.bullmq.rates import RateHistory
from exporter.bullmq.state_file import CheckpointFile
from exporter.bullmq.stream import CHECK_IDLE, Stream, bulk
from exporter.redis.deployment import Deployment
from exporter.redis.protocol import Reply, ReplyError, Request
from exporter.settings import BullMQSettings
from exporter.snapshot import Events, QueueId, Rates
from service.clock import Deadline, monotonic, now
from service.outcome import Failed, UnreadableError
from service.threads import WorkerGroup

log = logging.getLogger(__name__)

_POOL: Final = "follow"
_ROUND_SECONDS: Final = 10.0
_RETRY_SECONDS: Final = 1.0
_PLAN_SECONDS, _STALE_SECONDS = 1.0, 0.25  # between two looks at who owns what
_BATCH: Final = 1000  # entries of a queue in one answer: with 10 kB of return value in each, 10 MB
_FASTEST, _SLOWEST, _IDLE_FASTEST = 0.1, 1.0, 0.25  # seconds between two rounds
_IDLE_SHARE: Final = 100  # times a round's own duration is what an idle one waits: 1 % of the time is spent
_SHORTEST: Final = 100  # entries: a stream is trimmed in steps of this many
_HEADROOM: Final = 2.5  # a stream is read that many times before it could be trimmed
_MOST_IN_ALL: Final = 250_000  # jobs of all queues that are remembered: 55 MB with UUIDs for ids
_MOVED: Final = frozenset({"MOVED", "ASK", "CLUSTERDOWN", "TRYAGAIN", "READONLY"})
_OF_ONE_KEY: Final = frozenset({"WRONGTYPE", "NOPERM"})


class Follower:
    """`step` plans who reads what; each node has a reader of its own, so that one that hangs delays no other.

    With a crew the readers are threads of it; without one, `step` runs them in turn. Anyone may call
    `events`, whose parts are replaced as a whole.
    """

    def __init__(
        self,
        deployment: Deployment,
        settings: BullMQSettings,
        *,
        group: WorkerGroup | None = None,
        checkpoint: CheckpointFile | None = None,
    ) -> None:
        self._deployment = deployment
        self._buckets = settings.event_buckets
        self._group = group
        self._checkpoint = checkpoint
        self._lock = threading.Lock()  # of the streams: readers take their answers one after the other
        self._streams: dict[QueueId, Stream] = {}
        self._readers: dict[str, _Reader] = {}
        self._slot_map: SlotMap | None = None
        self._stale = False
        self._refresh_due = 0.0
        self.began_ms = int(now() * 1000)
        self._history = RateHistory()
        self._refusals: dict[str, tuple[float, str]] = {}

    def events(self) -> dict[QueueId, Events]:
        """Each queue's tallies as of the last round; without those that were not read to their end yet."""
        at = monotonic()
        told = ((queue, one.events(at)) for queue, one in list(self._streams.items()))
        return {queue: events for queue, events in told if events is not None}

    def rates(self, events: Mapping[QueueId, Events]) -> dict[QueueId, Rates]:
        """Rates and quantiles of the last minutes up to these events."""
        return self._history.rates(monotonic(), events)

    def problems(self) -> tuple[str, ...]:
        """What was refused lately, one text for each kind of error."""
        since = monotonic() - 2 * CHECK_IDLE
        return tuple(f"event streams: {text}" for at, text in list(self._refusals.values()) if at >= since)

    def step(self, queues: Sequence[QueueId]) -> float:
        """See which node holds which of these queues; seconds until the next look (without a crew, until the
        next round of reading, 0 when there is more)."""
        try:
            slot_map = self._find(Deadline.after(_ROUND_SECONDS))
        except UnreadableError:
            return _RETRY_SECONDS
        self._remember(queues)
        owned, orphans = slot_map.by_owner(self._streams)
        self._stale = self._stale or bool(orphans)
        self._assign(owned, cluster=slot_map.cluster)
        seconds = self._run_readers()
        self._bound()
        if self._history.due(monotonic()):
            self._history.note(monotonic(), self.events())
        if self._checkpoint is not None:
            with self._lock:
                self._checkpoint.save(self._streams)
        return seconds

    def stop(self) -> None:
        """Write down how far all streams have been read. The readers must have ended."""
        if self._checkpoint is not None:
            with self._lock:
                self._checkpoint.save(self._streams, at_once=True)

    # --- where, and which ---

    def _find(self, deadline: Deadline) -> SlotMap:
        """The owners as they were, or asked for again after one was silent or told of a move."""
        if self._stale and monotonic() >= self._refresh_due:
            self._refresh_due = monotonic() + _RETRY_SECONDS
            self._stale = False
            topology = self._deployment.refresh(deadline)
        else:
            topology = self._deployment.topology(deadline)
        if self._slot_map is None or not self._slot_map.matches(topology):
            self._slot_map = SlotMap(topology)
        return self._slot_map

    def _remember(self, queues: Sequence[QueueId]) -> None:
        """Streams of just these queues; what is gone loses its tallies."""
        if self._streams.keys() == set(queues):
            return
        with self._lock:
            self._streams = {queue: self._streams.get(queue) or self._new(queue) for queue in queues}

    def _new(self, queue: QueueId) -> Stream:
        one = Stream(queue, Jobs(self._buckets), now())
        if self._checkpoint is not None:
            self._checkpoint.restore(queue, one)
        return one

    def _assign(self, owned: Mapping[str, list[QueueId]], *, cluster: bool) -> None:
        """One reader for each node that holds a queue."""
        with self._lock:
            for address, queues in owned.items():
                for queue in queues:
                    self._streams[queue].belongs_to(address)
            self._readers = {
                address: self._readers.get(address) or _Reader(self, address) for address in owned
            }
            for address, reader in self._readers.items():
                reader.streams = [self._streams[queue] for queue in owned[address]]
                reader.cluster = cluster

    def _run_readers(self) -> float:
        if self._group is not None:
            steps = {f"follower {address}": one.step for address, one in self._readers.items()}
            self._group.keep(steps)
            return _STALE_SECONDS if self._stale else _PLAN_SECONDS
        return min((one.step() for one in self._readers.values()), default=_SLOWEST)

    def _bound(self) -> None:
        """Let the queues with most jobs under way forget the oldest, as all of them together have a bound."""
        with self._lock:
            total = sum(one.jobs.remembered for one in self._streams.values())
            while total > _MOST_IN_ALL:
                most = max(self._streams.values(), key=lambda one: one.jobs.remembered)
                total -= most.jobs.remembered
                most.evict()
                total += most.jobs.remembered

    # --- what readers need ---

    def ask(self, address: str, request: Request) -> list[Reply] | Failed:
        """A node's replies. One that fails, or knows of a move, makes the next step look for the owners."""
        answer = self._deployment.execute({address: request}, Deadline.after(_ROUND_SECONDS), pool=_POOL)[
            address
        ]
        if isinstance(answer, Failed):
            self._stale = True
            return answer
        return answer.value

    @contextmanager
    def alone(self) -> Iterator[None]:
        """The streams, while no other reader touches them."""
        with self._lock:
            yield

    def refused(self, one: Stream, error: ReplyError) -> None:
        """After a move, look for the nodes; what is not allowed is asked for again only after a while."""
        if error.code in _MOVED:
            self._stale = True
            return
        one.not_before = monotonic() + (CHECK_IDLE if error.code in _OF_ONE_KEY else _RETRY_SECONDS)
        self.complain(error)

    def complain(self, error: ReplyError) -> None:
        if error.code not in self._refusals:
            log.warning("event stream cannot be read", extra={"error": str(error)})
        self._refusals[error.code] = (monotonic(), str(error))


class _Reader:
    """Reads the streams of one node. Which these are may change at any time, and so may who reads one."""

    def __init__(self, follower: Follower, address: str) -> None:
        self.streams: list[Stream] = []
        self.cluster = False
        self.batch = _BATCH
        self._follower = follower
        self._address = address
        self._one_by_one = False
        self._measured_at = monotonic()

    def step(self) -> float:
        """Read what is new; seconds until the next round, 0 when there is more."""
        started = monotonic()
        streams = self.streams
        # One XREAD may name all streams of a node: not over slots, nor once that was refused.
        whole = not (self.cluster or self._one_by_one)
        with self._follower.alone():
            asked = _Round(streams, self.batch, started, whole=whole)
        if not asked.request.replies:
            return _SLOWEST
        answer = self._follower.ask(self._address, asked.request)
        if isinstance(answer, Failed):
            if answer.kind == "timeout":  # an answer that is too large to come in time would be so for ever
                self.batch = max(_BATCH // 16, self.batch // 4)
            return _RETRY_SECONDS
        self.batch = min(_BATCH, self.batch * 2)
        with self._follower.alone():
            more = self._take(asked, answer)
        return 0.0 if more else self._pause(streams, monotonic() - started)

    def _take(self, asked: _Round, replies: Sequence[Reply]) -> bool:
        """All answers; whether one of the streams has more."""
        rest = iter(replies)
        for one in asked.joining:
            info = next(rest)
            if one.last is None and one.owner == self._address:
                self._note(one, one.begin(info, monotonic(), began_ms=self._follower.began_ms))
        for one in asked.repaired:
            active = next(rest)
            if one.owner == self._address and (error := one.seed(active)) is not None:
                self._follower.complain(error)
        checks = {one: tuple(islice(rest, 5)) for one in asked.checked}
        more = False
        for one, batch in _batches(asked, list(rest)):
            if isinstance(batch, ReplyError):
                if asked.whole and batch.code in _OF_ONE_KEY:
                    # One key that is no stream, or not ours to read, must not cost the others theirs.
                    self._one_by_one = more = True
                else:
                    self._follower.refused(one, batch)
            elif one.owner == self._address and one.last == asked.after[one]:
                # else it is another node's reader's: a master that was deposed may hold what nobody kept
                full = len(batch) >= asked.batch
                self._note(one, one.take(batch, checks.get(one), monotonic(), full=full))
                more |= full
        return more

    def _note(self, one: Stream, error: ReplyError | None) -> None:
        if error is not None:
            self._follower.refused(one, error)

    def _pause(self, streams: Iterable[Stream], took: float) -> float:
        """So short that the busiest stream is read some times before it is trimmed."""
        at = monotonic()
        since, self._measured_at = max(at - self._measured_at, _FASTEST), at
        seconds = min(_SLOWEST, max(_IDLE_FASTEST, took * _IDLE_SHARE))
        for one in streams:
            if one.recent:
                rate, one.recent = one.recent / since, 0
                seconds = min(seconds, max(one.length, _SHORTEST) / _HEADROOM / rate)
        return max(_FASTEST, seconds)


class _Round:
    """What one node is asked in one round, and in which order the answers come."""

    def __init__(self, streams: Iterable[Stream], batch: int, at: float, *, whole: bool) -> None:
        own = [one for one in streams if one.not_before <= at]
        self.joining = [one for one in own if one.last is None]
        self.reading = [one for one in own if one.last is not None]
        self.after = {one: one.last for one in self.reading}
        self.repaired = [one for one in self.reading if one.repair]
        self.checked = [one for one in self.reading if one.check_due(at)]
        self.whole = whole and bool(self.reading)
        self.batch = batch
        parts = [one.info for one in self.joining]
        parts += [one.actives for one in self.repaired]
        parts += [part for one in self.checked for part in (one.info, one.counts)]
        head = b"".join(map(bulk, (b"XREAD", b"COUNT", b"%d" % batch, b"STREAMS")))
        if self.whole:
            parts.append(b"*%d\r\n%b" % (4 + 2 * len(self.reading), head))
            parts += [one.key for one in self.reading]
            parts += [one.last_bulk for one in self.reading]
        else:
            head = b"*6\r\n" + head
            parts += [part for one in self.reading for part in (head, one.key, one.last_bulk)]
        replies = len(self.joining) + len(self.repaired) + 5 * len(self.checked)
        self.request = Request(b"".join(parts), replies + (1 if self.whole else len(self.reading)))


def _batches(asked: _Round, replies: list[Reply]) -> list[tuple[Stream, list[Entry] | ReplyError]]:
    """The entries of each stream; the same error for all whose XREAD was refused."""
    if not asked.whole:
        return [(one, _entries(reply)) for one, reply in zip(asked.reading, replies, strict=True)]
    (reply,) = replies
    if isinstance(reply, ReplyError):
        return [(one, reply) for one in asked.reading]
    found = dict(cast("Any", reply or ()))
    return [(one, found.get(one.key.split(b"\r\n", 1)[1][:-2], [])) for one in asked.reading]


def _entries(reply: Reply) -> list[Entry] | ReplyError:
    if isinstance(reply, ReplyError):
        return reply
    return cast("Any", reply)[0][1] if reply else []
