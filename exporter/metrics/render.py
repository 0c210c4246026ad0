"""Families as text format 0.0.4 and OpenMetrics 1.0.0, equal to prometheus_client's line for line.

The library spends most of its time on checking and escaping the same labels again at every scrape; here the
text before a sample's value is kept from one scrape to the next.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate
from math import inf, isnan
from typing import Final, NamedTuple, TypeAlias

from exporter.assessment import Assessment
from exporter.metrics.families import FAMILIES
from exporter.metrics.family import AnyFamily, Family, HistogramFamily, Table
from exporter.snapshot import Histogram
from service.units import readable

_Heads: TypeAlias = dict[tuple[str, ...], str]

_VALUE_ESCAPES: Final = str.maketrans({"\\": "\\\\", "\n": "\\n", '"': '\\"'})
_HELP_ESCAPES: Final = str.maketrans({"\\": "\\\\", "\n": "\\n"})
_SHORT: Final = 1_000_000  # from here on Go, and so Prometheus, writes an exponent


class _Row(NamedTuple):
    """A row of a table, the text before each of its values, and its lines."""

    row: object
    heads: list[str]
    lines: tuple[str, ...]


class _Drawn(NamedTuple):
    """A histogram, the heads that were made of its bounds (each bucket's, _count's, _sum's), its lines."""

    one: Histogram
    heads: tuple[list[str], str, str]
    lines: list[str]


class Renderer:
    """Renders assessments by one table of families. Any number of threads may render at once."""

    def __init__(self, families: Sequence[AnyFamily] = FAMILIES) -> None:
        self._families = tuple(families)
        self._tables: dict[Table, list[Family]] = {}
        for family in self._families:
            if isinstance(family, Family) and family.column is not None:
                self._tables.setdefault(family.column.table, []).append(family)
        self._rows: dict[Table, dict[tuple[str, ...], _Row]] = {}
        self._heads: dict[str, _Heads] = {}
        self._drawn: dict[str, dict[tuple[str, ...], _Drawn]] = {}

    def text(self, assessment: Assessment) -> bytes:
        """Text format 0.0.4."""
        return self._render(assessment, _text_head)

    def openmetrics(self, assessment: Assessment) -> bytes:
        """OpenMetrics 1.0.0, without the `# EOF` that ends a whole exposition."""
        return self._render(assessment, _openmetrics_head)

    def _render(self, assessment: Assessment, head: Callable[[AnyFamily], str]) -> bytes:
        lines: list[str] = []
        columns: dict[str, Sequence[str]] = {}
        for table in self._tables:
            columns |= self._columns(table, assessment)
        for family in self._families:
            samples: Sequence[str]
            if isinstance(family, HistogramFamily):
                samples = self._histograms(family, assessment)
            elif family.column is not None:
                samples = columns[family.name]
            else:
                samples = self._samples(family, assessment)
            if samples:  # as node_exporter does: a family of which nothing is known is not there at all
                lines.append(head(family))
                lines += samples
        return "".join(lines).encode()

    def _columns(self, table: Table, assessment: Assessment) -> dict[str, Sequence[str]]:
        """The lines of all families of one table. Only rows that have changed are made anew."""
        families = self._tables[table]
        known = self._rows.get(table, {})
        rows = {}
        for labels, row in table.rows(assessment).items():
            before = known.get(labels)
            if before is None or not table.same(before.row, row):
                heads = before.heads if before else [_sample_head(family, labels) for family in families]
                values = (family.column.value(row) for family in families if family.column)
                lines = tuple(
                    f"{head}{format_number(value)}\n" for head, value in zip(heads, values, strict=True)
                )
                before = _Row(row, heads, lines)
            rows[labels] = before
        self._rows[table] = rows
        columns = list(zip(*(row.lines for row in rows.values()), strict=True)) or [()] * len(families)
        return {family.name: column for family, column in zip(families, columns, strict=True)}

    def _samples(self, family: Family, assessment: Assessment) -> list[str]:
        """One line a sample."""
        samples = list(family.read(assessment))
        heads = self._heads.get(family.name, {})
        if list(heads) != [labels for labels, _ in samples]:  # a queue or a node came, went or moved
            # Of two samples with the same labels the last: Prometheus would keep one and warn at each scrape.
            samples = list(dict(samples).items())
            heads = {labels: heads.get(labels) or _sample_head(family, labels) for labels, _ in samples}
            # Replaced as a whole: labels not seen are forgotten, and what another thread loses is only time.
            self._heads[family.name] = heads
        # Counts and ages are spelled out here, as calling number for each takes twice the time in all.
        return [
            f"{head}{value}.0\n"
            if value.__class__ is int and 0 <= value < _SHORT
            else f"{head}{value!r}\n"
            if value.__class__ is float and 0 <= value < _SHORT
            else f"{head}{format_number(value)}\n"
            for head, (_, value) in zip(heads.values(), samples, strict=True)
        ]

    def _histograms(self, family: HistogramFamily, assessment: Assessment) -> list[str]:
        """One line a bucket, _count and _sum of each; of two with the same labels only the last."""
        known = self._drawn.get(family.name, {})
        drawn: dict[tuple[str, ...], _Drawn] = {}
        for labels, one in dict(family.read(assessment)).items():
            before = known.get(labels)
            if before is None or before.one is not one:
                same = before is not None and before.one.bounds is one.bounds
                heads = before.heads if before and same else _histogram_heads(family, labels, one)
                before = _Drawn(one, heads, _histogram_lines(heads, one))
            drawn[labels] = before
        self._drawn[family.name] = drawn
        return [line for each in drawn.values() for line in each.lines]


def format_number(value: float) -> str:
    """A value as prometheus_client writes it: 1.0, 1.234567e+06, NaN, +Inf."""
    if 0 < value < _SHORT and value == (whole := int(value)):
        return f"{whole}.0"
    value = float(value)
    if isnan(value):
        return "NaN"
    if value in (inf, -inf):
        return "+Inf" if value > 0 else "-Inf"
    text = repr(value)
    dot = text.find(".")
    if value > 0 and dot > 6:
        mantissa = f"{text[0]}.{text[1:dot]}{text[dot + 1 :]}".rstrip("0.")
        return f"{mantissa}e+{dot - 1:02d}"
    return text


def _sample_head(family: Family, labels: tuple[str, ...]) -> str:
    return _head(family.name, zip(family.labels, labels, strict=True))


def _histogram_heads(
    family: HistogramFamily, labels: tuple[str, ...], one: Histogram
) -> tuple[list[str], str, str]:
    pairs = list(zip(family.labels, labels, strict=True))
    buckets = [
        _head(f"{family.name}_bucket", [*pairs, ("le", format_number(bound))]) for bound in (*one.bounds, inf)
    ]
    return buckets, _head(f"{family.name}_count", pairs), _head(f"{family.name}_sum", pairs)


def _histogram_lines(heads: tuple[list[str], str, str], one: Histogram) -> list[str]:
    below = list(accumulate(one.counts))
    lines = [f"{head}{format_number(value)}\n" for head, value in zip(heads[0], below, strict=True)]
    return [*lines, f"{heads[1]}{format_number(below[-1])}\n", f"{heads[2]}{format_number(one.total)}\n"]


def _head(name: str, labels: Iterable[tuple[str, str]]) -> str:
    texts = ((label, readable(value).translate(_VALUE_ESCAPES)) for label, value in sorted(labels))
    inside = ",".join(f'{label}="{text}"' for label, text in texts)
    return f"{name}{{{inside}}} " if inside else f"{name} "


def _text_head(family: AnyFamily) -> str:
    text = family.help.translate(_HELP_ESCAPES)
    return f"# HELP {family.name} {text}\n# TYPE {family.name} {family.kind}\n"


def _openmetrics_head(family: AnyFamily) -> str:
    name = family.name.removesuffix("_total") if family.kind == "counter" else family.name
    return f"# HELP {name} {family.help.translate(_VALUE_ESCAPES)}\n# TYPE {name} {family.kind}\n"
