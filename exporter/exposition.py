"""The whole text of a scrape: our families, then what prometheus_client knows of this process."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Gauge, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.exposition import generate_latest as text_of
from prometheus_client.openmetrics.exposition import generate_latest as openmetrics_of

from exporter.metrics.family import Assessment
from exporter.metrics.render import Renderer
from exporter.negotiate import Format


class Exposition:
    """Renders either format; without an assessment (monitoring is off) only this process and that fact."""

    def __init__(self, *, monitoring: bool) -> None:
        self._renderer = Renderer()
        self._own = CollectorRegistry(auto_describe=False)
        ProcessCollector(registry=self._own)
        PlatformCollector(registry=self._own)
        GCCollector(registry=self._own)
        enabled = Gauge(
            "oxherd_monitoring_enabled",
            "1, or 0 when ENABLE_SYSTEM_MONITORING is false: then nothing is collected.",
            registry=self._own,
        )
        enabled.set(monitoring)

    def render(self, assessment: Assessment | None, form: Format) -> bytes:
        """The text as bytes; in OpenMetrics it ends with # EOF."""
        if form == "openmetrics":
            ours = self._renderer.openmetrics(assessment) if assessment else b""
            own: bytes = openmetrics_of(self._own)  # type: ignore[no-untyped-call]
            return ours + own
        ours = self._renderer.text(assessment) if assessment else b""
        return ours + text_of(self._own)
