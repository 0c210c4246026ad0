"""One queue's event stream: its read position, and the events known to be missing. No I/O, no clock."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Final, NamedTuple, cast

from exporter.bullmq.keys import base
from exporter.bullmq.queue_commands import Key, QueueCommands
from exporter.bullmq.streams.budget import DEFAULT_LENGTH, StreamSize
from exporter.bullmq.streams.events import Entry, Jobs, missing_before, split_id
from exporter.bullmq.streams.protocol import StreamCheck, StreamInfo, StreamMark, bulk
from exporter.redis.protocol import Reply, ReplyError, pack
from exporter.snapshot.queues import Events, JobCounters, QueueId

log = logging.getLogger(__name__)

START: Final = b"0-0"
CHECK_IDLE: Final = 10.0
"""Seconds between two reads of an idle stream's own counts."""
_CHECK_BUSY: Final = 1.0
FOLLOWED_SECONDS: Final = 30.0  # seconds that the last read of a stream may be ago, to count on it
_LARGE_ENTRY: Final = 8000  # bytes of the mean entry, above which none is read only to see that there is one
_ENTRIES_OF_NODE: Final = 20  # on average: if fewer are trimmed at once, often as many come in the meantime
_HOUR: Final = 3600.0
_RATE_FADES: Final = 0.99  # at each check
_MAX_ACTIVE: Final = 1000  # active jobs of a queue that are read when it is first followed


_MEMORY: Final = QueueCommands(("MEMORY", "USAGE", Key("events"), "SAMPLES", 0))
_INFO: Final = QueueCommands(("XINFO", "STREAM", Key("events"), "FULL", "COUNT", 1))
_SHORT_INFO: Final = QueueCommands(("XINFO", "STREAM", Key("events")))
_LENGTH: Final = QueueCommands(("XLEN", Key("events")))
_COUNTS: Final = (
    QueueCommands(("LLEN", Key("wait"))),
    QueueCommands(("LLEN", Key("paused"))),
    QueueCommands(("ZCARD", Key("prioritized"))),
    QueueCommands(("LLEN", Key("active"))),
    QueueCommands(("HMGET", Key("meta"), "opts.maxLenEvents")),
)
_ACTIVE_MEMORY: Final = QueueCommands(("MEMORY", "USAGE", Key("active"), "SAMPLES", 0))


class StreamPosition(NamedTuple):
    """The position in a stream, as the state file stores it; `last` is the id of the last entry read."""

    last: bytes
    read: int
    lost: int
    undone: int
    added_before: int | None
    since: float


_new_tuple: Final = tuple.__new__


class Idle:
    """When streams that have nothing new were last seen to have nothing: `at` (monotonic s), `ms` by Redis'
    clock (None: not known). One object for all of a node, `address`.

    `seen` are those of which somebody else has seen an entry, any thread may add one: their length is the
    same where as many entries were trimmed as came."""

    __slots__ = ("address", "at", "ms", "seen")

    def __init__(self, address: str = "") -> None:
        self.address: Final = address
        self.at = 0.0
        self.ms: int | None = None
        self.seen: set[Stream] = set()


class Stream:
    """Has the packed commands and applies the replies. `last` is None until the start position is known.

    `at` is always monotonic seconds; `since` is the unix time at which the counters begin.
    """

    __slots__ = (
        "_added_at_check",
        "_added_before",
        "_busy_seconds",
        "_caught_up_at",
        "_checked_at",
        "_first_at_check",
        "_first_since_check",
        "_held_by",
        "_last_at_check",
        "_limit_read",
        "_losing",
        "_moved",
        "_owner",
        "_passed_over",
        "_passed_over_at",
        "_rate_from",
        "_since_check",
        "_skipped_to",
        "asked",
        "behind",
        "compared_at",
        "counters",
        "exists",
        "gaps",
        "idle",
        "jobs",
        "key",
        "last",
        "last_bulk",
        "late",
        "length",
        "lost",
        "max_length",
        "needs_seed",
        "peak_rate",
        "queue",
        "raw_key",
        "read",
        "recent",
        "refused",
        "retry_at",
        "shown",
        "shown_turn",
        "since",
        "size",
        "turn",
        "undone",
    )

    def __init__(self, queue: QueueId, jobs: Jobs, since: float) -> None:
        self.jobs = jobs
        self.exists = False  # at the last look
        self.compared_at = 0.0  # when the position was last compared with the stream itself
        self.queue: Final = queue
        self.raw_key: Final = (base(queue) + "events").encode("utf-8", "surrogateescape")
        self.key: Final = bulk(self.raw_key)
        self.size = StreamSize()
        self.last: bytes | None = None
        self.last_bulk = b""
        self.read = 0
        self.lost = 0
        self.undone = 0
        self.gaps = 0  # how often an unknown number of events was lost
        self.since = since
        self.length = 0  # the length to which the stream is trimmed, once it has been in use for a while
        self.recent = 0
        self.retry_at = 0.0
        self.needs_seed = False  # the active jobs must be read, as events are missing
        self.asked: str | None = None  # the node to which the one that owns the slot is moving the stream
        self.refused = ""  # why the stream cannot be read
        self.idle: Idle | None = None  # while only its length is read
        self.turn = 0  # how often it came to rest or was woken: while it rests and this is the same, all is
        self.behind = False  # more was there than the last answer had
        self.late = 0  # how often in a row its entries did not arrive in time
        self.counters: JobCounters = jobs.counters()
        self.max_length: int | None = None  # opts.maxLenEvents
        self._limit_read = False
        self.peak_rate = 0.0  # the most events a second between two checks of late
        self._added_before: int | None = None  # entries-added less the entries read and lost
        self._since_check = 0
        self._checked_at: float | None = None
        self._last_at_check = START
        self._first_at_check: bytes | None = None
        self._first_since_check: bytes | None = None
        self._added_at_check: int | None = None
        self._rate_from: tuple[float, int] | None = None
        self._skipped_to: bytes | None = None
        self._passed_over = ""
        self._passed_over_at = 0.0
        self._losing = False
        self._owner: str | None = None
        self._held_by: str | None = None  # the last owner
        self._moved = False
        self._caught_up_at: float | None = None
        self._busy_seconds = 0.0
        self.shown: Events | None = None  # what was counted, if nothing of it changes while it rests
        self.shown_turn = -1  # the turn of which that is

    # --- its commands, put together when they are sent: packed they would be a kB of each queue ---

    @property
    def memory_request(self) -> bytes:
        """MEMORY USAGE with all samples."""
        return _MEMORY.packed(self._base)

    @property
    def info_request(self) -> bytes:
        """XINFO STREAM in its full form, with one entry."""
        return _INFO.packed(self._base)

    @property
    def short_info_request(self) -> bytes:
        """XINFO STREAM as servers before Redis 6 know it."""
        return _SHORT_INFO.packed(self._base)

    @property
    def length_request(self) -> bytes:
        return _LENGTH.packed(self._base)

    @property
    def counts_requests(self) -> tuple[bytes, ...]:
        """The lengths of the lists of jobs, and to how many events the stream is trimmed."""
        return tuple(commands.packed(self._base) for commands in _COUNTS)

    @property
    def active_memory_request(self) -> bytes:
        """MEMORY USAGE of the active jobs."""
        return _ACTIVE_MEMORY.packed(self._base)

    def active_request(self, *, measured: bool) -> bytes:
        """The command for the jobs that are active; fewer where the bytes of their ids are not known."""
        return pack("LRANGE", self._base + b"active", 0, (_MAX_ACTIVE if measured else _MAX_ACTIVE // 10) - 1)

    def sample_request(self, samples: int) -> bytes:
        """MEMORY USAGE with so many samples."""
        return pack("MEMORY", "USAGE", self.raw_key, "SAMPLES", samples)

    @property
    def _base(self) -> bytes:
        return self.raw_key[: -len(b"events")]

    # --- its position ---

    def resume(self, position: StreamPosition) -> None:
        """Continue where an earlier process stopped. No counter is served before all newer events were read:
        a counter that is lower than what was served before would look like a reset."""
        self.seek(position.last)
        self.read, self.lost, self.undone = position.read, position.lost, position.undone
        self._added_before, self.since = position.added_before, position.since
        self._last_at_check = position.last
        if position.added_before is not None:
            self._added_at_check = position.added_before + position.read + position.lost
        self.counters = self.jobs.counters()

    def position(self) -> StreamPosition | None:
        """The argument of `resume`; None before the start position is known."""
        if self.last is None:
            return None
        return StreamPosition(self.last, self.read, self.lost, self.undone, self._added_before, self.since)

    def events(self, at: float) -> Events | None:
        """The counters so far; None until the stream was read to its end once, and while it is refused.

        While it rests the lag is its node's, and while no job is active either, all is as it is `shown`.
        """
        caught_up_at, idle, turn = self._caught_up_at, self.idle, self.turn
        if caught_up_at is None or self.refused:
            return None
        busy, passed_over = self._busy_seconds, self._passed_over
        rests = idle is not None and idle.at > caught_up_at
        if idle is not None and rests:
            extended = self.jobs.busy_at(idle.ms or 0) / 1000
            busy = self._busy_seconds = max(busy, extended)
        lag = at - caught_up_at
        events = _new_tuple(  # of thousands of streams in each scrape: a third of the time of `Events(...)`
            Events,
            (
                self.counters,
                self.read,
                self.lost,
                0.0 if rests or lag < 0.0 else lag,
                self.undone,
                self.since,
                self.gaps,
                self.max_length,
                self.peak_rate,
                passed_over if passed_over and at - self._passed_over_at < _HOUR else "",
                busy,
                idle.address if idle is not None and rests else "",
            ),
        )
        if rests and not passed_over and not self.jobs.any_active:
            self.shown, self.shown_turn = events, turn
        return events

    def mark(self, at: float) -> StreamMark | None:
        """What XREAD is to find nothing after, while nothing happens in the queue; None where that would say
        nothing, or would be a large answer."""
        if self.last is None or not self.tells(at):
            return None
        return StreamMark(self.last_bulk, self.lost, self.undone, self.gaps, self.compared_at)

    def tells(self, at: float) -> bool:
        """Whether XREAD would find what happens in the queue, in a small answer."""
        caught_up, idle = self._caught_up_at, self.idle
        if not self.exists or caught_up is None:
            return False
        if self.max_length == 0 or (self.max_length is None and not self.length):
            return False  # each entry is trimmed as it is added, or may be
        if at - (caught_up if idle is None else max(caught_up, idle.at)) > FOLLOWED_SECONDS:
            return False
        return self.asked is None and not self.refused and self._mean_entry <= _LARGE_ENTRY

    def is_at(self, mark: StreamMark) -> bool:
        """Whether nothing happened since that mark, as far as was read."""
        return (
            self.last_bulk == mark.position
            and self.lost == mark.lost
            and self.undone == mark.undone
            and self.gaps == mark.gaps
        )

    @property
    def _mean_entry(self) -> float:
        """Bytes of an entry, as far as that is known."""
        memory = self.size.memory
        return self.size.largest if memory is None else memory / max(1, self.length)

    @property
    def owner(self) -> str | None:
        """The node that holds the stream now; None: none does."""
        return self._owner

    def set_owner(self, address: str | None) -> None:
        """Set the node that holds the stream; None while no node does. After a move the stream's own counts
        are read immediately."""
        if address == self._owner:
            return
        self.wake()
        self._owner, self._checked_at, self.asked = address, None, None
        if address is not None:
            self._moved = self._moved or self._held_by not in (None, address)
            self._held_by = address

    @property
    def settled_at(self) -> float | None:
        """When it was last checked, if since then it has had no entry and there is nothing to read: then its
        length shows whether something happens. Else None."""
        unread = self.behind or self.needs_seed or self.refused or self.asked or self._since_check
        read = self._caught_up_at is not None and self.last == self._last_at_check and not self._moved
        return self._checked_at if read and not unread and self._length_changes else None

    @property
    def _length_changes(self) -> bool:
        """Whether a new entry changes the length: none is trimmed for it, or many at once, as Redis trims
        whole nodes."""
        if not self._limit_read:
            return False
        if self.length < (DEFAULT_LENGTH if self.max_length is None else self.max_length):
            return True
        return self.length >= self.size.nodes * _ENTRIES_OF_NODE > 0

    def rest(self, idle: Idle) -> None:
        """From now on `idle` has when it was last seen to have nothing new."""
        self.turn += 1
        self.idle = idle

    def wake(self) -> None:
        """It is read again from now on, and its own counts at once: it may be another stream."""
        idle, self.idle = self.idle, None
        self.turn += 1
        if idle is not None:
            self._checked_at = None
            if self._caught_up_at is not None and idle.at > self._caught_up_at:
                self.nothing_new(idle.at, idle.ms)

    @property
    def name(self) -> str:
        """The key, for people."""
        return self.raw_key.decode("utf-8", "replace")

    def check_due(self, at: float) -> bool:
        """Whether its own counts are to be read; they are compared once it is read to its end."""
        if self.behind:
            return False
        if self._checked_at is None:
            return True
        return at - self._checked_at >= (_CHECK_BUSY if self._since_check else CHECK_IDLE)

    def postpone_check(self, at: float) -> None:
        """Count the check as done: its answer would be too large now."""
        self._checked_at = at

    def seek(self, entry_id: bytes) -> None:
        self.last = entry_id
        self.last_bulk = bulk(entry_id)

    def start(self, info: StreamInfo | None, at: float, *, started_ms: int, now_ms: int) -> None:
        """Start at the end of the stream, or at its beginning if all its entries are newer than `started_ms`.

        Both are by Redis' clock. Without `info`, which would be too large an answer, start now.
        """
        self.needs_seed = True
        self._checked_at = at
        if info is None:
            self.seek(_end_of(now_ms - 1))
            self._skipped_to = self.last
            return
        trimmed = info.added is not None and not info.complete  # Redis before 7 counts no entries
        is_new = info.first is not None and split_id(info.first)[0] >= started_ms and not trimmed
        self._added_before = 0 if is_new or not info.exists else info.added
        self._observe(info, at)
        self.seek(START if is_new else info.last)
        self.needs_seed = not is_new

    def skip(self, info: StreamInfo | None, length: int, why: str, at: float, *, now_ms: int) -> None:
        """Pass over all entries that are not read yet, and count them as lost.

        Without `info` by the `length` of the stream, which is too few where entries were trimmed; the next
        check counts them exactly.
        """
        self._passed_over, self._passed_over_at = why, at
        self.size.all_read()
        counted = (self._added_before or 0) + self.read + self.lost
        if info is None:
            self.seek(max(self.last or START, _end_of(now_ms), key=split_id))
            self._skipped_to = self.last
            self._record_loss(self.lost + max(1, length - counted))
            return
        known = info.added is not None and self._added_before is not None
        self.seek(max(self.last or START, info.last, key=split_id))
        self._record_loss(self.lost + max(0, (info.added or 0) - counted if known else 1))

    def unread_entries(self, info: StreamInfo | None) -> int | None:
        """How many entries were not read yet; None if that is not known."""
        if info is None or info.added is None or self._added_before is None:
            return None
        return max(1, info.added - self._added_before - self.read - self.lost)

    def evict(self) -> None:
        """Forget the oldest of the remembered jobs."""
        self.jobs.evict()
        self.counters = self.jobs.counters()
        self.turn += 1

    def seed(self, active: Reply, ms: int | None) -> ReplyError | None:
        """Add the jobs that are active now, at `ms`; the stream can be followed without them too."""
        self.needs_seed = False
        if isinstance(active, ReplyError):
            return active
        if isinstance(active, list):
            self.jobs.seed((job for job in active if isinstance(job, bytes)), ms or 0)
        return None

    def nothing_new(self, at: float, ms: int | None) -> None:
        """The stream was read to its end after `ms` (as in `apply`), and had no new entry."""
        self.refused, self.late, self.behind = "", 0, False
        self._caught_up_at = at
        self.jobs.settle()
        self._extend_busy(ms)
        self.size.all_read()

    def apply(
        self,
        batch: Sequence[Entry],
        check: StreamCheck | None,
        at: float,
        ms: int | None = None,
        *,
        full: bool,
    ) -> None:
        """Apply new entries; unless the batch is `full`, the stream has been read to its end, after the time
        `ms` by Redis' clock (None: not known)."""
        before = self.last or START
        self.refused, self.late, self.behind = "", 0, full
        if batch:
            first, last = cast("bytes", batch[0][0]), cast("bytes", batch[-1][0])
            if self._added_before is None:
                self._record_loss(self.lost + missing_before(first, before))
            if check is not None and self._interrupted(check.info, before, at):
                self.jobs.forget()
            self.jobs.feed(batch)
            self.read += len(batch)
            self._since_check += len(batch)
            self._first_since_check = self._first_since_check or first
            self.recent += len(batch)
            self.seek(last)
        if not full:
            self.jobs.settle()
            self._caught_up_at = at
            if check is not None:
                self._check(batch, check, before, at)
        if batch:
            self.counters = self.jobs.counters()
        self._extend_busy(None if full else ms)

    def _extend_busy(self, ms: int | None) -> None:
        if ms is not None:
            self.jobs.advance(ms)
        self._busy_seconds = max(self._busy_seconds, self.jobs.busy[0] / 1000)

    def _interrupted(self, info: StreamInfo, before: bytes, at: float) -> bool:
        """Whether entries were trimmed while the stream was not read for long: what was active before would
        count as busy all that time."""
        if self._caught_up_at is not None and at - self._caught_up_at <= CHECK_IDLE:
            return False
        if before == START or info.first is None or split_id(info.first) <= split_id(before):
            return False
        known = info.added is not None and self._added_before is not None
        trimmed = (info.added or 0) - info.length
        return not known or trimmed != (self._added_before or 0) + self.read + self.lost

    # --- the stream's own counts ---

    def _observe(self, info: StreamInfo, at: float) -> None:
        """Keep what the next check is compared with."""
        self.exists = info.exists
        self.compared_at = at
        self.length = info.length
        self.size.nodes = info.nodes
        self._checked_at = at
        self._first_at_check, self._last_at_check = info.first, info.last
        self._added_at_check = info.added
        if info.added is not None:
            if self._rate_from is not None and at > self._rate_from[0] and info.added >= self._rate_from[1]:
                rate = (info.added - self._rate_from[1]) / (at - self._rate_from[0])
                self.peak_rate = max(rate, self.peak_rate * _RATE_FADES)
            self._rate_from = (at, info.added)

    def _check(self, batch: Sequence[Entry], check: StreamCheck, before: bytes, at: float) -> None:
        """Compare the entries read with the stream's own count of entries, from before `batch` was read."""
        info = check.info
        since_check, self._since_check = self._since_check, 0
        self.max_length, self._limit_read = check.max_length, True
        if not info.exists:
            self._check_absent(len(batch), had_entries=since_check > len(batch) or bool(self._added_at_check))
            self._first_since_check = cast("bytes", batch[0][0]) if batch else None
            self._observe(info, at)
            return
        end = split_id(info.last)
        later = sum(_is_after(cast("bytes", entry[0]), end) for entry in batch)
        went_back = end < split_id(before) and before != self._skipped_to
        same = self._moved or self._is_same(info, went_back=went_back)
        self._first_since_check = None
        if info.added is None:
            self._added_before = None
            if went_back and same:
                self._record_undone(1)
            elif went_back:
                self._record_replaced(info.length)
        else:
            self._reconcile(info, later, since_check, went_back=went_back, same=same)
        if went_back:  # another server's stream, or a new one: continue from its end
            self.seek(info.last)
            self.jobs.forget()
        self._moved = False
        self._observe(info, at)
        if check.jobs is not None:
            wait, paused, prioritized, active = check.jobs
            first = split_id(cast("bytes", batch[0][0]))[0] if batch else split_id(before)[0] + 1
            remembered = self.jobs.remembered
            self.jobs.prune(first, waiting=wait + paused + prioritized > 0, active=active > 0)
            if self.jobs.remembered < remembered:
                self.counters = self.jobs.counters()

    def _is_same(self, info: StreamInfo, *, went_back: bool) -> bool:
        """A stream that was created again begins later than the one before it ended, unless the clock of its
        server went back; and one that still has all its entries begins where it always began."""
        if info.complete and self._first_at_check not in (None, info.first):
            return False
        known = self._first_since_check
        if went_back and info.complete and not self._added_at_check and known not in (None, info.first):
            return False  # it had no entry at the last check: the first that was read was its first
        if self._added_at_check or (known is None and self._added_at_check is None):
            known = self._last_at_check
        return known is None or (info.first is not None and split_id(info.first) <= split_id(known))

    def _check_absent(self, later: int, *, had_entries: bool) -> None:
        """Deleted, flushed or obliterated: the next entries are a new stream's."""
        if self._moved:  # a new master that never had it
            self._record_undone(self.read)
            self._moved = False
        elif had_entries:
            self._record_replaced(0)
        self._added_before = later - self.read - self.lost
        self.jobs.forget()

    def _reconcile(
        self, info: StreamInfo, later: int, since_check: int, *, went_back: bool, same: bool
    ) -> None:
        """The stream ever had `info.added` entries, and all that were read but for the `later` ones are of
        them: the rest was lost, or undone, or it is another stream.

        If the `same` stream has fewer entries than were read, a master died with entries that it had not
        replicated, or restarted from an older file. If all entries of a stream that had some before are
        younger than those, it was deleted and created again.
        """
        added = info.added or 0
        entries = self.read - later
        if self._added_before is not None:
            missing = added - self._added_before - entries - self.lost
            created_again = not same and (info.complete or missing < 0)
            if created_again and info.first is not None and not went_back:
                # What was read since the last check may be of either stream.
                self._record_replaced(max(0, added - (since_check - later)))
            elif missing >= 0 and (same or not went_back):
                self._record_loss(self.lost + missing)
                return
            elif same:
                self._record_undone(min(-missing, self.read))
            else:  # a new one that went back has only ids before the last that was read: none was read
                self._record_replaced(added if went_back else 0)
        self._added_before = added - entries - self.lost

    def _record_replaced(self, lost: int) -> None:
        """The stream is another one: what the old one had at its end, unread, is not known."""
        log.warning("event stream replaced", extra={"stream": self.name, "events": lost})
        self.gaps += 1
        self.lost += lost
        self._restart_jobs()

    def _record_loss(self, lost: int) -> None:
        if lost > self.lost and not self._losing:  # once a burst
            log.warning(
                "events lost",
                extra={"stream": self.name, "events": lost - self.lost},
            )
        self._losing = lost > self.lost
        if self._losing:
            self.lost = lost
            self._restart_jobs()

    def _record_undone(self, events: int) -> None:
        log.warning(
            "events undone",
            extra={"stream": self.name, "events": events},
        )
        self.undone += events
        self._restart_jobs()

    def _restart_jobs(self) -> None:
        self.jobs.forget()
        self.needs_seed = True


def _is_after(entry_id: bytes, end: tuple[int, int]) -> bool:
    """An id that is none is of no later entry."""
    try:
        return split_id(entry_id) > end
    except ValueError:
        return False


def _end_of(ms: int) -> bytes:
    """The greatest id of this ms."""
    return b"%d-%d" % (ms, (1 << 64) - 1)
