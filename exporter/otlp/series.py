"""How the push goes, as series of prometheus_client."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from exporter.metrics.family import MetricKind
from exporter.otlp.answers import PUSH_FAILURES
from exporter.otlp.push import Pusher

_SUCCESS: Final = "oxherd_otlp_push_success"
_SECONDS: Final = "oxherd_otlp_push_duration_seconds"
_LAST: Final = "oxherd_otlp_last_success_timestamp_seconds"
_FAILURES: Final = "oxherd_otlp_push_failures_total"
_POINTS: Final = "oxherd_otlp_points_total"
_REASONS: Final = "; ".join(f"{reason}: {meaning}" for reason, meaning in PUSH_FAILURES.items())

_SUCCESS_HELP: Final = (
    "1 if the endpoint took all points of the last push, else 0; absent before the first, and without "
    "otlp.endpoint."
)
_POINTS_HELP: Final = (
    "Points that the endpoint answered, by result: taken or rejected. A point is a series, of a histogram "
    "all of it."
)

OTLP_SERIES: Final[tuple[tuple[str, MetricKind, tuple[str, ...], str], ...]] = (
    (_SUCCESS, "gauge", (), _SUCCESS_HELP),
    (_SECONDS, "gauge", (), "Seconds that the last push took, its collection and all attempts included."),
    (_LAST, "gauge", (), "Unix time of the last push of which all points were taken, in seconds."),
    (_FAILURES, "counter", ("reason",), f"Pushes that failed, by reason; {_REASONS}."),
    (_POINTS, "counter", ("result",), _POINTS_HELP),
)
"""Name, type, labels and help of each."""

_HELP: Final = {name: text for name, _, _, text in OTLP_SERIES}


class PushSeries(Collector):
    """Of one pusher."""

    def __init__(self, pusher: Pusher) -> None:
        self._pusher = pusher

    def collect(self) -> Iterable[Metric]:
        totals = self._pusher.totals
        if totals.success is not None:
            yield GaugeMetricFamily(_SUCCESS, _HELP[_SUCCESS], float(totals.success))
            yield GaugeMetricFamily(_SECONDS, _HELP[_SECONDS], totals.seconds)
        if totals.last_success is not None:
            yield GaugeMetricFamily(_LAST, _HELP[_LAST], totals.last_success)
        failures = {reason: totals.failures.get(reason, 0) for reason in PUSH_FAILURES}
        yield _counter(_FAILURES, "reason", failures)
        yield _counter(_POINTS, "result", {"taken": totals.taken, "rejected": totals.rejected})


def _counter(name: str, label: str, values: Mapping[Any, int]) -> Metric:
    family = CounterMetricFamily(name.removesuffix("_total"), _HELP[name], labels=(label,))
    for value, count in values.items():
        family.add_metric([value], count)
    return family
