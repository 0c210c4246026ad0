"""Follows the queues' event streams in the background, read-only: XREAD without groups.

A queue that is known for the first time is followed from the end of its stream, so that earlier events do not
count; a queue that was created after the exporter started, and whose stream is still complete, from its
beginning; a queue in the state file, from the saved position. The number of events that were trimmed before
they were read follows from the stream's own count of all entries ever added.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from heapq import heapify, heapreplace
from typing import Final, NamedTuple

from exporter.bullmq.counts import MOVED
from exporter.bullmq.names.folding import LONGEST_NAME_READ, NAMES_READ_PER_SECOND, folded_name
from exporter.bullmq.names.tally import NameTally
from exporter.bullmq.placement import SlotMap
from exporter.bullmq.reasons.masking import LONGEST_READ, REASONS_READ_PER_SECOND, masked_reason
from exporter.bullmq.reasons.tally import ReasonTally
from exporter.bullmq.streams.events import Jobs
from exporter.bullmq.streams.rates import RateHistory
from exporter.bullmq.streams.reader import MAX_PAUSE, RETRY_SECONDS, Reader
from exporter.bullmq.streams.state_file import CheckpointFile
from exporter.bullmq.streams.stream import CHECK_IDLE, Idle, Stream
from exporter.bullmq.tallies.known_texts import BURST_SECONDS, KnownTexts
from exporter.bullmq.tallies.label_budget import LabelBudget
from exporter.config.bullmq import BullMQSettings
from exporter.redis.deployment import Deployment
from exporter.redis.protocol import Reply, ReplyError, Request
from exporter.snapshot.queues import CheckpointWrites, Events, EventTotals, QueueId, QueueRates
from service.clock import Deadline, monotonic, now
from service.outcome import Failed, UnreadableError
from service.rate_limit import TokenBucket
from service.threads import WorkerGroup

log = logging.getLogger(__name__)

_POOL: Final = "follow"
_ROUND_SECONDS: Final = 10.0
_PLAN_SECONDS, _STALE_SECONDS = 1.0, 0.25  # between two checks of the owners
_QUIET_SECONDS: Final = 600.0  # without an error of its kind, after which one is logged again
_MAX_REMEMBERED: Final = 250_000  # jobs of all queues that are remembered: 55 MB with UUIDs for ids
_TRANSIENT: Final = frozenset(
    {"LOADING", "CLUSTERDOWN", "MASTERDOWN", "TRYAGAIN", "BUSY", "UNKILLABLE", "READONLY"}
)  # errors of a node that pass; the streams are followed on after them


class FollowedEvents(NamedTuple):
    """The counters of queues, and the lag in seconds of the streams that rest, by their node."""

    events: dict[QueueId, Events]
    node_lags: Mapping[str, float]


class Follower:
    """`step` assigns the streams to readers, one for each node, so that a node that hangs delays no other.

    With a worker group the readers are its threads; without one, `step` runs them in turn. Any thread may
    call `events`, whose parts are replaced as a whole.
    """

    def __init__(
        self,
        deployment: Deployment,
        settings: BullMQSettings,
        *,
        group: WorkerGroup | None = None,
        checkpoint: CheckpointFile | None = None,
        slowdown: Callable[[], float] = lambda: 1.0,
    ) -> None:
        self._slowdown = slowdown
        self._deployment = deployment
        self._buckets = settings.event_buckets
        self._native = settings.histograms != "classic"
        self._settings = settings
        self._reasons = LabelBudget(settings.max_failed_reasons)
        self._names = LabelBudget(settings.max_job_names)
        reasons = TokenBucket(REASONS_READ_PER_SECOND, BURST_SECONDS * REASONS_READ_PER_SECOND)
        names = TokenBucket(NAMES_READ_PER_SECOND, BURST_SECONDS * NAMES_READ_PER_SECOND)
        self._reason_texts = KnownTexts(masked_reason, LONGEST_READ, reasons.take)
        self._name_texts = KnownTexts(folded_name, LONGEST_NAME_READ, names.take)
        self._group = group
        self._checkpoint = checkpoint
        self._lock = threading.Lock()  # of the streams: readers apply their replies one after the other
        self._streams: dict[QueueId, Stream] = {}
        self._totals_lock = threading.Lock()
        self._others = EventTotals()  # of streams that are gone, less what others had from the state file
        self._readers: dict[str, Reader] = {}
        self._idle: Mapping[str, Idle] = {}  # by node; replaced as a whole
        self._slot_map: SlotMap | None = None
        self._queues: Sequence[QueueId] | None = None
        self._assigned: SlotMap | None = None
        self._orphaned = False  # a stream has no node
        self._fed = False  # entries were read since the last step
        self._stale = False
        self._refresh_due = 0.0
        self.started_ms = int(now() * 1000)
        self._history = RateHistory()
        self._refusals: dict[str, tuple[float, str]] = {}

    def events(self) -> dict[QueueId, Events]:
        """Each queue's counters as of the last round; without queues that were not read to the end yet."""
        followed, lags = self.followed()
        return {
            queue: events._replace(lag=lags[events.resting], resting="") if events.resting else events
            for queue, events in followed.items()
        }

    def followed(self) -> FollowedEvents:
        """The same, in a tenth of the time: those of streams that rest are the same objects as before."""
        at, before = monotonic(), self._idle
        # Before the events: what came after that is in none of them.
        lags = {address: max(0.0, at - idle.at) for address, idle in before.items()}
        events = {
            queue: stream.shown if stream.shown_turn == stream.turn else stream.events(at)
            for queue, stream in list(self._streams.items())
        }
        known = {queue: each for queue, each in events.items() if each is not None}
        if self._idle is not before:  # a node came meanwhile: streams may rest at it by now
            lags = {address: max(0.0, at - idle.at) for address, idle in self._idle.items()} | lags
        return FollowedEvents(known, lags)

    def totals(self) -> EventTotals:
        """What was read of all streams since the start."""
        with self._totals_lock:
            streams, others = self._streams, self._others
        return _totals(streams.values()).plus(others)

    def checkpoint_writes(self) -> CheckpointWrites | None:
        """How keeping the counters over a restart goes; None: they are not kept."""
        return None if self._checkpoint is None else self._checkpoint.writes

    def rates(self, events: Mapping[QueueId, Events]) -> QueueRates:
        """Rates and quantiles of the last minutes up to these events."""
        return self._history.rates(monotonic(), events)

    def streams(self) -> Mapping[QueueId, Stream]:
        """The stream of each queue that is followed, which its reader may move at any time."""
        return self._streams

    def problems(self) -> tuple[str, ...]:
        """Recent errors, one text for each error code."""
        since = monotonic() - 2 * CHECK_IDLE
        return tuple(f"event streams: {text}" for at, text in list(self._refusals.values()) if at >= since)

    def unfollowed(self) -> dict[QueueId, str]:
        """The queues whose stream is there and is refused, and why."""
        return {queue: stream.refused for queue, stream in list(self._streams.items()) if stream.refused}

    def step(self, queues: Sequence[QueueId]) -> float:
        """Assign these queues to the readers of their nodes; the seconds until the next step (without a
        worker group, until the next round of reading, 0 if there is more)."""
        try:
            slot_map = self._current_slot_map(Deadline.after(_ROUND_SECONDS))
        except UnreadableError:
            return RETRY_SECONDS
        if self._assigned is not slot_map or self._queues != queues:
            self._update_streams(queues)
            owned, orphans = slot_map.by_owner(self._streams)
            self._assign(owned, orphans, cluster=slot_map.cluster)
            self._queues, self._assigned, self._orphaned = queues, slot_map, bool(orphans)
        self._stale = self._stale or self._orphaned
        seconds = self._run_readers()
        if self._fed:
            self._fed = False
            self._limit_memory()
        if self._history.due(monotonic()):
            self._history.record(monotonic(), self.events(), unix=now())
        if self._checkpoint is not None:
            with self._lock:
                self._checkpoint.save(self._streams)
        return seconds

    def stop(self) -> None:
        """Save the read positions of all streams. The readers must have ended."""
        if self._checkpoint is not None:
            with self._lock:
                self._checkpoint.save(self._streams, at_once=True)

    # --- owners and streams ---

    def _current_slot_map(self, deadline: Deadline) -> SlotMap:
        """The known owners, or the refreshed ones after a node failed or reported a move."""
        if self._stale and monotonic() >= self._refresh_due:
            self._refresh_due = monotonic() + RETRY_SECONDS
            self._stale = False
            topology = self._deployment.refresh(deadline)
        else:
            topology = self._deployment.topology(deadline)
        if self._slot_map is None or not self._slot_map.matches(topology):
            self._slot_map = SlotMap(topology)
        return self._slot_map

    def _update_streams(self, queues: Sequence[QueueId]) -> None:
        """Keep the streams of exactly these queues; removed queues lose their counters."""
        if self._streams.keys() == set(queues):
            return
        with self._lock:
            before = self._streams
            streams = {queue: before.get(queue) or self._new_stream(queue) for queue in queues}
            removed = [stream for queue, stream in before.items() if queue not in streams]
            restored = [stream for queue, stream in streams.items() if queue not in before]
            others = self._others.plus(_totals(removed)).less(_totals(restored))
            with self._totals_lock:  # in between a sum would be of neither, and lower than before
                self._streams, self._others = streams, others

    def _new_stream(self, queue: QueueId) -> Stream:
        most_reasons, most_names = self._settings.failed_reasons, self._settings.job_names_of(queue.name)
        reasons = ReasonTally(self._reasons, most_reasons, self._reason_texts) if most_reasons else None
        names = None
        if most_names:
            native, texts = self._native, self._name_texts
            names = NameTally(self._names, most_names, self._buckets, native=native, texts=texts)
        jobs = Jobs(self._buckets, native=self._native, reasons=reasons, names=names)
        stream = Stream(queue, jobs, now())
        if self._checkpoint is not None:
            self._checkpoint.restore(queue, stream)
        return stream

    def _assign(
        self, owned: Mapping[str, list[QueueId]], orphans: Iterable[QueueId], *, cluster: bool
    ) -> None:
        """Give each node that holds a queue one reader. What no node holds rests nowhere: it is read again
        when its node is back, which may be the same one."""
        with self._lock:
            for queue in orphans:
                self._streams[queue].set_owner(None)
            for address, queues in owned.items():
                for queue in queues:
                    self._streams[queue].set_owner(address)
            self._readers = {
                address: self._readers.get(address) or Reader(self, address) for address in owned
            }
            self._idle = {address: reader.idle for address, reader in self._readers.items()}
            for address, reader in self._readers.items():
                reader.streams = [self._streams[queue] for queue in owned[address]]
                reader.cluster = cluster

    def _run_readers(self) -> float:
        if self._group is not None:
            steps = {f"follower {address}": reader.step for address, reader in self._readers.items()}
            self._group.sync(steps)
            return _STALE_SECONDS if self._stale else _PLAN_SECONDS
        return min((reader.step() for reader in self._readers.values()), default=MAX_PAUSE)

    def _limit_memory(self) -> None:
        """While too many jobs are remembered in all, evict the oldest of the queue with most jobs."""
        with self._lock:
            streams = list(self._streams.values())
            _evict(streams, lambda stream: stream.jobs.remembered, Stream.evict)
            _evict(streams, lambda stream: stream.jobs.remembered_names, lambda each: each.jobs.evict_names())

    # --- for the readers ---

    def execute(self, address: str, request: Request) -> list[Reply] | Failed:
        """A node's replies. A node that fails, or reports a move, makes the next step refresh the owners."""
        deadline = Deadline.after(_ROUND_SECONDS)
        outcome = self._deployment.execute({address: request}, deadline, pool=_POOL)[address]
        if isinstance(outcome, Failed):
            self._stale = True
            return outcome
        return outcome.value

    @property
    def slowdown(self) -> float:
        """How many times longer than usual the pauses are while little happens."""
        return self._slowdown()

    def fed(self) -> None:
        """Entries were read: more jobs may be remembered."""
        self._fed = True

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Hold the lock of the streams."""
        with self._lock:
            yield

    def handle_error(self, stream: Stream, error: ReplyError) -> None:
        """After a move, refresh the owners; a refused stream is read again only after a while."""
        if error.code in MOVED:
            self._stale = True
            return
        transient = error.code in _TRANSIENT
        stream.retry_at = monotonic() + (RETRY_SECONDS if transient else CHECK_IDLE)
        if not transient:
            stream.refused = str(error)
        self.report(error.code, str(error))

    def report(self, kind: str, text: str, event: str = "event stream not readable") -> None:
        """Keep an error for a while, and log the first of its kind after some minutes without."""
        before, _ = self._refusals.get(kind, (-_QUIET_SECONDS, ""))
        if monotonic() - before >= _QUIET_SECONDS:
            log.warning(event, extra={"error": text})
        self._refusals[kind] = (monotonic(), text)


def _evict(streams: Sequence[Stream], size: Callable[[Stream], int], evict: Callable[[Stream], None]) -> None:
    """Evict of the largest until all together are no more than may be. Ten thousand queues with few jobs each
    may be too many, too: none is looked at that is not among the largest."""
    sizes = [size(stream) for stream in streams]
    excess = sum(sizes) - _MAX_REMEMBERED
    if excess <= 0:
        return
    largest = [(-each, place) for place, each in enumerate(sizes)]
    heapify(largest)
    while excess > 0:
        before, place = largest[0]
        evict(streams[place])
        after = size(streams[place])
        excess += before + after
        heapreplace(largest, (-after, place))


def _totals(streams: Iterable[Stream]) -> EventTotals:
    listed = list(streams)
    return EventTotals(
        sum([stream.read for stream in listed]),
        sum([stream.undone for stream in listed]),
        sum([stream.counters.evicted for stream in listed]),
    )
