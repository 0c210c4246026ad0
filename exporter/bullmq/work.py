"""Since when a queue stands still, has no worker, is paused: a fold over collections. Pure.

A start of a job is seen in the event stream, and where that is not known in what a start changes: fewer
waiting jobs, another oldest one, more that ended. What is not known begins no clock.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from typing import Final

from exporter.bullmq.counts import Counts
from exporter.snapshot.queues import BullMQState, Events, OwnCounts, QueueId, QueueState, Work

_UNKNOWN_SECONDS: Final = 60.0  # so long, what was known of the workers counts while it cannot be read
ENOUGH_LOST: Final = 2_000
"""So many active jobs without a lock, of those active for longest, show that no worker has any: one that
works gives them back."""
_SAME_SECONDS: Final = 2.0  # by which two looks at the age of the same job may differ
_new_tuple: Final = tuple.__new__  # in a third of the time of `Work(...)`
_NO_EVENTS: Final[Mapping[QueueId, Events]] = {}


@dataclass(slots=True)
class _Clocks:
    """Of one queue, in monotonic seconds; None: not running.

    `standing` with the last look at the queue and what was last known of its events; `known_until`: when it
    was last known that no job was started; `no_worker_until`: the last look without a worker. `late`: since
    when the first delayed job is due, and the events at the first look at it; `overdue`: for how many seconds
    it is, where no full slots explain it. `first`: the first look at the queue, if it is remembered since.
    `steady`: until something of the queue changes, no clock begins or stops. `before`: which clocks run since
    the first look.
    """

    first: float | None = None
    standing: float | None = None
    known_until: float = 0.0
    looked_at: float = 0.0
    queue: QueueState | None = None
    events: Events | None = None
    no_worker: float | None = None
    no_worker_until: float = 0.0
    paused: float | None = None
    late: tuple[float, Events | None] | None = None
    overdue: float | None = None
    steady: bool = False
    before: tuple[bool, bool, bool] = (False, False, False)


class WorkHistory:
    """The clocks of those queues where one runs; a queue whose workers take its jobs costs nothing.

    Where the collection says what changed, only that is looked at, and what may change with time alone.
    """

    def __init__(self) -> None:
        self._clocks: dict[QueueId, _Clocks] = {}
        self._last = BullMQState(())
        self._unread: Collection[QueueId] = ()
        self._began: float | None = None
        self._grouped: AbstractSet[QueueId] = frozenset()
        self._own: Mapping[QueueId, OwnCounts] | None = None

    def extend(self, at: float, state: BullMQState) -> BullMQState:
        """The state with what is known of each queue's work up to now (`at`, monotonic seconds). A queue that
        is not in it is forgotten, one that could not be read this time is not."""
        if self._began is None:
            self._began = at
        changed = self._changed(state)
        before = self._clocks
        clocks: dict[QueueId, _Clocks] = {}
        work: dict[QueueId, Work] = {}
        queues: Iterable[QueueState] = state.queues
        if changed is not None:
            clocks = {
                queue_id: current
                for queue_id, current in before.items()
                if current.steady and queue_id not in changed
            }
            work = _advanced(clocks, at, state)
            rest = changed | (before.keys() - clocks.keys()) if len(clocks) < len(before) else changed
            queues = [known for queue_id in rest if (known := state.by_id.get(queue_id)) is not None]
        for queue in queues:
            self._look(queue, at, state, clocks, work)
        for queue_id in state.unread:
            if queue_id in before:
                clocks[queue_id] = before[queue_id]
        self._unread = {queue_id for queue_id in state.unread if self._knows(queue_id)}
        self._clocks = clocks
        self._last = replace(state, work=work, watched_seconds=at - self._began)
        return self._last

    def _changed(self, state: BullMQState) -> AbstractSet[QueueId] | None:
        """The queues that are not as in the last collection; None where that is not known."""
        grouped = self._grouped
        if state.own is not self._own:
            grouped = {queue for queue, own in state.own.items() if own.groups}
        regrouped, self._grouped, self._own = grouped ^ self._grouped, grouped, state.own
        last, now = self._last.changes, state.changes
        if last is None or now is None or now.number != last.number + 1:
            return None
        unlocked = state.unlocked.keys() | self._last.unlocked.keys()
        return regrouped | now.queues | unlocked | state.unread.keys() | self._last.unread.keys()

    def _look(
        self,
        queue: QueueState,
        at: float,
        state: BullMQState,
        clocks: dict[QueueId, _Clocks],
        work: dict[QueueId, Work],
    ) -> None:
        """Take what one queue shows; it is not in `clocks` afterwards if none runs."""
        jobs, workers, queue_id, unlocked = queue.jobs, queue.workers, queue.id, state.unlocked
        works = jobs.active or not (jobs.waiting or jobs.prioritized)
        quiet = works and queue.longest_overdue is None and stopped(queue) is False
        lost = unlocked[queue_id].jobs if unlocked and queue_id in unlocked else 0
        current = self._clocks.get(queue_id)
        if quiet and not lost and (workers or (workers is None and current is None)):
            return  # most queues, most of the time
        if current is None:
            current = _Clocks(None if self._knows(queue_id) else at)
        stream = state.events.get(queue_id) if state.events else None
        lag = 0.0 if stream is None else state.lag_of(stream)
        known = _observe(current, at, queue, stream, lost, lag=lag, grouped=queue_id in self._grouped)
        if known is not None:
            clocks[queue_id], work[queue_id] = current, known
            current.steady = _is_steady(current, queue, stream)

    def _knows(self, queue: QueueId) -> bool:
        """Whether it was looked at before."""
        return queue in self._last.by_id or queue in self._unread


def runnable_jobs(queue: QueueState) -> int:
    """Jobs that a worker could take, as far as that is known: waiting, prioritized, and delayed ones that are
    due."""
    jobs = queue.jobs
    return (jobs.waiting or 0) + (jobs.prioritized or 0) + (queue.delayed_overdue or 0)


def stopped(queue: QueueState | Counts) -> bool | None:
    """Whether somebody lets no job of the queue start: a pause, or a global concurrency of 0."""
    if queue.concurrency_limit is not None and queue.concurrency_limit <= 0:
        return True
    return queue.paused


def waits_for(queue: QueueState) -> float | None:
    """For how many seconds a job could have been taken that was not; None where no age is known. While it
    waits, workers have taken none in its place, unless later ones go first (LIFO, priority)."""
    oldest, overdue = queue.oldest_waiting, queue.longest_overdue
    return oldest if overdue is None or (oldest is not None and oldest > overdue) else overdue


def held_back(queue: QueueState, *, lost: int = 0) -> bool:
    """Whether the queue gives no job: a pause, a rate limit, a global concurrency that is reached; also where
    it is not known whether it is paused. `lost`: active jobs that have no lock."""
    if queue.paused is not False or queue.rate_limit_ttl:
        return True
    limit, active = queue.concurrency_limit, queue.jobs.active
    if limit is None:
        return False
    # Jobs that no worker has fill a global concurrency for want of workers: that holds nothing back.
    if queue.workers == 0:
        return limit < 1
    return active is None or active - lost >= limit


def _observe(
    clocks: _Clocks,
    at: float,
    queue: QueueState,
    events: Events | None,
    lost: int,
    *,
    lag: float,
    grouped: bool,
) -> Work | None:
    """What is known now; None where no clock runs. `lag`: of the events, in seconds; `lost`: active jobs that
    have no lock."""
    workers, jobs = queue.workers, queue.jobs
    if workers == 0:
        clocks.no_worker_until = at
        if clocks.no_worker is None:
            clocks.no_worker = at
    elif workers or at - clocks.no_worker_until > _UNKNOWN_SECONDS:
        clocks.no_worker = None
    if queue.concurrency_limit is None and queue.paused is False:  # as of most queues
        clocks.paused, held = None, queue.rate_limit_ttl
    else:
        stop, held = stopped(queue), held_back(queue, lost=lost)
        if not stop:
            clocks.paused = clocks.paused if stop is None else None
        elif clocks.paused is None:
            clocks.paused = at
    held = grouped or held
    if held or workers == 0 or queue.longest_overdue is None:
        clocks.late = clocks.overdue = None
    else:
        _observe_late(clocks, at, queue, queue.longest_overdue, events)
    # Where there is no worker, what is active has no lock: nobody works on it (search.workers).
    idle = workers == 0 or (jobs.active is not None and lost >= min(jobs.active, ENOUGH_LOST))
    if held or not idle or not (jobs.waiting or jobs.prioritized or queue.delayed_overdue):
        clocks.standing = clocks.queue = clocks.events = None
        return _work(clocks, at)
    if clocks.standing is None or _started(clocks, at, queue, events):
        clocks.standing = clocks.known_until = at
    # The lag goes up and down: what was known once is known.
    until = at if events is None else at - lag
    clocks.known_until = max(clocks.known_until, until)
    clocks.looked_at, clocks.queue = at, queue
    if events is not None:
        clocks.events = events
    return _work(clocks, at)


def _is_steady(clocks: _Clocks, queue: QueueState, events: Events | None) -> bool:
    """Whether no clock begins or stops by time alone: while a delayed job is due others may be started, what
    was known of the workers holds for a minute, and without events the age of the oldest job tells."""
    if clocks.late is not None or (queue.workers is None and clocks.no_worker is not None):
        return False
    return clocks.standing is None or events is not None


def _advanced(steady: Mapping[QueueId, _Clocks], at: float, state: BullMQState) -> dict[QueueId, Work]:
    """What is known now of queues of which nothing changed, and whose clocks are steady: as `_observe`."""
    events, lags, work = state.events or _NO_EVENTS, state.node_lags, {}
    for queue_id, clocks in steady.items():
        standing, no_worker, paused = clocks.standing, clocks.no_worker, clocks.paused
        if standing is not None:
            known = events[queue_id]
            until = at - (lags[known.resting] if known.resting else known.lag)
            clocks.known_until = max(clocks.known_until, until)
            standing = clocks.known_until - standing
        if no_worker is not None:
            clocks.no_worker_until = at
            no_worker = at - no_worker
        stood, lacked, was_paused = clocks.before
        work[queue_id] = _new_tuple(
            Work,
            (
                standing,
                no_worker,
                None if paused is None else at - paused,
                None,  # overdue
                stood,
                lacked,
                was_paused,
            ),
        )
    return work


def _started(clocks: _Clocks, at: float, queue: QueueState, events: Events | None) -> bool:
    """Whether a job was started since the last look, or may have been."""
    known, before = clocks.events, clocks.queue
    if events is not None and known is not None:
        return _may_be_started(events, known)
    if before is None:
        return True
    ended = (queue.jobs.completed, queue.jobs.failed) != (before.jobs.completed, before.jobs.failed)
    if ended or runnable_jobs(queue) < runnable_jobs(before):
        return True
    if queue.oldest_waiting is None or before.oldest_waiting is None:
        return queue.workers != 0  # nothing shows it; but who would have started one?
    came, came_before = at - queue.oldest_waiting, clocks.looked_at - before.oldest_waiting
    return came > came_before + _SAME_SECONDS


def _may_be_started(now: Events, before: Events) -> bool:
    """Whether a job was started, or events are missing that may have been starts."""
    if now.counters is not before.counters and now.counters.started != before.counters.started:
        return True
    return (
        now.lost != before.lost
        or now.gaps != before.gaps
        or now.undone != before.undone
        or now.since != before.since
    )


def _observe_late(
    clocks: _Clocks, at: float, queue: QueueState, longest: float, events: Events | None
) -> None:
    """`longest`: for how many seconds the first delayed job is due."""
    since = at - longest
    if clocks.late is None or since > clocks.late[0] + _SAME_SECONDS:
        clocks.late = since, events
    # Workers that are all busy take a delayed job later, like any other that waits.
    first = clocks.late[1]
    passed_over = (
        events is not None and first is not None and events.counters.started > first.counters.started
    )
    clocks.overdue = longest if passed_over or queue.jobs.active == 0 else None


def _work(clocks: _Clocks, at: float) -> Work | None:
    standing, no_worker, paused, first = clocks.standing, clocks.no_worker, clocks.paused, clocks.first
    if standing is None and no_worker is None and paused is None and clocks.late is None:
        return None
    clocks.before = (
        first is not None and standing == first,
        first is not None and no_worker == first,
        first is not None and paused == first,
    )
    return Work(  # by position: as in exporter.bullmq.counts
        None if standing is None else clocks.known_until - standing,
        None if no_worker is None else clocks.no_worker_until - no_worker,
        None if paused is None else at - paused,
        clocks.overdue,
        *clocks.before,
    )
