"""How the samples of families become bytes: as lines of text, or as messages of protobuf."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol, TypeAlias

from exporter.metrics.family import AnyFamily, Family, HistogramFamily, TableColumn
from exporter.snapshot.histogram import Histogram

Draw: TypeAlias = Callable[[Iterable[Any], Iterable[Any]], bytes]
"""From the labels of rows, as `Encoding.labels` makes them, and a column's values in them to bytes."""


class Encoding(Protocol):
    """What follows the head of a family; the bytes of samples may be put together in any order."""

    def labels(self, names: Sequence[str], values: Sequence[str]) -> Any:
        """The labels of a row, to be kept."""

    def column(self, column: TableColumn) -> TableColumn:
        """The column whose values `draw_of` takes."""

    def draw_of(self, family: AnyFamily, column: TableColumn, rows: Sequence[str]) -> Draw:
        """How a family that is a column is drawn; `rows` are the labels of the table's rows, the first of the
        family's."""

    def sample_head(self, family: AnyFamily, labels: Sequence[str]) -> Any:
        """What a sample has before its value, to be kept."""

    def samples(self, family: Family, heads: Iterable[Any], values: Iterable[float]) -> bytes:
        """Of a family that is no column, by the heads of its samples."""

    def histogram(self, family: HistogramFamily, labels: Sequence[str], histogram: Histogram) -> bytes:
        """One of a family that is no column."""
