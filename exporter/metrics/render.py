"""Renders families as text format 0.0.4 and OpenMetrics 1.0.0, line for line equal to prometheus_client.

The library spends most of its time on validating and escaping the same labels in every scrape. Here the lines
of queues are kept in compressed blocks (`blocks.py`), of which only those are drawn again that changed; of
other families the text before a sample's value (its head) is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, TypeAlias

from exporter.assessment import Assessment
from exporter.metrics.blocks import TableBlocks
from exporter.metrics.families import FAMILIES
from exporter.metrics.family import AnyFamily, Family, HistogramFamily, Table
from exporter.metrics.lines import (
    draw_of,
    format_number,
    head_of,
    help_and_type,
    histogram_lines,
    label_text,
    openmetrics_help_and_type,
)
from service.web.body import Body, Packer, Part, Piece
from service.web.negotiate import MetricsFormat

_Heads: TypeAlias = dict[tuple[str, ...], str]

_HEADS: Final[Mapping[MetricsFormat, Callable[[AnyFamily], str]]] = {
    "text": help_and_type,
    "openmetrics": openmetrics_help_and_type,
}


class Renderer:
    """Renders assessments with one list of families. Not for two threads at a time."""

    def __init__(self, families: Sequence[AnyFamily] = FAMILIES) -> None:
        self._families = tuple(families)
        columns: dict[Table, list[AnyFamily]] = {}
        for family in self._families:
            if family.column is not None:
                columns.setdefault(family.column.table, []).append(family)
        self._tables = {table: (of_table, _blocks(table, of_table)) for table, of_table in columns.items()}
        self._heads: dict[str, _Heads] = {}
        packer = Packer()
        self._help: dict[MetricsFormat, dict[str, tuple[bytes, Part]]] = {
            form: {
                family.name: (text := head(family).encode(), packer.pack(text)) for family in self._families
            }
            for form, head in _HEADS.items()
        }

    def text(self, assessment: Assessment) -> bytes:
        """Text format 0.0.4."""
        return self.body(assessment, "text").plain()

    def openmetrics(self, assessment: Assessment) -> bytes:
        """OpenMetrics 1.0.0, without the `# EOF` that ends a whole exposition."""
        return self.body(assessment, "openmetrics").plain()

    def body(self, assessment: Assessment, form: MetricsFormat) -> Body:
        """In either format, in pieces of which most are compressed; without the `# EOF`."""
        packer = Packer()
        columns: dict[str, Piece] = {}
        for table, (families, blocks) in self._tables.items():
            drawn = blocks.pieces(table.rows(assessment), packer.pack)
            columns.update(zip((family.name for family in families), drawn, strict=True))
        pieces: list[Piece] = []
        for family in self._families:
            if family.column is not None:
                piece = columns[family.name]
            elif isinstance(family, HistogramFamily):
                piece = self._histograms(family, assessment)
            else:
                piece = self._samples(family, assessment)
            if piece:  # like node_exporter: a family without samples is absent
                plain, packed = self._help[form][family.name]
                pieces += (packed if isinstance(piece, Part) else plain, piece)
        return Body(pieces)

    def _samples(self, family: Family, assessment: Assessment) -> bytes:
        """One line for each sample."""
        samples = list(family.read(assessment))
        heads = self._heads.get(family.name, {})
        if list(heads) != [labels for labels, _ in samples]:  # a node was added, removed or moved
            # Of two samples with the same labels the last: Prometheus would keep one and warn in each scrape.
            samples = list(dict(samples).items())
            heads = {
                labels: heads.get(labels) or head_of(family.name, label_text(family.labels, labels))
                for labels, _ in samples
            }
            self._heads[family.name] = heads
        lines = [
            f"{head}{format_number(value)}\n"
            for head, (_, value) in zip(heads.values(), samples, strict=True)
        ]
        return "".join(lines).encode()

    def _histograms(self, family: HistogramFamily, assessment: Assessment) -> bytes:
        """The lines of histograms; of two with the same labels only the last."""
        return "".join(
            histogram_lines(family.name, family.labels, labels, histogram)
            for labels, histogram in dict(family.read(assessment)).items()
        ).encode()


def _blocks(table: Table, families: Sequence[AnyFamily]) -> TableBlocks:
    rows = min((family.labels for family in families), key=len)
    columns = [(family.column, draw_of(family, family.column, rows)) for family in families if family.column]
    return TableBlocks(table, rows, columns)
