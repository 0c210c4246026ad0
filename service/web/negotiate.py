"""Content negotiation: format, coding and time-out of a scrape. Pure, and lenient: a scrape must not fail."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import isfinite
from typing import Final, Literal, TypeAlias

MetricsFormat: TypeAlias = Literal["text", "openmetrics", "protobuf"]

CONTENT_TYPES: Final[dict[MetricsFormat, str]] = {
    "text": "text/plain; version=0.0.4; charset=utf-8",
    "openmetrics": "application/openmetrics-text; version=1.0.0; charset=utf-8",
    "protobuf": "application/vnd.google.protobuf; "
    "proto=io.prometheus.client.MetricFamily; encoding=delimited",
}

_DEFAULT_SECONDS: Final = 10.0
_LONGEST_SECONDS: Final = 60.0
_MARGIN_SECONDS: Final = 0.5  # for rendering, and the way back
_LONGEST_LIST: Final = 1000  # signs of a header that are read: Prometheus sends 300
_OPENMETRICS: Final = ("", "1.0.0", "0.0.1")
_PROTOBUF: Final = {"proto": "io.prometheus.client.metricfamily", "encoding": "delimited"}


def scrape_seconds(header: str | None) -> float:
    """Seconds that a collection may take, from X-Prometheus-Scrape-Timeout-Seconds; 10 s without it."""
    try:
        seconds = float(header or "")
    except ValueError:
        return _DEFAULT_SECONDS
    if not isfinite(seconds) or seconds <= 0:
        return _DEFAULT_SECONDS
    return min(_LONGEST_SECONDS, max(seconds - _MARGIN_SECONDS, seconds / 2))


def metrics_format(accept: str | None, *, protobuf: bool = False) -> MetricsFormat:
    """The format that is preferred of those that are named: of two that are preferred equally protobuf rather
    than OpenMetrics, and that rather than text. A wildcard gets text, and so does who asks for protobuf where
    it is not served."""
    preferred: dict[MetricsFormat, float] = {"protobuf": 0.0, "openmetrics": 0.0, "text": 0.0}
    for name, parameters, quality in _preferences(accept or ""):
        form = _named_format(name, parameters)
        if form is not None and (protobuf or form != "protobuf"):
            preferred[form] = max(preferred[form], quality)
    best = max(preferred, key=preferred.__getitem__)  # the first of equal ones
    return best if preferred[best] > 0 else "text"


def _named_format(name: str, parameters: Mapping[str, str]) -> MetricsFormat | None:
    if name == "text/plain":
        return "text"
    if name == "application/openmetrics-text":
        return "openmetrics" if parameters.get("version", "") in _OPENMETRICS else None
    delimited = {key: parameters.get(key, "").lower() for key in _PROTOBUF} == _PROTOBUF
    return "protobuf" if name == "application/vnd.google.protobuf" and delimited else None


def accepts_gzip(accept_encoding: str | None) -> bool:
    """Whether the body may be compressed."""
    named = {name: quality for name, _, quality in _preferences(accept_encoding or "")}
    return named.get("gzip", named.get("*", 0.0)) > 0


def _preferences(header: str) -> Iterator[tuple[str, dict[str, str], float]]:
    """Each item of a list, its parameters and its q (RFC 9110, 12.4.2); an invalid q counts as 0."""
    for item in header[:_LONGEST_LIST].split(","):
        name, *rest = (part.strip() for part in item.split(";"))
        pairs = (part.partition("=") for part in rest)
        parameters = {key.strip().lower(): value.strip().strip('"') for key, _, value in pairs}
        try:
            quality = float(parameters.pop("q", "1"))
        except ValueError:
            quality = 0.0
        if name:
            yield name.lower(), parameters, quality if 0 <= quality <= 1 else 0.0
