"""Renders families as text format 0.0.4 and OpenMetrics 1.0.0, line for line equal to prometheus_client, and
as delimited protobuf.

The library spends most of its time on validating and escaping the same labels in every scrape, and has no
protobuf. Here the samples of queues are kept in compressed blocks (`blocks.py`), of which only those are
drawn again that changed; of other families what is before a sample's value (its head) is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, TypeAlias

from exporter.assessment import Assessment
from exporter.metrics.drawing.blocks import TableBlocks
from exporter.metrics.drawing.encoding import Encoding
from exporter.metrics.drawing.lines import TextEncoding
from exporter.metrics.drawing.messages import ProtobufEncoding, head_message
from exporter.metrics.families import FAMILIES
from exporter.metrics.family import AnyFamily, Family, HistogramFamily, Table
from service.web.body import Body, Packer, Part, Piece
from service.web.negotiate import MetricsFormat
from service.web.protobuf import varint
from service.web.text_format import head_lines

_Heads: TypeAlias = dict[tuple[str, ...], Any]

_HEADS: Final[Mapping[MetricsFormat, Callable[[AnyFamily], bytes]]] = {
    "text": lambda family: head_lines(family, "text").encode(),
    "openmetrics": lambda family: head_lines(family, "openmetrics").encode(),
    "protobuf": head_message,
}


class Renderer:
    """Renders assessments with one list of families. Not for two threads at a time.

    `classic`: in protobuf a histogram has its classic buckets beside native ones, too.
    """

    def __init__(self, families: Sequence[AnyFamily] = FAMILIES, *, classic: bool = False) -> None:
        self._families = tuple(families)
        # What was never asked for keeps nothing.
        self._lines = _Samples(self._families, TextEncoding())
        self._messages = _Samples(self._families, ProtobufEncoding(classic=classic))
        packer = Packer()
        self.lines: int | None = None
        """Samples of the last body, without those of the process; None where it was no text."""
        self._heads: dict[MetricsFormat, dict[str, tuple[bytes, Part]]] = {
            form: {family.name: (plain := head(family), packer.pack(plain)) for family in self._families}
            for form, head in _HEADS.items()
        }

    def text(self, assessment: Assessment) -> bytes:
        """Text format 0.0.4."""
        return self.body(assessment, "text").plain()

    def openmetrics(self, assessment: Assessment) -> bytes:
        """OpenMetrics 1.0.0, without the `# EOF` that ends a whole exposition."""
        return self.body(assessment, "openmetrics").plain()

    def body(self, assessment: Assessment, form: MetricsFormat) -> Body:
        """In any format, in pieces of which most are compressed; without the `# EOF` of OpenMetrics."""
        samples = self._messages if form == "protobuf" else self._lines
        pieces: list[Piece] = []
        for family, piece in samples.of(assessment):
            plain, packed = self._heads[form][family.name]
            if form == "protobuf":
                pieces.append(varint(len(plain) + (piece.size if isinstance(piece, Part) else len(piece))))
            pieces += (packed if isinstance(piece, Part) else plain, piece)
        self.lines = None if form == "protobuf" else samples.lines
        return Body(pieces)


class _Samples:
    """The samples of families in one encoding, and what is kept of them."""

    def __init__(self, families: Sequence[AnyFamily], encoding: Encoding) -> None:
        self._families = families
        self._encoding = encoding
        columns: dict[Table, list[AnyFamily]] = {}
        for family in families:
            if family.column is not None:
                columns.setdefault(family.column.table, []).append(family)
        self._tables = {
            table: (of_table, _blocks(table, of_table, encoding)) for table, of_table in columns.items()
        }
        self._heads: dict[str, _Heads] = {}
        self.lines = 0

    def of(self, assessment: Assessment) -> Iterator[tuple[AnyFamily, Piece]]:
        """Of each family its samples; like in node_exporter, one without any is absent."""
        packer = Packer()
        columns: dict[str, Piece] = {}
        for table, (families, blocks) in self._tables.items():
            drawn = blocks.pieces(table.rows(assessment), packer.pack, table.changes(assessment))
            columns.update(zip((family.name for family in families), drawn, strict=True))
        self.lines = sum(blocks.lines for _, blocks in self._tables.values())
        for family in self._families:
            if family.column is not None:
                piece = columns[family.name]
            elif isinstance(family, HistogramFamily):
                piece = self._histograms(family, assessment)
                self.lines += piece.count(b"\n")
            else:
                piece = self._numbers(family, assessment)
                self.lines += piece.count(b"\n")
            if piece:
                yield family, piece

    def _numbers(self, family: Family, assessment: Assessment) -> bytes:
        samples = list(family.read(assessment))
        heads = self._heads.get(family.name, {})
        if list(heads) != [labels for labels, _ in samples]:  # a node was added, removed or moved
            # Of two samples with the same labels the last: Prometheus would keep one and warn in each scrape.
            samples = list(dict(samples).items())
            heads = {
                labels: heads.get(labels) or self._encoding.sample_head(family, labels)
                for labels, _ in samples
            }
            self._heads[family.name] = heads
        return self._encoding.samples(family, heads.values(), [value for _, value in samples])

    def _histograms(self, family: HistogramFamily, assessment: Assessment) -> bytes:
        """Of two with the same labels only the last."""
        return b"".join(
            self._encoding.histogram(family, labels, histogram)
            for labels, histogram in dict(family.read(assessment)).items()
        )


def _blocks(table: Table, families: Sequence[AnyFamily], encoding: Encoding) -> TableBlocks:
    rows = min((family.labels for family in families), key=len)
    columns = [
        (encoding.column(family.column), encoding.draw_of(family, family.column, rows))
        for family in families
        if family.column
    ]
    return TableBlocks(table, rows, columns, encoding.labels)
