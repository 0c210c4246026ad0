"""Reads Prometheus and the scaler once for the doctor, over HTTP, each request within the deadline."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

from exporter.doctor.examination import (
    AlertmanagerLook,
    LoadedAlert,
    PrometheusLook,
    ScalerTarget,
    ScrapedExporter,
    ScrapeTarget,
)
from service.clock import Deadline, now
from service.json_text import read_json
from service.outcome import UnreadableError
from service.web.client import HttpClientError, fetch
from service.web.status_client import StatusError, fetch_status

_SECONDS: Final = 3.0  # for one request
_EXPORTERS: Final = "last_over_time(oxherd_redis_deployment_info[5m])"  # one scrape may fail
_MAX_BYTES: Final = 16 << 20
_MOST_MANAGERS: Final = 5  # that are tried from here
_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0, "y": 31536000.0}
_ODD: Final = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)
"""What an answer of another form than expected raises where it is taken apart."""
_DURATION: Final = re.compile(r"(\d+)(ms|[smhdwy])")
_SAMPLE: Final = re.compile(
    r'^prometheus_notifications_(sent|errors)_total\{alertmanager="([^"]+)"\} (\S+)', re.MULTILINE
)


def read_prometheus(url: str, deadline: Deadline) -> PrometheusLook:
    """What Prometheus at the URL has of us. Raises UnreadableError."""
    url = url.rstrip("/")
    series = _get(url, "query", deadline, query=_EXPORTERS)
    rules = _get(url, "rules", deadline, type="alert")
    targets = _get(url, "targets", deadline, state="active")
    managers = _get(url, "alertmanagers", deadline)
    try:
        return PrometheusLook(
            exporters=tuple(_exporters(series)),
            targets=tuple(_target(target) for target in targets["activeTargets"]),
            alerts=tuple(_alerts(rules)),
            alertmanagers=tuple(_managers(url, managers["activeAlertmanagers"], deadline)),
        )
    except _ODD:
        raise UnreadableError("protocol", f"the server at {url} is not Prometheus") from None


def read_scaler(url: str, key: str | None, deadline: Deadline) -> tuple[ScalerTarget, ...]:
    """The targets of the scaler at the URL. Raises UnreadableError."""
    seconds = deadline.at_most(_SECONDS).remaining()
    try:
        view = fetch_status(url.rstrip("/"), "scaler", "oxherd scaler", seconds=seconds, headers={}, key=key)
        return tuple(_scaler_target(target) for target in view["targets"])
    except StatusError as error:
        raise UnreadableError("unreachable", str(error)) from None
    except _ODD:
        raise UnreadableError("protocol", f"the scaler at {url} is of another version") from None


def _get(url: str, path: str, deadline: Deadline, **parameters: str) -> Any:
    """The data of a response of Prometheus' API. Raises UnreadableError."""
    where = f"{url}/api/v1/{path}" + (f"?{urlencode(parameters)}" if parameters else "")
    try:
        response = fetch(
            where,
            deadline=deadline.at_most(_SECONDS),
            headers={"accept": "application/json"},
            limit=_MAX_BYTES,
        )
    except HttpClientError as error:
        raise UnreadableError("unreachable", f"{url}: {error}") from None
    if response.status != HTTPStatus.OK:
        raise UnreadableError("refused", f"{url} answered {response.status} to /api/v1/{path}")
    try:
        return read_json(response.body)["data"]
    except (KeyError, TypeError, ValueError):
        raise UnreadableError("protocol", f"the server at {url} is not Prometheus") from None


def _exporters(data: Any) -> Iterator[ScrapedExporter]:
    for series in data["result"]:
        labels: Mapping[str, str] = series["metric"]
        yield ScrapedExporter(
            *(str(labels.get(name, "")) for name in ("job", "instance", "redis_deployment"))
        )


def _target(target: Mapping[str, Any]) -> ScrapeTarget:
    labels = target["labels"]
    return ScrapeTarget(
        job=str(labels.get("job", "")),
        instance=str(labels.get("instance", "")),
        up=target["health"] == "up",
        error=str(target.get("lastError", "")),
        interval=parse_duration(str(target.get("scrapeInterval", ""))),
        age=_age(str(target.get("lastScrape", ""))),
    )


def parse_duration(text: str) -> float | None:
    """Prometheus' durations, such as 1m30s, in seconds; None for another text."""
    parts = _DURATION.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        return None
    return sum(int(number) * _UNITS[unit] for number, unit in parts)


def _age(text: str) -> float | None:
    """Seconds since a time in RFC 3339; None for none, which Prometheus writes as the year 1."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return None
    return max(0.0, now() - at.timestamp()) if at.year > 1 and at.tzinfo else None


def _alerts(data: Any) -> Iterator[LoadedAlert]:
    for group in data["groups"]:
        for rule in group["rules"]:
            if rule.get("type") == "alerting":
                yield LoadedAlert(str(rule["name"]), str(rule["query"]), str(rule.get("lastError") or ""))


def _managers(
    url: str, managers: Iterable[Mapping[str, str]], deadline: Deadline
) -> Iterator[AlertmanagerLook]:
    totals = _notifications(url, deadline)
    for index, manager in enumerate(managers):
        api = str(manager["url"])
        parts = urlsplit(api)
        address = f"{parts.scheme}://{parts.netloc}{parts.path.removesuffix('/api/v2/alerts')}"
        sent, errors = (totals.get((kind, api)) for kind in ("sent", "errors"))
        tried = _answers(address, deadline) if index < _MOST_MANAGERS and not sent else None
        yield AlertmanagerLook(address, tried, sent, errors)


def _notifications(url: str, deadline: Deadline) -> dict[tuple[str, str], float]:
    """Prometheus' own counters of notifications, by kind and Alertmanager; empty where they are not shown."""
    try:
        response = fetch(
            f"{url}/metrics", deadline=deadline.at_most(_SECONDS), headers={}, limit=_MAX_BYTES, truncate=True
        )
        found = _SAMPLE.findall(response.body.decode("utf-8", "replace"))
        return {(kind, manager): float(number) for kind, manager, number in found}
    except (HttpClientError, ValueError):
        return {}


def _answers(address: str, deadline: Deadline) -> bool:
    try:
        response = fetch(
            f"{address}/-/ready",
            deadline=deadline.at_most(_SECONDS),
            headers={},
            limit=1 << 16,
            truncate=True,
        )
    except HttpClientError:
        return False
    return response.status < HTTPStatus.INTERNAL_SERVER_ERROR


def _scaler_target(target: Mapping[str, Any]) -> ScalerTarget:
    metrics = target["metrics"]
    missing = str(metrics.get("why") or metrics["missing"]) if metrics.get("missing") else ""
    return ScalerTarget(
        str(target["name"]),
        str(target["prefix"] or "bull"),
        tuple(map(str, target["configured_queues"])),
        missing,
    )
