"""Parses answers of Prometheus's API, as JSON data, into samples. No I/O and no clock.

Anything that is not a plain, finite number of a known scrape is Missing: absence is not zero.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from scaler.config.prometheus import QuerySettings
from scaler.model import Missing, QueueSample
from scaler.prometheus.exporter_series import derive_measures
from scaler.prometheus.numbers import finite_number
from scaler.prometheus.promql import (
    DEFAULT_QUERIES,
    DEPLOYMENT_LABEL,
    MEASURE_LABEL,
    QueueKey,
    quoted,
)
from scaler.prometheus.series_identity import Labels, SeriesIdentities
from scaler.prometheus.usual_answer import read_usual
from service.outcome import UnreadableError

_REQUIRED: Final = frozenset({"waiting", "active", "timestamp"})
_MAX_LAG_SECONDS: Final = 60.0  # an exporter whose scrape is so far behind another's is gone
_DISPUTE_SECONDS: Final = (
    45.0  # a Redis that restarts has another identity at the next scrape of each exporter
)
_REPORTED: Final = {"deployment": (DEPLOYMENT_LABEL,), "shard": ("shard", "shards")}  # in labels
_CLOCK_TOLERANCE: Final = 1.0  # clocks that differ by less agree: the request takes time too
_NUMBERS: Final = (float, int)  # not bool


@dataclass(frozen=True, slots=True)
class ExporterStatus:
    """What one exporter reports of itself; None: nothing. `up`: whether it read all queues; `deployment`: the
    identity of its Redis deployment; `started`: when its process started (unix seconds, as text); `shard`:
    which part of the queues it has, and of how many, as texts."""

    up: bool | None = None
    deployment: str | None = None
    started: str | None = None
    shard: tuple[str, str] | None = None


UNKNOWN_EXPORTER: Final = ExporterStatus()


@dataclass(frozen=True)
class Reading:
    """The content of one answer. `origins`: the exporter of each queue's sample; `exporters`: those that
    report of themselves; `disputed`: since when (unix seconds) two deployments have this queue; `ahead`:
    seconds that our clock is ahead of Prometheus's."""

    samples: Mapping[QueueKey, QueueSample | Missing]
    origins: Mapping[QueueKey, Labels] = field(default_factory=dict)
    exporters: Mapping[Labels, ExporterStatus] = field(default_factory=dict)
    disputed: Mapping[QueueKey, float] = field(default_factory=dict)
    ahead: float = 0.0

    @property
    def up(self) -> bool | None:
        """Whether all exporters report that they read all queues; None: no exporter, or not ours."""
        ups = [exporter.up for exporter in self.exporters.values() if exporter.up is not None]
        return all(ups) if ups else None

    def source(self, key: QueueKey) -> tuple[Labels, str | None] | None:
        """Whose counters a queue's are: of which exporter, and of which run of it."""
        origin = self.origins.get(key)
        if origin is None:
            return None
        return origin, self.exporters.get(origin, UNKNOWN_EXPORTER).started

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
    answered_at: float | None = None,
    replica_labels: Collection[str] = (),
    before: Reading | None = None,
    identities: SeriesIdentities | None = None,
) -> Reading:
    """The samples in the parsed JSON that answers `query_text`.

    The query was sent at our unix time `queried_at`, its answer was there at `answered_at` (None: at once).
    Of several exporters of a queue, the one in `before`, the former reading, counts as long as it is not a
    minute behind, else the one scraped last: their counters differ, so that they are never mixed or summed.
    Exporters of two Redis deployments are a duplicate, unless their identities differ for less than a minute:
    each is as old as its scrape. The former clock offset is kept while the query may have been evaluated at
    it, to a second, so that a scrape has the same time when it is read twice. `identities`: what is known of
    the series by former answers to these queries. Raises UnreadableError for
    anything that does not answer such a query.
    """
    before = before or Reading({})
    series, known = vector(document), identities or SeriesIdentities(queries)
    known.forget(len(series))
    until = queried_at if answered_at is None else answered_at
    usual = read_usual(series, known) if queries.is_default else None
    if usual is not None:
        ahead = _clock_offset({usual.time}, queried_at, until, before.ahead)
        found = usual.samples(ahead)
        if found is not None:
            reported: dict[Labels, ExporterStatus] = {}
            for identity, value in usual.statuses:
                _add_status(reported, identity.figure, identity.rest, value)
            return Reading(*found, reported, ahead=ahead)
    table, statuses, times = _table(series, queries, known)
    samples: dict[QueueKey, QueueSample | Missing] = {}
    origins: dict[QueueKey, Labels] = {}
    disputed: dict[QueueKey, float] = {}
    ahead = _clock_offset(times, queried_at, until, before.ahead)
    exporters = _Exporters(statuses, frozenset(replica_labels))
    for key, figures in table.items():
        try:
            live = _live(figures)
            dispute = exporters.dispute(live)
            if dispute is not None:
                disputed[key] = min(queried_at, before.disputed.get(key, queried_at))
            seconds = queried_at - disputed.get(key, queried_at)
            origin = _choose(live, before.origins.get(key), dispute, seconds)
            samples[key] = figures[origin].sample(ahead)
            origins[key] = origin
        except _InvalidError as error:
            samples[key] = Missing(error.kind, f"{key}: {error}")
    return Reading(samples, origins, statuses, disputed, ahead)


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
    if document.get("isPartial"):  # as VictoriaMetrics says that one of its storage nodes did not answer
        raise UnreadableError("error", "the answer is partial (isPartial): some data is missing")
    warnings = document.get("warnings")
    if warnings:
        first = warnings[0] if isinstance(warnings, list) else warnings
        raise UnreadableError("error", f"Prometheus warns, some data may be missing: {_line(first)}")
    return data


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
            points += ((_moment(time), float(value)) for time, value in entry["values"])
    except (TypeError, KeyError, ValueError, AttributeError, OverflowError):
        raise UnreadableError("invalid", "the answer is not a range of numbers") from None
    return {
        labels: [point for point in points if math.isfinite(point[1])] for labels, points in series.items()
    }


def _moment(time: Any) -> float:
    """Unix seconds. Raises TypeError, ValueError or OverflowError."""
    at = float(time)
    if not math.isfinite(at):
        raise ValueError("not a time")
    return at


class _InvalidError(Exception):
    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class _ExporterSeries(dict[Any, Any]):
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

    def sample(self, ahead: float) -> QueueSample:
        """Raises _InvalidError."""
        at = self.scraped() + ahead
        values = {measure: _figure(measure, pair) for measure, pair in self.items() if measure != "timestamp"}
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
    series: list[Any], queries: QuerySettings, identities: SeriesIdentities
) -> tuple[dict[QueueKey, dict[Labels, _ExporterSeries]], dict[Labels, ExporterStatus], set[Any]]:
    """All figures by queue and exporter, what each exporter reports of itself, and the times of the query."""
    table: dict[QueueKey, dict[Labels, _ExporterSeries]] = {}
    statuses: dict[Labels, ExporterStatus] = {}
    times: set[Any] = set()
    for entry in series:
        try:
            pair = _pair(entry["value"])
            times.add(pair[0])
            measure, queue, labels, *_ = identities.of(entry["metric"])
            if queue is None:
                _add_status(statuses, measure, labels, pair[1])
                continue
        except (TypeError, KeyError, ValueError, AttributeError):
            raise UnreadableError("invalid", _why_not(entry, queries.queue_label)) from None
        exporters = table.get(queue)
        if exporters is None:
            exporters = table[queue] = {}
        figures = exporters.get(labels)
        if figures is None:
            figures = exporters[labels] = _ExporterSeries()
        figures[measure] = None if measure in figures else pair
    return (_derived(table) if queries.is_default else table), statuses, times


def _derived(
    table: Mapping[QueueKey, dict[Labels, _ExporterSeries]],
) -> dict[QueueKey, dict[Labels, _ExporterSeries]]:
    """With the measures instead of the series that they are made of; without those of whom there is none."""
    derived = {}
    for key, exporters in table.items():
        for figures in exporters.values():
            derive_measures(figures)
        present = {origin: figures for origin, figures in exporters.items() if figures}
        if present:
            derived[key] = present
    return derived


def _add_status(statuses: dict[Labels, ExporterStatus], measure: str, labels: Labels, value: Any) -> None:
    """Raises TypeError."""
    if not isinstance(value, str):
        raise TypeError
    reported = dict(labels)
    own = {name: reported.pop(name, "") for name in _REPORTED.get(measure, ())}
    origin = frozenset(reported.items())
    status = statuses.get(origin, UNKNOWN_EXPORTER)
    if measure == "up":
        status = replace(status, up=value == "1" and status.up is not False)
    elif measure == "started":
        status = replace(status, started=value)
    elif measure == "shard":
        status = replace(status, shard=(own["shard"], own["shards"]))
    else:  # two at once: it has just changed
        status = replace(status, deployment=max(own[DEPLOYMENT_LABEL], status.deployment or ""))
    statuses[origin] = status


def _clock_offset(times: Collection[Any], queried_at: float, answered_at: float, before: float) -> float:
    """Seconds that our clock is ahead of Prometheus's: the former offset, unless the query would have been
    evaluated before it was sent, or after it was answered. A server that is busy evaluates it late."""
    if not times:
        return before
    if len(times) > 1:
        raise UnreadableError("invalid", "the series of the answer have different times")
    try:
        evaluated = float(next(iter(times)))
    except OverflowError:
        return before
    sent, answered = queried_at - evaluated, answered_at - evaluated
    kept = sent - _CLOCK_TOLERANCE <= before <= answered + _CLOCK_TOLERANCE
    return before if kept or not math.isfinite(sent) else sent


def _pair(value: Any) -> Any:
    if len(value) != 2 or type(value[0]) not in _NUMBERS:
        raise TypeError
    return value


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


def _live(exporters: Mapping[Labels, _ExporterSeries]) -> dict[Labels, float]:
    """The exporters that have all figures of a queue and were not scraped a minute before the last one, with
    the time of the scrape. Raises _InvalidError."""
    complete = [origin for origin, figures in exporters.items() if figures.keys() >= _REQUIRED]
    if not complete:
        _, nearest = max(exporters.items(), key=_completeness)
        absent = sorted(_REQUIRED - nearest.keys())
        raise _InvalidError("empty", f"there is no {' and no '.join(absent)} among its series")
    if len(complete) == 1:
        return {complete[0]: 0.0}
    times = {origin: exporters[origin].scraped() for origin in complete}
    last = max(times.values())
    return {origin: at for origin, at in times.items() if at >= last - _MAX_LAG_SECONDS}


def _completeness(exporter: tuple[Labels, _ExporterSeries]) -> tuple[int, list[tuple[str, str]]]:
    """Which of several has most of what is needed; of equal ones always the same, whatever their order."""
    origin, figures = exporter
    return len(figures.keys() & _REQUIRED), sorted(origin)


@dataclass(frozen=True, slots=True)
class _Dispute:
    """Two deployments with a queue of one name; `certain`: by labels that do not change by themselves."""

    text: str
    certain: bool


def _choose(
    live: Mapping[Labels, float], before: Labels | None, dispute: _Dispute | None, seconds: float
) -> Labels:
    """The exporter whose figures of a queue count; `seconds` of a dispute. Raises _InvalidError."""
    if dispute is not None and (dispute.certain or before not in live or seconds >= _DISPUTE_SECONDS):
        raise _InvalidError("duplicate", dispute.text)
    if before is not None and before in live:
        return before
    return max(live, key=lambda origin: (live[origin], sorted(origin)))


@dataclass(frozen=True, slots=True)
class _Exporters:
    """What tells exporters of one deployment from those of two."""

    statuses: Mapping[Labels, ExporterStatus]
    replicas: frozenset[str]

    def dispute(self, origins: Collection[Labels]) -> _Dispute | None:
        """Whether these exporters are of more than one deployment; one that has no identity is of any."""
        if len(origins) == 1:
            return None
        groups = {self._group(origin) for origin in origins}
        if len(groups) > 1:
            shared = frozenset.intersection(*groups)
            return _dispute([_named(group - shared) for group in groups], certain=True)
        names: dict[str, str] = {}
        for origin in sorted(origins, key=sorted):
            identity = self.statuses.get(origin, UNKNOWN_EXPORTER).deployment
            if identity:
                names.setdefault(
                    identity, f"deployment {quoted(identity)} ({_named(origin - set().union(*groups))})"
                )
        return _dispute(list(names.values()), certain=False) if len(names) > 1 else None

    def _group(self, origin: Labels) -> Labels:
        return frozenset(pair for pair in origin if pair[0] not in self.replicas)


def _dispute(names: Collection[str], *, certain: bool) -> _Dispute:
    first, second = sorted(names)[:2]
    return _Dispute(f"there are several queues of this name, of {first} and of {second}", certain)


def _named(origin: Labels) -> str:
    return (
        ",".join(f"{label}={quoted(value)}" for label, value in sorted(origin))
        or "an exporter without such labels"
    )


def _line(text: object) -> str:
    """A text of Prometheus as one short line."""
    line = " ".join(str(text).split()) if isinstance(text, str) else "no reason given"
    return line if len(line) <= 300 else line[:300] + "..."
