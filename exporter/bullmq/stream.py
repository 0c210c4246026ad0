"""One queue's event stream: how far it has been read, and what is known to be missing. No I/O, no clock."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple, cast

from exporter.bullmq.events import Entry, Jobs, missing_before, split_id
from exporter.bullmq.keys import base
from exporter.redis.protocol import Reply, ReplyError, pack
from exporter.snapshot import Events, QueueId, Tallies

log = logging.getLogger(__name__)

BEGIN: Final = b"0-0"
CHECK_IDLE: Final = 10.0
"""Seconds between two looks at what an idle stream counts itself."""
_CHECK_BUSY: Final = 1.0
_ACTIVE_SEEN: Final = 1000  # jobs of a queue that are looked up as active when it is first followed


class StreamPosition(NamedTuple):
    """Where a stream was left, as the state file keeps it; `last` is the id of the last entry read."""

    last: bytes
    read: int
    lost: int
    undone: int
    added_before: int | None
    since: float


class Stream:
    """Tells what to ask and takes the replies. `last` is None until it is known where to begin.

    `at` is always monotonic seconds; `since` is the unix time that the counters begin at.
    """

    def __init__(self, queue: QueueId, jobs: Jobs, since: float) -> None:
        key = base(queue)
        self.jobs = jobs
        self.key: Final = bulk((key + "events").encode("utf-8", "surrogateescape"))
        self.info: Final = pack("XINFO", "STREAM", key + "events")
        self.counts: Final = b"".join(
            (
                pack("LLEN", key + "wait"),
                pack("LLEN", key + "paused"),
                pack("ZCARD", key + "prioritized"),
                pack("LLEN", key + "active"),
            )
        )
        self.actives: Final = pack("LRANGE", key + "active", 0, _ACTIVE_SEEN - 1)
        self.last: bytes | None = None
        self.last_bulk = b""
        self.read = 0
        self.lost = 0
        self.undone = 0
        self.since = since
        self.length = 0  # which is what a stream is trimmed to, once it has been in use for a while
        self.recent = 0
        self.not_before = 0.0
        self.repair = False  # the active jobs are to be looked up, as events are missing
        self.tallies: Tallies = jobs.tallies()
        self._added_before: int | None = None  # what entries-added would be if nothing had been read or lost
        self._since_check = 0
        self._checked_at: float | None = None
        self._losing = False
        self._owner: str | None = None
        self._moved = False
        self._caught_up_at: float | None = None

    def resume(self, position: StreamPosition) -> None:
        """Go on where an earlier process left it. Nothing is told before all that came since has been read:
        a counter that is behind what was served before would look like one that began anew."""
        self.move_to(position.last)
        self.read, self.lost, self.undone = position.read, position.lost, position.undone
        self._added_before, self.since = position.added_before, position.since
        self.tallies = self.jobs.tallies()

    def position(self) -> StreamPosition | None:
        """What `resume` needs; None before it is known where to begin."""
        if self.last is None:
            return None
        return StreamPosition(self.last, self.read, self.lost, self.undone, self._added_before, self.since)

    def events(self, at: float) -> Events | None:
        """What has been told so far; None before the stream was read to its end once."""
        if self._caught_up_at is None:
            return None
        lag = max(0.0, at - self._caught_up_at)
        return Events(self.tallies, self.read, self.lost, lag, self.undone, self.since)

    @property
    def owner(self) -> str | None:
        """The node that holds it now."""
        return self._owner

    def belongs_to(self, address: str) -> None:
        """The node that holds it now. After a move its own counts are looked at again at once."""
        if address != self._owner:
            self._moved = self._owner is not None
            self._owner, self._checked_at = address, None

    def check_due(self, at: float) -> bool:
        if self._checked_at is None:
            return True
        return at - self._checked_at >= (_CHECK_BUSY if self._since_check else CHECK_IDLE)

    def move_to(self, entry_id: bytes) -> None:
        self.last = entry_id
        self.last_bulk = bulk(entry_id)

    def begin(self, info: Reply, at: float, *, began_ms: int) -> ReplyError | None:
        """Where to read from: the end, unless all that the stream holds came after `began_ms`.

        An error when that cannot be told.
        """
        if isinstance(info, ReplyError) and not _no_such_key(info):
            return info
        facts = _facts(info)
        first = _first_id(facts)
        added, length = facts.get(b"entries-added"), facts.get(b"length", 0)
        last = facts.get(b"last-generated-id", BEGIN)
        is_new = first is not None and split_id(first)[0] >= began_ms and added == length
        self._added_before = 0 if is_new or not facts else added
        self.length = length
        self.move_to(BEGIN if is_new else last)
        self._caught_up_at = self._checked_at = at
        self.repair = not is_new
        return None

    def evict(self) -> None:
        """Forget the oldest of the jobs that are remembered."""
        self.jobs.evict()
        self.tallies = self.jobs.tallies()

    def seed(self, active: Reply) -> ReplyError | None:
        """Jobs that are active now; the stream can be followed without them all the same."""
        self.repair = False
        if isinstance(active, ReplyError):
            return active
        if isinstance(active, list):
            self.jobs.seed(cast("list[bytes]", active))
        return None

    def take(
        self, batch: Sequence[Entry], check: Sequence[Reply] | None, at: float, *, full: bool
    ) -> ReplyError | None:
        """New entries; unless the batch is `full` the stream has been read to its end."""
        before = self.last or BEGIN
        error = None
        if batch:
            first, last = cast("bytes", batch[0][0]), cast("bytes", batch[-1][0])
            if self._added_before is None:
                self._lose(self.lost + missing_before(first, before))
            self.jobs.feed(batch)
            self.read += len(batch)
            self._since_check += len(batch)
            self.recent += len(batch)
            self.move_to(last)
        if not full:
            self.jobs.settle()
            self._caught_up_at = at
            if check is not None:
                error = self._check(batch, check, before, at)
        if batch:
            self.tallies = self.jobs.tallies()
        return error

    # --- what the stream counts itself ---

    def _check(
        self, batch: Sequence[Entry], check: Sequence[Reply], before: bytes, at: float
    ) -> ReplyError | None:
        """Compare what was read with what the stream says it ever held, before `batch` was read."""
        info, *counts = check
        self._checked_at, self._since_check = at, 0
        if isinstance(info, ReplyError):
            if not _no_such_key(info):
                return info
            # Flushed or obliterated: what comes next is a new stream's. A new master may never have had it.
            if self._moved:
                self._undo(self.read)
                self._moved = False
            self._added_before = len(batch) - self.read - self.lost
            self.jobs.forget()
            return None
        facts = _facts(info)
        self.length = facts.get(b"length", 0)
        end = split_id(facts.get(b"last-generated-id", BEGIN))
        later = sum(split_id(cast("bytes", entry[0])) > end for entry in batch)
        went_back = end < split_id(before)
        first_id = _first_id(facts)
        # One that was made anew begins later than what was read of the other.
        same = self._moved or (first_id is not None and split_id(first_id) <= split_id(before))
        self._balance(facts.get(b"entries-added"), self.read - later, went_back=went_back, same=same)
        if went_back:  # another server's stream, or one written anew: go on from its end
            self.move_to(facts[b"last-generated-id"])
            self.jobs.forget()
        self._moved = False
        if all(isinstance(count, int) for count in counts):
            wait, paused, prioritized, active = cast("list[int]", counts)
            first = split_id(cast("bytes", batch[0][0]))[0] if batch else split_id(before)[0] + 1
            remembered = self.jobs.remembered
            self.jobs.prune(first, waiting=wait + paused + prioritized > 0, active=active > 0)
            if self.jobs.remembered < remembered:
                self.tallies = self.jobs.tallies()
        return None

    def _balance(self, added: int | None, known: int, *, went_back: bool, same: bool) -> None:
        """`added` entries the stream ever held, `known` of them were read: the rest was lost, or undone.

        Where the `same` stream has fewer than were read, a master died with what it had not replicated, or
        began again from an older file. Else it is another stream.
        """
        if added is None:
            self._added_before = None
            if went_back and same:
                self._undo(1)
            return
        if self._added_before is not None:
            missing = added - self._added_before - known - self.lost
            if missing >= 0 and (same or not went_back):
                self._lose(self.lost + missing)
                return
            if same:
                self._undo(min(-missing, self.read))
        self._added_before = added - known - self.lost

    def _lose(self, lost: int) -> None:
        if lost > self.lost and not self._losing:  # once a burst
            log.warning(
                "events were trimmed unread", extra={"stream": self._name(), "events": lost - self.lost}
            )
        self._losing = lost > self.lost
        if self._losing:
            self.lost = lost
            self._repair()

    def _undo(self, events: int) -> None:
        log.warning(
            "Redis lost events that were counted already, by a failover or a restart",
            extra={"stream": self._name(), "events": events},
        )
        self.undone += events
        self._repair()

    def _repair(self) -> None:
        self.jobs.forget()
        self.repair = True

    def _name(self) -> str:
        return self.key.split(b"\r\n")[1].decode("utf-8", "replace")


def bulk(raw: bytes) -> bytes:
    """One argument as the protocol packs it."""
    return b"$%d\r\n%b\r\n" % (len(raw), raw)


def _facts(info: Reply) -> Mapping[bytes, Any]:
    """XINFO STREAM's pairs; nothing of a stream that is not there."""
    return dict(zip(info[::2], info[1::2], strict=True)) if isinstance(info, list) else {}  # type: ignore[arg-type]


def _first_id(facts: Mapping[bytes, Any]) -> bytes | None:
    first = facts.get(b"first-entry")
    return first[0] if first else None


def _no_such_key(error: ReplyError) -> bool:
    return "no such key" in str(error)
