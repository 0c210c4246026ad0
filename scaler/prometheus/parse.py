"""Answers of Prometheus's API, as parsed JSON, to samples. No I/O and no clock.

Whatever is not a plain, finite number of a known scrape is Missing: absence is not zero.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from scaler.model import Missing, QueueSample
from scaler.prometheus.promql import MEASURE_LABEL, OURS, QueueKey, measure_texts, quoted
from scaler.prometheus.settings import QuerySettings
from service.outcome import UnreadableError

Labels: TypeAlias = frozenset[tuple[str, str]]
"""Labels with their values. What a queue's series has but for the queue's own says whose series it is."""

_NEEDED: Final = frozenset({"waiting", "active", "timestamp"})
_TOTALS: Final = ("completed", "failed", "added", "duration_sum", "duration_count")
_LIVE_SECONDS: Final = 60.0  # an exporter so far behind another has gone
_CLOCK_SECONDS: Final = 1.0  # a difference between clocks that is none: the way there takes time too
_NUMBERS: Final = (float, int)  # not bool


@dataclass(frozen=True)
class Reading:
    """What one answer says. `up`: whether an exporter says that it reads all queues; None: no exporter is
    seen, or it isn't ours. `ahead`: seconds that our clock is ahead of Prometheus's."""

    samples: Mapping[QueueKey, QueueSample | Missing]
    origins: Mapping[QueueKey, Labels] = field(default_factory=dict)
    up: bool | None = None
    ahead: float = 0.0

    def of(self, key: QueueKey) -> QueueSample | Missing:
        """A queue's sample; Missing "empty" says why there may be none."""
        found = self.samples.get(key)
        return found if found is not None else Missing("empty", f"{key}: {self._why_empty()}")

    def _why_empty(self) -> str:
        if self.up is None:
            return "Prometheus has no such series now: is the exporter up, and scraped?"
        if self.up:
            return (
                "the exporter knows no such queue: is the name right? "
                "One that never had a job has to stand in its BULLMQ_QUEUES"
            )
        return "the exporter could not read all queues"


def read_answer(
    document: object,
    queries: QuerySettings = OURS,
    *,
    asked_at: float,
    replica_labels: Collection[str] = (),
    kept: Mapping[QueueKey, Labels] | None = None,
    ahead: float = 0.0,
) -> Reading:
    """The samples in the parsed JSON that answers `query_text`, which was asked at our unix time `asked_at`.

    Of several exporters that see a queue the one in `kept` is believed as long as it is not a minute behind,
    and else the one scraped last: the counters of two differ, so that they are never mixed or summed. Where
    another is believed than before, the totals are left out once, as they do not continue the former ones.
    `ahead` is what was found before: it is kept within a second, so that a scrape has one time, seen twice.
    Raises UnreadableError for what is no answer to such a query.
    """
    table, ups, times = _table(vector(document), queries)
    samples: dict[QueueKey, QueueSample | Missing] = {}
    origins: dict[QueueKey, Labels] = {}
    kept = kept or {}
    replicas = frozenset(replica_labels)
    ahead = _ahead(times, asked_at, ahead)
    for key, seen in table.items():
        before = kept.get(key)
        try:
            origin = _choose(seen, before, replicas)
            samples[key] = seen[origin].sample(ahead, continues=before is None or before == origin)
            origins[key] = origin
        except _InvalidError as error:
            samples[key] = Missing(error.kind, f"{key}: {error}")
    return Reading(samples, origins, all(ups) if ups else None, ahead)


def vector(document: object) -> list[Any]:
    """The series of an instant vector. Raises UnreadableError: an error (as Prometheus words it), a warning
    (some of the data may be missing), or no vector at all."""
    data = api_data(document)
    if data.get("resultType") != "vector" or not isinstance(data.get("result"), list):
        raise UnreadableError("invalid", "the answer is no instant vector")
    found: list[Any] = data["result"]
    return found


def api_data(document: object) -> dict[str, Any]:
    """`data` of an answer of Prometheus's API. Raises UnreadableError."""
    if not isinstance(document, dict):
        raise UnreadableError("invalid", "the answer is not Prometheus's")
    if document.get("status") == "error":
        why = f"Prometheus: {_line(document.get('error'))}"
        if document.get("errorType") in ("bad_data", "execution"):
            raise QueryError("error", why)
        raise UnreadableError("timeout" if document.get("errorType") == "timeout" else "error", why)
    data = document.get("data")
    if document.get("status") != "success" or not isinstance(data, dict):
        raise UnreadableError("invalid", "the answer is not Prometheus's")
    warnings = document.get("warnings")
    if warnings:
        first = warnings[0] if isinstance(warnings, list) else warnings
        raise UnreadableError("error", f"Prometheus warns, so that some may be missing: {_line(first)}")
    return data


def finite_number(text: object) -> float:
    """A sample's value as Prometheus writes it. Raises ValueError for what isn't finite."""
    if not isinstance(text, str) or not text.isascii() or "_" in text or text != text.strip():
        raise ValueError("no number")
    value = float(text)
    if not math.isfinite(value):
        raise ValueError("not finite")
    return value


class QueryError(UnreadableError):
    """Prometheus is well, and refuses the query."""


def matrix(document: object) -> dict[Labels, list[tuple[float, float]]]:
    """The series of a range query as pairs (unix time, value), without what is not finite.

    Raises UnreadableError.
    """
    data = api_data(document)
    if data.get("resultType") != "matrix":
        raise UnreadableError("invalid", "the answer is no range")
    found: dict[Labels, list[tuple[float, float]]] = {}
    try:
        for one in data["result"]:
            points = found.setdefault(_labels(one["metric"]), [])
            points += ((float(time), float(value)) for time, value in one["values"])
    except (TypeError, KeyError, ValueError, AttributeError, OverflowError):
        raise UnreadableError("invalid", "the answer is no range of numbers") from None
    return {
        labels: [point for point in points if math.isfinite(point[1])] for labels, points in found.items()
    }


class _InvalidError(Exception):
    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class _Seen(dict[str, Any]):
    """What one exporter says of a queue: the pair [time, value] of each measure, None where it came twice."""

    def scraped(self) -> float:
        """When it was scraped, by Prometheus's clock. Raises _InvalidError."""
        at = _figure("timestamp", self["timestamp"])
        try:
            age = float(self["timestamp"][0]) - at
        except OverflowError:
            age = math.inf
        if not -_LIVE_SECONDS < age < math.inf:
            raise _InvalidError("invalid", "timestamp is no unix time in seconds")
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
        raise _InvalidError("invalid", f"{measure} is no finite number") from None
    if value < 0:
        raise _InvalidError("invalid", f"{measure} is below 0")
    return value


def _table(
    series: list[Any], queries: QuerySettings
) -> tuple[dict[QueueKey, dict[Labels, _Seen]], list[bool], set[Any]]:
    """All figures by queue and exporter, whether each exporter says that it is up, and the query's times."""
    table: dict[Any, dict[Labels, _Seen]] = {}
    origins: dict[tuple[Any, ...], Labels] = {}
    ups: list[bool] = []
    times: set[Any] = set()
    measures = {measure: measure for measure, _ in measure_texts(queries)}
    queue_label, prefix_label, default_prefix = (
        queries.queue_label,
        queries.prefix_label or "",
        queries.default_prefix,
    )
    for one in series:
        try:
            labels, pair = dict(one["metric"]), _pair(one["value"])
            times.add(pair[0])
            measure = measures[labels.pop(MEASURE_LABEL)]
            labels.pop("__name__", None)
            if measure == "up":
                ups.append(pair[1] == "1")
                continue
            place = labels.pop(prefix_label, default_prefix), labels.pop(queue_label)
            flat = (*labels, *labels.values())  # there are few of them: half the time of a frozenset each
            origin = origins.get(flat)
            if origin is None:
                origin = origins[flat] = _labels(labels)
            found = table.get(place)
            if found is None:
                found = table[_key(*place)] = {}
        except (TypeError, KeyError, ValueError, AttributeError):
            raise UnreadableError("invalid", _why_not(one, queue_label)) from None
        seen = found.get(origin)
        if seen is None:
            seen = found[origin] = _Seen()
        seen[measure] = None if measure in seen else pair
    return table, ups, times


def _ahead(times: Collection[Any], asked_at: float, before: float) -> float:
    """How far our clock is ahead of the query's, or what was found before where that is about the same."""
    if not times:
        return before
    if len(times) > 1:
        raise UnreadableError("invalid", "the answer's series are of several moments")
    try:
        found = asked_at - float(next(iter(times)))
    except OverflowError:
        return before
    return found if _CLOCK_SECONDS < abs(found - before) < math.inf else before


def _pair(value: Any) -> Any:
    if len(value) != 2 or type(value[0]) not in _NUMBERS:
        raise TypeError
    return value


def _key(prefix: object, name: object) -> QueueKey:
    if not isinstance(prefix, str) or not isinstance(name, str):
        raise TypeError
    return QueueKey(prefix, name)


def _labels(labels: Mapping[Any, Any]) -> Labels:
    if not all(isinstance(one, str) for pair in labels.items() for one in pair):
        raise TypeError
    return frozenset(labels.items())


def _why_not(one: Any, queue_label: str) -> str:
    if isinstance(one, dict) and "histogram" in one:
        return "the answer holds a native histogram where a number is due"
    labels = one.get("metric") if isinstance(one, dict) else None
    if isinstance(labels, dict) and MEASURE_LABEL in labels and queue_label not in labels:
        return f"a series has no label {queue_label}, so that its queue isn't known"
    return "the answer holds a series that is none, or was not asked for"


def _choose(seen: Mapping[Labels, _Seen], before: Labels | None, replicas: frozenset[str]) -> Labels:
    """Whose figures of a queue to believe. Raises _InvalidError."""
    whole = [origin for origin, one in seen.items() if one.keys() >= _NEEDED]
    if not whole:
        absent = sorted(_NEEDED - max(seen.values(), key=len).keys())
        raise _InvalidError("empty", f"there is no {' and no '.join(absent)} beside its other series")
    if len(whole) == 1:
        return whole[0]
    times = {origin: seen[origin].scraped() for origin in whole}
    last = max(times.values())
    live = {origin for origin, at in times.items() if at >= last - _LIVE_SECONDS}
    deployments = {frozenset(pair for pair in origin if pair[0] not in replicas) for origin in live}
    if len(deployments) > 1:
        shared = frozenset.intersection(*deployments)
        first, second = sorted(_named(one - shared) for one in deployments)[:2]
        raise _InvalidError("duplicate", f"there are several such queues, of {first} and of {second}")
    if before in live:
        return before
    return max(live, key=lambda origin: (times[origin], sorted(origin)))


def _named(origin: Labels) -> str:
    return (
        ",".join(f"{label}={quoted(value)}" for label, value in sorted(origin)) or "one without such labels"
    )


def _line(text: object) -> str:
    """A text of theirs as one short line."""
    line = " ".join(str(text).split()) if isinstance(text, str) else "no word of why"
    return line if len(line) <= 300 else line[:300] + "..."
