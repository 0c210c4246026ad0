"""A failed exchange as a failure of its probe."""

from __future__ import annotations

from typing import get_args
from urllib.parse import urlsplit

import pytest

from exporter.probes.checks import FAILURES
from exporter.probes.request import may_have_headers, probe_error
from service.web.client import ErrorKind, HttpClientError


@pytest.mark.parametrize("kind", get_args(ErrorKind))
def test_every_failed_exchange_is_a_failure_of_the_probe(kind: ErrorKind) -> None:
    error = probe_error(HttpClientError(kind, "why"))
    assert error.kind in FAILURES
    assert str(error) == "why"


@pytest.mark.parametrize("kind", ["dns", "refused", "unreachable", "timeout", "certificate", "protocol"])
def test_a_failure_keeps_its_kind(kind: ErrorKind) -> None:
    assert probe_error(HttpClientError(kind, "why")).kind == kind


@pytest.mark.parametrize(
    ("before", "after", "kept"),
    [
        ("https://a/x", "https://a/y", True),
        ("https://a/x", "https://a:443/y", True),
        ("http://a/x", "https://a/x", True),
        ("http://a:80/x", "http://a:8080/x", False),
        ("http://a/x", "https://a:8443/x", False),
        ("http://a:8080/x", "https://a/x", False),
        ("https://a/x", "http://a/x", False),
        ("https://a/x", "https://b/x", False),
    ],
)
def test_headers_stay_with_their_origin(before: str, after: str, *, kept: bool) -> None:
    assert may_have_headers(urlsplit(before), urlsplit(after)) is kept
