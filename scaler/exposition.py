"""The scaler's families as text: line for line what prometheus_client writes, in a fifth of its time.
Labels are kept as text from one scrape to the next; pure, but for that."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeAlias

from scaler.metrics import SCALER_FAMILIES, LabelledValue, ScalerFamily
from scaler.step_result import StepCounters, StepResult
from service.web.text_format import TextForm, format_number, head_lines, label_text, sample_head

_LabelTexts: TypeAlias = dict[tuple[str, ...], str]
"""Labels inside their braces, by their values."""
_Drawn: TypeAlias = dict[tuple[str, ...], _LabelTexts]
"""By the names of the labels, which most families share."""


class FamilyText:
    """For all threads: of two at once, one keeps what it has drawn."""

    def __init__(self) -> None:
        self._drawn: _Drawn = {}

    def of(self, result: StepResult | None, counters: StepCounters, form: TextForm) -> bytes:
        """All families, without the `# EOF` of OpenMetrics; before the first step none."""
        if result is None:
            return b""
        before = self._drawn
        drawn: _Drawn = {family.labels: {} for family in SCALER_FAMILIES}
        lines: list[str] = []
        for family in SCALER_FAMILIES:
            names = family.labels
            lines.append(head_lines(family, form))
            lines += _lines(family, family.read(result, counters), before.get(names, {}), drawn[names])
        self._drawn = drawn  # of the targets that there are
        return "".join(lines).encode()


def _lines(
    family: ScalerFamily, samples: Iterable[LabelledValue], before: _LabelTexts, drawn: _LabelTexts
) -> Iterator[str]:
    """Those of the samples. Labels that are not `drawn` are, or taken from `before`."""
    name = family.name
    for values, value in samples:
        labels = drawn.get(values)
        if labels is None:
            labels = drawn[values] = before.get(values) or label_text(family.labels, values)
        yield f"{sample_head(name, labels)}{format_number(value)}\n"
