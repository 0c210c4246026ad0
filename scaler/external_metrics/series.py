"""The questions of the API server as series of prometheus_client."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

EXTERNAL_REQUESTS: Final = "oxherd_scaler_external_metrics_requests_total"
EXTERNAL_REQUESTS_LABELS: Final = ("code",)
EXTERNAL_REQUESTS_HELP: Final = (
    "Questions for the number of a target that the API server passed on, by the HTTP status of the answer: "
    "200, or 503 without a fresh decision. Absent without `external_metrics.listen`."
)
EXTERNAL_READY: Final = "oxherd_scaler_external_metrics_ready"
EXTERNAL_READY_HELP: Final = (
    "1 if it is known by which certificate the API server is recognized, 0 if it is not yet: nobody is "
    "answered. Absent without `external_metrics.listen`."
)

EXTERNAL_METRICS_SERIES: Final = (
    (EXTERNAL_REQUESTS, "counter", EXTERNAL_REQUESTS_LABELS, EXTERNAL_REQUESTS_HELP),
    (EXTERNAL_READY, "gauge", (), EXTERNAL_READY_HELP),
)
"""Name, type, labels and help of each."""


class ExternalMetricsRequests(Collector):
    """Counted by one thread, read by others."""

    def __init__(self, ready: Callable[[], bool]) -> None:
        self._ready = ready
        self._answered: Counter[str] = Counter()

    def count(self, status: int) -> None:
        self._answered[str(int(status))] += 1

    def collect(self) -> Iterable[Metric]:
        family = CounterMetricFamily(
            EXTERNAL_REQUESTS.removesuffix("_total"), EXTERNAL_REQUESTS_HELP, labels=EXTERNAL_REQUESTS_LABELS
        )
        for status, count in sorted(self._answered.copy().items()):
            family.add_metric([status], count)
        yield family
        yield GaugeMetricFamily(EXTERNAL_READY, EXTERNAL_READY_HELP, float(self._ready()))
