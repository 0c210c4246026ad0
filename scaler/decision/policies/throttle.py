"""Jobs that wait beside free slots are held back by a rate limit or a pause: more workers do not help.

Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from scaler.decision.policies.flow import Flow, active_of, mean_busy
from scaler.model import QueueSample

_WAITING: Final = 0.2  # of the slots: fewer waiting jobs may just not have been taken yet
_FREE: Final = 0.25  # of the slots: fewer are noise
_FULL: Final = 0.05  # of the slots: fewer free ones are none
_SAMPLES: Final = 2  # in a row: one may be taken while jobs are handed out
_ROOM: Final = 1.2  # above what is busy, so that a higher limit is noticed
_FEWER: Final = 0.75  # of the workers: with a limit those that stay have a third more to do each
_SAME: Final = 1.1  # as many active jobs of each worker
_LATELY_SECONDS: Final = 30.0
_TOLD_SECONDS: Final = 600.0  # a limit that was closed is there: samples may miss that it is closed again
_LONGEST_WINDOW: Final = 3600.0
_WINDOW_SECONDS: Final = 120.0  # two windows of the usual longest rate limit, by the minute


@dataclass(frozen=True, slots=True)
class Throttle:
    """`beside` and `full`: samples in a row with jobs beside free slots, and with jobs beside none; `seen`:
    when a limit held jobs back last (unix s), `closed`: when the queue's metrics told so last; `window`: the
    longest time that one was seen to hold them (s); `cap`: the most slots that get work, None: no limit is
    seen; `paused`: it is of a pause, which ends at once. `workers` and `per_worker`: how many there were when
    the cap came, and the active jobs of each; `taken`: the jobs that a worker takes, None: as many as it has
    slots."""

    beside: int = 0
    full: int = 0
    seen: float = 0.0
    closed: float = 0.0
    window: float = _WINDOW_SECONDS
    cap: float | None = None
    paused: bool = False
    workers: int = 0
    per_worker: float = 0.0
    taken: float | None = None


@dataclass(frozen=True, slots=True)
class ReadyWorkers:
    """`settled` have been ready for a while: the sample is older than the number of ready ones, and some
    count as ready before they take jobs; `most` were in the last minute; each has `slots`; there are `least`
    at least."""

    settled: int
    most: int
    slots: float
    least: int = 1


def update_throttle(
    throttle: Throttle, flow: Flow, sample: QueueSample, ready: ReadyWorkers, *, fresh: bool
) -> Throttle:
    """The throttle after this look; `fresh`: the sample is new.

    A pause is known, if the queue's metrics tell it; so are a rate limit that is closed and a global
    concurrency that is reached. Otherwise they are seen by two samples in a row. The cap goes when nothing
    waits, when a pause ends, or when all slots are busy and no limit was seen to hold jobs for as long as its
    window lasts. Where fewer workers have fewer active jobs, or more have more, each as many as before, it
    was no limit: a worker takes fewer jobs than it was said to.
    """
    if not fresh:
        return throttle
    looked = _looked(throttle, sample, ready)
    told = looked.paused or sample.at - looked.closed <= max(_TOLD_SECONDS, looked.window)
    full = mean_busy(flow, _LATELY_SECONDS) >= (1 - _FULL) * ready.settled * ready.slots
    capped = looked if full or not told else replace(looked, full=0)
    capped = replace(capped, cap=_cap(capped, throttle, flow, sample, told=told))
    if capped.taken is not None and ready.most:
        capped = replace(capped, taken=max(capped.taken, sample.active / ready.most))
    return _doubted(capped, flow, ready, told=told)


def _looked(throttle: Throttle, sample: QueueSample, ready: ReadyWorkers) -> Throttle:
    """With what this sample shows of a limit or a pause, and the cap as it was."""
    at, waiting = sample.at, sample.waiting
    closed_for = min(_LONGEST_WINDOW, sample.limit_seconds or 0.0) if waiting > 0 else 0.0
    reached = sample.concurrency_limit is not None and sample.active >= sample.concurrency_limit
    closed = closed_for > 0 or (reached and waiting > 0)
    # Where a limit is told, those that do not take jobs yet need not be told from it.
    slots = (ready.settled or (ready.most if closed else 0)) * ready.slots
    free = slots - sample.active
    beside = slots > 0 and waiting > _WAITING * slots and free > _FREE * slots
    return replace(
        throttle,
        beside=throttle.beside + 1 if beside else 0,
        full=throttle.full + 1 if waiting > 0 and free <= _FULL * slots else 0,
        seen=at if beside or sample.paused or closed else throttle.seen,
        closed=at if closed else throttle.closed,
        window=max(throttle.window, closed_for),
        paused=sample.paused,
    )


def _cap(looked: Throttle, before: Throttle, flow: Flow, sample: QueueSample, *, told: bool) -> float | None:
    """Room above what is busy in the mean: a limit lets jobs start in lumps, and samples may see these only.

    A cap that is not `told` by the queue's metrics falls only while jobs wait beside free slots.
    """
    unlimited = looked.full >= _SAMPLES and sample.at - looked.seen > looked.window
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
        return replace(throttle, workers=0)
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
        taken: float | None = max(1.0, mean / ready.most)
        less = max(1.0, mean / ready.most) * _SAME < ready.slots
        if same and not throttle.paused and (less or not told):
            taken = taken if less else throttle.taken
            return Throttle(seen=throttle.seen, closed=throttle.closed, window=throttle.window, taken=taken)
        throttle = replace(throttle, workers=now, per_worker=mean / now)
    if not told and 0 < throttle.workers <= max(1, ready.least):  # fewer there cannot be: one more shows it
        throttle = replace(throttle, cap=max(throttle.cap or 0.0, (throttle.workers + 1) * ready.slots))
    return throttle
