"""Counters and durations of a Bull queue's jobs from what it publishes, and from its `id`. No I/O, no clock.

Exact while subscribed: started, completed, failed, stalled (a message each), added (`id` counts each call
that adds a job; Bull 4 publishes which were duplicates, Bull 3 does not), and retried, although only when the
job is taken again or its backoff has ended: Bull publishes nothing for the attempt itself. Nothing tells a
job that is removed.

The busy time is the integral of the number of active jobs over the ms at which messages arrive. Attempts that
are retried end unseen: the number of active jobs that is read besides says how many of those remembered are
not active any more.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from exporter.bullmq.bull.channels import ChannelMessage
from exporter.bullmq.reasons.tally import ReasonTally
from exporter.bullmq.streams.events import DEFAULT_BUCKETS, Entry, Jobs
from exporter.snapshot.queues import Events, JobCounters

_SETTLE_MS: Final = 5_000  # a message may still be on its way that long


class Balance(NamedTuple):
    """What a queue holds: its own count of adds, jobs that wait (also for a delay), and that are active."""

    ids: int
    waiting: int
    active: int


class Stock(NamedTuple):
    """What a queue held at one moment, and what had been counted by then."""

    balance: Balance
    counters: JobCounters
    duplicates: int


class BullJobs:
    """One queue. Times are ms of any clock that does not go back; `since` is unix s. `reasons`: counts why
    jobs fail."""

    def __init__(
        self,
        since: float,
        buckets: Sequence[float] = DEFAULT_BUCKETS,
        *,
        native: bool = False,
        reasons: ReasonTally | None = None,
    ) -> None:
        self._reasons = reasons
        self.read = 0
        self.lost = 0
        self._since = since
        self._jobs = Jobs(buckets, native=native)
        self._running: dict[bytes, int] = {}
        self._changed: set[bytes] | None = None  # jobs with messages while the active jobs are being read
        self._ids: int | None = None
        self._stock: Stock | None = None
        self._duplicates = 0
        self._duplicates_at_ids = 0
        self._added: int | None = None
        self._counters: JobCounters | None = None
        self._busy_ms = 0
        self._busy_until: int | None = None  # None: messages are missing
        self._ended_unseen = 0  # of those remembered as active

    @property
    def running(self) -> int:
        """How many jobs are remembered as active."""
        return len(self._running)

    def events(self) -> Events:
        """The counters so far, the same object until something is counted; without the lag."""
        if self._counters is None:
            counters = self._jobs.counters()
            ended = {outcome: counters.processing[outcome] for outcome in ("completed", "failed")}
            self._counters = counters._replace(
                added=self._added,
                removed=None,
                processing=ended,
                reasons=self._reasons.snapshot() if self._reasons else None,
            )
        busy = self._busy_ms / 1000
        return Events(self._counters, self.read, self.lost, 0.0, since=self._since, busy_seconds=busy)

    def feed(self, message: ChannelMessage, ms: int, unix_ms: int = 0) -> None:
        """Count one message that arrived at `ms`, and `unix_ms` by the clock that people have."""
        self.advance(ms)
        self.read += 1
        self._counters = None
        kind, job = message.kind, message.job
        if kind == "failed" and self._reasons:
            self._reasons.add(message.reason, job or b"", unix_ms)
        if kind == "duplicated":
            self._duplicates += 1
        elif job is None:
            self._jobs.feed([_entry(ms, kind, b"")])  # it counts, though nobody knows which job it was
        else:
            self._feed(kind, job, ms)

    def _feed(self, kind: str, job: bytes, ms: int) -> None:
        if self._changed is not None:
            self._changed.add(job)
        if kind in ("active", "waiting"):
            if self._running.pop(job, None) is not None:
                self._retry(job, ms)
            if kind == "active":
                self._running[job] = ms
        elif kind in ("completed", "failed", "stalled"):
            self._running.pop(job, None)
        if kind == "stalled":
            self._jobs.feed([_entry(ms, "waiting", job, b"active"), _entry(ms, "stalled", job)])
        elif kind == "debounced":
            self._jobs.feed([_entry(ms, "deduplicated", job)])
        else:
            self._jobs.feed([_entry(ms, kind, job)])

    def _retry(self, job: bytes, ms: int) -> None:
        """Count an attempt that was retried. Nobody saw when it ended, so it has no duration."""
        self._ended_unseen = max(0, self._ended_unseen - 1)
        self._jobs.feed([_entry(ms, "waiting-children", job)])  # not active any more, and no outcome
        self._jobs.seed([job])
        self._jobs.feed([_entry(ms, "delayed", job)])

    # --- what is read besides ---

    def count_ids(self, ids: int | None) -> None:
        """`ids` is the queue's own count of calls that add a job; None: it could not be read."""
        if ids is None:
            return
        if self._ids is None:
            self._added = 0 if self._added is None else self._added
        else:
            # Below the last one, the queue was obliterated and began again.
            calls = ids - self._ids if ids >= self._ids else ids
            duplicates = self._duplicates + self._jobs.counters().deduplicated
            new = calls - min(calls, duplicates - self._duplicates_at_ids)
            self._duplicates_at_ids += calls - new
            if new:
                self._added = (self._added or 0) + new
                self._counters = None
        self._ids = ids

    def stock(self, balance: Balance | None) -> Stock | None:
        """What the queue held just now, beside what was counted so far; None: unknown."""
        return None if balance is None else Stock(balance, self._jobs.counters(), self._duplicates)

    def remember(self, stock: Stock | None) -> None:
        """All that was published before this stock has been fed: `missed` begins there. None: nowhere."""
        self._stock = stock

    def missed(self, balance: Balance | None) -> int:
        """How many starts and ends were not received since `remember`, at least.

        Jobs that were added or returned, and do not wait, were started; those that are not active either have
        ended. Jobs that were removed while they waited look the same.
        """
        if self._stock is None or balance is None or balance.ids < self._stock.balance.ids:
            return 0
        before, then, duplicates = self._stock
        now = self._jobs.counters()
        returned = now.retried + now.stalled - then.retried - then.stalled
        duplicated = self._duplicates - duplicates + now.deduplicated - then.deduplicated
        started = balance.ids - before.ids - duplicated + returned - (balance.waiting - before.waiting)
        ended = started - (balance.active - before.active)
        counted = now.completed + now.failed - then.completed - then.failed + returned
        return max(0, started - (now.started - then.started)) + max(0, ended - counted)

    # --- busy time ---

    def advance(self, ms: int) -> None:
        """Extend the busy time to `ms`: all that was published before has been fed."""
        if self._busy_until is not None and ms > self._busy_until:
            self._busy_ms += max(0, len(self._running) - self._ended_unseen) * (ms - self._busy_until)
            self._busy_until = ms

    def interrupt(self) -> None:
        """Messages are missed from now on: no busy time is counted before `observe_active`."""
        self._busy_until = None

    def observe_active(self, active: int | None, ms: int, remembered: int) -> None:
        """So many jobs were active (None: unknown) soon after `ms`, when so many were `remembered`. If more
        are remembered, then and now, those ended unseen."""
        if self._busy_until is None:
            self._busy_until = ms
        self.advance(ms)
        if active is not None:
            self._ended_unseen = max(0, min(remembered, len(self._running)) - active)

    # --- the active jobs ---

    def begin_active(self) -> None:
        """The subscription is confirmed, and the active jobs are read next."""
        self._changed = set()

    def seed_active(self, active: Iterable[bytes] | None) -> int:
        """The jobs that were active when they were read (None: unknown, or too many); messages from before
        that have been fed.

        Returns how many starts and ends are missing at least: jobs that are remembered as active and are not,
        and the reverse.
        """
        changed, self._changed = self._changed or set(), None
        if active is None:
            return 0
        now_active = {job for job in active if job not in changed}
        gone = [job for job in self._running if job not in now_active and job not in changed]
        new = [job for job in now_active if job not in self._running]
        for job in gone:
            del self._running[job]
        self._jobs.seed(now_active)
        self._running |= dict.fromkeys(new, 0)
        return len(gone) + len(new)

    def lose(self, messages: int) -> None:
        """At least so many messages were missed while there was no subscription."""
        self.lost += messages
        self._jobs.forget()
        self._jobs.seed(self._running)

    def prune(self, ms: int, *, waiting: bool, active: bool) -> None:
        """If no job waits (is active) at `ms`, forget older ones: they were removed, or left in a gap."""
        before = ms - _SETTLE_MS
        self._jobs.prune(before, waiting=waiting, active=active)
        if not active:
            self._running = {job: at for job, at in self._running.items() if at >= before}


def _entry(ms: int, event: str, job: bytes, prev: bytes = b"") -> Entry:
    fields = [b"event", event.encode(), b"jobId", job]
    return [b"%d-0" % ms, [*fields, b"prev", prev] if prev else fields]
