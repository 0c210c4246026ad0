"""prometheus_client's registry of this process, and its text in either format."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.exposition import generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics

from service.web.negotiate import MetricsFormat


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
    return generate_latest(registry)
