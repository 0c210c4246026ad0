"""The metrics of the configured targets: one query of Prometheus for all."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import replace
from typing import Any, Final

from scaler.config.prometheus import QuerySettings
from scaler.config.settings import ScalerSettings, TargetSettings, is_glob, matching, queries_of
from scaler.model import Missing, QueueSample, TargetMetrics
from scaler.prometheus.observer import Observer, QueryResult
from scaler.prometheus.promql import QueueKey, combine
from service.clock import Deadline

_NEW_JOBS: Final = 100
_NO_TOTALS: Final[Mapping[str, Any]] = dict.fromkeys(
    ("completed", "failed", "added", "duration_sum", "duration_count", "busy_seconds")
)


class PrometheusMetrics:
    """Queries the queues of the targets of these settings. Does not connect before the first query."""

    def __init__(self, settings: ScalerSettings) -> None:
        self._targets = [(target, queries_of(settings, target)) for target in settings.targets]
        self._observer = Observer(settings.prometheus, self._queues())
        self._names: dict[str, frozenset[str]] = {}
        self.last: QueryResult | None = None

    def read(self, deadline: Deadline) -> Mapping[str, TargetMetrics]:
        """The metrics of each target, by its name. Never raises."""
        if not self._targets:
            return {}
        self.last = result = self._observer.observe(deadline)
        metrics = {}
        for target, queries in self._targets:
            read = _target_metrics(target, queries, result, self._names.get(target.name))
            if isinstance(read.sample, QueueSample):
                self._names[target.name] = frozenset(read.queues)
            metrics[target.name] = read
        return metrics

    def close(self) -> None:
        """Close the connections."""
        self._observer.close()

    def _queues(self) -> dict[QuerySettings, list[QueueKey]]:
        """The queues by the queries of their figures; empty, which means all, where one is a pattern."""
        queues: dict[QuerySettings, list[QueueKey]] = {}
        for target, queries in self._targets:
            queues.setdefault(queries, []).extend(QueueKey(target.prefix, name) for name in target.queues)
        return {
            queries: [] if any(is_glob(key.name) for key in keys) else keys
            for queries, keys in queues.items()
        }


def _target_metrics(
    target: TargetSettings, queries: QuerySettings, result: QueryResult, before: AbstractSet[str] | None
) -> TargetMetrics:
    """`before`: its queues when it was read last, None: not yet."""
    reading = result.readings[queries]
    known = () if isinstance(reading, Missing) else tuple(reading.samples)
    names = matching(target.queues, [key.name for key in known if key.prefix == target.prefix])
    if not names:
        message = f"no queue matches {', '.join(target.queues)}"
        return TargetMetrics(
            target.queues, reading if isinstance(reading, Missing) else Missing("empty", message)
        )
    keys = [QueueKey(target.prefix, name) for name in names]
    samples = result.of(keys, queries)
    busy = tuple(key.name for key, sample in samples.items() if _has_jobs(sample))
    combined = combine(samples)
    came = [samples[key] for key in keys if before is not None and key.name not in before]
    if isinstance(combined, QueueSample) and any(_has_a_past(sample) for sample in came):
        combined = replace(combined, **_NO_TOTALS)
    return TargetMetrics(tuple(names), combined, busy)


def _has_a_past(sample: QueueSample | Missing) -> bool:
    """Whether more jobs ended than in a queue that is new: it was absent, and its totals are no growth."""
    return isinstance(sample, QueueSample) and (sample.completed or 0) + (sample.failed or 0) > _NEW_JOBS


def _has_jobs(sample: QueueSample | Missing) -> bool:
    return isinstance(sample, QueueSample) and sample.waiting + sample.active + (sample.due or 0.0) > 0
