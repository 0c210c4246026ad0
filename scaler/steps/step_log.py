"""The log of the steps: what changed, what would, and what is wrong with a target."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from scaler.model import Applied, Missing, NotApplied
from scaler.step_result import TargetStep
from scaler.steps.turns import waits
from scaler.steps.warning_log import WarningLog
from service.logs import ProblemLog
from service.outcome import Failed

log = logging.getLogger(__name__)


class StepLog:
    """A line for each change, for each number that would be set once it is another one, and for each problem
    of a target that begins, changes or ends. Targets that still wait to be read have none."""

    def __init__(self) -> None:
        self._problems: dict[str, ProblemLog] = {}
        self._warnings = WarningLog(log)
        self._wished: dict[str, int] = {}

    def report(self, steps: Sequence[TargetStep], *, acting: bool) -> None:
        """A step of all targets; `acting`: numbers are set, where a target's mode is `act`."""
        names = [step.name for step in steps]
        self._problems = {
            name: self._problems.get(name) or ProblemLog(log, "target failing", "target recovered")
            for name in names
        }
        known = [step for step in steps if not waits(step.workers)]
        self._warnings.report(known, names)
        for step in known:
            self._problems[step.name].report(_problem(step), target=step.name)
            if isinstance(step.acted, Applied):
                log.info("scaled", extra=_facts(step))
            elif not acting or step.settings.mode != "act":
                self._report_wish(step)
        self._wished = {name: number for name, number in self._wished.items() if name in names}

    def _report_wish(self, step: TargetStep) -> None:
        """What would be set: in the shadow, for as long as a week."""
        if not step.changes or step.desired is None:
            self._wished.pop(step.name, None)
        elif self._wished.get(step.name) != step.desired:
            self._wished[step.name] = step.desired
            log.info("would scale", extra=_facts(step))


def _problem(step: TargetStep) -> str:
    if isinstance(step.workers, Failed):
        return step.workers.message
    if isinstance(step.acted, NotApplied):
        return step.acted.message
    unknown = step.sample if isinstance(step.sample, Missing) else step.unknown
    return "" if unknown is None else unknown.message


def _facts(step: TargetStep) -> dict[str, object]:
    old, new, reason = step.change
    inputs = step.decision.inputs if step.decision else {}
    return {
        **{name: round(value, 4) for name, value in inputs.items()},
        "target": step.name,
        "queues": ",".join(step.queues),
        "from": old,
        "to": new,
        "reason": reason,
        "because": step.decision.sentence if step.decision else "",
    }
