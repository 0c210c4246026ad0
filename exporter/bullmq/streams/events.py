"""Counters and durations of jobs, derived from a queue's event stream. No I/O and no clock.

Durations are differences of stream ids, which are the Redis server's clock in ms: no other clock is compared,
and a job that is removed when it ends counts like any other.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b
from itertools import islice
from typing import Any, Final, TypeAlias

from exporter.bullmq.names.tally import NameTally
from exporter.bullmq.reasons.tally import ReasonTally
from exporter.bullmq.tallies.durations import Durations, in_ms
from exporter.snapshot.histogram import NativeDurations
from exporter.snapshot.queues import JobCounters

Entry: TypeAlias = Sequence[object]
"""[stream id, [field, value, field, value, ...]] as XREAD replies, all of it bytes."""

DEFAULT_BUCKETS: Final = (0.005, 0.025, 0.1, 0.25, 1.0, 2.5, 10.0, 60.0, 300.0)
"""Upper bounds in seconds."""

OUTCOMES: Final = ("completed", "failed", "retried")
MAX_REMEMBERED_JOBS: Final = 200_000
"""Jobs of a queue that are remembered, at about 126 bytes for each."""

_SAVED_WAITS: Final = 10_000
COUNTS: Final = (
    "added",
    "started",
    "completed",
    "failed",
    "retried",
    "stalled",
    "removed",
    "deduplicated",
    "evicted",
)
_LONGEST_ID: Final = 200
"""Bytes of the id of a job that are remembered: of a longer one, which may have megabytes, a hash."""
_EVICTION_DIVISOR: Final = 8  # evict an eighth: removing single keys from the front of a dict gets slower


class Jobs:
    """The jobs of one queue, event by event, of any BullMQ version.

    Only what a single event does not contain is remembered: since when a job waits, and since when it is
    active. A start that was not read is 0: such an attempt ends and is counted, but has no duration.
    `native`: durations are counted in exponential buckets besides; `reasons`: counts why jobs fail;
    `names`: counts jobs by their name.

    The busy time is the integral of the number of active jobs over the ms of the ids. It only ever grows, as
    the time up to which it counts never goes back; jobs that are forgotten end there.
    """

    __slots__ = (
        "_active",
        "_added",
        "_bounds",
        "_bounds_ms",
        "_busy_ms",
        "_busy_until",
        "_completed",
        "_deduplicated",
        "_evicted",
        "_failed",
        "_max_jobs",
        "_names",
        "_native",
        "_processing",
        "_reasons",
        "_removed",
        "_retried",
        "_returned",
        "_stalled",
        "_started",
        "_wait",
        "_waits",
    )

    def __init__(
        self,
        buckets: Sequence[float] = DEFAULT_BUCKETS,
        *,
        native: bool = False,
        max_jobs: int = MAX_REMEMBERED_JOBS,
        reasons: ReasonTally | None = None,
        names: NameTally | None = None,
    ) -> None:
        self._native = native
        self._reasons = reasons
        self._names = names
        self._bounds = tuple(buckets)
        self._bounds_ms = in_ms(self._bounds)
        self._max_jobs = max_jobs
        self._waits: dict[bytes, int] = {}
        self._active: dict[bytes, int] = {}
        self._busy_ms = 0
        self._busy_until = 0  # ms; 0: unknown, the next time begins it
        # A job that returned from active: an attempt that is retried, unless `stalled` follows immediately.
        self._returned: tuple[bytes, int] | None = None
        self._added = self._started = self._completed = self._failed = 0
        self._retried = self._stalled = self._removed = self._deduplicated = self._evicted = 0
        self._wait = self._durations()
        self._processing = {outcome: self._durations() for outcome in OUTCOMES}

    @property
    def remembered(self) -> int:
        """How many jobs are remembered."""
        return len(self._waits) + len(self._active)

    @property
    def remembered_names(self) -> int:
        """Of how many jobs the name is remembered."""
        return self._names.remembered if self._names else 0

    def feed(self, entries: Iterable[Entry]) -> None:
        """Process entries in the order of the stream. Entries that are not BullMQ's are ignored."""
        for entry in entries:
            try:
                self._feed(*entry)  # type: ignore[arg-type]
            except (TypeError, ValueError, IndexError, AttributeError):
                continue

    def settle(self) -> None:
        """Call when the stream was read to its end: scripts are atomic, so no `stalled` can follow."""
        returned, self._returned = self._returned, None
        if returned is not None:
            self._retried += 1
            start, ms = self._active.pop(returned[0], 0), returned[1]
            if start:
                self._processing["retried"].add(ms - start, self._bounds_ms)
            if self._names is not None:
                self._names.ended(returned[0], "retried", ms - start if start else None)

    @property
    def any_active(self) -> bool:
        """Whether a job is remembered as active."""
        return bool(self._active)

    @property
    def busy(self) -> tuple[int, int]:
        """The busy time in ms, and up to which ms it counts; 0: any, as no job is active."""
        return self._busy_ms, self._busy_until if self._active else 0

    def advance(self, ms: int) -> None:
        """Extend the busy time to `ms`. Call with the time of Redis, taken before the stream was read to its
        end, and after `settle`."""
        until = self._busy_until
        if ms > until:
            if until:
                self._busy_ms += len(self._active) * (ms - until)
            self._busy_until = ms

    def busy_at(self, ms: int) -> int:
        """The busy time in ms that `advance` would extend to `ms`. Another thread may feed meanwhile: then it
        may be too small or too large by what happens now."""
        until = self._busy_until
        return self._busy_ms + (len(self._active) * (ms - until) if 0 < until < ms else 0)

    def seed(self, active: Iterable[bytes], ms: int = 0) -> None:
        """Add jobs that are active at `ms` although no event that was read reports it; busy from then on."""
        self._busy_until = max(self._busy_until, ms)
        for job in active:
            self._active.setdefault(_short(job), 0)

    def forget(self) -> None:
        """Call when events are missing: the remembered jobs may be wrong, the counters stay."""
        self.settle()
        self._waits.clear()
        self._active.clear()

    def prune(self, before_ms: int, *, waiting: bool, active: bool) -> None:
        """If no job waits (is active), forget the older remembered jobs: they left without an event."""
        if not waiting:
            self._waits = self._pruned(self._waits, before_ms)
        if not active:
            self._active = self._pruned(self._active, before_ms)

    def evict(self) -> None:
        """Forget an eighth of the remembered jobs, the oldest first."""
        for jobs in (self._waits, self._active):
            oldest = list(islice(jobs, -(-len(jobs) // _EVICTION_DIVISOR)))
            self._evicted += len(oldest)
            for job in oldest:
                del jobs[job]

    def evict_names(self) -> None:
        """Forget the names of an eighth of the jobs, the oldest first."""
        if self._names is not None:
            self._names.evict()

    def counters(self) -> JobCounters:
        """The counters and durations as of the last `settle`."""
        return JobCounters(
            self._added,
            self._started,
            self._completed,
            self._failed,
            self._retried,
            self._stalled,
            self._removed,
            self._deduplicated,
            self._wait.histogram(),
            {outcome: durations.histogram() for outcome, durations in self._processing.items()},
            self._evicted,
            self._native_durations(),
            self._reasons.snapshot() if self._reasons else None,
            self._names.snapshot() if self._names is not None else None,
        )

    def _durations(self) -> Durations:
        return Durations(self._bounds, native=self._native)

    def _native_durations(self) -> NativeDurations | None:
        if not self._native:
            return None
        processing = {outcome: durations.native() for outcome, durations in self._processing.items()}
        return NativeDurations(self._wait.native(), processing)

    def dump(self) -> dict[str, Any]:
        """The state without `busy` as JSON types; of the waiting jobs only the newest, as there may be very
        many."""
        optional: dict[str, Any] = {"native": self._dumped_native()} if self._native else {}
        optional |= {"reasons": self._reasons.dump()} if self._reasons else {}
        optional |= {"names": self._names.dump()} if self._names is not None else {}
        return optional | {
            "counts": [getattr(self, f"_{name}") for name in COUNTS],
            "bounds": list(self._bounds),
            "wait": self._wait.dump(),
            "processing": {outcome: durations.dump() for outcome, durations in self._processing.items()},
            "waits": _texts(islice(self._waits.items(), max(0, len(self._waits) - _SAVED_WAITS), None)),
            "active": _texts(self._active.items()),
            "returned": _texts([self._returned] if self._returned else []),
        }

    def restore(self, dumped: Mapping[str, Any], busy: Sequence[int] = (0, 0)) -> None:
        """Continue from `dump` and `busy`; durations only if the buckets are the same, and native ones
        there where they are counted: both count the same durations. Raises ValueError, TypeError, KeyError or
        OverflowError for an invalid dump, and then nothing changes."""
        busy_ms, busy_until = map(int, busy)
        if min(busy_ms, busy_until) < 0:
            raise ValueError("a time below 0")
        counts = [int(dumped["counts"][index]) for index in range(len(COUNTS))]
        wait = self._durations()
        processing = {outcome: self._durations() for outcome in OUTCOMES}
        native = dumped.get("native") if self._native else {}
        same = tuple(dumped["bounds"]) == self._bounds
        if same and native is not None:
            wait.restore(dumped["wait"], native.get("wait"))
            for outcome, durations in processing.items():
                durations.restore(dumped["processing"][outcome], native.get(outcome))
        names = self._names
        if names is not None and "names" in dumped:
            names = names.restored(dumped["names"], durations=same)
        waits, active, returned = (dict(_jobs(dumped[name])) for name in ("waits", "active", "returned"))
        if self._reasons and "reasons" in dumped:
            self._reasons.restore(dumped["reasons"])
        for name, count in zip(COUNTS, counts, strict=True):
            setattr(self, f"_{name}", count)
        self._wait, self._processing, self._waits, self._active = wait, processing, waits, active
        self._busy_ms, self._busy_until = busy_ms, busy_until
        self._names = names
        self._returned = next(iter(returned.items()), None)

    def _dumped_native(self) -> dict[str, list[int]]:
        durations = {"wait": self._wait, **self._processing}
        return {name: each.dump_native() for name, each in durations.items()}

    def _feed(self, entry_id: bytes, fields: Sequence[bytes]) -> None:
        event = fields[1]
        job = fields[3] if len(fields) > 3 else b""
        if type(job) is bytes and len(job) > _LONGEST_ID:
            job = _short(job)
        if self._returned is not None:
            if event == b"stalled" and job == self._returned[0]:
                self._returned = None
                self._active.pop(job, None)
            else:
                self.settle()
        if event == b"active":
            ms = _ms(entry_id)
            self._started += 1
            since = self._waits.pop(job, 0)
            if since:
                self._wait.add(ms - since, self._bounds_ms)
                if self._names is not None:
                    self._names.started(job, ms - since, ms)
            if ms > self._busy_until:  # many events are of one ms: without the call
                self.advance(ms)
            self._remember(self._active, job, ms)
        elif event == b"waiting":
            self._waiting(_ms(entry_id), job, fields[5] if len(fields) > 5 else b"")
        elif event == b"completed":
            self._completed += 1
            self._end(entry_id, job, "completed")
        elif event == b"added":
            # An earlier job with this id may have left without an event, by drain() or obliterate().
            self._added += 1
            self._waits.pop(job, None)
            if job in self._active:
                self._leave(entry_id, job)
            if self._names is not None and type(job) is bytes:  # as in `_remember`
                at_its_place = len(fields) > 5 and fields[4] == b"name" and type(fields[5]) is bytes
                self._names.added(job, fields[5] if at_its_place else _value(fields, b"name"))
        elif event == b"failed":
            self._failed += 1
            if self._reasons:
                self._reasons.add(_value(fields, b"failedReason"), fields[3] if job else job, _ms(entry_id))
            self._end(entry_id, job, "failed")
        elif event == b"delayed":
            self._waits.pop(job, None)
            if job in self._active:
                self._retried += 1
                self._end(entry_id, job, "retried")
        elif event == b"waiting-children":
            self._leave(entry_id, job)
        elif event == b"stalled":
            self._stalled += 1
        elif event == b"removed":
            self._removed += 1
            self._waits.pop(job, None)
            if self._names is not None:
                self._names.removed(job)
            self._leave(entry_id, job)
        elif event == b"deduplicated":
            self._deduplicated += 1

    def _waiting(self, ms: int, job: bytes, prev: bytes) -> None:
        if type(job) is not bytes:  # as in `_remember`
            return
        if prev == b"failed" and self._names is not None:
            self._names.back(job)
        if prev == b"active":
            self.advance(ms)  # nothing else does before the job is removed: it is not counted on
            self._returned = (job, ms)
        elif prev == b"failed" and job in self._active:
            # v3 and v4 report this for an attempt that is retried, all for a failed job retried by hand
            self.advance(ms)
            self._returned = (job, ms)
            self.settle()
        elif job in self._active:
            self.advance(ms)
            del self._active[job]
        self._remember(self._waits, job, ms)

    def _end(self, entry_id: bytes, job: bytes, outcome: str) -> None:
        self._waits.pop(job, None)
        ran = None
        if job in self._active:
            ms = _ms(entry_id)
            if ms > self._busy_until:
                self.advance(ms)
            if start := self._active.pop(job):
                ran = ms - start
                self._processing[outcome].add(ran, self._bounds_ms)
        if self._names is not None:
            self._names.ended(job, outcome, ran)

    def _leave(self, entry_id: bytes, job: bytes) -> None:
        """Not active any more, if it was, and without an outcome."""
        if job in self._active:
            self.advance(_ms(entry_id))
            del self._active[job]

    def _remember(self, jobs: dict[bytes, int], job: bytes, ms: int) -> None:
        if type(job) is not bytes:  # of a server that is none: the state file takes texts
            return
        jobs.pop(job, None)  # so that the dict is in the order of time
        jobs[job] = ms
        if len(jobs) + len(self._waits if jobs is self._active else self._active) > self._max_jobs:
            self.evict()

    def _pruned(self, jobs: dict[bytes, int], before_ms: int) -> dict[bytes, int]:
        newer = {job: ms for job, ms in jobs.items() if ms >= before_ms}
        self._evicted += len(jobs) - len(newer)
        return newer


def missing_before(first: bytes, last: bytes) -> int:
    """The least possible number of entries between two ids that were read one after the other.

    Redis numbers the entries of one ms from 0, so that a first entry with number 3 had three before it.
    """
    (first_ms, first_number), (last_ms, last_number) = split_id(first), split_id(last)
    return max(0, first_number - last_number - 1) if first_ms == last_ms else first_number


def split_id(entry_id: bytes) -> tuple[int, int]:
    """A stream id's ms and number, which sort like the ids. Raises ValueError."""
    ms, _, number = entry_id.partition(b"-")
    return int(ms), int(number or 0)


def _short(job: bytes) -> bytes:
    """What is remembered of an id."""
    return job if len(job) <= _LONGEST_ID else blake2b(job, digest_size=32).digest()


def _value(fields: Sequence[bytes], name: bytes) -> bytes:
    """Of this field of an entry; nothing if it has none, or another type."""
    value = next((fields[at + 1] for at in range(2, len(fields) - 1, 2) if fields[at] == name), b"")
    return value if type(value) is bytes else b""


def _ms(entry_id: bytes) -> int:
    return int(entry_id.partition(b"-")[0])


def _texts(jobs: Iterable[tuple[bytes, int]]) -> list[tuple[str, int]]:
    return [(job.decode("latin-1"), ms) for job, ms in jobs]


def _jobs(texts: Iterable[tuple[str, int]]) -> list[tuple[bytes, int]]:
    return [(job.encode("latin-1"), int(ms)) for job, ms in texts]
