"""Renders families as text format 0.0.4 and OpenMetrics 1.0.0, line for line equal to prometheus_client.

The library spends most of its time on validating and escaping the same labels in every scrape; here the text
before a sample's value (its head) is kept from one scrape to the next.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate
from math import inf, isnan
from typing import Final, NamedTuple, TypeAlias

from exporter.assessment import Assessment
from exporter.metrics.families import FAMILIES
from exporter.metrics.family import AnyFamily, Family, HistogramFamily, Table
from exporter.snapshot.histogram import Histogram
from service.units import readable

_Heads: TypeAlias = dict[tuple[str, ...], str]

_VALUE_ESCAPES: Final = str.maketrans({"\\": "\\\\", "\n": "\\n", '"': '\\"'})
_HELP_ESCAPES: Final = str.maketrans({"\\": "\\\\", "\n": "\\n"})
_SHORT: Final = 1_000_000  # from this value Go, and so Prometheus, writes an exponent


class _Row(NamedTuple):
    """A row of a table, the text before each of its values, and its lines."""

    row: object
    heads: list[str]
    lines: tuple[str, ...]


class _RenderedHistogram(NamedTuple):
    """A histogram, the heads for its bounds (of each bucket, of _count and of _sum), and its lines."""

    histogram: Histogram
    heads: tuple[list[str], str, str]
    lines: list[str]


class Renderer:
    """Renders assessments with one list of families. Any number of threads may render at the same time."""

    def __init__(self, families: Sequence[AnyFamily] = FAMILIES) -> None:
        self._families = tuple(families)
        self._tables: dict[Table, list[Family]] = {}
        for family in self._families:
            if isinstance(family, Family) and family.column is not None:
                self._tables.setdefault(family.column.table, []).append(family)
        self._rows: dict[Table, dict[tuple[str, ...], _Row]] = {}
        self._heads: dict[str, _Heads] = {}
        self._rendered: dict[str, dict[tuple[str, ...], _RenderedHistogram]] = {}

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
            if any(samples):  # like node_exporter: a family without samples is absent
                lines.append(head(family))
                lines += samples
        return "".join(lines).encode()

    def _columns(self, table: Table, assessment: Assessment) -> dict[str, Sequence[str]]:
        """The lines of all families of one table. Only rows that have changed are rendered again."""
        families = self._tables[table]
        cached = self._rows.get(table, {})
        rows = {}
        for labels, row in table.rows(assessment).items():
            entry = cached.get(labels)
            if entry is None or not table.same(entry.row, row):
                heads = entry.heads if entry else [_sample_head(family, labels) for family in families]
                values = (family.column.value(row) for family in families if family.column)
                lines = tuple(
                    "" if value is None else f"{head}{format_number(value)}\n"
                    for head, value in zip(heads, values, strict=True)
                )
                entry = _Row(row, heads, lines)
            rows[labels] = entry
        self._rows[table] = rows
        columns = list(zip(*(row.lines for row in rows.values()), strict=True)) or [()] * len(families)
        return {family.name: column for family, column in zip(families, columns, strict=True)}

    def _samples(self, family: Family, assessment: Assessment) -> list[str]:
        """One line for each sample."""
        samples = list(family.read(assessment))
        heads = self._heads.get(family.name, {})
        if list(heads) != [labels for labels, _ in samples]:  # a queue or a node was added, removed or moved
            # Of two samples with the same labels the last: Prometheus would keep one and warn in each scrape.
            samples = list(dict(samples).items())
            heads = {labels: heads.get(labels) or _sample_head(family, labels) for labels, _ in samples}
            # Replaced as a whole: unused labels are dropped, and another thread can lose only time by it.
            self._heads[family.name] = heads
        # Counts and ages are formatted inline, as a call of format_number for each doubles the total time.
        return [
            f"{head}{value}.0\n"
            if value.__class__ is int and 0 <= value < _SHORT
            else f"{head}{value!r}\n"
            if value.__class__ is float and 0 <= value < _SHORT
            else f"{head}{format_number(value)}\n"
            for head, (_, value) in zip(heads.values(), samples, strict=True)
        ]

    def _histograms(self, family: HistogramFamily, assessment: Assessment) -> list[str]:
        """One line for each bucket, _count and _sum; of two histograms with the same labels only the last."""
        cached = self._rendered.get(family.name, {})
        rendered: dict[tuple[str, ...], _RenderedHistogram] = {}
        for labels, histogram in dict(family.read(assessment)).items():
            entry = cached.get(labels)
            if entry is None or entry.histogram is not histogram:
                same = entry is not None and entry.histogram.bounds is histogram.bounds
                heads = entry.heads if entry and same else _histogram_heads(family, labels, histogram)
                entry = _RenderedHistogram(histogram, heads, _histogram_lines(heads, histogram))
            rendered[labels] = entry
        self._rendered[family.name] = rendered
        return [line for entry in rendered.values() for line in entry.lines]


def format_number(value: float) -> str:
    """A value as prometheus_client writes it: 1.0, 1.234567e+06, NaN, +Inf."""
    if 0 < value < _SHORT and value == (integer := int(value)):
        return f"{integer}.0"
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
    family: HistogramFamily, labels: tuple[str, ...], histogram: Histogram
) -> tuple[list[str], str, str]:
    pairs = list(zip(family.labels, labels, strict=True))
    buckets = [
        _head(f"{family.name}_bucket", [*pairs, ("le", format_number(bound))])
        for bound in (*histogram.bounds, inf)
    ]
    return buckets, _head(f"{family.name}_count", pairs), _head(f"{family.name}_sum", pairs)


def _histogram_lines(heads: tuple[list[str], str, str], histogram: Histogram) -> list[str]:
    below = list(accumulate(histogram.counts))
    lines = [f"{head}{format_number(value)}\n" for head, value in zip(heads[0], below, strict=True)]
    return [
        *lines,
        f"{heads[1]}{format_number(below[-1])}\n",
        f"{heads[2]}{format_number(histogram.total)}\n",
    ]


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
