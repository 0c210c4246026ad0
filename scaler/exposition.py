"""The scaler's families as text: line for line what prometheus_client writes, in a fifth of its time. What
stands before a value is kept from one scrape to the next. Pure, but for that."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from math import copysign
from typing import Final, Literal, TypeAlias

from prometheus_client.utils import floatToGoString

from scaler.metrics import SCALER_FAMILIES, ScalerFamily
from scaler.step_result import StepCounters, StepResult

TextFormat: TypeAlias = Literal["text", "openmetrics"]

_VALUE_ESCAPES: Final = str.maketrans({"\\": "\\\\", "\n": "\\n", '"': '\\"'})
_HELP_ESCAPES: Final = str.maketrans({"\\": "\\\\", "\n": "\\n"})


class FamilyText:
    """For all threads: of two at once, one keeps what it has drawn."""

    def __init__(self) -> None:
        self._heads: dict[str, dict[tuple[str, ...], str]] = {}

    def of(self, result: StepResult | None, counters: StepCounters, form: TextFormat) -> bytes:
        """All families, without the `# EOF` of OpenMetrics; before the first step none."""
        if result is None:
            return b""
        return "".join(
            line for family in SCALER_FAMILIES for line in self._lines(family, result, counters, form)
        ).encode()

    def _lines(
        self, family: ScalerFamily, result: StepResult, counters: StepCounters, form: TextFormat
    ) -> Iterator[str]:
        name, help_text = family.name, family.help.translate(_HELP_ESCAPES)
        if form == "openmetrics":
            name, help_text = name.removesuffix("_total"), family.help.translate(_VALUE_ESCAPES)
        yield f"# HELP {name} {help_text}\n# TYPE {name} {family.kind}\n"
        known, heads = self._heads.get(family.name, {}), {}
        for labels, value in family.read(result, counters):
            head = heads[labels] = known.get(labels) or _head(family, labels)
            yield f"{head}{_number(value)}\n"
        self._heads[family.name] = heads


def _head(family: ScalerFamily, values: tuple[str, ...]) -> str:
    pairs = sorted(zip(family.labels, values, strict=True))
    labels = ",".join(f'{name}="{value.translate(_VALUE_ESCAPES)}"' for name, value in pairs)
    return f"{family.name}{{{labels}}} " if labels else f"{family.name} "


def _number(value: float) -> str:
    if value == 0:
        return "0.0" if copysign(1.0, value) > 0 else "-0.0"
    return _text(value)


@lru_cache(maxsize=4096)
def _text(value: float) -> str:
    text: str = floatToGoString(value)  # type: ignore[no-untyped-call]
    return text
