"""Families as text format 0.0.4 and OpenMetrics 1.0.0, equal to prometheus_client's line for line.

The library spends most of its time on checking and escaping the same labels again at every scrape; here the
text before a sample's value is kept from one scrape to the next.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate
from math import inf, isnan
from typing import Final, TypeAlias

from exporter.metrics.families import FAMILIES
from exporter.metrics.family import AnyFamily, Assessment, Family, HistogramFamily
from exporter.snapshot import Histogram
from exporter.units import readable

_Heads: TypeAlias = dict[tuple[str, ...], str]
_Bounds: TypeAlias = tuple[float, ...]
_HistogramHeads: TypeAlias = dict[tuple[str, ...], tuple[_Bounds, list[str], str, str]]
"""Label values -> the bounds and the heads that were made of them: of each bucket, _count and _sum."""

_VALUE_ESCAPES: Final = str.maketrans({"\\": "\\\\", "\n": "\\n", '"': '\\"'})
_HELP_ESCAPES: Final = str.maketrans({"\\": "\\\\", "\n": "\\n"})
_SHORT: Final = 1_000_000  # from here on Go, and so Prometheus, writes an exponent


class Renderer:
    """Renders assessments by one table of families. Any number of threads may render at once."""

    def __init__(self, families: Sequence[AnyFamily] = FAMILIES) -> None:
        self._families = tuple(families)
        self._heads: dict[str, _Heads] = {}
        self._histogram_heads: dict[str, _HistogramHeads] = {}

    def text(self, assessment: Assessment) -> bytes:
        """Text format 0.0.4."""
        return self._render(assessment, _text_head)

    def openmetrics(self, assessment: Assessment) -> bytes:
        """OpenMetrics 1.0.0, without the `# EOF` that ends a whole exposition."""
        return self._render(assessment, _openmetrics_head)

    def _render(self, assessment: Assessment, head: Callable[[AnyFamily], str]) -> bytes:
        lines: list[str] = []
        for family in self._families:
            if isinstance(family, HistogramFamily):
                samples = self._histograms(family, assessment)
            else:
                samples = self._samples(family, assessment)
            if samples:  # as node_exporter does: a family of which nothing is known is not there at all
                lines.append(head(family))
                lines += samples
        return "".join(lines).encode()

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
            else f"{head}{number(value)}\n"
            for head, (_, value) in zip(heads.values(), samples, strict=True)
        ]

    def _histograms(self, family: HistogramFamily, assessment: Assessment) -> list[str]:
        """One line a bucket, _count and _sum of each; of two with the same labels only the last."""
        known = self._histogram_heads.get(family.name, {})
        seen: _HistogramHeads = {}
        lines: list[str] = []
        for labels, one in dict(family.read(assessment)).items():
            heads = known.get(labels)
            if heads is None or heads[0] is not one.bounds:
                heads = _histogram_heads(family, labels, one)
            seen[labels] = heads
            below = list(accumulate(one.counts))
            count = below[-1]
            if count < _SHORT:
                lines += [f"{head}{value}.0\n" for head, value in zip(heads[1], below, strict=True)]
            else:
                lines += [f"{head}{number(value)}\n" for head, value in zip(heads[1], below, strict=True)]
            lines += (f"{heads[2]}{number(count)}\n", f"{heads[3]}{number(one.total)}\n")
        self._histogram_heads[family.name] = seen
        return lines


def number(value: float) -> str:
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
) -> tuple[_Bounds, list[str], str, str]:
    pairs = list(zip(family.labels, labels, strict=True))
    buckets = [
        _head(f"{family.name}_bucket", [*pairs, ("le", number(bound))]) for bound in (*one.bounds, inf)
    ]
    return one.bounds, buckets, _head(f"{family.name}_count", pairs), _head(f"{family.name}_sum", pairs)


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
