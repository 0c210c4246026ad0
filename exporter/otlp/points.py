"""The families of /metrics as the points of one push: the values that a scrape would have. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, Literal, NamedTuple, Protocol, TypeAlias

from exporter.assessment import Assessment
from exporter.metrics.family import AnyFamily, TableColumn
from exporter.snapshot.histogram import Histogram, NativeHistogram

PushedKind: TypeAlias = Literal["gauge", "counter", "histogram"]

_OF_A_SCRAPE: Final = frozenset({"oxherd_exposed_samples"})
"""Families that describe an answer of /metrics."""
_PROCESS_START: Final = "process_start_time_seconds"


class PushedPoint(NamedTuple):
    """A value for the values of the family's labels. `created`: since when a counter or a histogram counts,
    in unix s; 0: not known. `native`: the same durations in exponential buckets."""

    labels: tuple[str, ...]
    value: float | Histogram
    created: float = 0.0
    native: NativeHistogram | None = None


class PushedFamily(NamedTuple):
    """A family and its points, of which there may be none; `labels` are the names."""

    name: str
    kind: PushedKind
    help: str
    labels: tuple[str, ...]
    points: Iterable[PushedPoint]


class RegistrySample(Protocol):
    """A sample of prometheus_client."""

    @property
    def name(self) -> str: ...
    @property
    def labels(self) -> Mapping[str, str]: ...
    @property
    def value(self) -> float: ...


class RegistryMetric(Protocol):
    """A family of prometheus_client."""

    @property
    def documentation(self) -> str: ...
    @property
    def type(self) -> str: ...
    @property
    def samples(self) -> Sequence[RegistrySample]: ...


def pushed_families(assessment: Assessment, families: Iterable[AnyFamily]) -> Iterator[PushedFamily]:
    """What the assessment has of these families. What could not be read has no point: it is never 0."""
    for family in families:
        if family.column is not None:
            points: Iterable[PushedPoint] = _of_column(family.column, assessment)
        else:  # of two samples with the same labels the last, as in a scrape
            samples: Mapping[tuple[str, ...], float | Histogram] = {**dict(family.read(assessment))}
            points = [PushedPoint(labels, value) for labels, value in samples.items()]
        yield PushedFamily(family.name, family.kind, family.help, family.labels, points)


def process_families(metrics: Iterable[RegistryMetric]) -> Iterator[PushedFamily]:
    """Those of the process: a family for each name and label set of its samples, as in protobuf of a scrape.
    Its counters count since it started."""
    listed = list(metrics)
    created = next(
        (sample.value for metric in listed for sample in metric.samples if sample.name == _PROCESS_START), 0.0
    )
    for metric in listed:
        grouped: dict[tuple[str, tuple[str, ...]], list[PushedPoint]] = {}
        for sample in metric.samples:
            if sample.name not in _OF_A_SCRAPE:
                point = PushedPoint(tuple(sample.labels.values()), sample.value)
                grouped.setdefault((sample.name, tuple(sample.labels)), []).append(point)
        for (name, labels), points in grouped.items():
            if metric.type == "counter" and name.endswith("_total"):
                counted = [point._replace(created=created) for point in points]
                yield PushedFamily(name, "counter", metric.documentation, labels, counted)
            else:
                yield PushedFamily(name, "gauge", metric.documentation, labels, points)


def _of_column(column: TableColumn, assessment: Assessment) -> Iterator[PushedPoint]:
    """Made one by one: a column of 10,000 queues is never a list of points."""
    value, each, created, native = column.value, column.each, column.created, column.native
    for labels, row in column.table.rows(assessment).items():
        own = value(row)
        if own is None:
            continue
        since = created(row) if created else 0.0
        if each is None:
            yield PushedPoint(tuple(labels), own, since)
            continue
        natives = (native(row) if native else None) or _NO_NATIVE
        for further, sample in each(own):
            if sample is not None:
                yield PushedPoint((*labels, *further), sample, since, natives.get(further))


_NO_NATIVE: Final[Mapping[tuple[str, ...], NativeHistogram]] = {}
