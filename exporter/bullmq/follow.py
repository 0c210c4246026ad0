"""Follows the queues' event streams in the background, only reading: XREAD without groups.

A queue that is known for the first time is followed from its stream's end, so that nothing counts that was
before; one that came into being after the exporter, and whose stream is still whole, from its beginning.
What was trimmed unread is known from the stream's own count of what was ever added.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Any, Final, cast

from exporter.bullmq.events import Entry, Jobs, missing_before, split_id
from exporter.bullmq.keys import base
from exporter.bullmq.routes import Routes
from exporter.redis.nodes import Deployment
from exporter.redis.protocol import Reply, ReplyError, Request, pack
from exporter.settings import BullMQSettings
from exporter.snapshot import Events, QueueId, Tallies
from service.clock import Deadline, monotonic, now
from service.outcome import Failed, UnreadableError

log = logging.getLogger(__name__)

_LANE: Final = "follow"
_ROUND_SECONDS: Final = 10.0
_RETRY_SECONDS: Final = 1.0
_HUNG_SECONDS: Final = 10.0
_BATCH: Final = 1000  # entries of a queue in one answer: with 10 kB of return value in each, 10 MB
_ACTIVE_SEEN: Final = 1000  # jobs of a queue that are looked up as active when it is first followed
_FASTEST, _SLOWEST, _IDLE_FASTEST = 0.1, 1.0, 0.25  # seconds between two rounds
_IDLE_SHARE: Final = 100  # times a round's own duration is what an idle one waits: 1 % of the time is spent
_SHORTEST: Final = 100  # entries: a stream is trimmed in steps of this many
_HEADROOM: Final = 2.5  # a stream is read that many times before it could be trimmed
_CHECK_BUSY, _CHECK_IDLE = 1.0, 10.0  # seconds between two looks at what a stream counts itself
_MOST_IN_ALL: Final = 500_000  # jobs of all queues that are remembered: 64 MB
_MOVED: Final = frozenset({"MOVED", "ASK", "CLUSTERDOWN", "TRYAGAIN", "READONLY"})
_OF_ONE_KEY: Final = frozenset({"WRONGTYPE", "NOPERM"})
_BEGIN: Final = b"0-0"


class _Stream:
    """How far one queue's stream has been read. `last` is None until it is known where to begin."""

    def __init__(self, queue: QueueId, jobs: Jobs, started: float) -> None:
        key = base(queue)
        self.jobs = jobs
        self.key: Final = _bulk((key + "events").encode("utf-8", "surrogateescape"))
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
        self.added_before: int | None = None  # what entries-added would be if nothing had been read or lost
        self.length = 0  # which is what a stream is trimmed to, once it has been in use for a while
        self.recent = 0
        self.since_check = 0
        self.checked_at = 0.0
        self.not_before = 0.0
        self.losing = False
        self.repair = False  # the active jobs are to be looked up, as events are missing
        self.caught_up_at = started
        self.tallies: Tallies = jobs.tallies()

    def check_due(self, at: float) -> bool:
        return at - self.checked_at >= (_CHECK_BUSY if self.since_check else _CHECK_IDLE)

    def move_to(self, entry_id: bytes) -> None:
        self.last = entry_id
        self.last_bulk = _bulk(entry_id)


class Follower:
    """One thread calls `step`; anyone calls `events`, whose parts are replaced as a whole."""

    def __init__(self, deployment: Deployment, settings: BullMQSettings) -> None:
        self._deployment = deployment
        self._buckets = settings.event_buckets
        self._streams: dict[QueueId, _Stream] = {}
        self._routes: Routes | None = None
        self._one_by_one = False
        self._batch = _BATCH
        self._silent: dict[str, float] = {}
        self._refresh_due = 0.0
        self._measured_at = monotonic()
        self._stale = False
        self._began_ms = int(now() * 1000)
        self._refusals: dict[str, tuple[float, str]] = {}

    def events(self) -> dict[QueueId, Events]:
        """Each queue's tallies as of the last round; without those whose streams could not be read yet."""
        at = monotonic()
        return {
            queue: Events(one.tallies, one.read, one.lost, max(0.0, at - one.caught_up_at))
            for queue, one in list(self._streams.items())
            if one.last is not None
        }

    def problems(self) -> tuple[str, ...]:
        """What was refused lately, one text for each kind of error."""
        since = monotonic() - 2 * _CHECK_IDLE
        return tuple(f"event streams: {text}" for at, text in list(self._refusals.values()) if at >= since)

    def step(self, queues: Sequence[QueueId]) -> float:
        """Read what is new in these queues' streams; seconds until the next round, 0 when there is more."""
        started = monotonic()
        deadline = Deadline.after(_ROUND_SECONDS)
        try:
            routes = self._find(deadline)
        except UnreadableError:
            return _RETRY_SECONDS
        self._remember(queues)
        owned, orphans = routes.by_owner(self._streams)
        self._stale = bool(orphans) or any(address in self._silent for address in owned)
        asked = {
            address: _Round(self._streams, mine, self._batch, whole=self._whole(routes))
            for address, mine in owned.items()
            if self._silent.get(address, 0.0) <= started
        }
        answers = self._deployment.ask(
            {address: one.request for address, one in asked.items()}, deadline, lane=_LANE
        )
        more = slow = False
        for address, answer in answers.items():
            if isinstance(answer, Failed):
                late = answer.kind == "timeout"
                slow |= late
                self._stale = True
                # One that hangs holds up the others each time that it is asked.
                self._silent[address] = monotonic() + (_HUNG_SECONDS if late else _RETRY_SECONDS)
                continue
            self._silent.pop(address, None)
            more |= self._take(asked[address], answer.value)
        # An answer that is too large to come in time would be so for ever.
        self._batch = max(_BATCH // 16, self._batch // 4) if slow else min(_BATCH, self._batch * 2)
        self._bound()
        return 0.0 if more else self._pause(monotonic() - started)

    # --- where, and which ---

    def _find(self, deadline: Deadline) -> Routes:
        """The owners as they were, or asked for again after one was silent or told of a move."""
        if self._stale and monotonic() >= self._refresh_due:
            self._refresh_due = monotonic() + _RETRY_SECONDS
            topology = self._deployment.refresh(deadline)
        else:
            topology = self._deployment.topology(deadline)
        if self._routes is None or not self._routes.fit(topology):
            self._routes = Routes(topology)
        return self._routes

    def _remember(self, queues: Sequence[QueueId]) -> None:
        """Streams of just these queues; what is gone loses its tallies."""
        if self._streams.keys() == set(queues):
            return
        at = monotonic()
        self._streams = {
            queue: self._streams.get(queue) or _Stream(queue, Jobs(self._buckets), at) for queue in queues
        }

    def _whole(self, routes: Routes) -> bool:
        """Whether one XREAD may name all streams of a node: not over slots, nor once that was refused."""
        return not routes.cluster and not self._one_by_one

    # --- what a node answered ---

    def _take(self, asked: _Round, replies: Sequence[Reply]) -> bool:
        """All of one node's answers; whether one of its streams has more."""
        rest = iter(replies)
        for one in asked.joining:
            self._begin(one, next(rest), next(rest))
        for one in asked.repaired:
            self._seed(one, next(rest))
        checks = {one: tuple(islice(rest, 5)) for one in asked.checked}
        more = False
        for one, batch in _batches(asked, list(rest)):
            if isinstance(batch, ReplyError):
                if asked.whole and batch.code in _OF_ONE_KEY:
                    # One key that is no stream, or not ours to read, must not cost the others theirs.
                    self._one_by_one = more = True
                else:
                    self._refused(one, batch)
                continue
            more |= self._read(one, batch, checks.get(one), full=len(batch) >= asked.batch)
        return more

    def _refused(self, one: _Stream, error: ReplyError) -> None:
        """After a move, look for the nodes; what is not allowed is asked for again only after a while."""
        if error.code in _MOVED:
            self._stale = True
            return
        one.not_before = monotonic() + (_CHECK_IDLE if error.code in _OF_ONE_KEY else _RETRY_SECONDS)
        self._complain(error)

    def _complain(self, error: ReplyError) -> None:
        if error.code not in self._refusals:
            log.warning("event stream cannot be read", extra={"error": str(error)})
        self._refusals[error.code] = (monotonic(), str(error))

    def _begin(self, one: _Stream, info: Reply, active: Reply) -> None:
        """Where to read from: the end, unless all that the stream holds came after we began."""
        if isinstance(info, ReplyError) and not _no_such_key(info):
            self._refused(one, info)
            return
        facts = _facts(info)
        first = _first_id(facts)
        added, length = facts.get(b"entries-added"), facts.get(b"length", 0)
        last = facts.get(b"last-generated-id", _BEGIN)
        is_new = first is not None and split_id(first)[0] >= self._began_ms and added == length
        one.added_before = 0 if is_new or not facts else added
        one.length = length
        one.move_to(_BEGIN if is_new else last)
        one.caught_up_at = monotonic()
        one.checked_at = one.caught_up_at
        if not is_new:
            self._seed(one, active)

    def _seed(self, one: _Stream, active: Reply) -> None:
        one.repair = False
        if isinstance(active, list):
            one.jobs.seed(cast("list[bytes]", active))
        elif isinstance(active, ReplyError):
            self._complain(active)  # the stream itself can be followed all the same

    def _read(
        self, one: _Stream, batch: Sequence[Entry], check: Sequence[Reply] | None, *, full: bool
    ) -> bool:
        """One stream's new entries; whether there are more."""
        before = one.last or _BEGIN
        if batch:
            first, last = cast("bytes", batch[0][0]), cast("bytes", batch[-1][0])
            if one.added_before is None:
                self._lose(one, one.lost + missing_before(first, before))
            one.jobs.feed(batch)
            one.read += len(batch)
            one.since_check += len(batch)
            one.recent += len(batch)
            one.move_to(last)
        if not full:
            one.jobs.settle()
            one.caught_up_at = monotonic()
            if check is not None:
                self._check(one, batch, check, before)
        if batch:
            one.tallies = one.jobs.tallies()
        return full

    def _check(self, one: _Stream, batch: Sequence[Entry], check: Sequence[Reply], before: bytes) -> None:
        """Compare what was read with what the stream says it ever held, before `batch` was read."""
        info, *counts = check
        one.checked_at = one.caught_up_at
        one.since_check = 0
        if isinstance(info, ReplyError):
            if _no_such_key(info):  # flushed or obliterated: what comes next is a new stream's
                one.added_before = len(batch) - one.read - one.lost
                one.jobs.forget()
            else:
                self._refused(one, info)
            return
        facts = _facts(info)
        one.length = facts.get(b"length", 0)
        end = split_id(facts.get(b"last-generated-id", _BEGIN))
        if end < split_id(before):
            # The ids went back: another server's stream, or one written anew. Go on from its end.
            one.move_to(facts[b"last-generated-id"])
            one.jobs.forget()
            one.added_before = None
        added = facts.get(b"entries-added")
        if added is None:
            one.added_before = None
        else:
            later = sum(split_id(cast("bytes", entry[0])) > end for entry in batch)
            known = one.read - later
            lost = one.lost if one.added_before is None else added - one.added_before - known
            if lost < one.lost:
                one.added_before = None
            if one.added_before is None:
                one.added_before = added - known - one.lost
            else:
                self._lose(one, lost)
        if all(isinstance(count, int) for count in counts):
            wait, paused, prioritized, active = cast("list[int]", counts)
            first = split_id(cast("bytes", batch[0][0]))[0] if batch else split_id(before)[0] + 1
            one.jobs.prune(first, waiting=wait + paused + prioritized > 0, active=active > 0)

    def _lose(self, one: _Stream, lost: int) -> None:
        if lost > one.lost and not one.losing:  # once a burst
            key = one.key.split(b"\r\n")[1].decode("utf-8", "replace")
            log.warning("events were trimmed unread", extra={"stream": key, "events": lost - one.lost})
        one.losing = lost > one.lost
        if one.losing:
            one.lost = lost
            one.jobs.forget()
            one.repair = True

    def _bound(self) -> None:
        """Let the queues with most jobs under way forget the oldest, as all of them together have a bound."""
        total = sum(one.jobs.remembered for one in self._streams.values())
        while total > _MOST_IN_ALL:
            most = max(self._streams.values(), key=lambda one: one.jobs.remembered)
            total -= most.jobs.remembered
            most.jobs.evict()
            most.tallies = most.jobs.tallies()
            total += most.jobs.remembered

    def _pause(self, took: float) -> float:
        """So short that the busiest stream is read some times before it is trimmed."""
        at = monotonic()
        since, self._measured_at = max(at - self._measured_at, _FASTEST), at
        seconds = min(_SLOWEST, max(_IDLE_FASTEST, took * _IDLE_SHARE))
        for one in self._streams.values():
            if one.recent:
                rate, one.recent = one.recent / since, 0
                seconds = min(seconds, max(one.length, _SHORTEST) / _HEADROOM / rate)
        return max(_FASTEST, seconds)


class _Round:
    """What one node is asked in one round, and in which order the answers come."""

    def __init__(
        self, streams: Mapping[QueueId, _Stream], mine: Iterable[QueueId], batch: int, *, whole: bool
    ) -> None:
        at = monotonic()
        own = [streams[queue] for queue in mine if streams[queue].not_before <= at]
        self.joining = [one for one in own if one.last is None]
        self.reading = [one for one in own if one.last is not None]
        self.repaired = [one for one in self.reading if one.repair]
        self.checked = [one for one in self.reading if one.check_due(at)]
        self.whole = whole and bool(self.reading)
        self.batch = batch
        parts = [part for one in self.joining for part in (one.info, one.actives)]
        parts += [one.actives for one in self.repaired]
        parts += [part for one in self.checked for part in (one.info, one.counts)]
        head = b"".join(map(_bulk, (b"XREAD", b"COUNT", b"%d" % batch, b"STREAMS")))
        if self.whole:
            parts.append(b"*%d\r\n%b" % (4 + 2 * len(self.reading), head))
            parts += [one.key for one in self.reading]
            parts += [one.last_bulk for one in self.reading]
        else:
            head = b"*6\r\n" + head
            parts += [part for one in self.reading for part in (head, one.key, one.last_bulk)]
        replies = 2 * len(self.joining) + len(self.repaired) + 5 * len(self.checked)
        self.request = Request(b"".join(parts), replies + (1 if self.whole else len(self.reading)))


def _batches(asked: _Round, replies: list[Reply]) -> list[tuple[_Stream, list[Entry] | ReplyError]]:
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


def _facts(info: Reply) -> dict[bytes, Any]:
    """XINFO STREAM's pairs; nothing of a stream that is not there."""
    return dict(zip(info[::2], info[1::2], strict=True)) if isinstance(info, list) else {}  # type: ignore[arg-type]


def _first_id(facts: Mapping[bytes, Any]) -> bytes | None:
    first = facts.get(b"first-entry")
    return first[0] if first else None


def _no_such_key(error: ReplyError) -> bool:
    return "no such key" in str(error)


def _bulk(raw: bytes) -> bytes:
    return b"$%d\r\n%b\r\n" % (len(raw), raw)
