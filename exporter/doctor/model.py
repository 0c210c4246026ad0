"""What the doctor says: a diagnosis, and the lines that help."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

from service.i18n import Message, Translator

CheckStatus: TypeAlias = Literal["wrong", "warning", "unchecked", "good"]
"""`wrong` is a fault now, or something that cannot be seen; `warning` will bite; `unchecked` was not looked
at, as a URL or a right for it is not there."""
Place: TypeAlias = Literal["shell", "environment", "prometheus", "scaler", "application", "settings"]
"""Where the lines of a fix belong: a shell; the environment of the exporter, in the syntax of a shell;
prometheus.yml; the scaler's file; the application that has the queues; the exporter's file."""

CHECK_STATUSES: Final[tuple[CheckStatus, ...]] = ("wrong", "warning", "unchecked", "good")
_CODES: Final[dict[CheckStatus, int]] = {"wrong": 2, "warning": 1, "unchecked": 0, "good": 0}
_PAGE: Final = "docs/doctor.md#{}"


@dataclass(frozen=True, slots=True)
class Fix:
    """Lines that work as they are when they are pasted at their place."""

    place: Place
    lines: tuple[str, ...]
    password: bool = False
    """Whether redis-cli needs one, which a line that is pasted with others cannot ask for."""


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """One result of a check: what was seen, what will happen, and what helps. `check` is the anchor of its
    section in docs/doctor.md."""

    check: str
    status: CheckStatus
    seen: Message
    effect: Message | None = None
    fixes: tuple[Fix, ...] = ()

    @property
    def link(self) -> str:
        return _PAGE.format(self.check)

    def to_json(self, translator: Translator) -> dict[str, Any]:
        """Plain data, with its texts in a language."""
        return {
            "check": self.check,
            "status": self.status,
            "seen": translator.render(self.seen),
            "effect": translator.render(self.effect) if self.effect else None,
            "fixes": [{"place": fix.place, "lines": list(fix.lines)} for fix in self.fixes],
            "link": self.link,
        }


def worst_code(diagnoses: Iterable[Diagnosis]) -> int:
    """The exit code: 0 nothing, 1 warnings, 2 something is wrong or cannot be seen."""
    return max((_CODES[diagnosis.status] for diagnosis in diagnoses), default=0)


def count_statuses(diagnoses: Iterable[Diagnosis]) -> dict[CheckStatus, int]:
    """How many there are of each status."""
    statuses = [diagnosis.status for diagnosis in diagnoses]
    return {status: statuses.count(status) for status in CHECK_STATUSES}
