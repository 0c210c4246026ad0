"""Prometheus' text formats, as prometheus_client writes them: numbers, labels, heads of families. Pure.

The library validates and escapes the same labels in every scrape; its users here keep them.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf, isnan
from typing import Final, Literal, Protocol, TypeAlias

from service.units import readable

TextForm: TypeAlias = Literal["text", "openmetrics"]
"""Text format 0.0.4, and OpenMetrics 1.0.0."""

SHORT: Final = 1_000_000
"""From this value on Go, and so Prometheus, writes an exponent."""

_VALUE_ESCAPES: Final = str.maketrans({"\\": "\\\\", "\n": "\\n", '"': '\\"'})
_HELP_ESCAPES: Final = str.maketrans({"\\": "\\\\", "\n": "\\n"})


class Described(Protocol):
    """A family: a counter's name ends in `_total`."""

    @property
    def name(self) -> str: ...
    @property
    def help(self) -> str: ...
    @property
    def kind(self) -> str: ...


def format_number(value: float) -> str:
    """1.0, 1.234567e+06, NaN, +Inf."""
    if 0 < value < SHORT and value == (integer := int(value)):
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


def label_pair(name: str, value: str) -> str:
    """One label; a value that is no text as `readable` has it."""
    return f'{name}="{readable(value).translate(_VALUE_ESCAPES)}"'


def label_text(names: Sequence[str], values: Sequence[str]) -> str:
    """The labels inside the braces, by their names."""
    return ",".join(label_pair(name, value) for name, value in sorted(zip(names, values, strict=True)))


def sample_head(name: str, labels: str) -> str:
    """The text before the value of a sample."""
    return f"{name}{{{labels}}} " if labels else f"{name} "


def head_lines(family: Described, form: TextForm) -> str:
    """HELP and TYPE."""
    if form == "openmetrics":
        name = family.name.removesuffix("_total") if family.kind == "counter" else family.name
        text = family.help.translate(_VALUE_ESCAPES)
    else:
        name, text = family.name, family.help.translate(_HELP_ESCAPES)
    return f"# HELP {name} {text}\n# TYPE {name} {family.kind}\n"
