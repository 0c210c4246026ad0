"""Content negotiation: format, coding and time-out of a scrape. Pure, and lenient: a scrape must not fail."""

from __future__ import annotations

from collections.abc import Iterator
from math import isfinite
from typing import Final, Literal, TypeAlias

MetricsFormat: TypeAlias = Literal["text", "openmetrics"]

CONTENT_TYPES: Final[dict[MetricsFormat, str]] = {
    "text": "text/plain; version=0.0.4; charset=utf-8",
    "openmetrics": "application/openmetrics-text; version=1.0.0; charset=utf-8",
}

_DEFAULT_SECONDS: Final = 10.0
_LONGEST_SECONDS: Final = 60.0
_MARGIN_SECONDS: Final = 0.5  # for rendering, and the way back
_OPENMETRICS: Final = ("", "1.0.0", "0.0.1")


def scrape_seconds(header: str | None) -> float:
    """Seconds that a collection may take, from X-Prometheus-Scrape-Timeout-Seconds; 10 s without it."""
    try:
        seconds = float(header or "")
    except ValueError:
        return _DEFAULT_SECONDS
    if not isfinite(seconds) or seconds <= 0:
        return _DEFAULT_SECONDS
    return min(_LONGEST_SECONDS, max(seconds - _MARGIN_SECONDS, seconds / 2))


def metrics_format(accept: str | None) -> MetricsFormat:
    """OpenMetrics if it is named and preferred at least as much as plain text; a wildcard gets plain text."""
    openmetrics = text = 0.0
    for name, parameters, quality in _preferences(accept or ""):
        if name == "application/openmetrics-text" and parameters.get("version", "") in _OPENMETRICS:
            openmetrics = max(openmetrics, quality)
        elif name == "text/plain":
            text = max(text, quality)
    return "openmetrics" if openmetrics > 0 and openmetrics >= text else "text"


def accepts_gzip(accept_encoding: str | None) -> bool:
    """Whether the body may be compressed."""
    named = {name: quality for name, _, quality in _preferences(accept_encoding or "")}
    return named.get("gzip", named.get("*", 0.0)) > 0


def _preferences(header: str) -> Iterator[tuple[str, dict[str, str], float]]:
    """Each item of a list, its parameters and its q (RFC 9110, 12.4.2); an invalid q counts as 0."""
    for item in header.split(","):
        name, *rest = (part.strip() for part in item.split(";"))
        pairs = (part.partition("=") for part in rest)
        parameters = {key.strip().lower(): value.strip().strip('"') for key, _, value in pairs}
        try:
            quality = float(parameters.pop("q", "1"))
        except ValueError:
            quality = 0.0
        if name:
            yield name.lower(), parameters, quality if 0 <= quality <= 1 else 0.0
