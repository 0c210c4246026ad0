"""prometheus_client's registry of this process, and its exposition in any format."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from prometheus_client import CollectorRegistry, GCCollector, Metric, PlatformCollector, ProcessCollector
from prometheus_client.exposition import generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics

from service.web.negotiate import MetricsFormat
from service.web.protobuf import MetricType, delimited, family_head, label_pairs, number_metric

_TYPES: Final[dict[str, MetricType]] = {"counter": "counter", "gauge": "gauge", "info": "gauge"}


def process_registry() -> CollectorRegistry:
    """A registry with process_* and python_*, to which a process adds its own collectors."""
    registry = CollectorRegistry(auto_describe=False)
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)
    return registry


def registry_text(registry: CollectorRegistry, form: MetricsFormat) -> bytes:
    """The exposition of the registry; in OpenMetrics it ends with # EOF."""
    if form == "openmetrics":
        text: bytes = generate_openmetrics(registry)  # type: ignore[no-untyped-call]
        return text
    if form == "protobuf":
        return b"".join(message for metric in registry.collect() for message in _messages(metric))
    return generate_latest(registry)


def _messages(metric: Metric) -> Iterator[bytes]:
    """A family for each name of its samples, as in the text: a counter has that of its samples."""
    names = dict.fromkeys(sample.name for sample in metric.samples)
    for name in names:
        kind = "gauge" if name.endswith("_created") else _TYPES.get(metric.type, "untyped")
        numbers = [
            number_metric(kind, label_pairs(list(sample.labels), list(sample.labels.values())), sample.value)
            for sample in metric.samples
            if sample.name == name
        ]
        yield delimited([family_head(name, metric.documentation, kind), *numbers])
