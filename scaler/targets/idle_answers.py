"""How many workers of a target are idle: asked once in a step, all targets together within a few seconds."""

from __future__ import annotations

from scaler.targets.base import Target
from service.clock import Deadline
from service.outcome import Failed, Outcome


class IdleAnswers:
    """The answers of one step. An exporter that hangs delays the step by `seconds`, not each target by so
    much: when they are over, a target answers without asking."""

    def __init__(self, seconds: float) -> None:
        self._deadline = Deadline.after(seconds)
        self._answers: dict[str, Outcome[int] | None] = {}
        self.late: set[str] = set()

    def of(self, name: str, target: Target) -> Outcome[int] | None:
        """See `Target.idle`. `late` has those that were asked when the time was over."""
        if name not in self._answers:
            late = self._deadline.passed()
            answer = self._answers[name] = target.idle(self._deadline)
            if late and isinstance(answer, Failed):
                self.late.add(name)
        return self._answers[name]
