"""The exporter's open paths, /metrics and those of its health, which need no web framework."""

from __future__ import annotations

from typing import Final, Protocol

from service.clock import Deadline
from service.web.body import Body
from service.web.common_paths import Route, health_routes, metrics_route
from service.web.negotiate import MetricsFormat

_READY: Final = (
    "The first collection is done and the background threads run. It does not mean that Redis is up."
)


class OpenService(Protocol):
    """The part of the exporter that the open paths use."""

    def exposition(self, form: MetricsFormat, deadline: Deadline) -> Body:
        """Collect; returns the whole body for Prometheus."""

    def why_not_ready(self) -> list[str]:
        """Without I/O and without waiting: it is called on the event loop."""


def open_routes(exporter: OpenService) -> dict[str, Route]:
    """What collects runs in threads; the health paths never wait for it."""
    return {
        "/metrics": metrics_route(exporter.exposition, protobuf=True),
        **health_routes(exporter.why_not_ready, ready_means=_READY),
    }
