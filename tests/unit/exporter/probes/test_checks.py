"""Checks of a probe's response."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.config.validation import load_exporter_settings
from exporter.configuration import read_exporter_settings
from exporter.probes.checks import (
    BOUNDS,
    ProbeError,
    add_observation,
    check_body,
    check_status,
    next_url,
)
from exporter.snapshot.histogram import Histogram
from service.config.load import ConfigError


@pytest.mark.parametrize(
    ("status", "expected"), [(200, ["2xx"]), (204, ["200", "204"]), (404, ["4xx", "2xx"])]
)
def test_statuses_that_are_accepted(status: int, expected: list[str]) -> None:
    check_status(status, expected)


@pytest.mark.parametrize(("status", "expected"), [(500, ["2xx"]), (201, ["200"]), (301, ["2xx"])])
def test_statuses_that_are_refused(status: int, expected: list[str]) -> None:
    with pytest.raises(ProbeError, match=f"status {status}, expected {expected[0]}$") as caught:
        check_status(status, expected)
    assert (caught.value.kind, caught.value.status) == ("status", status)


def test_a_body_must_match_if_a_pattern_is_set() -> None:
    check_body(b"", None, 200)
    check_body(b'{"status": "ok"}', r'"status":\s*"ok"', 200)
    with pytest.raises(ProbeError, match="the body does not match"):
        check_body(b"\xff\xfe down", "ok", 200)


@pytest.mark.parametrize(
    ("url", "location", "follow", "to"),
    [
        ("http://a/x", "/y", "same_host", "http://a/y"),
        ("http://a/x", "https://a/y", "same_host", "https://a/y"),
        ("http://a/x", "http://b/y", "any", "http://b/y"),
        ("https://a/x", "https://a:8443/y", "same_host", "https://a:8443/y"),
    ],
)
def test_redirects_that_are_followed(url: str, location: str, follow: str, to: str) -> None:
    assert next_url(url, location, follow, 302) == to  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("location", "follow"),
    [
        ("http://b/y", "same_host"),
        ("http://a/y", "same_host"),  # from https to http: what is secret would be sent in the clear
        ("https://a/y", "no"),
        (None, "any"),
        ("file:///etc/passwd", "any"),
        ("https://user:pw@a/", "any"),
    ],
)
def test_redirects_that_are_refused(location: str | None, follow: str) -> None:
    with pytest.raises(ProbeError) as caught:
        next_url("https://a/x", location, follow, 302)  # type: ignore[arg-type]
    assert caught.value.kind == "redirect"


@given(st.lists(st.floats(0, 100), min_size=1, max_size=30))
def test_a_histogram_counts_every_duration(durations: list[float]) -> None:
    histogram: Histogram | None = None
    for seconds in durations:
        histogram = add_observation(histogram, seconds)
    assert histogram is not None
    assert sum(histogram.counts) == len(durations)
    assert histogram.total == pytest.approx(sum(durations))
    for index, bound in enumerate(BOUNDS):
        assert sum(histogram.counts[: index + 1]) == sum(1 for seconds in durations if seconds <= bound)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{name: a b, url: http://a}", "probes[0].name"),
        ("{name: a, url: ftp://a}", "probes[0].url"),
        ("{name: a, url: 'http://user:pw@a'}", "probes[0].url"),
        ("{name: a, url: tcp://a}", "probes[0].url"),
        ("{name: a, url: http://a, expect_status: ['20x']}", "probes[0].expect_status=20x"),
        ("{name: a, url: http://a, expect_body: '('}", "probes[0].expect_body=("),
        ("{name: a, url: http://a, timeout_seconds: 0}", "probes[0].timeout_seconds"),
        ("{name: a, url: http://a}\n- {name: a, url: http://b}", "probes[1].name=a"),
    ],
)
def test_an_invalid_setting_is_named(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_exporter_settings(f"probes:\n- {text}\n", {}, file="e.yml")
    assert str(caught.value).startswith(message)
    assert "pw" not in str(caught.value)


def test_the_file_of_a_secret_header_must_exist(tmp_path: object) -> None:
    file = f"{tmp_path}/e.yml"
    with open(file, "w") as out:  # noqa: PTH123
        out.write("probes:\n- {name: a, url: http://a, header_files: {Authorization: /nowhere/token}}\n")
    with pytest.raises(ConfigError, match=r"probes\[0\].header_files"):
        read_exporter_settings({}, config=file)
