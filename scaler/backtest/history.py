"""The recorded history of a target's queues in the user's Prometheus."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, TypeAlias

from scaler.backtest.arrivals import HistoryPoint
from scaler.config.settings import ScalerSettings, TargetSettings, is_glob, matching, queries_of
from scaler.prometheus.observer import Observer
from scaler.prometheus.promql import MEASURE_LABEL, RUN_TIMES, QueueKey, query_text, queue_selector, quoted
from scaler.prometheus.series_identity import Labels
from service.clock import Deadline

_WORKERS: Final = "bullmq_queue_workers"

Series: TypeAlias = Mapping[Labels, Sequence[tuple[float, float]]]


def read_history(
    settings: ScalerSettings,
    target: TargetSettings,
    *,
    begin: float,
    end: float,
    step: float,
    deadline: Deadline,
) -> list[HistoryPoint]:
    """The points from `begin` to `end` (unix s), `step` seconds apart. Raises UnreadableError."""
    queries = queries_of(settings, target)
    names = [] if any(is_glob(pattern) for pattern in target.queues) else list(target.queues)
    observer = Observer(settings.prometheus, {queries: ()})
    try:
        matchers = settings.prometheus.matchers
        counted = f"count({RUN_TIMES}{{{queue_selector(queries.queue_label, matchers, names)}}})"
        native = queries.is_default and bool(observer.range(counted, begin, end, step, deadline))
        text = query_text(queries, matchers, names, native=native)
        series = observer.range(text, begin, end, step, deadline)
        selector = "".join(f",{name}={quoted(value)}" for name, value in matchers.items())
        workers = observer.range(f'{_WORKERS}{{queue!=""{selector}}}', begin, end, step, deadline)
    finally:
        observer.close()
    label, prefix = queries.queue_label, queries.prefix_label
    measures: dict[Labels, Sequence[tuple[float, float]]] = dict(series)
    for labels, points in workers.items():
        measures[labels | {(MEASURE_LABEL, "workers")}] = points
    by_queue = group_by_queue(measures, label, prefix, queries.default_prefix)
    queues = matching(target.queues, [key.name for key in by_queue if key.prefix == target.prefix])
    figures = [by_queue.get(QueueKey(target.prefix, queue), {}) for queue in queues]
    count = int((end - begin) / step + 1e-9) + 1
    return history_points(figures, [begin + index * step for index in range(count)])


Figures: TypeAlias = Mapping[str, Mapping[float, float]]
"""By measure, the value at each time (rounded to 10 ms)."""


def group_by_queue(
    series: Series, queue_label: str, prefix_label: str | None, default_prefix: str
) -> dict[QueueKey, dict[str, dict[float, float]]]:
    """The figures of each queue. Of two series of one figure, from two exporters, the longer counts."""
    by_queue: dict[QueueKey, dict[str, dict[float, float]]] = {}
    for labels, points in series.items():
        pairs = dict(labels)
        measure, name = pairs.get(MEASURE_LABEL), pairs.get(queue_label)
        if measure is None or name is None:
            continue
        prefix = pairs.get(prefix_label, default_prefix) if prefix_label else default_prefix
        figures = by_queue.setdefault(QueueKey(prefix, name), {})
        if len(points) > len(figures.get(measure, {})):
            figures[measure] = {round(at, 2): value for at, value in points}
    return by_queue


def history_points(queues: Sequence[Figures], times: Iterable[float]) -> list[HistoryPoint]:
    """The sum over the queues at each time; None for a figure that one of them lacks."""

    def at(time: float, *measures: str) -> float | None:
        values = [queue.get(measure, {}).get(time) for queue in queues for measure in measures]
        present = [value for value in values if value is not None]
        return sum(present) if values and len(present) == len(values) else None

    return [
        HistoryPoint(
            at=time,
            ended=at(rounded, "completed", "failed"),
            inside=at(rounded, "waiting", "active"),
            active=at(rounded, "active"),
            duration_sum=at(rounded, "duration_sum"),
            duration_count=at(rounded, "duration_count"),
            workers=at(rounded, "workers"),
        )
        for time in times
        for rounded in (round(time, 2),)
    ]
