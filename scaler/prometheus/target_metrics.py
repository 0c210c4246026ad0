"""From the targets in the settings to what is seen of them: one look at Prometheus for all."""

from __future__ import annotations

from collections.abc import Mapping

from scaler.model import Missing, TargetMetrics
from scaler.prometheus.observer import Observer, QueryResult
from scaler.prometheus.promql import QueueKey, combine
from scaler.prometheus.settings import QuerySettings
from scaler.settings import Settings, TargetSettings, is_glob, matching, queries_of
from service.clock import Deadline


class PrometheusMetrics:
    """Looks at the queues of these settings' targets. Connects to nothing before the first look."""

    def __init__(self, settings: Settings) -> None:
        self._targets = [(target, queries_of(settings, target)) for target in settings.targets]
        self._observer = Observer(settings.prometheus, self._wanted())
        self.last: QueryResult | None = None

    def read(self, deadline: Deadline) -> Mapping[str, TargetMetrics]:
        """What is seen of each target, by its name. Never raises."""
        if not self._targets:
            return {}
        self.last = look = self._observer.look(deadline)
        return {target.name: _target_metrics(target, queries, look) for target, queries in self._targets}

    def close(self) -> None:
        """Let go of the connections."""
        self._observer.close()

    def _wanted(self) -> dict[QuerySettings, list[QueueKey]]:
        """The queues by where their figures come from; none named where a pattern has to learn all names."""
        wanted: dict[QuerySettings, list[QueueKey]] = {}
        for target, queries in self._targets:
            wanted.setdefault(queries, []).extend(QueueKey(target.prefix, one) for one in target.queues)
        return {
            queries: [] if any(is_glob(key.name) for key in keys) else keys
            for queries, keys in wanted.items()
        }


def _target_metrics(target: TargetSettings, queries: QuerySettings, look: QueryResult) -> TargetMetrics:
    reading = look.readings[queries]
    known = () if isinstance(reading, Missing) else tuple(reading.samples)
    names = matching(target.queues, [key.name for key in known if key.prefix == target.prefix])
    if not names:
        why = f"no queue matches {', '.join(target.queues)}"
        return TargetMetrics(
            target.queues, reading if isinstance(reading, Missing) else Missing("empty", why)
        )
    keys = [QueueKey(target.prefix, name) for name in names]
    return TargetMetrics(tuple(names), combine(look.of(keys, queries)))
