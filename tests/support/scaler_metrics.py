"""The scaler's families as prometheus_client has them."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from scaler.metrics import SCALER_FAMILIES
from scaler.step_result import StepCounters, StepResult


def metrics(result: StepResult, counters: StepCounters) -> Iterator[Metric]:
    """With the samples of a step."""
    for family in SCALER_FAMILIES:
        counter = family.kind == "counter"
        name = family.name.removesuffix("_total") if counter else family.name
        kind = CounterMetricFamily if counter else GaugeMetricFamily
        metric = kind(name, family.help, labels=family.labels)
        for labels, value in family.read(result, counters):
            metric.add_metric(list(labels), value)
        yield metric
