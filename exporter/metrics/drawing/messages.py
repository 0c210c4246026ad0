"""Samples as messages of protobuf, which carries native histograms too. Pure.

As in `lines.py`, what is drawn for each queue is drawn for many at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from exporter.metrics.drawing.encoding import Draw
from exporter.metrics.family import AnyFamily, Family, HistogramFamily, TableColumn
from exporter.snapshot.histogram import ZERO_THRESHOLD, Histogram, NativeHistogram
from service.web.protobuf import (
    classic_buckets,
    count_and_sum,
    counter_created,
    family_head,
    histogram_created,
    histogram_metric,
    label_pairs,
    native_buckets,
    number_metric,
)

_MOST_FURTHER: Final = 4096  # further labels that are kept
_NO_NATIVE: Final[Mapping[tuple[str, ...], NativeHistogram]] = {}


class ProtobufEncoding:
    """`Encoding` as MetricFamily of io.prometheus.client. `classic`: a histogram that is there in native form
    has its classic buckets besides; those without one always have them."""

    labels = staticmethod(label_pairs)

    def __init__(self, *, classic: bool) -> None:
        self._classic = classic

    def column(self, column: TableColumn) -> TableColumn:
        """With the creation time of a value in it, and the native form of a histogram."""
        value, created, native = column.value, column.created, column.native
        if created is None and native is None:
            return column

        def values(row: Any) -> Any:
            own = value(row)
            return (
                None
                if own is None
                else (own, created(row) if created else 0.0, native(row) if native else None)
            )

        return replace(column, value=values)

    def draw_of(self, family: AnyFamily, column: TableColumn, rows: Sequence[str]) -> Draw:
        further = family.labels[len(rows) :]
        if isinstance(family, HistogramFamily):
            return self._histograms(column, further)
        return _several(family, column, further) if column.each else _numbers(family, column)

    def sample_head(self, family: AnyFamily, labels: Sequence[str]) -> bytes:
        return label_pairs(family.labels, labels)

    def samples(self, family: Family, heads: Iterable[bytes], values: Iterable[float]) -> bytes:
        kind = family.kind
        metrics = zip(heads, values, strict=True)
        return b"".join([number_metric(kind, labels, value) for labels, value in metrics])

    def histogram(self, family: HistogramFamily, labels: Sequence[str], histogram: Histogram) -> bytes:
        return histogram_metric(label_pairs(family.labels, labels), self._fields(histogram, None, 0.0))

    def _histograms(self, column: TableColumn, further: Sequence[str]) -> Draw:
        each, with_more = column.each, _has_more(column)
        if each is None:
            raise ValueError("a column of histograms has no `each`")

        def draw(labels: Iterable[bytes], values: Iterable[Any]) -> bytes:
            metrics = []
            for label, value in zip(labels, values, strict=True):
                if value is None:
                    continue
                own, created, native = value if with_more else (value, 0.0, None)
                natives = native or _NO_NATIVE
                for others, histogram in each(own):
                    fields = self._fields(histogram, natives.get(others), created)
                    metrics.append(histogram_metric(label + label_pairs(further, others), fields))
            return b"".join(metrics)

        return draw

    def _fields(self, histogram: Histogram, native: NativeHistogram | None, created: float) -> bytes:
        fields = [count_and_sum(sum(histogram.counts), histogram.total)]
        if native is None or self._classic:
            fields.append(classic_buckets(histogram.bounds, histogram.counts))
        if native is not None:
            fields.append(native_buckets(native.schema, ZERO_THRESHOLD, native.zero_count, native.buckets))
        if created:
            fields.append(histogram_created(created))
        return b"".join(fields)


def head_message(family: AnyFamily) -> bytes:
    """What a family begins with."""
    return family_head(family.name, family.help, family.kind)


def _has_more(column: TableColumn) -> bool:
    return column.created is not None or column.native is not None


def _numbers(family: Family, column: TableColumn) -> Draw:
    kind, with_more = family.kind, _has_more(column)

    def draw(labels: Iterable[bytes], values: Iterable[Any]) -> bytes:
        rows = zip(labels, values, strict=True)
        if with_more:
            return b"".join(
                [
                    number_metric(kind, label, value[0], counter_created(value[1]) if value[1] else b"")
                    for label, value in rows
                    if value is not None
                ]
            )
        return b"".join([number_metric(kind, label, value) for label, value in rows if value is not None])

    return draw


def _several(family: Family, column: TableColumn, further: Sequence[str]) -> Draw:
    kind, each = family.kind, column.each
    pairs: dict[tuple[str, ...], bytes] = {}
    if each is None or _has_more(column):
        raise ValueError(f"{family.name} has a creation time, or no `each`")

    def draw(labels: Iterable[bytes], values: Iterable[Any]) -> bytes:
        metrics = []
        for label, value in zip(labels, values, strict=True):
            if value is None:
                continue
            for others, number in each(value):
                if number is not None:
                    own = pairs.get(others)
                    if own is None:
                        if len(pairs) >= _MOST_FURTHER:
                            pairs.clear()
                        own = pairs[others] = label_pairs(further, others)
                    metrics.append(number_metric(kind, label + own, number))
        return b"".join(metrics)

    return draw
