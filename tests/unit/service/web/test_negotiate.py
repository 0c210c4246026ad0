from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.web.negotiate import MetricsFormat, accepts_gzip, metrics_format, scrape_seconds

PROMETHEUS_2 = (
    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
    "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)
PROMETHEUS_3 = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
    "application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,"
    "text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)


@pytest.mark.parametrize(
    ("accept", "form"),
    [
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
    metrics_format(header)
    accepts_gzip(header)
    assert 0 < scrape_seconds(header) <= 60
