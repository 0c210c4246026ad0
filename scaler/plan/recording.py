"""What Prometheus has recorded of a target for weeks: read day by day, each within its bounds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil
from typing import Final, NamedTuple

from scaler.backtest.arrivals import HistoryPoint
from scaler.backtest.history import read_history
from scaler.config.settings import ScalerSettings, TargetSettings, is_glob, matching, queries_of
from scaler.plan.demand import HOUR_SECONDS, WEEK_SECONDS
from scaler.prometheus.histogram import buckets_of, p99_of
from scaler.prometheus.observer import Observer
from scaler.prometheus.promql import DEFAULT_QUERIES, RUN_TIMES, queue_selector
from scaler.prometheus.series_identity import Labels
from service.clock import Deadline
from service.outcome import UnreadableError

_DAY: Final = 86_400.0
_LEAST_SPAN: Final = 2 * HOUR_SECONDS  # of one request, in seconds: a day is halved until it is no longer
_READ_SECONDS: Final = 120.0  # for all that is read of one week of one target
_RUN_TIME_SECONDS: Final = 60.0  # for the histograms


def read_weeks(
    settings: ScalerSettings, target: TargetSettings, *, begin: float, end: float, step: float
) -> list[HistoryPoint]:
    """The points from `begin` to `end` (unix s), `step` seconds apart, with one without figures between two
    days: a pattern may match other queues on the next one. Where the answer for a day is too large, shorter
    times are read. Raises UnreadableError."""
    points: list[HistoryPoint] = []
    weeks = max(1, ceil((end - begin) / WEEK_SECONDS))
    deadline = Deadline.after(_READ_SECONDS * weeks)
    at, span = begin, _DAY
    while at < end:
        until = min(end, at + span)
        try:
            read = read_history(settings, target, begin=at, end=until, step=step, deadline=deadline)
        except UnreadableError as error:
            if error.kind != "invalid" or span <= _LEAST_SPAN:
                raise
            span /= 2
            continue
        if points:
            points.append(HistoryPoint(at, None, None, None, None, None, None))
        points += read
        at = until
    return points


class LongestRuns(NamedTuple):
    """Of the queue whose jobs take longest: the run time (s) that 1 in 100 of a day is above, on the worst
    day. `beyond`: it is above the largest bound of the histogram, which it is taken for."""

    queue: str
    seconds: float
    beyond: bool


def read_longest_runs(
    settings: ScalerSettings, target: TargetSettings, *, begin: float, end: float
) -> LongestRuns | None:
    """By the exporter's histograms of each day; None: there are none, as with the queries of another
    exporter. Raises UnreadableError."""
    if not queries_of(settings, target).is_default:
        return None
    names = [] if any(is_glob(pattern) for pattern in target.queues) else list(target.queues)
    selector = queue_selector("queue", settings.prometheus.matchers, names)
    observer = Observer(settings.prometheus, {DEFAULT_QUERIES: ()})
    deadline = Deadline.after(_RUN_TIME_SECONDS)
    first = min(end, begin + _DAY)
    try:
        classic = observer.range(_a_day(f"{RUN_TIMES}_bucket{{{selector}}}"), first, end, _DAY, deadline)
        native = observer.range(
            f"histogram_quantile(0.99, {_a_day(f'{RUN_TIMES}{{{selector}}}')})", first, end, _DAY, deadline
        )
    finally:
        observer.close()
    return longest_runs(classic, native, target)


def _a_day(series: str) -> str:
    return f"sum without (outcome) (rate({series}[1d]))"


def longest_runs(
    classic: Mapping[Labels, Sequence[tuple[float, float]]],
    native: Mapping[Labels, Sequence[tuple[float, float]]],
    target: TargetSettings,
) -> LongestRuns | None:
    """Of the buckets of each day (classic), and of the quantiles of each day (native)."""
    cumulative: dict[tuple[Labels, float], dict[float, float]] = {}
    for labels, points in classic.items():
        pairs = dict(labels)
        bound = float(pairs.pop("le", "nan"))
        for at, value in points:
            cumulative.setdefault((frozenset(pairs.items()), at), {})[bound] = value
    found: list[tuple[float, str, bool]] = []
    for (labels, _), by_bound in cumulative.items():
        buckets = buckets_of(by_bound)
        seconds = p99_of(buckets)
        if seconds is not None:
            found.append((seconds, _queue_of(labels, target), seconds >= buckets[-1].lower))
    for labels, points in native.items():
        found += [(seconds, _queue_of(labels, target), False) for _, seconds in points if seconds >= 0]
    of_target = [each for each in found if each[1]]
    if not of_target:
        return None
    seconds, queue, beyond = max(of_target)
    return LongestRuns(queue, seconds, beyond)


def _queue_of(labels: Labels, target: TargetSettings) -> str:
    """The queue of a series, empty if the target does not serve it."""
    pairs = dict(labels)
    queue = pairs.get("queue", "")
    return queue if pairs.get("prefix") == target.prefix and queue in matching(target.queues, [queue]) else ""
