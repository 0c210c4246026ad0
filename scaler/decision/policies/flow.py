"""How many jobs arrive and how long they run, measured from counts and counters. Pure.

Arrivals are the balance of the queue: the attempts that ended since the last sample, plus the growth of the
jobs inside (waiting and active). So retries and delayed jobs count when they become work. The run time is the
total time on test: slot-seconds, of jobs that still run too, divided by the attempts that ended.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable
from itertools import pairwise
from math import inf, sqrt
from operator import attrgetter, le
from typing import Final, NamedTuple, TypeAlias

from scaler.model import QueueSample

PROOF: Final = 2.0
"""Standard errors by which a count has to differ before it counts as different (95 % of a normal)."""

_PROVES: Final = PROOF**2  # jobs whose count is above 0 by PROOF standard errors
_RUNS: Final = 100  # attempts that make a mean run time: 10 % of error
_KEPT_SECONDS: Final = 600.0
_LONGEST_STEP: Final = 4000.0  # the longest interval, and an age: the one point before is kept so long
_FINE_SECONDS: Final = 60.0  # points that are older are kept every 15 s only
_COARSE_STEP: Final = 15.0
_SAME_MOMENT: Final = 1e-3  # the resolution of Prometheus; a rate over less could be infinite
_LEAST_PROOF_SECONDS: Final = 0.75  # two scrapes that are closer may show what came in a longer time
_LEAST_RUN_SECONDS: Final = 0.01
_MANY_TIMES: Final = 10.0  # so many times beyond what the slots can do, a number is not believed at once
_SAME_RATE: Final = 4.0  # two rates that differ by less say the same
_GAP_SECONDS: Final = 180.0  # so far apart, and three times the usual, samples do not tell what was between
_MISSED_SECONDS: Final = 30.0  # so far apart, and three times the usual, the active jobs do not
_USUAL_TIMES: Final = 3.0


class FlowPoint(NamedTuple):
    """The queue at one sample. `came` (jobs), `new` (those of them that were no known delayed jobs), `ended`
    (attempts), `busy` (slot-seconds) and `sure` (those that are certain) count since the first point;
    `inside` are waiting and active jobs."""

    at: float
    came: float
    new: float
    ended: float
    busy: float
    sure: float
    active: float
    inside: float


FlowPoints: TypeAlias = tuple[FlowPoint, ...]
"""Ascending in time, and in each total."""

_time_of: Final[Callable[[FlowPoint], float]] = attrgetter("at")


class Flow(NamedTuple):
    """The points of the last minutes, and the counters as they were read last (None: there were none).

    `due`: delayed jobs of the next minute. `owed`: jobs by which the last balance was below zero: counters
    that lag behind the counts make one such balance too low and the next one too high. `broken`: the counters
    were missing, so that the next ones do not continue them: another exporter's, or after a restart.
    `run_total`: seconds that all `attempts` took. `created`, `joined`: see QueueSample. `doubted`: attempts/s
    that were not believed when a sample had them first, at the time `doubted_at`; 0: there were none in ten
    minutes. `retracted`: this sample shows that the jobs of the one before were none: they left, and never
    ran.
    """

    points: FlowPoints
    jobs_ended: float
    attempts: float | None
    busy_seconds: float | None
    due: float = 0.0
    owed: float = 0.0
    broken: bool = False
    created: float | None = None
    joined: float = 0.0
    doubted: float = 0.0
    doubted_at: float = 0.0
    retracted: bool = False
    run_total: float | None = None

    @property
    def last(self) -> FlowPoint:
        return self.points[-1]

    @property
    def measured(self) -> bool:
        """Whether there are two points, and so a rate."""
        return len(self.points) > 1


def flow_is_possible(flow: Flow) -> bool:
    """Whether this may be a flow: it has points, later ones with later times, and no count that fell."""
    return bool(flow.points) and all(
        before.at < after.at and all(map(le, _counts(before), _counts(after)))
        for before, after in pairwise(flow.points)
    )


def _counts(point: FlowPoint) -> tuple[float, ...]:
    return point.new, point.ended, point.busy, point.sure


class Means(NamedTuple):
    """What there was to end jobs with: the `slots` of all workers, and the run time of a job as it was last
    (s; None: not known)."""

    slots: float
    run_seconds: float | None = None

    def possible(self, seconds: float, active: float) -> float:
        """More attempts than can have ended in so many seconds, after `active` jobs ran at their begin."""
        run = max(_LEAST_RUN_SECONDS, self.run_seconds or 0.0)
        return active + _MANY_TIMES * (1.0 + max(self.slots, active) * seconds / run)


_UNBOUNDED: Final = Means(inf)


def update_flow(
    flow: Flow | None,
    sample: QueueSample,
    means: Means = _UNBOUNDED,
    *,
    interval: float = inf,
    max_age: float = inf,
) -> Flow | None:
    """The flow with this sample; None if there are no counters of ended jobs, and have not been for long.
    `interval`: seconds between two decisions; `max_age`: of a sample that counts, so that two are not usually
    farther apart.

    Where the counters began again, nothing was seen for long, or many times more ended than the slots can
    have done, the time since the last sample is left out. What another sample of the next ten minutes says
    too is believed, as of batches that come each minute.
    """
    if sample.completed is None or sample.failed is None:
        kept = flow is not None and 0 <= sample.at - flow.last.at < _KEPT_SECONDS
        return flow._replace(broken=True) if flow is not None and kept else None
    jobs_ended = sample.completed + sample.failed
    if flow is None or sample.at - flow.last.at > _LONGEST_STEP:
        first = FlowPoint(sample.at, 0.0, 0.0, 0.0, 0.0, 0.0, sample.active, sample.waiting + sample.active)
        return _flow_of((first,), sample)
    seconds = sample.at - flow.last.at
    if 0 <= seconds < _SAME_MOMENT:
        return flow._replace(retracted=False) if flow.retracted else flow
    continues = sample.created == flow.created and not flow.broken and jobs_ended >= flow.jobs_ended
    if not continues or seconds < 0 or _is_gap(flow, seconds, _GAP_SECONDS, max(interval, max_age)):
        return _without_the_time_between(flow, sample)
    attempts = _growth(flow.attempts, sample.duration_count) or 0.0
    ended = max(jobs_ended - flow.jobs_ended, attempts)
    possible = means.possible(seconds, flow.last.active)
    rate = ended / seconds
    known = 0 <= sample.at - flow.doubted_at <= _KEPT_SECONDS
    doubted = (flow.doubted, flow.doubted_at) if known else (0.0, 0.0)
    if ended > possible:
        same = doubted[0] / _SAME_RATE < rate < doubted[0] * _SAME_RATE
        doubted = rate, sample.at
        if not same:
            left_out = _without_the_time_between(flow, sample)
            return left_out._replace(doubted=rate, doubted_at=sample.at)
    missed = _is_gap(flow, seconds, _MISSED_SECONDS, interval)
    busy = _busy(flow, sample, ended, means, missed=missed)
    return _continued(flow, sample, ended, busy, possible, doubted=doubted)


def _is_gap(flow: Flow, seconds: float, least: float, first: float) -> bool:
    """Whether so many seconds are more than `least`, and more than three times the usual between two samples:
    until there were two, `first`."""
    if seconds <= least:
        return False
    latest = flow.points[-4:]
    usual = max((after.at - before.at for before, after in pairwise(latest)), default=first)
    return seconds > _USUAL_TIMES * usual


def _without_the_time_between(flow: Flow, sample: QueueSample) -> Flow:
    """What was seen before, as if it had been just before this sample."""
    seconds = sample.at - flow.last.at
    here = flow.last._replace(active=sample.active, inside=sample.waiting + sample.active)
    points = tuple(point._replace(at=point.at + seconds) for point in (*flow.points[:-1], here))
    return _flow_of(points, sample)


def _flow_of(points: FlowPoints, sample: QueueSample) -> Flow:
    """These points, and the counters of the sample, from which the next one counts."""
    return Flow(
        points,
        (sample.completed or 0.0) + (sample.failed or 0.0),
        sample.duration_count,
        sample.busy_seconds,
        sample.due or 0.0,
        created=sample.created,
        joined=sample.joined or 0.0,
        run_total=sample.duration_sum,
    )


def _continued(
    flow: Flow,
    sample: QueueSample,
    ended: float,
    busy: tuple[float, float],
    possible: float,
    *,
    doubted: tuple[float, float],
) -> Flow:
    """With a further point, `ended` attempts later; `busy`: slot-seconds until then, see `_busy`. Of jobs
    that were there in one sample only, and are gone without an end though not so many can have run, no trace
    is left."""
    last, due = flow.last, sample.due or 0.0
    inside = sample.waiting + sample.active
    balance = ended + inside - last.inside - ((sample.joined or 0.0) - flow.joined)
    retracted = max(-balance, flow.due - due - max(0.0, balance)) > possible
    gone = 0.0
    if -balance > possible and flow.measured:
        before = flow.points[-2]
        gone = min(-balance, last.came - before.came)
        last = last._replace(came=last.came - gone, new=max(before.new, last.new - gone))
        flow = flow._replace(points=(*flow.points[:-1], last))
    came = max(0.0, balance + flow.owed)
    new = max(0.0, came - max(0.0, flow.due - due))
    point = FlowPoint(
        sample.at,
        last.came + came,
        last.new + new,
        last.ended + ended,
        last.busy + busy[0],
        last.sure + busy[1],
        sample.active,
        inside,
    )
    return Flow(
        _with_point(flow.points, point),
        (sample.completed or 0.0) + (sample.failed or 0.0),
        sample.duration_count,
        sample.busy_seconds,
        due,
        owed=min(0.0, balance + gone),
        created=sample.created,
        joined=sample.joined or 0.0,
        doubted=doubted[0],
        doubted_at=doubted[1],
        retracted=retracted,
        run_total=sample.duration_sum,
    )


def _busy(
    flow: Flow, sample: QueueSample, ended: float, means: Means, *, missed: bool
) -> tuple[float, float]:
    """Slot-seconds since the last sample, and those that are certain: by their counter, if it makes sense; if
    samples were `missed`, by the run times of what ended, or else as they were; else by the active jobs, of
    which one sample alone shows no more than there are slots."""
    last, seconds = flow.last, sample.at - flow.last.at
    counted = _growth(flow.busy_seconds, sample.busy_seconds)
    fewer, more = sorted((last.active, sample.active))
    stands_still = counted == 0 < fewer  # while jobs run: it does not measure them
    most = _MANY_TIMES * max(means.slots, more) * seconds
    if counted is not None and counted <= most and not stands_still:
        return counted, counted
    if missed:
        attempts = _growth(flow.attempts, sample.duration_count)
        total = _growth(flow.run_total, sample.duration_sum)
        run = total / attempts if attempts and total else means.run_seconds
        if run is not None:
            return ended * run, 0.0
    # Jobs that began just before the sample have not run yet.
    return (fewer + min(more, max(means.slots, fewer))) / 2 * seconds, fewer * seconds


def mean_rate(flow: Flow, span: float) -> float:
    """Jobs/s that came in the last `span` seconds at least; as few jobs as prove nothing are looked at over
    longer, up to ten minutes, and count as the lowest of these means, without the one that made us look."""
    last, least = flow.last, inf
    for then in reversed(flow.points[:-1]):
        seconds, came = last.at - then.at, last.came - then.came
        if seconds >= span or then is flow.points[0]:
            if came >= _PROVES:
                return min(least, came / seconds)
            least = min(least, max(0.0, came - 1.0) / seconds)
            if least == 0.0:
                break
    return least


def proved_rate(flow: Flow) -> float:
    """Jobs/s that the last sample (or the last second) proves: less two standard errors of their count, and
    without the delayed jobs that were known to come, which say nothing of what comes next."""
    last = flow.last
    earlier = (point for point in reversed(flow.points[:-1]) if last.at - point.at >= _LEAST_PROOF_SECONDS)
    then = next(earlier, flow.points[0])
    new = last.new - then.new
    return max(0.0, new - PROOF * sqrt(new)) / (last.at - then.at)


class RunTime(NamedTuple):
    """The mean run time of an attempt (s), and its relative standard error."""

    seconds: float
    error: float


def run_time(flow: Flow, span: float, known: float) -> RunTime:
    """Of the last 100 attempts, and of `span` seconds at least; or what a shorter time proves to be longer:
    with two standard errors and one attempt more than it saw end. No time proves more than itself.

    If no attempt ended lately, it is as it was `known` before.
    """
    points, last = flow.points, flow.last
    enough = bisect_left(
        points, True, key=lambda point: last.ended - point.ended < _RUNS or last.at - point.at < span
    )
    first = max(0, enough - 1)
    since = points[first]
    busy, sure, ended = last.busy - since.busy, last.sure - since.sure, last.ended - since.ended
    longest = max(_LEAST_RUN_SECONDS, busy / ended if ended >= 1 else known)
    for then in reversed(points[first:-1]):
        attempts = last.ended - then.ended
        most = attempts + PROOF * sqrt(attempts) + 1
        if sure / most <= longest:  # no earlier point proves more: it has no more seconds, and more attempts
            break
        proved = (last.sure - then.sure) / most
        if proved > longest:
            longest = max(longest, min(last.at - then.at, proved))
    return RunTime(longest, 1.0 / sqrt(max(1.0, ended)))


def oldest_wait(flow: Flow, waiting: float) -> float:
    """Seconds that the oldest of `waiting` jobs waits, if they are taken in the order in which they came."""
    first = flow.last.came - waiting
    for then in reversed(flow.points):
        if then.came <= first:
            return flow.last.at - then.at
    return flow.last.at - flow.points[0].at


def mean_busy(flow: Flow, span: float) -> float:
    """Busy slots, as a mean of the last `span` seconds."""
    points, last = flow.points, flow.last
    then = points[min(bisect_left(points, last.at - span, key=_time_of), len(points) - 1)]
    return (last.busy - then.busy) / (last.at - then.at) if then is not last else last.active


def busy_between(flow: Flow) -> float:
    """Busy slots between the last two samples, as a mean; inf: none of them had to be, as no job waited."""
    last = flow.last
    earlier = (point for point in reversed(flow.points[:-1]) if last.at - point.at >= _LEAST_PROOF_SECONDS)
    then = next(earlier, None)
    if then is None or then.inside <= then.active:
        return inf
    return (last.busy - then.busy) / (last.at - then.at)


def most_busy(flow: Flow, span: float) -> float:
    """Busy slots, as the highest mean of the last `span` seconds or more."""
    points, last = flow.points, flow.last
    if last.busy == points[0].busy:
        return 0.0
    earlier = bisect_left(points, True, hi=len(points) - 1, key=lambda point: last.at - point.at < span)
    return max((last.busy - then.busy) / (last.at - then.at) for then in points[: max(1, earlier)])


def none_ended(flow: Flow, span: float) -> bool:
    """Whether no attempt ended in the last `span` seconds; False if that is not known."""
    points, last = flow.points, flow.last
    earlier = bisect_right(points, last.at - span, key=_time_of)
    return earlier > 0 and points[earlier - 1].ended == last.ended


def active_of(flow: Flow, span: float) -> list[float]:
    """Active jobs of the points of the last `span` seconds; of the last point at least."""
    first = bisect_right(flow.points, flow.last.at - span, key=_time_of)
    return [point.active for point in flow.points[first:]]


def _growth(before: float | None, now: float | None) -> float | None:
    """By how much a counter grew; None if that is not known."""
    return now - before if before is not None and now is not None and now >= before else None


def _with_point(points: FlowPoints, new: FlowPoint) -> FlowPoints:
    recent = points[bisect_left(points, new.at - _KEPT_SECONDS, key=_time_of) :]
    if not recent and points[-1].at >= new.at - _LONGEST_STEP:
        recent = points[-1:]
    recent = (*recent, new)
    times = [point.at for point in recent[: bisect_left(recent, new.at - _FINE_SECONDS, key=_time_of) + 1]]
    for index, (before, after) in enumerate(zip(times, times[2:], strict=False), 1):
        if after - before <= _COARSE_STEP:
            return recent[:index] + recent[index + 1 :]
    return recent
