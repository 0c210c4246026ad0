"""The requests of KEDA as series of prometheus_client."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

REQUESTS: Final = "oxherd_scaler_keda_requests_total"
REQUESTS_LABELS: Final = ("method", "code")
REQUESTS_HELP: Final = (
    "Requests of KEDA that were answered, by method and by code of gRPC: OK, or why there is no answer, such "
    "as UNAVAILABLE without a fresh decision; a stream when it ends. Absent without `keda.listen`."
)
STREAMS: Final = "oxherd_scaler_keda_streams"
STREAMS_HELP: Final = (
    "Streams of triggers of type external-push that are open now. Absent without `keda.listen`."
)

KEDA_SERIES: Final = (
    (REQUESTS, "counter", REQUESTS_LABELS, REQUESTS_HELP),
    (STREAMS, "gauge", (), STREAMS_HELP),
)
"""Name, type, labels and help of each."""


class KedaRequests(Collector):
    """Counted by one thread, read by others."""

    def __init__(self) -> None:
        self.streams = 0
        self._answered: Counter[tuple[str, str]] = Counter()

    def count(self, method: str, code: str) -> None:
        self._answered[method, code] += 1

    def collect(self) -> Iterable[Metric]:
        family = CounterMetricFamily(REQUESTS.removesuffix("_total"), REQUESTS_HELP, labels=REQUESTS_LABELS)
        for labels, count in sorted(self._answered.copy().items()):
            family.add_metric(labels, count)
        yield family
        yield GaugeMetricFamily(STREAMS, STREAMS_HELP, self.streams)
