"""Parses answers of Prometheus's API, as JSON data, into samples. No I/O and no clock.

Anything that is not a plain, finite number of a known scrape is Missing: absence is not zero.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from scaler.config.prometheus import QuerySettings
from scaler.model import Missing, QueueSample
from scaler.prometheus.promql import DEFAULT_QUERIES, MEASURE_LABEL, QueueKey, measure_texts, quoted
from service.outcome import UnreadableError

Labels: TypeAlias = frozenset[tuple[str, str]]
"""Labels with their values. Those besides the queue's own labels identify the exporter of a series."""

_REQUIRED: Final = frozenset({"waiting", "active", "timestamp"})
_TOTALS: Final = ("completed", "failed", "added", "duration_sum", "duration_count", "busy_seconds")
_MAX_LAG_SECONDS: Final = 60.0  # an exporter whose scrape is so far behind another's is gone
_CLOCK_TOLERANCE: Final = 1.0  # clocks that differ by less agree: the request takes time too
_NUMBERS: Final = (float, int)  # not bool


@dataclass(frozen=True)
class Reading:
    """The content of one answer. `origins`: the exporter of each queue's sample; `up`: whether the exporters
    report that they read all queues, None: no exporter, or not ours; `ahead`: seconds that our clock is ahead
    of Prometheus's."""

    samples: Mapping[QueueKey, QueueSample | Missing]
    origins: Mapping[QueueKey, Labels] = field(default_factory=dict)
    up: bool | None = None
    ahead: float = 0.0

    def of(self, key: QueueKey) -> QueueSample | Missing:
        """A queue's sample; Missing "empty" with the likely reason if there is none."""
        sample = self.samples.get(key)
        return sample if sample is not None else Missing("empty", f"{key}: {self._why_empty()}")

    def _why_empty(self) -> str:
        if self.up is None:
            return "Prometheus has no such series now: is the exporter up, and is it scraped?"
        if self.up:
            return (
                "the exporter does not know this queue: is the name right? "
                "A queue that never had a job has to be listed in its BULLMQ_QUEUES"
            )
        return "the exporter could not read all queues"


def read_answer(
    document: object,
    queries: QuerySettings = DEFAULT_QUERIES,
    *,
    queried_at: float,
    replica_labels: Collection[str] = (),
    origins_before: Mapping[QueueKey, Labels] | None = None,
    ahead: float = 0.0,
) -> Reading:
    """The samples in the parsed JSON that answers `query_text`, queried at our unix time `queried_at`.

    Of several exporters of a queue, the one in `origins_before` counts as long as it is not a minute
    behind, else the one scraped last: their counters differ, so that they are never mixed or summed. When it
    changes, the totals are left out once, as they do not continue the former ones. `ahead` is the former
    clock offset: it is kept within a second, so that a scrape has the same time when it is read twice.
    Raises UnreadableError for anything that is not an answer to such a query.
    """
    table, ups, times = _table(vector(document), queries)
    samples: dict[QueueKey, QueueSample | Missing] = {}
    origins: dict[QueueKey, Labels] = {}
    origins_before = origins_before or {}
    replicas = frozenset(replica_labels)
    ahead = _clock_offset(times, queried_at, ahead)
    for key, exporters in table.items():
        before = origins_before.get(key)
        try:
            origin = _choose(exporters, before, replicas)
            samples[key] = exporters[origin].sample(ahead, continues=before is None or before == origin)
            origins[key] = origin
        except _InvalidError as error:
            samples[key] = Missing(error.kind, f"{key}: {error}")
    return Reading(samples, origins, all(ups) if ups else None, ahead)


def vector(document: object) -> list[Any]:
    """The series of an instant vector. Raises UnreadableError: an error (in Prometheus's words), a warning
    (some of the data may be missing), or anything but a vector."""
    data = api_data(document)
    if data.get("resultType") != "vector" or not isinstance(data.get("result"), list):
        raise UnreadableError("invalid", "the answer is not an instant vector")
    series: list[Any] = data["result"]
    return series


def api_data(document: object) -> dict[str, Any]:
    """The `data` of an answer of Prometheus's API. Raises UnreadableError."""
    if not isinstance(document, dict):
        raise UnreadableError("invalid", "the answer is not one of Prometheus's API")
    if document.get("status") == "error":
        why = f"Prometheus: {_line(document.get('error'))}"
        if document.get("errorType") in ("bad_data", "execution"):
            raise QueryError("error", why)
        raise UnreadableError("timeout" if document.get("errorType") == "timeout" else "error", why)
    data = document.get("data")
    if document.get("status") != "success" or not isinstance(data, dict):
        raise UnreadableError("invalid", "the answer is not one of Prometheus's API")
    warnings = document.get("warnings")
    if warnings:
        first = warnings[0] if isinstance(warnings, list) else warnings
        raise UnreadableError("error", f"Prometheus warns, some data may be missing: {_line(first)}")
    return data


def finite_number(text: object) -> float:
    """A sample's value as Prometheus writes it. Raises ValueError if it is not a finite number."""
    if not isinstance(text, str) or not text.isascii() or "_" in text or text != text.strip():
        raise ValueError("not a number")
    value = float(text)
    if not math.isfinite(value):
        raise ValueError("not finite")
    return value


class QueryError(UnreadableError):
    """Prometheus works, and rejects the query."""


def matrix(document: object) -> dict[Labels, list[tuple[float, float]]]:
    """The series of a range query as pairs (unix time, value), without values that are not finite.

    Raises UnreadableError.
    """
    data = api_data(document)
    if data.get("resultType") != "matrix":
        raise UnreadableError("invalid", "the answer is not a range")
    series: dict[Labels, list[tuple[float, float]]] = {}
    try:
        for entry in data["result"]:
            points = series.setdefault(_labels(entry["metric"]), [])
            points += ((float(time), float(value)) for time, value in entry["values"])
    except (TypeError, KeyError, ValueError, AttributeError, OverflowError):
        raise UnreadableError("invalid", "the answer is not a range of numbers") from None
    return {
        labels: [point for point in points if math.isfinite(point[1])] for labels, points in series.items()
    }


class _InvalidError(Exception):
    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class _ExporterSeries(dict[str, Any]):
    """The series of one exporter for a queue: the pair [time, value] of each measure, None if duplicate."""

    def scraped(self) -> float:
        """When it was scraped, by Prometheus's clock. Raises _InvalidError."""
        at = _figure("timestamp", self["timestamp"])
        try:
            age = float(self["timestamp"][0]) - at
        except OverflowError:
            age = math.inf
        if not -_MAX_LAG_SECONDS < age < math.inf:
            raise _InvalidError("invalid", "timestamp is not a unix time in seconds")
        return at

    def sample(self, ahead: float, *, continues: bool) -> QueueSample:
        """Raises _InvalidError."""
        at = self.scraped() + ahead
        values = {
            measure: _figure(measure, pair)
            for measure, pair in self.items()
            if measure != "timestamp" and (continues or measure not in _TOTALS)
        }
        return QueueSample(at=at, **values)


def _figure(measure: str, pair: Any) -> float:
    if pair is None:
        raise _InvalidError("duplicate", f"{measure} has several series of one exporter")
    try:
        value = finite_number(pair[1])
    except ValueError:
        raise _InvalidError("invalid", f"{measure} is not a finite number") from None
    if value < 0:
        raise _InvalidError("invalid", f"{measure} is below 0")
    return value


def _table(
    series: list[Any], queries: QuerySettings
) -> tuple[dict[QueueKey, dict[Labels, _ExporterSeries]], list[bool], set[Any]]:
    """All figures by queue and exporter, whether each exporter reports up, and the times of the query."""
    table: dict[Any, dict[Labels, _ExporterSeries]] = {}
    origins: dict[tuple[Any, ...], Labels] = {}
    ups: list[bool] = []
    times: set[Any] = set()
    measures = {measure: measure for measure, _ in measure_texts(queries)}
    queue_label, prefix_label, default_prefix = (
        queries.queue_label,
        queries.prefix_label or "",
        queries.default_prefix,
    )
    for entry in series:
        try:
            labels, pair = dict(entry["metric"]), _pair(entry["value"])
            times.add(pair[0])
            measure = measures[labels.pop(MEASURE_LABEL)]
            labels.pop("__name__", None)
            if measure == "up":
                ups.append(pair[1] == "1")
                continue
            queue = labels.pop(prefix_label, default_prefix), labels.pop(queue_label)
            flat = (*labels, *labels.values())  # few distinct ones: half the time of a frozenset for each
            origin = origins.get(flat)
            if origin is None:
                origin = origins[flat] = _labels(labels)
            exporters = table.get(queue)
            if exporters is None:
                exporters = table[_key(*queue)] = {}
        except (TypeError, KeyError, ValueError, AttributeError):
            raise UnreadableError("invalid", _why_not(entry, queue_label)) from None
        figures = exporters.get(origin)
        if figures is None:
            figures = exporters[origin] = _ExporterSeries()
        figures[measure] = None if measure in figures else pair
    return table, ups, times


def _clock_offset(times: Collection[Any], queried_at: float, before: float) -> float:
    """Seconds that our clock is ahead of Prometheus's, or the former offset if it is about the same."""
    if not times:
        return before
    if len(times) > 1:
        raise UnreadableError("invalid", "the series of the answer have different times")
    try:
        offset = queried_at - float(next(iter(times)))
    except OverflowError:
        return before
    return offset if _CLOCK_TOLERANCE < abs(offset - before) < math.inf else before


def _pair(value: Any) -> Any:
    if len(value) != 2 or type(value[0]) not in _NUMBERS:
        raise TypeError
    return value


def _key(prefix: object, name: object) -> QueueKey:
    if not isinstance(prefix, str) or not isinstance(name, str):
        raise TypeError
    return QueueKey(prefix, name)


def _labels(labels: Mapping[Any, Any]) -> Labels:
    if not all(isinstance(text, str) for pair in labels.items() for text in pair):
        raise TypeError
    return frozenset(labels.items())


def _why_not(entry: Any, queue_label: str) -> str:
    if isinstance(entry, dict) and "histogram" in entry:
        return "the answer has a native histogram instead of a number"
    labels = entry.get("metric") if isinstance(entry, dict) else None
    if isinstance(labels, dict) and MEASURE_LABEL in labels and queue_label not in labels:
        return f"a series has no label {queue_label}: its queue is not known"
    return "the answer has a series that is invalid, or was not queried"


def _choose(
    exporters: Mapping[Labels, _ExporterSeries], before: Labels | None, replicas: frozenset[str]
) -> Labels:
    """The exporter whose figures of a queue count. Raises _InvalidError."""
    complete = [origin for origin, figures in exporters.items() if figures.keys() >= _REQUIRED]
    if not complete:
        absent = sorted(_REQUIRED - max(exporters.values(), key=len).keys())
        raise _InvalidError("empty", f"there is no {' and no '.join(absent)} among its series")
    if len(complete) == 1:
        return complete[0]
    times = {origin: exporters[origin].scraped() for origin in complete}
    last = max(times.values())
    live = {origin for origin, at in times.items() if at >= last - _MAX_LAG_SECONDS}
    deployments = {frozenset(pair for pair in origin if pair[0] not in replicas) for origin in live}
    if len(deployments) > 1:
        shared = frozenset.intersection(*deployments)
        first, second = sorted(_named(deployment - shared) for deployment in deployments)[:2]
        raise _InvalidError("duplicate", f"there are several queues of this name, of {first} and of {second}")
    if before in live:
        return before
    return max(live, key=lambda origin: (times[origin], sorted(origin)))


def _named(origin: Labels) -> str:
    return (
        ",".join(f"{label}={quoted(value)}" for label, value in sorted(origin))
        or "an exporter without such labels"
    )


def _line(text: object) -> str:
    """A text of Prometheus as one short line."""
    line = " ".join(str(text).split()) if isinstance(text, str) else "no reason given"
    return line if len(line) <= 300 else line[:300] + "..."
