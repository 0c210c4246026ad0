from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.web.negotiate import MetricsFormat, accepts_gzip, metrics_format, scrape_seconds
from tests.support.metric_families import ACCEPT

PROMETHEUS_2 = (
    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
    "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)
PROMETHEUS_3 = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
    "application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,"
    "text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)
PROTOBUF = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited"
PROMETHEUS_3_NATIVE = (
    f"{PROTOBUF};q=0.6,application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,"
    "application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,"
    "text/plain;version=0.0.4;q=0.2,*/*;q=0.1"
)
"""The headers of 2.42 and 3.5 with --enable-feature=native-histograms, or scrape_native_histograms, and those
before without."""


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        (ACCEPT, "protobuf"),
        (PROMETHEUS_3_NATIVE, "protobuf"),
        (PROMETHEUS_2, "openmetrics"),
        (PROMETHEUS_3, "openmetrics"),
        (PROTOBUF, "protobuf"),
        (PROTOBUF.replace(";", " ; ").upper(), "protobuf"),
        (f"{PROTOBUF};q=0", "text"),
        (f"{PROTOBUF};q=0.3,application/openmetrics-text;q=0.4,text/plain;q=0.2", "openmetrics"),
        (f"{PROTOBUF};q=0.3,application/openmetrics-text;q=0.2,text/plain;q=0.4", "text"),
        (f"text/plain,{PROTOBUF}", "protobuf"),
        ("application/vnd.google.protobuf", "text"),
        ("application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=text", "text"),
        ("application/vnd.google.protobuf;proto=io.prometheus.write.v2.Request;encoding=delimited", "text"),
        ("*/*", "text"),
        (None, "text"),
    ],
)
def test_format_where_protobuf_is_served(accept: str | None, form: MetricsFormat) -> None:
    assert metrics_format(accept, protobuf=True) == form


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        (ACCEPT, "openmetrics"),
        (PROMETHEUS_3_NATIVE, "openmetrics"),
        (PROTOBUF, "text"),
        (None, "text"),
        ("", "text"),
        ("*/*", "text"),
        ("text/html,application/xhtml+xml,*/*;q=0.8", "text"),
        ("text/plain", "text"),
        (PROMETHEUS_2, "openmetrics"),
        (PROMETHEUS_3, "openmetrics"),
        ("application/openmetrics-text", "openmetrics"),
        ("Application/OpenMetrics-Text; Version=1.0.0", "openmetrics"),
        ("application/openmetrics-text; version=2.0.0", "text"),
        ("application/openmetrics-text;q=0", "text"),
        ("application/openmetrics-text;q=0.2,text/plain;q=0.5", "text"),
        ("application/openmetrics-text;q=much", "text"),
    ],
)
def test_format(accept: str | None, form: MetricsFormat) -> None:
    assert metrics_format(accept) == form


@pytest.mark.parametrize(
    ("header", "wanted"),
    [
        (None, False),
        ("", False),
        ("gzip", True),
        ("deflate, gzip;q=0.5", True),
        ("gzip;q=0", False),
        ("*", True),
        ("*, gzip;q=0", False),
        ("identity", False),
        ("gzipped", False),
    ],
)
def test_gzip(header: str | None, *, wanted: bool) -> None:
    assert accepts_gzip(header) is wanted


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, 10),
        ("", 10),
        ("soon", 10),
        ("nan", 10),
        ("inf", 10),
        ("-inf", 10),
        ("-3", 10),
        ("0", 10),
        ("10", 9.5),
        ("5.5", 5),
        ("1", 0.5),
        ("0.1", 0.05),
        ("1e300", 60),
    ],
)
def test_deadline(header: str | None, seconds: float) -> None:
    assert scrape_seconds(header) == pytest.approx(seconds)


@given(st.text())
def test_no_header_raises(header: str) -> None:
    metrics_format(header, protobuf=True)
    accepts_gzip(header)
    assert 0 < scrape_seconds(header) <= 60


@pytest.mark.fault
def test_of_a_long_list_the_begin_is_read() -> None:
    assert metrics_format("a/b;q=0.5," * 1900 + "application/openmetrics-text") == "text"
    assert not accepts_gzip("x," * 8000 + "gzip")
