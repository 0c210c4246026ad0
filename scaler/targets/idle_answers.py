"""How many workers of a target are idle: asked once in a step, all targets together within a few seconds."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from scaler.targets.base import Target
from service.clock import Deadline
from service.outcome import Failed, Ok, Outcome

_NONE: Final[Mapping[str, str | None]] = MappingProxyType({})


class IdleAnswers:
    """The answers of one step. An exporter that hangs delays the step by `seconds`, not each target by so
    much: when they are over, a target answers without asking."""

    def __init__(self, seconds: float, unlisted: Mapping[str, str | None] = _NONE) -> None:
        """`unlisted`: of each target, why who is listed as busy is not all that may be."""
        self._deadline = Deadline.after(seconds)
        self._unlisted = unlisted
        self._answers: dict[str, Outcome[int] | None] = {}
        self.late: set[str] = set()

    def of(self, name: str, target: Target) -> Outcome[int] | None:
        """See `Target.idle`; Failed with the kind "unlisted" too. `late` has those that were asked when the
        time was over."""
        if name not in self._answers:
            late = self._deadline.passed()
            answer = target.idle(self._deadline)
            if late and isinstance(answer, Failed):
                self.late.add(name)
            why = self._unlisted.get(name)
            self._answers[name] = Failed("unlisted", why) if why and isinstance(answer, Ok) else answer
        return self._answers[name]
