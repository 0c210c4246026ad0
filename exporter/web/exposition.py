"""The whole text of a scrape: the exporter's families, then those of prometheus_client about this process."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, TypeAlias

from prometheus_client import CollectorRegistry, Gauge
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from exporter.assessment import Assessment
from exporter.config.shard import UNDIVIDED, QueueShard
from exporter.metrics.render import Renderer
from exporter.switch import Switch
from exporter.views import Task
from service.api.auth import ApiKeyAuth
from service.api.metrics import Refusals
from service.process_metrics import process_registry, registry_text
from service.web.body import Body, Piece
from service.web.negotiate import MetricsFormat

Tasks: TypeAlias = Callable[[], Iterable[Task]]

OWN: Final[Mapping[str, tuple[tuple[str, ...], str]]] = {
    "oxherd_build_info": (("version",), "1, with the exporter's version."),
    "oxherd_shard_info": (
        ("shard", "shards"),
        "Always 1, with the shard of the queues that this exporter watches, and of how many it is one.",
    ),
    "oxherd_shards": ((), "How many exporters divide the queues; 1 where this one watches all."),
    "oxherd_monitoring_enabled": (
        (),
        "1, or 0 when ENABLE_SYSTEM_MONITORING is false, or after stop_monitoring: nothing is collected.",
    ),
    "oxherd_exposed_samples": (
        (),
        "Samples of this answer, without those of the exporter's own process; absent in protobuf.",
    ),
    "oxherd_background_task_up": (
        ("task",),
        "1 if the task succeeded within its interval and a minute, else 0. Absent without monitoring.",
    ),
}
"""Gauges that are exposed even while nothing is collected: their labels, and their meaning."""


class Exposition:
    """Renders all formats; without an assessment (monitoring is off) only the families of this process.

    `classic`: in protobuf a queue's histograms have classic buckets beside native ones, too. `others`: more
    series of this process.
    """

    def __init__(
        self,
        version: str,
        switch: Switch,
        auth: ApiKeyAuth,
        tasks: Tasks,
        shard: QueueShard = UNDIVIDED,
        *,
        classic: bool = False,
        others: Iterable[Collector] = (),
    ) -> None:
        self._renderer = Renderer(classic=classic)
        self._rendering = threading.Lock()
        self._own = process_registry()
        _constant(self._own, "oxherd_build_info", (version,))
        _constant(self._own, "oxherd_shard_info", (str(shard.number), str(shard.shards)))
        _constant(self._own, "oxherd_shards", (), shard.shards)
        labels, text = OWN["oxherd_monitoring_enabled"]
        Gauge("oxherd_monitoring_enabled", text, labels, registry=self._own).set_function(lambda: switch.on)
        self._own.register(Refusals(auth))
        self._own.register(_BackgroundTasks(tasks))
        self._own.register(_ExposedSamples(self._renderer))
        for collector in others:
            self._own.register(collector)

    def own(self) -> Iterable[Metric]:
        """The families of this process."""
        return self._own.collect()

    def add(self, collector: Collector) -> None:
        """Further series of this process."""
        self._own.register(collector)

    def render(self, assessment: Assessment | None, form: MetricsFormat) -> Body:
        """The whole body; in OpenMetrics it ends with # EOF."""
        collected: Sequence[Piece] = ()
        if assessment is None:
            self._renderer.lines = None
        else:
            with self._rendering:
                collected = self._renderer.body(assessment, form).pieces
        return Body([*collected, registry_text(self._own, form)])


class _ExposedSamples(Collector):
    """Known before the answer is sent: what a Prometheus has to store of it."""

    def __init__(self, renderer: Renderer) -> None:
        self._renderer = renderer

    def collect(self) -> Iterable[Metric]:
        labels, text = OWN["oxherd_exposed_samples"]
        family = GaugeMetricFamily("oxherd_exposed_samples", text, labels=labels)
        if self._renderer.lines is not None:
            family.add_metric([], self._renderer.lines)
        yield family


class _BackgroundTasks(Collector):
    """A series for each task that runs now."""

    def __init__(self, tasks: Tasks) -> None:
        self._tasks = tasks

    def collect(self) -> Iterable[Metric]:
        labels, text = OWN["oxherd_background_task_up"]
        family = GaugeMetricFamily("oxherd_background_task_up", text, labels=labels)
        for task in self._tasks():
            family.add_metric([task.name], float(task.alive))
        yield family


def _constant(registry: CollectorRegistry, name: str, values: tuple[str, ...], value: float = 1.0) -> None:
    labels, text = OWN[name]
    gauge = Gauge(name, text, labels, registry=registry)
    (gauge.labels(*values) if values else gauge).set(value)
