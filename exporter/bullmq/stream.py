"""One queue's event stream: its read position, and the events known to be missing. No I/O, no clock."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple, cast

from exporter.bullmq.events import Entry, Jobs, missing_before, split_id
from exporter.bullmq.keys import base
from exporter.redis.protocol import Reply, ReplyError, pack
from exporter.snapshot import Events, JobCounters, QueueId

log = logging.getLogger(__name__)

START: Final = b"0-0"
CHECK_IDLE: Final = 10.0
"""Seconds between two reads of an idle stream's own counts."""
_CHECK_BUSY: Final = 1.0
_MAX_ACTIVE: Final = 1000  # active jobs of a queue that are read when it is first followed


class StreamPosition(NamedTuple):
    """The position in a stream, as the state file stores it; `last` is the id of the last entry read."""

    last: bytes
    read: int
    lost: int
    undone: int
    added_before: int | None
    since: float


class Stream:
    """Has the packed commands and applies the replies. `last` is None until the start position is known.

    `at` is always monotonic seconds; `since` is the unix time at which the counters begin.
    """

    def __init__(self, queue: QueueId, jobs: Jobs, since: float) -> None:
        key = base(queue)
        self.jobs = jobs
        self.key: Final = bulk((key + "events").encode("utf-8", "surrogateescape"))
        self.info_request: Final = pack("XINFO", "STREAM", key + "events")
        self.counts_request: Final = b"".join(
            (
                pack("LLEN", key + "wait"),
                pack("LLEN", key + "paused"),
                pack("ZCARD", key + "prioritized"),
                pack("LLEN", key + "active"),
            )
        )
        self.active_request: Final = pack("LRANGE", key + "active", 0, _MAX_ACTIVE - 1)
        self.last: bytes | None = None
        self.last_bulk = b""
        self.read = 0
        self.lost = 0
        self.undone = 0
        self.since = since
        self.length = 0  # the length to which the stream is trimmed, once it has been in use for a while
        self.recent = 0
        self.retry_at = 0.0
        self.needs_seed = False  # the active jobs must be read, as events are missing
        self.counters: JobCounters = jobs.counters()
        self._added_before: int | None = None  # entries-added less the entries read and lost
        self._since_check = 0
        self._checked_at: float | None = None
        self._losing = False
        self._owner: str | None = None
        self._moved = False
        self._caught_up_at: float | None = None

    def resume(self, position: StreamPosition) -> None:
        """Continue where an earlier process stopped. No counter is served before all newer events were read:
        a counter that is lower than what was served before would look like a reset."""
        self.seek(position.last)
        self.read, self.lost, self.undone = position.read, position.lost, position.undone
        self._added_before, self.since = position.added_before, position.since
        self.counters = self.jobs.counters()

    def position(self) -> StreamPosition | None:
        """The argument of `resume`; None before the start position is known."""
        if self.last is None:
            return None
        return StreamPosition(self.last, self.read, self.lost, self.undone, self._added_before, self.since)

    def events(self, at: float) -> Events | None:
        """The counters so far; None until the stream was read to its end once."""
        if self._caught_up_at is None:
            return None
        lag = max(0.0, at - self._caught_up_at)
        return Events(self.counters, self.read, self.lost, lag, self.undone, self.since)

    @property
    def owner(self) -> str | None:
        """The node that holds the stream now."""
        return self._owner

    def set_owner(self, address: str) -> None:
        """Set the node that holds the stream. After a move the stream's own counts are read immediately."""
        if address != self._owner:
            self._moved = self._owner is not None
            self._owner, self._checked_at = address, None

    def check_due(self, at: float) -> bool:
        if self._checked_at is None:
            return True
        return at - self._checked_at >= (_CHECK_BUSY if self._since_check else CHECK_IDLE)

    def seek(self, entry_id: bytes) -> None:
        self.last = entry_id
        self.last_bulk = bulk(entry_id)

    def start(self, info: Reply, at: float, *, started_ms: int) -> ReplyError | None:
        """Start at the end of the stream, or at its beginning if all its entries are newer than `started_ms`.

        Returns the error if neither can be determined.
        """
        if isinstance(info, ReplyError) and not _no_such_key(info):
            return info
        fields = _info_fields(info)
        first = _first_id(fields)
        added, length = fields.get(b"entries-added"), fields.get(b"length", 0)
        last = fields.get(b"last-generated-id", START)
        is_new = first is not None and split_id(first)[0] >= started_ms and added == length
        self._added_before = 0 if is_new or not fields else added
        self.length = length
        self.seek(START if is_new else last)
        self._caught_up_at = self._checked_at = at
        self.needs_seed = not is_new
        return None

    def evict(self) -> None:
        """Forget the oldest of the remembered jobs."""
        self.jobs.evict()
        self.counters = self.jobs.counters()

    def seed(self, active: Reply) -> ReplyError | None:
        """Add the jobs that are active now; the stream can be followed without them too."""
        self.needs_seed = False
        if isinstance(active, ReplyError):
            return active
        if isinstance(active, list):
            self.jobs.seed(cast("list[bytes]", active))
        return None

    def apply(
        self, batch: Sequence[Entry], check: Sequence[Reply] | None, at: float, *, full: bool
    ) -> ReplyError | None:
        """Apply new entries; unless the batch is `full`, the stream has been read to its end."""
        before = self.last or START
        error = None
        if batch:
            first, last = cast("bytes", batch[0][0]), cast("bytes", batch[-1][0])
            if self._added_before is None:
                self._record_loss(self.lost + missing_before(first, before))
            self.jobs.feed(batch)
            self.read += len(batch)
            self._since_check += len(batch)
            self.recent += len(batch)
            self.seek(last)
        if not full:
            self.jobs.settle()
            self._caught_up_at = at
            if check is not None:
                error = self._check(batch, check, before, at)
        if batch:
            self.counters = self.jobs.counters()
        return error

    # --- the stream's own counts ---

    def _check(
        self, batch: Sequence[Entry], check: Sequence[Reply], before: bytes, at: float
    ) -> ReplyError | None:
        """Compare the entries read with the stream's own count of entries, from before `batch` was read."""
        info, *counts = check
        self._checked_at, self._since_check = at, 0
        if isinstance(info, ReplyError):
            if not _no_such_key(info):
                return info
            # Flushed or obliterated: the next entries are a new stream's. A new master may never have had it.
            if self._moved:
                self._record_undone(self.read)
                self._moved = False
            self._added_before = len(batch) - self.read - self.lost
            self.jobs.forget()
            return None
        fields = _info_fields(info)
        self.length = fields.get(b"length", 0)
        end = split_id(fields.get(b"last-generated-id", START))
        later = sum(split_id(cast("bytes", entry[0])) > end for entry in batch)
        went_back = end < split_id(before)
        first_id = _first_id(fields)
        # A stream that was created again begins later than the entries read from the old one.
        same = self._moved or (first_id is not None and split_id(first_id) <= split_id(before))
        self._reconcile(fields.get(b"entries-added"), self.read - later, went_back=went_back, same=same)
        if went_back:  # another server's stream, or a new one: continue from its end
            self.seek(fields[b"last-generated-id"])
            self.jobs.forget()
        self._moved = False
        if all(isinstance(count, int) for count in counts):
            wait, paused, prioritized, active = cast("list[int]", counts)
            first = split_id(cast("bytes", batch[0][0]))[0] if batch else split_id(before)[0] + 1
            remembered = self.jobs.remembered
            self.jobs.prune(first, waiting=wait + paused + prioritized > 0, active=active > 0)
            if self.jobs.remembered < remembered:
                self.counters = self.jobs.counters()
        return None

    def _reconcile(self, added: int | None, entries: int, *, went_back: bool, same: bool) -> None:
        """The stream ever had `added` entries, and `entries` of them were read: the rest was lost, or undone.

        If the `same` stream has fewer entries than were read, a master died with entries that it had not
        replicated, or restarted from an older file. Otherwise it is another stream.
        """
        if added is None:
            self._added_before = None
            if went_back and same:
                self._record_undone(1)
            return
        if self._added_before is not None:
            missing = added - self._added_before - entries - self.lost
            if missing >= 0 and (same or not went_back):
                self._record_loss(self.lost + missing)
                return
            if same:
                self._record_undone(min(-missing, self.read))
        self._added_before = added - entries - self.lost

    def _record_loss(self, lost: int) -> None:
        if lost > self.lost and not self._losing:  # once a burst
            log.warning(
                "events lost",
                extra={"stream": self._name(), "events": lost - self.lost},
            )
        self._losing = lost > self.lost
        if self._losing:
            self.lost = lost
            self._restart_jobs()

    def _record_undone(self, events: int) -> None:
        log.warning(
            "events undone",
            extra={"stream": self._name(), "events": events},
        )
        self.undone += events
        self._restart_jobs()

    def _restart_jobs(self) -> None:
        self.jobs.forget()
        self.needs_seed = True

    def _name(self) -> str:
        return self.key.split(b"\r\n")[1].decode("utf-8", "replace")


def bulk(raw: bytes) -> bytes:
    """One argument as a RESP bulk string."""
    return b"$%d\r\n%b\r\n" % (len(raw), raw)


def _info_fields(info: Reply) -> Mapping[bytes, Any]:
    """The fields of XINFO STREAM; empty for a stream that does not exist."""
    return dict(zip(info[::2], info[1::2], strict=True)) if isinstance(info, list) else {}  # type: ignore[arg-type]


def _first_id(fields: Mapping[bytes, Any]) -> bytes | None:
    first = fields.get(b"first-entry")
    return first[0] if first else None


def _no_such_key(error: ReplyError) -> bool:
    return "no such key" in str(error)
