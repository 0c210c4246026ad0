"""The lines of samples, as prometheus_client writes them. Pure.

What is drawn for each queue is drawn here for many at once: a call for each sample would double the time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate
from math import inf
from typing import Any, Final

from exporter.metrics.drawing.encoding import Draw
from exporter.metrics.family import AnyFamily, Family, HistogramFamily, TableColumn
from exporter.snapshot.histogram import Histogram
from service.web.text_format import SHORT, format_number, label_pair, label_text, sample_head

_MOST_FURTHER: Final = 4096  # texts of further labels that are kept


def draw_of(family: AnyFamily, column: TableColumn, rows: Sequence[str]) -> Draw:
    """How the lines of a family that is a column are drawn; `rows` are the labels of the table's rows, the
    first of the family's. Raises ValueError for labels that cannot be sorted into theirs."""
    further = _Further(family.labels[len(rows) :], rows)
    if isinstance(family, HistogramFamily):
        return _histograms(family.name, column, further)
    return _numbers(family.name) if column.each is None else _several(family.name, column.each, further)


class TextEncoding:
    """Both text formats, of which only the heads of families differ: `Encoding`."""

    labels = staticmethod(label_text)
    draw_of = staticmethod(draw_of)

    def column(self, column: TableColumn) -> TableColumn:
        return column

    def sample_head(self, family: AnyFamily, labels: Sequence[str]) -> str:
        return sample_head(family.name, label_text(family.labels, labels))

    def samples(self, family: Family, heads: Iterable[str], values: Iterable[float]) -> bytes:  # noqa: ARG002
        lines = [f"{head}{format_number(value)}\n" for head, value in zip(heads, values, strict=True)]
        return "".join(lines).encode()

    def histogram(self, family: HistogramFamily, labels: Sequence[str], histogram: Histogram) -> bytes:
        return histogram_lines(family.name, family.labels, labels, histogram).encode()


class _Further:
    """The labels that a sample has besides those of its row, as text before and after these."""

    def __init__(self, names: Sequence[str], rows: Sequence[str]) -> None:
        first, last = min(rows), max(rows)
        if any(first < name < last for name in names):
            raise ValueError(f"a label of {names} belongs between those of the rows, {rows}")
        self._names = names
        self._first = first
        self._texts: dict[tuple[str, ...], tuple[str, str]] = {}

    def around(self, values: tuple[str, ...]) -> tuple[str, str]:
        texts = self._texts.get(values)
        if texts is None:
            pairs = sorted(zip(self._names, values, strict=True))
            before = "".join(f"{label_pair(*pair)}," for pair in pairs if pair[0] < self._first)
            after = "".join(f",{label_pair(*pair)}" for pair in pairs if pair[0] > self._first)
            if len(self._texts) >= _MOST_FURTHER:
                self._texts.clear()
            texts = self._texts[values] = before, after
        return texts


def _numbers(name: str) -> Draw:
    def draw(labels: Iterable[str], values: Iterable[float | None]) -> bytes:
        return "".join(
            [
                ""
                if value is None
                else f"{name}{{{label}}} {value}.0\n"
                if value.__class__ is int and 0 <= value < SHORT
                else f"{name}{{{label}}} {value!r}\n"
                if value.__class__ is float and 0 <= value < SHORT
                else f"{name}{{{label}}} {format_number(value)}\n"
                for label, value in zip(labels, values, strict=True)
            ]
        ).encode()

    return draw


def _several(
    name: str, each: Callable[[Any], Iterable[tuple[tuple[str, ...], Any]]], further: _Further
) -> Draw:
    around = further.around

    def draw(labels: Iterable[str], values: Iterable[Any]) -> bytes:
        lines = []
        for label, value in zip(labels, values, strict=True):
            if value is None:
                continue
            for others, number in each(value):
                if number is None:
                    continue
                before, after = around(others)
                if number.__class__ is int and 0 <= number < SHORT:
                    lines.append(f"{name}{{{before}{label}{after}}} {number}.0\n")
                else:
                    lines.append(f"{name}{{{before}{label}{after}}} {format_number(number)}\n")
        return "".join(lines).encode()

    return draw


def _histograms(name: str, column: TableColumn, further: _Further) -> Draw:
    around, each = further.around, column.each
    if each is None:
        raise ValueError(f"{name} has no `each`")
    templates: dict[tuple[tuple[str, ...], tuple[float, ...]], str] = {}

    def template(others: tuple[str, ...], bounds: tuple[float, ...]) -> str:
        """Of all lines of a histogram: in each the row's labels and a value are missing."""
        before, after = (text.replace("%", "%%") for text in around(others))
        inside = f"{before}%s{after}"
        buckets = "".join(
            f'{name}_bucket{{le="{format_number(bound)}",{inside}}} %s\n' for bound in (*bounds, inf)
        )
        return f"{buckets}{name}_count{{{inside}}} %s\n{name}_sum{{{inside}}} %s\n"

    def draw(labels: Iterable[str], values: Iterable[Any]) -> bytes:
        texts = []
        for label, value in zip(labels, values, strict=True):
            if value is None:
                continue
            for others, histogram in each(value):
                bounds = histogram.bounds
                lines = templates.get((others, bounds))
                if lines is None:
                    if len(templates) >= _MOST_FURTHER:
                        templates.clear()
                    lines = templates[others, bounds] = template(others, bounds)
                numbers = histogram_values(histogram)
                filled: list[str] = [label] * (2 * len(numbers))
                filled[1::2] = numbers
                texts.append(lines % tuple(filled))
        return "".join(texts).encode()

    return draw


def histogram_lines(name: str, names: Sequence[str], values: Sequence[str], histogram: Histogram) -> str:
    """A line for each bucket, _count and _sum, whatever the labels are."""
    bounds = [format_number(bound) for bound in (*histogram.bounds, inf)]
    heads = [sample_head(f"{name}_bucket", label_text((*names, "le"), (*values, bound))) for bound in bounds]
    own = label_text(names, values)
    heads += sample_head(f"{name}_count", own), sample_head(f"{name}_sum", own)
    lines = zip(heads, histogram_values(histogram), strict=True)
    return "".join(f"{head}{value}\n" for head, value in lines)


def histogram_values(histogram: Histogram) -> list[str]:
    """The values of its lines: of each bucket, of _count and of _sum."""
    below = list(accumulate(histogram.counts))
    count = below[-1]
    if count < SHORT:
        numbers = [f"{value}.0" for value in below]
    else:
        numbers = [format_number(value) for value in below]
    return [*numbers, numbers[-1], format_number(histogram.total)]
