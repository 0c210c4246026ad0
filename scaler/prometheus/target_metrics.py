"""The metrics of the configured targets: one query of Prometheus for all."""

from __future__ import annotations

from collections.abc import Mapping

from scaler.config.prometheus import QuerySettings
from scaler.config.settings import ScalerSettings, TargetSettings, is_glob, matching, queries_of
from scaler.model import Missing, TargetMetrics
from scaler.prometheus.observer import Observer, QueryResult
from scaler.prometheus.promql import QueueKey, combine
from service.clock import Deadline


class PrometheusMetrics:
    """Queries the queues of the targets of these settings. Does not connect before the first query."""

    def __init__(self, settings: ScalerSettings) -> None:
        self._targets = [(target, queries_of(settings, target)) for target in settings.targets]
        self._observer = Observer(settings.prometheus, self._queues())
        self.last: QueryResult | None = None

    def read(self, deadline: Deadline) -> Mapping[str, TargetMetrics]:
        """The metrics of each target, by its name. Never raises."""
        if not self._targets:
            return {}
        self.last = result = self._observer.observe(deadline)
        return {target.name: _target_metrics(target, queries, result) for target, queries in self._targets}

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


def _target_metrics(target: TargetSettings, queries: QuerySettings, result: QueryResult) -> TargetMetrics:
    reading = result.readings[queries]
    known = () if isinstance(reading, Missing) else tuple(reading.samples)
    names = matching(target.queues, [key.name for key in known if key.prefix == target.prefix])
    if not names:
        message = f"no queue matches {', '.join(target.queues)}"
        return TargetMetrics(
            target.queues, reading if isinstance(reading, Missing) else Missing("empty", message)
        )
    keys = [QueueKey(target.prefix, name) for name in names]
    return TargetMetrics(tuple(names), combine(result.of(keys, queries)))
