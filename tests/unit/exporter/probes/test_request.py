"""A failed exchange as a failure of its probe."""

from __future__ import annotations

from typing import get_args

import pytest

from exporter.probes.checks import FAILURES
from exporter.probes.request import probe_error
from service.web.client import ErrorKind, HttpClientError


@pytest.mark.parametrize("kind", get_args(ErrorKind))
def test_every_failed_exchange_is_a_failure_of_the_probe(kind: ErrorKind) -> None:
    error = probe_error(HttpClientError(kind, "why"))
    assert error.kind in FAILURES
    assert str(error) == "why"


@pytest.mark.parametrize("kind", ["dns", "refused", "unreachable", "timeout", "certificate", "protocol"])
def test_a_failure_keeps_its_kind(kind: ErrorKind) -> None:
    assert probe_error(HttpClientError(kind, "why")).kind == kind
