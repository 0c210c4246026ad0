"""The connections and refusals of the HTTP server as series of prometheus_client."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from service.web.connections.traffic import HTTP_REFUSALS, Traffic

CONNECTIONS: Final = "oxherd_http_connections"
CONNECTIONS_HELP: Final = "HTTP connections that are open, idle ones too."
MOST_CONNECTIONS: Final = "oxherd_http_max_connections"
MOST_CONNECTIONS_HELP: Final = (
    "Highest number of HTTP connections: web.max_connections, or half of the limit of file descriptors."
)
HTTP_REFUSED: Final = "oxherd_http_refused_total"
HTTP_REFUSED_LABELS: Final = ("reason",)
HTTP_REFUSED_HELP: Final = (
    "Connections that were closed and requests that were refused by the HTTP server: "
    + "; ".join(f"{reason}: {meaning}" for reason, meaning in HTTP_REFUSALS.items())
    + "."
)

HTTP_SERIES: Final = (
    (CONNECTIONS, "gauge", (), CONNECTIONS_HELP),
    (MOST_CONNECTIONS, "gauge", (), MOST_CONNECTIONS_HELP),
    (HTTP_REFUSED, "counter", HTTP_REFUSED_LABELS, HTTP_REFUSED_HELP),
)
"""Name, type, labels and help of each."""


class TrafficSeries(Collector):
    """Of one server."""

    def __init__(self, traffic: Traffic[Any]) -> None:
        self._traffic = traffic

    def collect(self) -> Iterable[Metric]:
        yield GaugeMetricFamily(CONNECTIONS, CONNECTIONS_HELP, len(self._traffic))
        yield GaugeMetricFamily(MOST_CONNECTIONS, MOST_CONNECTIONS_HELP, self._traffic.most)
        family = CounterMetricFamily(
            HTTP_REFUSED.removesuffix("_total"), HTTP_REFUSED_HELP, labels=HTTP_REFUSED_LABELS
        )
        for reason, count in self._traffic.refused.items():
            family.add_metric([reason], count)
        yield family
