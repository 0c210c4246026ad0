"""Families as text format 0.0.4 and OpenMetrics 1.0.0, equal to prometheus_client's line for line.

The library spends most of its time on checking and escaping the same labels again at every scrape; here the
text before a sample's value is kept from one scrape to the next.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import inf, isnan
from typing import Final, TypeAlias

from exporter.metrics.families import FAMILIES
from exporter.metrics.family import Assessment, Family
from exporter.units import readable

_Heads: TypeAlias = dict[tuple[str, ...], str]

_VALUE_ESCAPES: Final = str.maketrans({"\\": "\\\\", "\n": "\\n", '"': '\\"'})
_HELP_ESCAPES: Final = str.maketrans({"\\": "\\\\", "\n": "\\n"})
_SHORT: Final = 1_000_000  # from here on Go, and so Prometheus, writes an exponent


class Renderer:
    """Renders assessments by one table of families. Any number of threads may render at once."""

    def __init__(self, families: Sequence[Family] = FAMILIES) -> None:
        self._families = tuple(families)
        self._heads: dict[str, _Heads] = {}

    def text(self, assessment: Assessment) -> bytes:
        """Text format 0.0.4."""
        return self._render(assessment, _text_head)

    def openmetrics(self, assessment: Assessment) -> bytes:
        """OpenMetrics 1.0.0, without the `# EOF` that ends a whole exposition."""
        return self._render(assessment, _openmetrics_head)

    def _render(self, assessment: Assessment, head: Callable[[Family], str]) -> bytes:
        lines: list[str] = []
        for family in self._families:
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
    if not labels:
        return f"{family.name} "
    pairs = sorted(zip(family.labels, labels, strict=True))
    inside = ",".join(f'{name}="{readable(value).translate(_VALUE_ESCAPES)}"' for name, value in pairs)
    return f"{family.name}{{{inside}}} "


def _text_head(family: Family) -> str:
    text = family.help.translate(_HELP_ESCAPES)
    return f"# HELP {family.name} {text}\n# TYPE {family.name} {family.kind}\n"


def _openmetrics_head(family: Family) -> str:
    name = family.name.removesuffix("_total") if family.kind == "counter" else family.name
    return f"# HELP {name} {family.help.translate(_VALUE_ESCAPES)}\n# TYPE {name} {family.kind}\n"
