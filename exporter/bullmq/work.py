"""Since when a queue stands still, has no worker, is paused: a fold over collections. Pure.

A start of a job is seen in the event stream, and where that is not known in what a start changes: fewer
waiting jobs, another oldest one, more that ended. What is not known begins no clock.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

from exporter.snapshot import BullMQState, Events, QueueId, QueueState, Work

_UNKNOWN_SECONDS: Final = 60.0  # so long, what was known of the workers counts while it cannot be read
_SAME_SECONDS: Final = 2.0  # by which two looks at the age of the same job may differ
_NO_EVENTS: Final[Mapping[QueueId, Events]] = {}


class _Starts(NamedTuple):
    """Changes when a job was started, and when events are missing: then one may have been."""

    started: int
    lost: int
    gaps: int
    undone: int
    since: float


class _Traces(NamedTuple):
    """What a start changes in the counts. `oldest_since`: when the oldest waiting job came, in s."""

    ended: tuple[int | None, int | None]
    waiting: int
    oldest_since: float | None


@dataclass(slots=True)
class _Clocks:
    """Of one queue, in monotonic seconds; None: not running. `no_worker_until`: the last look without one.

    `late`: since when the oldest delayed job is due, and the starts at the first look at it; `overdue`: for
    how many seconds it is, where no full slots explain it.
    """

    standing: float | None = None
    starts: _Starts | None = None
    traces: _Traces | None = None
    no_worker: float | None = None
    no_worker_until: float = 0.0
    paused: float | None = None
    late: tuple[float, _Starts | None] | None = None
    overdue: float | None = None

    @property
    def running(self) -> bool:
        clocks = (self.standing, self.no_worker, self.paused, self.late)
        return any(clock is not None for clock in clocks)


class WorkHistory:
    """The clocks of those queues where one runs; a queue whose workers take its jobs costs a comparison."""

    def __init__(self) -> None:
        self._clocks: dict[QueueId, _Clocks] = {}
        self._began: float | None = None

    def extend(self, at: float, state: BullMQState) -> BullMQState:
        """The state with what is known of each queue's work up to now (`at`, monotonic seconds). A queue that
        is not in it is forgotten, one that could not be read this time is not."""
        if self._began is None:
            self._began = at
        events = state.events or _NO_EVENTS
        before, clocks = self._clocks, {}
        for queue in state.queues:
            jobs, workers = queue.jobs, queue.workers
            works = jobs.active or not (jobs.waiting or jobs.prioritized)
            quiet = works and queue.paused is False and queue.delayed_late is None
            if quiet and (workers or (workers is None and queue.id not in before)):
                continue  # most queues, most of the time
            current = before.get(queue.id) or _Clocks()
            own = state.own.get(queue.id)
            grouped = own is not None and bool(own.groups)
            _observe(current, at, queue, events.get(queue.id), grouped=grouped)
            if current.running:
                clocks[queue.id] = current
        for queue_id in state.unread:
            if queue_id in before:
                clocks[queue_id] = before[queue_id]
        self._clocks = clocks
        read = {queue: _work(current, at, events.get(queue)) for queue, current in clocks.items()}
        return replace(state, work=read, watched_seconds=at - self._began)


def runnable_jobs(queue: QueueState) -> int:
    """Jobs that a worker could take, as far as that is known: waiting, prioritized, and delayed ones that are
    due."""
    jobs = queue.jobs
    return (jobs.waiting or 0) + (jobs.prioritized or 0) + (queue.delayed_overdue or 0)


def held_back(queue: QueueState) -> bool:
    """Whether the queue gives no job: a pause, a rate limit, a global concurrency that is reached; also where
    it is not known whether it is paused."""
    if queue.paused is not False or queue.rate_limit_ttl:
        return True
    limit, active = queue.concurrency_limit, queue.jobs.active
    return limit is not None and (active is None or active >= limit)


def _observe(clocks: _Clocks, at: float, queue: QueueState, events: Events | None, *, grouped: bool) -> None:
    if queue.workers == 0:
        clocks.no_worker = at if clocks.no_worker is None else clocks.no_worker
        clocks.no_worker_until = at
    elif queue.workers or at - clocks.no_worker_until > _UNKNOWN_SECONDS:
        clocks.no_worker = None
    if queue.paused:
        clocks.paused = at if clocks.paused is None else clocks.paused
    elif queue.paused is False:
        clocks.paused = None
    starts = _starts(events)
    held = grouped or held_back(queue)
    _observe_late(clocks, at, queue, starts, held=held)
    # Where there is no worker, what is active has no lock: nobody works on it (search.workers).
    idle = queue.jobs.active == 0 or queue.workers == 0
    if held or not idle or not runnable_jobs(queue):
        clocks.standing = clocks.starts = clocks.traces = None
        return
    oldest = None if queue.oldest_waiting is None else at - queue.oldest_waiting
    traces = _Traces((queue.jobs.completed, queue.jobs.failed), runnable_jobs(queue), oldest)
    if clocks.standing is None or _started(clocks, starts, traces, no_worker=queue.workers == 0):
        clocks.standing = at
    clocks.starts, clocks.traces = starts or clocks.starts, traces


def _started(clocks: _Clocks, starts: _Starts | None, traces: _Traces, *, no_worker: bool) -> bool:
    """Whether a job was started since the last look, or may have been."""
    if starts is not None and clocks.starts is not None:
        return starts != clocks.starts
    before = clocks.traces
    if before is None:
        return True
    if traces.ended != before.ended or traces.waiting < before.waiting:
        return True
    if traces.oldest_since is None or before.oldest_since is None:
        return not no_worker  # nothing shows it; but who would have started one?
    return traces.oldest_since > before.oldest_since + _SAME_SECONDS


def _observe_late(
    clocks: _Clocks, at: float, queue: QueueState, starts: _Starts | None, *, held: bool
) -> None:
    if queue.delayed_late is None or held or queue.workers == 0:
        clocks.late = clocks.overdue = None
        return
    since = at - queue.delayed_late
    if clocks.late is None or since > clocks.late[0] + _SAME_SECONDS:
        clocks.late = since, starts
    # Workers that are all busy take a delayed job later, like any other that waits.
    first = clocks.late[1]
    passed_over = starts is not None and first is not None and starts.started > first.started
    clocks.overdue = queue.delayed_late if passed_over or queue.jobs.active == 0 else None


def _starts(events: Events | None) -> _Starts | None:
    if events is None:
        return None
    return _Starts(events.counters.started, events.lost, events.gaps, events.undone, events.since)


def _work(clocks: _Clocks, at: float, events: Events | None) -> Work:
    known_until = at if events is None else at - events.lag
    return Work(
        None if clocks.standing is None else max(0.0, known_until - clocks.standing),
        None if clocks.no_worker is None else clocks.no_worker_until - clocks.no_worker,
        None if clocks.paused is None else at - clocks.paused,
        clocks.overdue,
    )
