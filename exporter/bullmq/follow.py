"""Follows the queues' event streams in the background, read-only: XREAD without groups.

A queue that is known for the first time is followed from the end of its stream, so that earlier events do not
count; a queue that was created after the exporter started, and whose stream is still complete, from its
beginning; a queue in the state file, from the saved position. The number of events that were trimmed before
they were read follows from the stream's own count of all entries ever added.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any, Final, cast

from exporter.bullmq.counts import MOVED
from exporter.bullmq.events import Entry, Jobs
from exporter.bullmq.placement import SlotMap
from exporter.bullmq.rates import RateHistory
from exporter.bullmq.state_file import CheckpointFile
from exporter.bullmq.stream import CHECK_IDLE, Stream, bulk
from exporter.config.settings import BullMQSettings
from exporter.redis.deployment import Deployment
from exporter.redis.protocol import Reply, ReplyError, Request
from exporter.snapshot import Events, QueueId, Rates
from service.clock import Deadline, monotonic, now
from service.outcome import Failed, UnreadableError
from service.threads import WorkerGroup

log = logging.getLogger(__name__)

_POOL: Final = "follow"
_ROUND_SECONDS: Final = 10.0
_RETRY_SECONDS: Final = 1.0
_PLAN_SECONDS, _STALE_SECONDS = 1.0, 0.25  # between two checks of the owners
_BATCH: Final = 1000  # entries of a queue in one reply: with 10 kB of return value in each, 10 MB
_MIN_PAUSE, _MAX_PAUSE, _MIN_IDLE_PAUSE = 0.1, 1.0, 0.25  # seconds between two rounds
_IDLE_SHARE: Final = 100  # an idle reader waits 100 times the duration of a round: it works 1 % of the time
_MIN_LENGTH: Final = 100  # entries: a stream is trimmed in steps of this size
_HEADROOM: Final = 2.5  # how many times a stream is read before it could be trimmed
_MAX_REMEMBERED: Final = 250_000  # jobs of all queues that are remembered: 55 MB with UUIDs for ids
_KEY_ERRORS: Final = frozenset({"WRONGTYPE", "NOPERM"})


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
    ) -> None:
        self._deployment = deployment
        self._buckets = settings.event_buckets
        self._group = group
        self._checkpoint = checkpoint
        self._lock = threading.Lock()  # of the streams: readers apply their replies one after the other
        self._streams: dict[QueueId, Stream] = {}
        self._readers: dict[str, _Reader] = {}
        self._slot_map: SlotMap | None = None
        self._stale = False
        self._refresh_due = 0.0
        self.started_ms = int(now() * 1000)
        self._history = RateHistory()
        self._refusals: dict[str, tuple[float, str]] = {}

    def events(self) -> dict[QueueId, Events]:
        """Each queue's counters as of the last round; without queues that were not read to the end yet."""
        at = monotonic()
        by_queue = ((queue, stream.events(at)) for queue, stream in list(self._streams.items()))
        return {queue: events for queue, events in by_queue if events is not None}

    def rates(self, events: Mapping[QueueId, Events]) -> dict[QueueId, Rates]:
        """Rates and quantiles of the last minutes up to these events."""
        return self._history.rates(monotonic(), events)

    def problems(self) -> tuple[str, ...]:
        """Recent errors, one text for each error code."""
        since = monotonic() - 2 * CHECK_IDLE
        return tuple(f"event streams: {text}" for at, text in list(self._refusals.values()) if at >= since)

    def step(self, queues: Sequence[QueueId]) -> float:
        """Assign these queues to the readers of their nodes; the seconds until the next step (without a
        worker group, until the next round of reading, 0 if there is more)."""
        try:
            slot_map = self._current_slot_map(Deadline.after(_ROUND_SECONDS))
        except UnreadableError:
            return _RETRY_SECONDS
        self._update_streams(queues)
        owned, orphans = slot_map.by_owner(self._streams)
        self._stale = self._stale or bool(orphans)
        self._assign(owned, cluster=slot_map.cluster)
        seconds = self._run_readers()
        self._limit_memory()
        if self._history.due(monotonic()):
            self._history.record(monotonic(), self.events())
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
            self._refresh_due = monotonic() + _RETRY_SECONDS
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
            self._streams = {queue: self._streams.get(queue) or self._new_stream(queue) for queue in queues}

    def _new_stream(self, queue: QueueId) -> Stream:
        stream = Stream(queue, Jobs(self._buckets), now())
        if self._checkpoint is not None:
            self._checkpoint.restore(queue, stream)
        return stream

    def _assign(self, owned: Mapping[str, list[QueueId]], *, cluster: bool) -> None:
        """Give each node that holds a queue one reader."""
        with self._lock:
            for address, queues in owned.items():
                for queue in queues:
                    self._streams[queue].set_owner(address)
            self._readers = {
                address: self._readers.get(address) or _Reader(self, address) for address in owned
            }
            for address, reader in self._readers.items():
                reader.streams = [self._streams[queue] for queue in owned[address]]
                reader.cluster = cluster

    def _run_readers(self) -> float:
        if self._group is not None:
            steps = {f"follower {address}": reader.step for address, reader in self._readers.items()}
            self._group.sync(steps)
            return _STALE_SECONDS if self._stale else _PLAN_SECONDS
        return min((reader.step() for reader in self._readers.values()), default=_MAX_PAUSE)

    def _limit_memory(self) -> None:
        """While too many jobs are remembered in all, evict the oldest of the queue with most jobs."""
        with self._lock:
            total = sum(stream.jobs.remembered for stream in self._streams.values())
            while total > _MAX_REMEMBERED:
                most = max(self._streams.values(), key=lambda stream: stream.jobs.remembered)
                total -= most.jobs.remembered
                most.evict()
                total += most.jobs.remembered

    # --- for the readers ---

    def execute(self, address: str, request: Request) -> list[Reply] | Failed:
        """A node's replies. A node that fails, or reports a move, makes the next step refresh the owners."""
        deadline = Deadline.after(_ROUND_SECONDS)
        outcome = self._deployment.execute({address: request}, deadline, pool=_POOL)[address]
        if isinstance(outcome, Failed):
            self._stale = True
            return outcome
        return outcome.value

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
        stream.retry_at = monotonic() + (CHECK_IDLE if error.code in _KEY_ERRORS else _RETRY_SECONDS)
        self.report_error(error)

    def report_error(self, error: ReplyError) -> None:
        if error.code not in self._refusals:
            log.warning("event stream not readable", extra={"error": str(error)})
        self._refusals[error.code] = (monotonic(), str(error))


class _Reader:
    """Reads the streams of one node. Both its streams and the reader of a stream may change at any time."""

    def __init__(self, follower: Follower, address: str) -> None:
        self.streams: list[Stream] = []
        self.cluster = False
        self.batch = _BATCH
        self._follower = follower
        self._address = address
        self._one_stream_per_read = False
        self._measured_at = monotonic()

    def step(self) -> float:
        """Read new entries; the seconds until the next round, 0 if there is more."""
        started = monotonic()
        streams = self.streams
        # One XREAD may name all streams of a node: not across slots, nor once that was refused.
        combined = not (self.cluster or self._one_stream_per_read)
        with self._follower.exclusive():
            read_round = _Round(streams, self.batch, started, combined=combined)
        if not read_round.request.replies:
            return _MAX_PAUSE
        outcome = self._follower.execute(self._address, read_round.request)
        if isinstance(outcome, Failed):
            if outcome.kind == "timeout":  # a reply that is too large to arrive in time would always be late
                self.batch = max(_BATCH // 16, self.batch // 4)
            return _RETRY_SECONDS
        self.batch = min(_BATCH, self.batch * 2)
        with self._follower.exclusive():
            more = self._apply(read_round, outcome)
        return 0.0 if more else self._pause(streams, monotonic() - started)

    def _apply(self, read_round: _Round, replies: Sequence[Reply]) -> bool:
        """Apply all replies; whether one of the streams has more."""
        remaining = iter(replies)
        for stream in read_round.starting:
            info = next(remaining)
            if stream.last is None and stream.owner == self._address:
                self._handle_result(
                    stream, stream.start(info, monotonic(), started_ms=self._follower.started_ms)
                )
        for stream in read_round.seeding:
            active = next(remaining)
            if stream.owner == self._address and (error := stream.seed(active)) is not None:
                self._follower.report_error(error)
        checks = {stream: tuple(islice(remaining, 5)) for stream in read_round.checking}
        more = False
        for stream, batch in _batches(read_round, list(remaining)):
            if isinstance(batch, ReplyError):
                if read_round.combined and batch.code in _KEY_ERRORS:
                    # One key that is not a stream, or not readable, must not block the other streams.
                    self._one_stream_per_read = more = True
                else:
                    self._follower.handle_error(stream, batch)
            elif stream.owner == self._address and stream.last == read_round.after[stream]:
                # else another node's reader has it: a demoted master may hold entries that no other node kept
                full = len(batch) >= read_round.batch
                self._handle_result(stream, stream.apply(batch, checks.get(stream), monotonic(), full=full))
                more |= full
        return more

    def _handle_result(self, stream: Stream, error: ReplyError | None) -> None:
        if error is not None:
            self._follower.handle_error(stream, error)

    def _pause(self, streams: Iterable[Stream], duration: float) -> float:
        """Seconds until the next round: the busiest stream is read several times before it is trimmed."""
        at = monotonic()
        since, self._measured_at = max(at - self._measured_at, _MIN_PAUSE), at
        seconds = min(_MAX_PAUSE, max(_MIN_IDLE_PAUSE, duration * _IDLE_SHARE))
        for stream in streams:
            if stream.recent:
                rate, stream.recent = stream.recent / since, 0
                seconds = min(seconds, max(stream.length, _MIN_LENGTH) / _HEADROOM / rate)
        return max(_MIN_PAUSE, seconds)


class _Round:
    """The request to one node in one round, and the order of its replies."""

    def __init__(self, streams: Iterable[Stream], batch: int, at: float, *, combined: bool) -> None:
        readable = [stream for stream in streams if stream.retry_at <= at]
        self.starting = [stream for stream in readable if stream.last is None]
        self.reading = [stream for stream in readable if stream.last is not None]
        self.after = {stream: stream.last for stream in self.reading}
        self.seeding = [stream for stream in self.reading if stream.needs_seed]
        self.checking = [stream for stream in self.reading if stream.check_due(at)]
        self.combined = combined and bool(self.reading)
        self.batch = batch
        parts = [stream.info_request for stream in self.starting]
        parts += [stream.active_request for stream in self.seeding]
        parts += [part for stream in self.checking for part in (stream.info_request, stream.counts_request)]
        head = b"".join(map(bulk, (b"XREAD", b"COUNT", b"%d" % batch, b"STREAMS")))
        if self.combined:
            parts.append(b"*%d\r\n%b" % (4 + 2 * len(self.reading), head))
            parts += [stream.key for stream in self.reading]
            parts += [stream.last_bulk for stream in self.reading]
        else:
            head = b"*6\r\n" + head
            parts += [part for stream in self.reading for part in (head, stream.key, stream.last_bulk)]
        replies = len(self.starting) + len(self.seeding) + 5 * len(self.checking)
        self.request = Request(b"".join(parts), replies + (1 if self.combined else len(self.reading)))


def _batches(read_round: _Round, replies: list[Reply]) -> list[tuple[Stream, list[Entry] | ReplyError]]:
    """The entries of each stream; if a combined XREAD was refused, the same error for all its streams."""
    if not read_round.combined:
        return [(stream, _entries(reply)) for stream, reply in zip(read_round.reading, replies, strict=True)]
    (reply,) = replies
    if isinstance(reply, ReplyError):
        return [(stream, reply) for stream in read_round.reading]
    entries_by_key = dict(cast("Any", reply or ()))
    return [
        (stream, entries_by_key.get(stream.key.split(b"\r\n", 1)[1][:-2], []))
        for stream in read_round.reading
    ]


def _entries(reply: Reply) -> list[Entry] | ReplyError:
    if isinstance(reply, ReplyError):
        return reply
    return cast("Any", reply)[0][1] if reply else []
