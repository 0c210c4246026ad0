"""A metric family: its name, type, help and labels, with the function that reads its samples."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, TypeAlias

from exporter.assessment import Assessment
from exporter.snapshot.histogram import Histogram, NativeHistogram
from exporter.snapshot.queues import Changes

MetricKind: TypeAlias = Literal["gauge", "counter"]
Sample: TypeAlias = tuple[tuple[str, ...], float]
"""Label values, in the order of the family's labels, and the value."""
HistogramSample: TypeAlias = tuple[tuple[str, ...], Histogram]
"""Label values, and the histogram for them."""

_NAME = re.compile(r"[a-z][a-z0-9_]*\Z")


@dataclass(frozen=True)
class Table:
    """Rows by their label values; families that are columns of one table are rendered block by block.

    `stable` is what all columns of a row follow from, but for those that move: most of a thousand queues are
    idle, and a row of which it is the same is not looked at further. `changes`: of which rows it may be
    another one than in the collection before, where that is known; the labels of a row are its queue then.
    """

    rows: Callable[[Assessment], Mapping[Any, Any]]
    stable: Callable[[Any], object]
    changes: Callable[[Assessment], Changes | None] = lambda _: None


@dataclass(frozen=True)
class TableColumn:
    """The table of a family, and the family's value in a row of it; None: the row has no sample.

    `each` makes of a value several samples, with the values of the labels that follow those of the row.
    `moving`: an age, or whatever else is another in each scrape; it is not part of `stable`.
    `created` is the unix time since which a counter or histogram counts (0: not known), and `native` has the
    native form of the row's histograms by the labels that `each` yields; only protobuf has either.
    """

    table: Table
    value: Callable[[Any], Any]
    each: Callable[[Any], Iterable[tuple[tuple[str, ...], Any]]] | None = None
    moving: bool = False
    created: Callable[[Any], float] | None = None
    native: Callable[[Any], Mapping[tuple[str, ...], NativeHistogram] | None] | None = None

    def read(self, assessment: Assessment) -> list[tuple[tuple[str, ...], Any]]:
        values = ((labels, self.value(row)) for labels, row in self.table.rows(assessment).items())
        each = self.each or _itself
        return [
            ((*labels, *further), sample)
            for labels, value in values
            if value is not None
            for further, sample in each(value)
            if sample is not None
        ]


def _itself(value: object) -> Iterable[tuple[tuple[str, ...], Any]]:
    return (((), value),)


@dataclass(frozen=True)
class Family:
    """One family. `read` yields no sample for an unknown value: the series is absent, never 0.

    A counter's name ends in `_total`. `help` has the unit and the source.
    """

    name: str
    kind: MetricKind
    help: str
    labels: tuple[str, ...]
    read: Callable[[Assessment], Iterable[Sample]]
    column: TableColumn | None = None

    @classmethod
    def of_column(
        cls, name: str, kind: MetricKind, text: str, labels: tuple[str, ...], column: TableColumn
    ) -> Family:
        """A family that is a column of a table."""
        return cls(name, kind, text, labels, column.read, column)

    def __post_init__(self) -> None:
        if not _NAME.match(self.name) or (self.kind == "counter") != self.name.endswith("_total"):
            raise ValueError(f"invalid name for a {self.kind}: {self.name}")


@dataclass(frozen=True)
class HistogramFamily:
    """One family of histograms; `help` names what is measured, and the name ends in `_seconds`."""

    name: str
    help: str
    labels: tuple[str, ...]
    read: Callable[[Assessment], Iterable[HistogramSample]]
    column: TableColumn | None = None
    kind: ClassVar[Literal["histogram"]] = "histogram"

    @classmethod
    def of_column(cls, name: str, text: str, labels: tuple[str, ...], column: TableColumn) -> HistogramFamily:
        """A family that is a column of a table; `each` yields its histograms."""
        return cls(name, text, labels, column.read, column)

    def __post_init__(self) -> None:
        if not _NAME.match(self.name) or not self.name.endswith("_seconds") or "le" in self.labels:
            raise ValueError(f"invalid name for a histogram: {self.name}")


AnyFamily: TypeAlias = Family | HistogramFamily
