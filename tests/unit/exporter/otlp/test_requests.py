"""Points as OTLP: the values of a scrape, and requests of a bounded size."""

from __future__ import annotations

import time
from array import array
from collections.abc import Iterable
from math import isnan, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.parser import text_string_to_metric_families

from exporter.metrics.families import FAMILIES
from exporter.metrics.render import Renderer
from exporter.otlp.points import PushedFamily, PushedPoint, process_families, pushed_families
from exporter.otlp.requests import Resource, push_requests, rejected_by
from exporter.snapshot.histogram import ZERO_THRESHOLD, Histogram, NativeHistogram
from lab.collector import NativeSeries, partial_success, series_of
from tests.support.assessments import assessment

RESOURCE = Resource({"service.name": "oxherd", "service.instance.id": "a:9877"}, "1.0")
NOW = time.time()


def metrics_of(families: Iterable[PushedFamily], **options: int) -> list[Metric]:
    requests = push_requests(families, RESOURCE, NOW, **options)
    messages = [ExportMetricsServiceRequest.FromString(request.body) for request in requests]
    return [
        metric
        for message in messages
        for resource in message.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
    ]


def one(family: PushedFamily) -> Metric:
    (metric,) = metrics_of([family])
    return metric


def family(
    kind: str, *points: PushedPoint, name: str = "", labels: tuple[str, ...] = ("queue",)
) -> PushedFamily:
    names = {"counter": "jobs_total", "gauge": "jobs", "histogram": "wait_seconds"}
    return PushedFamily(name or names[kind], kind, "Help.", labels, points)  # type: ignore[arg-type]


def test_what_is_pushed_is_what_a_scrape_has() -> None:
    there = assessment()
    text = Renderer().text(there).decode()
    scraped = {
        (
            sample.name,
            frozenset((name, value) for name, value in sample.labels.items() if value),
        ): sample.value
        for parsed in text_string_to_metric_families(text)
        for sample in parsed.samples
    }
    assert len(scraped) > 100
    assert dict(series_of(metrics_of(pushed_families(there, FAMILIES)))) == scraped


def test_a_family_without_a_value_is_not_pushed() -> None:
    there = assessment()
    empty = {each.name for each in pushed_families(there, FAMILIES) if not list(each.points)}
    assert "bullmq_job_completed_total" in empty  # nothing is followed
    assert empty.isdisjoint(metric.name for metric in metrics_of(pushed_families(there, FAMILIES)))


def test_a_counter_says_since_when_it_counts() -> None:
    metric = one(family("counter", PushedPoint(("mail",), 3.0, NOW - 60), PushedPoint(("sms",), 4.0)))
    assert metric.sum.is_monotonic
    assert metric.sum.aggregation_temporality == 2
    first, second = metric.sum.data_points
    assert first.start_time_unix_nano == pytest.approx((NOW - 60) * 1e9, abs=1000)
    assert first.time_unix_nano == second.time_unix_nano == pytest.approx(NOW * 1e9, abs=1000)
    assert second.start_time_unix_nano == 0


def test_a_start_after_the_point_is_left_out() -> None:
    """Redis' clock may be ahead of ours."""
    metric = one(family("counter", PushedPoint(("mail",), 3.0, NOW + 5)))
    assert metric.sum.data_points[0].start_time_unix_nano == 0


def test_a_gauge_has_no_start() -> None:
    metric = one(family("gauge", PushedPoint(("mail",), nan)))
    (point,) = metric.gauge.data_points
    assert isnan(point.as_double)
    assert point.start_time_unix_nano == 0


def test_a_histogram_has_its_buckets() -> None:
    histogram = Histogram((0.1, 1.0, 10.0), (1, 0, 2, 4), 60.5)
    metric = one(family("histogram", PushedPoint(("mail",), histogram, NOW - 1)))
    (point,) = metric.histogram.data_points
    assert list(point.explicit_bounds) == [0.1, 1.0, 10.0]
    assert list(point.bucket_counts) == [1, 0, 2, 4]
    assert (point.count, point.sum) == (7, 60.5)
    assert metric.unit == "s"


def test_a_native_histogram_is_an_exponential_one() -> None:
    """Prometheus' bucket 1 of schema 0 is (1, 2], which OTLP calls 0."""
    native = NativeHistogram(0, 2, 1, array("Q", [3, 0, 1]))
    metric = one(family("histogram", PushedPoint(("mail",), Histogram((1.0,), (2, 4), 9.0), NOW - 1, native)))
    (point,) = metric.exponential_histogram.data_points
    assert point.positive.offset == 0
    ((_, series),) = series_of([metric])
    assert series == NativeSeries(0, 2, ZERO_THRESHOLD, {1: 3, 3: 1}, 6, 9.0)


@pytest.mark.parametrize(
    ("name", "unit"),
    [("a_seconds", "s"), ("a_seconds_total", "s"), ("a_bytes", "By"), ("a_ratio", ""), ("a_seconds_ago", "")],
)
def test_units(name: str, unit: str) -> None:
    kind = "counter" if name.endswith("_total") else "gauge"
    assert one(family(kind, PushedPoint(("mail",), 1.0), name=name)).unit == unit


def test_an_empty_label_is_left_out() -> None:
    """To Prometheus it is none, and its receiver would store it."""
    metric = one(family("gauge", PushedPoint(("", "mail"), 1.0), labels=("prefix", "queue")))
    assert [each.key for each in metric.gauge.data_points[0].attributes] == ["queue"]


def test_bytes_that_are_no_text_are_readable() -> None:
    metric = one(family("gauge", PushedPoint(("\udcff",), 1.0)))
    assert metric.gauge.data_points[0].attributes[0].value.string_value == r"\xff"


@given(
    st.lists(st.text(max_size=30), unique=True, max_size=40),
    st.sampled_from(["gauge", "counter", "histogram", "native"]),
    st.integers(500, 4000),
)
def test_requests_are_bounded_and_lose_nothing(names: list[str], form: str, most: int) -> None:
    kind = "histogram" if form == "native" else form
    histogram = Histogram(tuple(map(float, range(30))), (2**62, *range(30)), 9.0)
    native = NativeHistogram(3, 1, -5, array("Q", [2**50] * 40)) if form == "native" else None
    value = histogram if kind == "histogram" else 1.0
    points = [PushedPoint((name,), value, NOW - 1, native) for name in names]
    families = [family(kind, *points), family(kind, *points, name="other_total")]
    requests = list(push_requests(families, RESOURCE, NOW, most_bytes=most))
    assert sum(request.points for request in requests) == 2 * len(names)
    for request in requests:
        assert request.points == 1 or len(request.body) <= most
    assert sum(len(metric.ListFields()[-1][1].data_points) for metric in metrics_of(families)) == 2 * len(
        names
    )


def test_the_process_counts_since_it_started() -> None:
    families = [
        GaugeMetricFamily("process_start_time_seconds", "Start.", NOW - 90),
        CounterMetricFamily("process_cpu_seconds", "CPU.", 1.5),
        GaugeMetricFamily("oxherd_exposed_samples", "Of a scrape.", 7),
    ]
    metrics = metrics_of(process_families(families))
    assert [metric.name for metric in metrics] == ["process_start_time_seconds", "process_cpu_seconds_total"]
    (point,) = metrics[1].sum.data_points
    assert point.start_time_unix_nano == pytest.approx((NOW - 90) * 1e9, abs=1000)


def test_what_is_no_answer_of_otlp() -> None:
    assert rejected_by(b"") == (0, "")
    assert rejected_by(partial_success(3, "too old").body) == (3, "too old")
    with pytest.raises(ValueError, match="not OTLP"):
        rejected_by(b"<html>Welcome</html>")
