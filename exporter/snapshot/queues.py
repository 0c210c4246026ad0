"""The queues: their states, counters, rates, and the search for them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from operator import add, sub
from typing import Final, Literal, NamedTuple, TypeAlias

from exporter.snapshot.histogram import (
    Histogram,
    NativeDurations,
    average,
    difference,
    histogram_quantile,
    pack_histogram,
    total_of,
    unpack_histogram,
)
from exporter.snapshot.job_names import JobNames
from exporter.snapshot.memory import MemoryState, NodeMemory, QueueMemory
from exporter.snapshot.schedulers import QueueSchedulers
from service.outcome import Failed

Library: TypeAlias = Literal["bullmq", "bull"]
"""What made a queue: BullMQ, or Bull 3 or 4, its predecessor."""


class QueueId(NamedTuple):
    """A queue's name under its key prefix."""

    prefix: str
    name: str


class JobCounts(NamedTuple):
    """Jobs of one queue in each state, as BullMQ's getJobCounts counts them: the states are declared here.

    `waiting` includes those of a paused queue; `completed` and `failed` are the jobs that are kept. None: the
    key of this state could not be read.
    """

    waiting: int | None
    active: int | None
    delayed: int | None
    prioritized: int | None
    waiting_children: int | None
    completed: int | None
    failed: int | None


class QueueState(NamedTuple):
    """One queue as read in this collection. A NamedTuple, as each scrape builds thousands of them.

    Ages and times to live are in seconds. None means that the value is unknown or does not exist (no job
    waits, no limit is set). `odd` has a sentence for each part that could not be read, `workers_unknown` the
    reason why `workers` is None, `version` is what the library wrote into `meta` ("" if nothing).
    """

    id: QueueId
    jobs: JobCounts
    paused: bool | None
    schedulers: int | None
    delayed_overdue: int | None
    delayed_due: int | None
    failed_last_hour: int | None
    workers: int | None = None
    concurrency_limit: int | None = None
    rate_limit_ttl: float | None = None
    oldest_waiting: float | None = None
    longest_active: float | None = None
    capacity_per_worker: float = 10.0
    worker_concurrency: int | None = None
    library: Library = "bullmq"
    workers_unknown: str = ""
    odd: tuple[str, ...] = ()
    measured_concurrency: float | None = None  # most active jobs per worker while jobs waited: at least that
    version: str = ""
    longest_overdue: float | None = None  # seconds since the first delayed job is due
    longest_waiting_children: float | None = None  # seconds for which the first parent waits


class FailedReason(NamedTuple):
    """Jobs that failed for one reason: its text without what differs from job to job; how often, first and
    last in unix seconds, the id of the job that failed last for it; how often since it has a label of its own
    (None: it has none, and counts as another)."""

    text: str
    jobs: int
    first: float
    last: float
    job: str
    labelled: int | None


class FailedReasons(NamedTuple):
    """The reasons of a queue, the most frequent first, and how many failures have no label of their own."""

    known: tuple[FailedReason, ...] = ()
    other: int = 0


class JobCounters(NamedTuple):
    """Counters and durations from a queue's events since it is known. `processing` is by outcome; `native`
    has the same durations in exponential buckets, if they are counted so.

    None: nothing tells it. Bull says nothing of jobs that are removed.
    """

    added: int | None
    started: int
    completed: int
    failed: int
    retried: int
    stalled: int
    removed: int | None
    deduplicated: int
    wait: Histogram
    processing: Mapping[str, Histogram]
    evicted: int
    native: NativeDurations | None = None
    reasons: FailedReasons | None = None  # None: not counted
    names: JobNames | None = None  # the same


class Events(NamedTuple):
    """A queue's counters, events read, events lost (trimmed before they were read), and the lag in seconds.

    `undone` events were counted, and then lost by Redis in a failover. `since`: unix s when counting began.
    `gaps`: how often an unknown number of events was lost, with a stream that was deleted. `max_length`: to
    how many events BullMQ trims the stream (opts.maxLenEvents); `peak_rate`: most events a second of late;
    `passed_over`: why events of the last hour were not read although they were there. `busy_seconds`: the
    integral of the number of active jobs over time, up to the lag; None: not known. `resting`: nothing is new
    in the stream, and the lag is that of its node, this one: see `BullMQState.lag_of`.
    """

    counters: JobCounters
    read: int
    lost: int
    lag: float
    undone: int = 0
    since: float = 0.0
    gaps: int = 0
    max_length: int | None = None
    peak_rate: float = 0.0
    passed_over: str = ""
    busy_seconds: float | None = None
    resting: str = ""


class EventTotals(NamedTuple):
    """Of all queues, since this process started, also of those that are gone: events read and undone (as in
    `Events`), and jobs whose start was forgotten."""

    read: int = 0
    undone: int = 0
    evicted: int = 0

    def plus(self, other: EventTotals) -> EventTotals:
        return EventTotals(*map(add, self, other))

    def less(self, other: EventTotals) -> EventTotals:
        return EventTotals(*map(sub, self, other))


class CheckpointWrites(NamedTuple):
    """Of the `file` that keeps the counters of events over a restart: writes that failed since the start, and
    why the last one did (empty: it did not)."""

    file: str
    errors: int = 0
    failing: str = ""


def durations_of(counters: JobCounters) -> bytes:
    """How long jobs waited, and how long attempts ran whatever their outcome, in a form that many samples of
    a queue can be kept in: a fifth of the memory of the counters."""
    return pack_histogram(counters.wait) + pack_histogram(total_of(counters.processing.values()))


class Window(NamedTuple):
    """The durations of a queue at the beginning of a window of some minutes (`durations_of`), and its
    counters at the end. `still`: they are the same counters."""

    before: bytes
    now: JobCounters
    still: bool = False

    @property
    def wait(self) -> Histogram:
        """How long jobs waited that were started in it, in seconds."""
        wait = self.now.wait
        return difference(wait, unpack_histogram(self.before[: len(self.before) // 2], wait.bounds))

    @property
    def processing(self) -> Histogram:
        """How long attempts ran that ended in it, in seconds, whatever their outcome."""
        total = total_of(self.now.processing.values())
        return difference(total, unpack_histogram(self.before[len(self.before) // 2 :], total.bounds))


class Rates(NamedTuple):
    """Rates over the last `seconds` from a queue's event stream: jobs per minute, averages and quantiles in
    seconds.

    None if no job ended or waited; the rates and the share of errors also while events of this time are
    missing. Those of the last hour are counts, since the queue is known at most; retried ones are attempts.
    Quantiles and averages are computed when they are read: a scrape shows none of them.
    """

    seconds: float
    completed_per_minute: float | None
    failed_per_minute: float | None
    error_rate: float | None
    failed_last_hour: int
    lost_last_hour: int
    completed_last_hour: int = 0
    stalled_last_hour: int = 0
    retried_last_hour: int = 0
    window: Window | None = None

    @property
    def wait_p50(self) -> float | None:
        return self._wait(0.5)

    @property
    def wait_p95(self) -> float | None:
        return self._wait(0.95)

    @property
    def wait_average(self) -> float | None:
        return average(self.window.wait) if self.window else None

    @property
    def processing_p50(self) -> float | None:
        return histogram_quantile(self.window.processing, 0.5) if self.window else None

    @property
    def processing_p95(self) -> float | None:
        return histogram_quantile(self.window.processing, 0.95) if self.window else None

    @property
    def processing_average(self) -> float | None:
        return average(self.window.processing) if self.window else None

    def figures(self) -> dict[str, float | None]:
        """All of them by `RATES`."""
        return {name: getattr(self, name) for name in RATES}

    def _wait(self, share: float) -> float | None:
        # Most of ten thousand queues start no job in five minutes, and the plots ask every ten seconds.
        if self.window is None or self.window.still:
            return None
        wait = self.window.wait
        return histogram_quantile(wait, share) if any(wait.counts) else None


RATES: Final = (
    *Rates._fields[:4],
    "wait_p50",
    "wait_p95",
    "processing_p50",
    "processing_p95",
    "failed_last_hour",
    "lost_last_hour",
    "wait_average",
    "processing_average",
    "completed_last_hour",
    "stalled_last_hour",
    "retried_last_hour",
)
"""The figures of `Rates`, in the order of the views."""


class QueueRates(Mapping[QueueId, Rates]):
    """The rates of queues. Most of ten thousand have none but zeros, and are made when they are asked for."""

    @abstractmethod
    def lively(self) -> Iterable[tuple[QueueId, Rates]]:
        """Those of which a figure is not 0, or not known."""


class AllRates(QueueRates):
    """Rates of several sources; of a queue that two have, as while it changes its library, those of the first
    count. Those of a dict are all taken as lively."""

    def __init__(self, *parts: Mapping[QueueId, Rates]) -> None:
        self._parts = [part for part in parts if part]

    def __getitem__(self, queue: QueueId) -> Rates:
        for part in self._parts:
            if queue in part:
                return part[queue]
        raise KeyError(queue)

    def __iter__(self) -> Iterator[QueueId]:
        return chain(*self._parts) if len(self._parts) < 2 else iter(dict.fromkeys(chain(*self._parts)))

    def __len__(self) -> int:
        return sum(map(len, self._parts)) if len(self._parts) < 2 else len(set().union(*self._parts))

    def __bool__(self) -> bool:
        return bool(self._parts)

    def __contains__(self, queue: object) -> bool:
        return any(queue in part for part in self._parts)

    def lively(self) -> Iterator[tuple[QueueId, Rates]]:
        for number, part in enumerate(self._parts):
            lively = part.lively() if isinstance(part, QueueRates) else part.items()
            if number == 0:  # mostly all of them, and thousands
                yield from lively
                continue
            earlier = self._parts[:number]
            yield from (item for item in lively if not any(item[0] in other for other in earlier))


class Work(NamedTuple):
    """For how many seconds a queue stands still (jobs could be taken, nothing holds them back, none was
    started), has no worker, is paused, and has a delayed job due while others are started or workers are
    idle. None: it is not so, or not known to be. `..._before`: it was so at the first look at the queue, and
    may have been for longer. A global concurrency of 0 is a pause."""

    standing: float | None = None
    without_workers: float | None = None
    paused: float | None = None
    overdue: float | None = None
    standing_before: bool = False
    without_workers_before: bool = False
    paused_before: bool = False


class Unlocked(NamedTuple):
    """Active jobs whose lock is gone, and for how many seconds that is known of the first. `more`: there may
    be more of them, as not all were looked at."""

    jobs: int
    seconds: float
    more: bool = False


class OwnCounts(NamedTuple):
    """BullMQ's own counts, if it keeps them; read every few seconds. `groups` are those of BullMQ Pro, whose
    jobs are not counted."""

    completed: int | None
    failed: int | None
    ids: int | None
    groups: int | None = None


LeftOutReason: TypeAlias = Literal["max_queues", "name_length"]
"""Why a queue is not watched: over `bullmq.max_queues` are there, or its prefix and name are too long."""


class LeftOut(NamedTuple):
    """Queues that are there and not watched: how many, or at least so many where there are `more`, and the
    first few, whose names may be cut."""

    number: int = 0
    more: bool = False
    first: tuple[QueueId, ...] = ()


@dataclass(frozen=True, slots=True)
class Search:
    """What was searched for queues: `prefixes` narrow it (none: any prefix), `keys` and `ended_at` (unix s)
    are those of the last whole search, `passed_over` has the candidates that are no queues, and why;
    `refused` those that Redis does not let us read, and which may be queues;
    `missing` are names of the settings that no queue has; `others`: how many names and keys of candidates are
    those of other shards; `left_out` are queues that are not watched, as there is room for `most`."""

    prefixes: tuple[str, ...] = ()
    keys: int | None = None
    ended_at: float | None = None
    passed_over: Mapping[QueueId, str] = field(default_factory=dict)
    refused: Mapping[QueueId, str] = field(default_factory=dict)
    missing: tuple[str, ...] = ()
    others: int = 0
    left_out: Mapping[LeftOutReason, LeftOut] = field(default_factory=dict)
    most: int | None = field(default=None, compare=False)

    @property
    def not_watched(self) -> LeftOut:
        """All that is left out, for whatever reason."""
        each = [left for left in self.left_out.values() if left.number]
        return LeftOut(
            sum(left.number for left in each),
            any(left.more for left in each),
            tuple(queue for left in each for queue in left.first),
        )


class Queues(tuple[QueueState, ...]):  # noqa: SLOT001  # what is cached needs a dict
    """The states of queues, and the same by their ids."""

    @classmethod
    def by_ids(cls, by_id: Mapping[QueueId, QueueState]) -> Queues:
        """Those of a mapping that is not changed any more."""
        queues = cls(by_id.values())
        queues.by_id = by_id
        return queues

    @cached_property
    def by_id(self) -> Mapping[QueueId, QueueState]:
        return {queue.id: queue for queue in self}

    @cached_property
    def prefixes(self) -> AbstractSet[str]:
        return {queue.id.prefix for queue in self}


@dataclass(frozen=True, slots=True)
class MeasuredMemory:
    """The memory that was measured lately. `unread` has the queues of which nothing could be measured, and
    why; `published` are those of `queues` with series of their own, `totals` the bytes of all by state;
    `pending`: how many were not measured yet."""

    queues: Mapping[QueueId, QueueMemory] = field(default_factory=dict)
    nodes: Mapping[str, NodeMemory] = field(default_factory=dict)
    unread: Mapping[QueueId, str] = field(default_factory=dict)
    published: Mapping[QueueId, QueueMemory] = field(default_factory=dict)
    totals: Mapping[MemoryState, int] = field(default_factory=dict)
    pending: int = 0


class Changes(NamedTuple):
    """What is not as in the collection before: of these queues more of the state than its ages, or what is
    counted of their events, or they came or are gone. `number` counts the collections of one source."""

    number: int
    queues: AbstractSet[QueueId]


@dataclass(frozen=True)
class BullMQState:
    """Every known queue: its state, or why it is unread. `discovered` is False until the first search for
    queues has ended; `search_refused` if Redis refused every search; `unfollowed` has the queues whose event
    stream is there and cannot be read, and why: they have no counters."""

    queues: tuple[QueueState, ...]
    unread: Mapping[QueueId, Failed] = field(default_factory=dict)
    discovered: bool = True
    problems: tuple[str, ...] = ()
    search_refused: bool = False
    events: Mapping[QueueId, Events] | None = None  # None: event streams are not followed
    rates: Mapping[QueueId, Rates] = field(
        default_factory=dict
    )  # of queues that have been followed for a while
    own: Mapping[QueueId, OwnCounts] = field(default_factory=dict)
    search: Search = Search()
    unfollowed: Mapping[QueueId, str] = field(default_factory=dict)
    work: Mapping[QueueId, Work] | None = None  # of queues that do not just work; None: nobody remembers
    event_totals: EventTotals | None = None  # None: nothing is followed
    checkpoint: CheckpointWrites | None = None  # None: the counters are not kept over a restart
    watched_seconds: float = 0.0  # for which `work` can know something
    unlocked: Mapping[QueueId, Unlocked] = field(default_factory=dict)
    changes: Changes | None = field(default=None, compare=False)  # None: anything may have changed

    schedulers: Mapping[QueueId, QueueSchedulers] = field(default_factory=dict)  # of queues that have some
    node_lags: Mapping[str, float] = field(default_factory=dict)  # of streams in which nothing is new, in s
    memory: MeasuredMemory | None = None  # None: it is not measured

    @property
    def by_id(self) -> Mapping[QueueId, QueueState]:
        """The queues that could be read."""
        return self._queues.by_id

    @cached_property
    def _queues(self) -> Queues:
        return self.queues if isinstance(self.queues, Queues) else Queues(self.queues)

    @cached_property
    def lively_rates(self) -> Sequence[tuple[QueueId, Rates]]:
        """Those of which a figure is not 0, or not known."""
        return list(AllRates(self.rates).lively())

    @cached_property
    def failed_last_hour(self) -> Mapping[QueueId, int]:
        """Jobs that failed, of the queues of which some did: by the failed set, which removeOnFail trims, or
        by the event stream, of which an exporter that has just started has read little; the larger counts,
        or that which could be read."""
        failed = {queue.id: jobs for queue in self.queues if (jobs := queue.failed_last_hour)}
        read = self.by_id
        for queue, rates in self.lively_rates:
            jobs = rates.failed_last_hour
            if jobs and jobs > failed.get(queue, 0) and queue in read:
                failed[queue] = jobs
        return failed

    def lag_of(self, events: Events) -> float:
        """Seconds since the stream was last seen to have nothing that was not counted."""
        return self.node_lags[events.resting] if events.resting else events.lag

    @cached_property
    def several_prefixes(self) -> bool:
        """Whether a queue's name alone does not say which it is."""
        return len(self._queues.prefixes | {queue.prefix for queue in self.unread}) > 1

    @property
    def blind(self) -> bool:
        """Whether the search for queues is refused and no queue is known without it."""
        return self.search_refused and not (self.queues or self.unread)

    @property
    def up(self) -> bool:
        """Whether the state of every known queue could be read; a running search is not a failure, a refused
        search is."""
        return not (self.unread or self.blind)
