"""The record of a target's queues in the user's own Prometheus, moment by moment."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, TypeAlias

from scaler.backtest.replay import HistoryPoint
from scaler.prometheus.observer import Observer
from scaler.prometheus.parse import Labels
from scaler.prometheus.promql import MEASURE_LABEL, QueueKey, query_text, quoted
from scaler.settings import Settings, TargetSettings, is_glob, matching, queries_of
from service.clock import Deadline

_WORKERS: Final = "bullmq_queue_workers"

Series: TypeAlias = Mapping[Labels, Sequence[tuple[float, float]]]


def read_history(
    settings: Settings, target: TargetSettings, *, begin: float, end: float, step: float, deadline: Deadline
) -> list[HistoryPoint]:
    """All moments from `begin` to `end` (unix s), `step` seconds apart. Raises UnreadableError."""
    queries = queries_of(settings, target)
    named = [] if any(is_glob(one) for one in target.queues) else list(target.queues)
    observer = Observer(settings.prometheus, {queries: ()})
    try:
        text = query_text(queries, settings.prometheus.matchers, named)
        series = observer.range(text, begin, end, step, deadline)
        selector = "".join(f",{name}={quoted(value)}" for name, value in settings.prometheus.matchers.items())
        workers = observer.range(f'{_WORKERS}{{queue!=""{selector}}}', begin, end, step, deadline)
    finally:
        observer.close()
    label, prefix = queries.queue_label, queries.prefix_label
    both: dict[Labels, Sequence[tuple[float, float]]] = dict(series)
    for labels, points in workers.items():
        both[labels | {(MEASURE_LABEL, "workers")}] = points
    by_queue = sorted_by_queue(both, label, prefix, queries.default_prefix)
    names = matching(target.queues, [key.name for key in by_queue if key.prefix == target.prefix])
    chosen = [by_queue.get(QueueKey(target.prefix, name), {}) for name in names]
    count = int((end - begin) / step + 1e-9) + 1
    return gather(chosen, [begin + index * step for index in range(count)])


Figures: TypeAlias = Mapping[str, Mapping[float, float]]
"""By measure, the value at each time (rounded to 10 ms)."""


def sorted_by_queue(
    series: Series, queue_label: str, prefix_label: str | None, default_prefix: str
) -> dict[QueueKey, dict[str, dict[float, float]]]:
    """Each queue's figures. Of two series of one figure, as two exporters make them, the longer counts."""
    found: dict[QueueKey, dict[str, dict[float, float]]] = {}
    for labels, points in series.items():
        named = dict(labels)
        measure, name = named.get(MEASURE_LABEL), named.get(queue_label)
        if measure is None or name is None:
            continue
        prefix = named.get(prefix_label, default_prefix) if prefix_label else default_prefix
        figures = found.setdefault(QueueKey(prefix, name), {})
        if len(points) > len(figures.get(measure, {})):
            figures[measure] = {round(at, 2): value for at, value in points}
    return found


def gather(queues: Sequence[Figures], times: Iterable[float]) -> list[HistoryPoint]:
    """The queues together at each time; a figure that one of them lacks is not known."""

    def at(time: float, *measures: str) -> float | None:
        values = [queue.get(measure, {}).get(time) for queue in queues for measure in measures]
        known = [value for value in values if value is not None]
        return sum(known) if values and len(known) == len(values) else None

    return [
        HistoryPoint(
            at=time,
            ended=at(moment, "completed", "failed"),
            inside=at(moment, "waiting", "active"),
            active=at(moment, "active"),
            duration_sum=at(moment, "duration_sum"),
            duration_count=at(moment, "duration_count"),
            workers=at(moment, "workers"),
        )
        for time in times
        for moment in (round(time, 2),)
    ]
