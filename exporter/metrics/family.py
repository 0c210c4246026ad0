"""A metric family: its name, type, help and labels, with the function that reads its samples."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, TypeAlias

from exporter.assessment import Assessment
from exporter.snapshot.histogram import Histogram

MetricKind: TypeAlias = Literal["gauge", "counter"]
Sample: TypeAlias = tuple[tuple[str, ...], float]
"""Label values, in the order of the family's labels, and the value."""
HistogramSample: TypeAlias = tuple[tuple[str, ...], Histogram]
"""Label values, and the histogram for them."""

_NAME = re.compile(r"[a-z][a-z0-9_]*\Z")


@dataclass(frozen=True)
class Table:
    """Rows by their label values; families that are columns of one table are rendered row by row.

    A row that is the `same` as in the last scrape keeps its lines: most of a thousand queues are idle.
    """

    rows: Callable[[Assessment], Mapping[Any, Any]]
    same: Callable[[Any, Any], bool]


@dataclass(frozen=True)
class TableColumn:
    """The table of a family, and the family's value in a row of it; None: the row has no sample."""

    table: Table
    value: Callable[[Any], float | None]

    def read(self, assessment: Assessment) -> list[Sample]:
        values = ((labels, self.value(row)) for labels, row in self.table.rows(assessment).items())
        return [(labels, value) for labels, value in values if value is not None]


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
    kind: ClassVar[Literal["histogram"]] = "histogram"

    def __post_init__(self) -> None:
        if not _NAME.match(self.name) or not self.name.endswith("_seconds") or "le" in self.labels:
            raise ValueError(f"invalid name for a histogram: {self.name}")


AnyFamily: TypeAlias = Family | HistogramFamily
