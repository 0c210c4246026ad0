"""Jobs that wait beside free slots are held back by a rate limit or a pause: more workers do not help.

Pure."""

from __future__ import annotations

from typing import Final, NamedTuple

from scaler.decision.policies.flow import Flow, active_of, busy_between, mean_busy, none_ended
from scaler.model import QueueSample

FULL: Final = 0.75
"""Of the slots: where fewer are busy, they are free beside waiting jobs; fewer free ones are noise."""

_WAITING: Final = 0.2  # of the slots: fewer waiting jobs may just not have been taken yet
_FULL: Final = 0.05  # of the slots: fewer free ones are none
_SAMPLES: Final = 2  # in a row: one may be taken while jobs are handed out
_ROOM: Final = 1.2  # above what is busy, so that a higher limit is noticed
_FEWER: Final = 0.75  # of the workers: with a limit those that stay have a third more to do each
_SAME: Final = 1.1  # as many active jobs of each worker
_LATELY_SECONDS: Final = 30.0
_TOLD_SECONDS: Final = 600.0  # a limit that was closed is there: samples may miss that it is closed again
_CLOCK: Final = 1.0  # the times of two samples of one window differ by less
_WINDOWS: Final = 2.0  # of a limit, in which the metrics have none any more
_WINDOW_SECONDS: Final = 120.0  # two windows of the usual longest rate limit, by the minute


class Throttle(NamedTuple):
    """`beside` and `full`: samples in a row with jobs beside free slots, and with jobs beside none; `seen`:
    when a limit held jobs back last (unix s), `closed`: when the queue's metrics told so last, `until`: the
    end of its window as they told it; `cap`: the most slots that get work, None: no limit is seen; `paused`:
    it is of a pause, which ends at once; `window`: the longest that was told to be left of a window since
    then (s; 0: none was). `workers` and `per_worker`: how many there were when the cap came, and the active
    jobs of each; `taken`: the jobs that a worker takes, None: as many as it has slots."""

    beside: int = 0
    full: int = 0
    seen: float = 0.0
    closed: float = 0.0
    until: float = 0.0
    cap: float | None = None
    paused: bool = False
    window: float = 0.0
    workers: int = 0
    per_worker: float = 0.0
    taken: float | None = None


class ReadyWorkers(NamedTuple):
    """`settled` have been ready for a while: the sample is older than the number of ready ones, and some
    count as ready before they take jobs; `most` were in the last minute; each has `slots`; there are `least`
    at least; `with_jobs` may have some, those that are leaving too."""

    settled: int
    most: int
    slots: float
    least: int = 1
    with_jobs: int = 0


def update_throttle(
    throttle: Throttle, flow: Flow, sample: QueueSample, ready: ReadyWorkers, *, fresh: bool
) -> Throttle:
    """The throttle after this look; `fresh`: the sample is new.

    A pause is known, if the queue's metrics tell it; so is a global concurrency that is reached. Of a rate
    limit that the workers have, the metrics tell only that its window runs: it is closed where jobs wait
    beside free slots. Otherwise both are seen by two samples in a row. The cap goes when nothing waits, when
    a pause ends, or when all slots are busy and no limit was seen to hold jobs for two minutes; for two of
    its windows, where jobs start and the metrics have none, as each start would begin one. Where fewer
    workers have fewer active jobs, or more have more, each as many as before, it was no limit: a worker takes
    fewer jobs than it was said to. A time that is ahead of the sample is of another clock.
    """
    if not fresh:
        return throttle
    if max(throttle.seen, throttle.closed) > sample.at:
        throttle = Throttle(taken=throttle.taken)
    looked = _looked(throttle, flow, sample, ready)
    told = looked.paused or sample.at - looked.closed <= _TOLD_SECONDS or _still_closed(looked, flow, sample)
    lately = min(_LATELY_SECONDS, _open_seconds(looked, flow, sample))
    full = mean_busy(flow, lately) >= (1 - _FULL) * ready.settled * ready.slots
    capped = looked._replace(full=0) if looked.full and told and not full else looked
    cap = _cap(capped, throttle, flow, sample, told=told)
    capped = capped if cap == capped.cap else capped._replace(cap=cap)
    if capped.taken is not None and ready.most:
        each = sample.active / max(ready.most, ready.with_jobs)
        capped = capped._replace(taken=max(capped.taken, each))
    return _doubted(capped, flow, ready, told=told)


def _looked(throttle: Throttle, flow: Flow, sample: QueueSample, ready: ReadyWorkers) -> Throttle:
    """With what this sample shows of a limit or a pause, and the cap as it was."""
    at, waiting, limit_seconds = sample.at, sample.waiting, sample.limit_seconds or 0.0
    young = ready.settled == 0 and limit_seconds > 0  # where a limit may be told, they need not have settled
    slots = (ready.most if young else ready.settled) * ready.slots
    free = slots - sample.active
    beside = slots > 0 and waiting > _WAITING * slots and free > (1 - FULL) * slots
    begins = young and not 0 < sample.active <= _most_active(flow, at)  # they may not take jobs yet
    count = throttle.beside + (not begins) if beside else 0
    reached = sample.concurrency_limit is not None and sample.active >= sample.concurrency_limit
    known = throttle.cap is not None  # any free slot is a sign of it, and that its window runs
    enough = 1 - _FULL if known else FULL
    held = limit_seconds > 0 and slots > 0 and min(sample.active, busy_between(flow)) < enough * slots
    closed = waiting > 0 and (reached or (count >= _SAMPLES if young else held))
    return throttle._replace(
        beside=count,
        full=throttle.full + 1 if waiting > 0 and free <= _FULL * slots else 0,
        seen=at if (beside and not young) or sample.paused or closed else throttle.seen,
        closed=at if closed or (known and waiting > 0 and limit_seconds > 0) else throttle.closed,
        until=at + limit_seconds if closed else throttle.until,
        paused=sample.paused,
        window=max(throttle.window, limit_seconds) if known or closed else 0.0,
    )


def _most_active(flow: Flow, at: float) -> float:
    """Active jobs of a point of the last two minutes, but of the last one."""
    return max((point.active for point in flow.points[:-1] if point.at > at - _WINDOW_SECONDS), default=0.0)


def _open_seconds(looked: Throttle, flow: Flow, sample: QueueSample) -> float:
    """For how long all slots have to be busy, and no limit seen, until there is none."""
    windows = _WINDOWS * looked.window
    told = looked.window == 0 or sample.limit_seconds is not None
    return _WINDOW_SECONDS if told or none_ended(flow, windows) else min(_WINDOW_SECONDS, windows)


def _still_closed(looked: Throttle, flow: Flow, sample: QueueSample) -> bool:
    """Whether the window in which jobs were held back goes on as it was told, and none has started since: the
    slots are full of jobs that run long."""
    told = sample.limit_seconds is not None and 0 < sample.limit_seconds <= looked.until - sample.at + _CLOCK
    return told and none_ended(flow, _WINDOW_SECONDS)


def _cap(looked: Throttle, before: Throttle, flow: Flow, sample: QueueSample, *, told: bool) -> float | None:
    """Room above what is busy in the mean: a limit lets jobs start in lumps, and samples may see these only.

    A cap that is not `told` by the queue's metrics falls only while jobs wait beside free slots.
    """
    lately = sample.at - looked.seen <= _open_seconds(looked, flow, sample) or _still_closed(
        looked, flow, sample
    )
    unlimited = looked.full >= _SAMPLES and not lately
    if sample.waiting == 0 or unlimited or (before.paused and not looked.paused):
        return None
    room = _ROOM * mean_busy(flow, _WINDOW_SECONDS) + 1
    if looked.paused or looked.beside >= _SAMPLES or (looked.beside and looked.closed == sample.at):
        return room
    if looked.cap is None:
        return None
    return room if told else max(looked.cap, room)


def _doubted(throttle: Throttle, flow: Flow, ready: ReadyWorkers, *, told: bool) -> Throttle:
    """Whether each worker has as many active jobs with another number of workers: then it is no limit.

    Looked at once for each number of them: sooner or later a limit would look so by chance.
    """
    if throttle.cap is None:
        return throttle._replace(workers=0) if throttle.workers else throttle
    active = active_of(flow, _LATELY_SECONDS)
    mean, now = sum(active) / len(active), ready.settled
    fewer, more = ready.most <= _FEWER * throttle.workers, now > throttle.workers
    if now and (fewer or more):
        expected = throttle.per_worker * now
        if fewer:  # samples may be of more workers; where nothing tells of a limit, still fewer refute it
            most = _SAME * throttle.per_worker * ready.most
            same = max(active) <= most and (not told or expected <= _SAME * mean)
        else:
            same = throttle.workers > 0 and not told and 0 < expected <= _SAME * min(active)
        each = max(1.0, mean / ready.most)
        less = each * _SAME < ready.slots
        if same and not throttle.paused and (less or not told):
            taken = each if less else throttle.taken
            return Throttle(seen=throttle.seen, closed=throttle.closed, until=throttle.until, taken=taken)
        throttle = throttle._replace(workers=now, per_worker=mean / now)
    if not told and 0 < throttle.workers <= max(1, ready.least):  # fewer there cannot be: one more shows it
        throttle = throttle._replace(cap=max(throttle.cap or 0.0, (throttle.workers + 1) * ready.slots))
    return throttle
