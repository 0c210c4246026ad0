"""Turns of targets whose reads a rate limit does not let through in one step. Pure.

A step begins with the targets that the one before did not reach, so that none starves behind the others.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from scaler.model import Applied, Workers
from scaler.step_result import TargetStep
from service.outcome import Failed, Ok, Outcome

CARRIED_SECONDS: Final = 60.0
"""So long a target keeps the decision of its last turn; after that it counts as not readable."""


class Turns:
    """The order in which targets are read: each step begins where the one before ended."""

    def __init__(self) -> None:
        self._order: list[str] = []

    def order(self, names: Iterable[str]) -> list[str]:
        """The names in the order of this step; those that are new come first."""
        place = {name: number for number, name in enumerate(self._order)}
        return sorted(names, key=lambda name: place.get(name, -1))

    def done(self, order: Sequence[str], workers: Mapping[str, Outcome[Workers]]) -> None:
        """They were read in this order, as far as the limit went."""
        self._order = sorted(order, key=lambda name: not waits(workers[name]))


def waits(outcome: Outcome[Workers]) -> bool:
    """Whether the target was not read, since the rate limit was reached."""
    return isinstance(outcome, Failed) and outcome.kind == "throttled"


def with_last_turn(steps: Iterable[TargetStep], before: Iterable[TargetStep]) -> list[TargetStep]:
    """The steps, with the last decision of those targets that wait for their turn."""
    last = {step.name: step for step in before if step.decision is not None}
    return [
        _carried(last[step.name])
        if waits(step.workers) and step.name in last and step.time - last[step.name].time <= CARRIED_SECONDS
        else step
        for step in steps
    ]


def _carried(step: TargetStep) -> TargetStep:
    """As it is after what was done in it."""
    if not isinstance(step.acted, Applied) or not isinstance(step.workers, Ok):
        return step
    return step._replace(acted=None, workers=Ok(step.workers.value._replace(requested=step.acted.workers)))
