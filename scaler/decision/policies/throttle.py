"""Jobs that wait beside free slots are held back by a rate limit or a pause: more workers do not help.

Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from scaler.decision.policies.flow import Flow, mean_active
from scaler.model import QueueSample

_WAITING: Final = 0.2  # of the slots: fewer waiting jobs may just not have been taken yet
_FREE: Final = 0.25  # of the slots: fewer are noise
_FULL: Final = 0.05  # of the slots: fewer free ones are none
_SAMPLES: Final = 2  # in a row: one may be taken while jobs are handed out
_ROOM: Final = 1.2  # above what is busy, so that a higher limit is noticed
_FEWER: Final = 0.75  # of the workers: with a limit those that stay have a third more to do each
_SAME: Final = 1.1  # as many active jobs of each worker
_LATELY_SECONDS: Final = 30.0
_WINDOW_SECONDS: Final = 120.0  # two windows of the usual longest rate limit, by the minute


@dataclass(frozen=True, slots=True)
class Throttle:
    """`beside` and `full`: samples in a row with jobs beside free slots, and with jobs beside none; `seen`:
    when a limit held jobs back last (unix s); `window`: the longest time that one was seen to hold them (s);
    `cap`: the most slots that get work, None: no limit is seen; `paused`: it is of a pause, which ends at
    once. `workers` and `per_worker`: how many there were when the cap came, and the active jobs of each;
    `taken`: the jobs that a worker takes, None: as many as it has slots."""

    beside: int = 0
    full: int = 0
    seen: float = 0.0
    window: float = _WINDOW_SECONDS
    cap: float | None = None
    paused: bool = False
    workers: int = 0
    per_worker: float = 0.0
    taken: float | None = None


@dataclass(frozen=True, slots=True)
class ReadyWorkers:
    """`settled` have been ready for a while: the sample is older than the number of ready ones, and some
    count as ready before they take jobs; `most` were in the last minute; each has `slots`."""

    settled: int
    most: int
    slots: float


def update_throttle(
    throttle: Throttle, flow: Flow, sample: QueueSample, ready: ReadyWorkers, *, fresh: bool
) -> Throttle:
    """The throttle after this look; `fresh`: the sample is new.

    A pause is known, if the queue's metrics tell it; so is that there is a rate limit. Otherwise both are
    seen by two samples in a row. The cap goes when nothing waits, when a pause ends, or when all slots are
    busy and no limit was seen to hold jobs for as long as its window lasts. Where fewer workers have fewer
    active jobs, or more have more, each as many as before, it was no limit: a worker takes fewer jobs than it
    was said to.
    """
    if not fresh:
        return throttle
    workers, slots = ready.settled, ready.settled * ready.slots
    waiting, free = sample.waiting, slots - sample.active
    paused = sample.held is not None and sample.held >= waiting > 0
    beside = throttle.beside + 1 if slots > 0 and waiting > _WAITING * slots and free > _FREE * slots else 0
    full = throttle.full + 1 if waiting > 0 and free <= _FULL * slots else 0
    closed = sample.limit_seconds or 0.0 if waiting > 0 else 0.0
    seen = sample.at if beside or paused or closed else throttle.seen
    window = max(throttle.window, closed)
    cap, room = throttle.cap, _ROOM * mean_active(flow, _WINDOW_SECONDS) + 1
    unlimited = full >= _SAMPLES and sample.at - seen > window
    if waiting == 0 or unlimited or (throttle.paused and not paused):
        cap = None
    elif paused or beside >= _SAMPLES:
        cap = room
    elif cap is not None:
        cap = max(cap, room)
    then, before, taken = throttle.workers, throttle.per_worker, throttle.taken
    if taken is not None and ready.most:
        taken = max(taken, sample.active / ready.most)
    least = min(point.active for point in flow.points if point.at > flow.last.at - _LATELY_SECONDS)
    mean, guessed = mean_active(flow, _WINDOW_SECONDS), cap is not None and not (paused or closed)
    if cap is None:
        then = 0
    elif not then:
        then, before = workers, sample.active / max(1, workers)
    elif (guessed and beside and 0 < workers <= _FEWER * then and mean <= _SAME * before * workers) or (
        guessed and workers > then and before * workers <= _SAME * least
    ):
        return Throttle(seen=seen, window=window, taken=max(1.0, least / ready.most))
    elif workers > then:  # with more of them it is still a limit
        then, before = workers, sample.active / workers
    if cap is not None and guessed and then == 1:  # fewer there cannot be: a second one shows what it is
        cap = max(cap, 2 * ready.slots)
    return Throttle(beside, full, seen, window, cap, paused, then, before, taken)
