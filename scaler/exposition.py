"""The scaler's families as text: line for line what prometheus_client writes, in a fifth of its time.
Labels are kept as text from one scrape to the next; pure, but for that."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache
from math import copysign
from typing import Final, Literal, TypeAlias

from prometheus_client.utils import floatToGoString

from scaler.metrics import SCALER_FAMILIES, LabelledValue, ScalerFamily
from scaler.step_result import StepCounters, StepResult

TextFormat: TypeAlias = Literal["text", "openmetrics"]

_LabelTexts: TypeAlias = dict[tuple[str, ...], str]
"""Labels with their braces, by their values."""
_Drawn: TypeAlias = dict[tuple[str, ...], _LabelTexts]
"""By the names of the labels, which most families share."""

_VALUE_ESCAPES: Final = str.maketrans({"\\": "\\\\", "\n": "\\n", '"': '\\"'})
_HELP_ESCAPES: Final = str.maketrans({"\\": "\\\\", "\n": "\\n"})


class FamilyText:
    """For all threads: of two at once, one keeps what it has drawn."""

    def __init__(self) -> None:
        self._drawn: _Drawn = {}

    def of(self, result: StepResult | None, counters: StepCounters, form: TextFormat) -> bytes:
        """All families, without the `# EOF` of OpenMetrics; before the first step none."""
        if result is None:
            return b""
        before = self._drawn
        drawn: _Drawn = {family.labels: {} for family in SCALER_FAMILIES}
        lines: list[str] = []
        for family in SCALER_FAMILIES:
            names = family.labels
            lines.append(_head(family, form))
            lines += _lines(family, family.read(result, counters), before.get(names, {}), drawn[names])
        self._drawn = drawn  # of the targets that there are
        return "".join(lines).encode()


def _head(family: ScalerFamily, form: TextFormat) -> str:
    name, help_text = family.name, family.help.translate(_HELP_ESCAPES)
    if form == "openmetrics":
        name, help_text = name.removesuffix("_total"), family.help.translate(_VALUE_ESCAPES)
    return f"# HELP {name} {help_text}\n# TYPE {name} {family.kind}\n"


def _lines(
    family: ScalerFamily, samples: Iterable[LabelledValue], before: _LabelTexts, drawn: _LabelTexts
) -> Iterator[str]:
    """Those of the samples. Labels that are not `drawn` are, or taken from `before`."""
    name = family.name
    for values, value in samples:
        labels = drawn.get(values)
        if labels is None:
            labels = drawn[values] = before.get(values) or _label_text(family.labels, values)
        yield f"{name}{labels} {_number(value)}\n"


def _label_text(names: tuple[str, ...], values: tuple[str, ...]) -> str:
    pairs = sorted(zip(names, values, strict=True))
    labels = ",".join(f'{name}="{value.translate(_VALUE_ESCAPES)}"' for name, value in pairs)
    return f"{{{labels}}}" if labels else ""


def _number(value: float) -> str:
    if value == 0:
        return "0.0" if copysign(1.0, value) > 0 else "-0.0"
    return _text(value)


@lru_cache(maxsize=4096)
def _text(value: float) -> str:
    text: str = floatToGoString(value)  # type: ignore[no-untyped-call]
    return text
