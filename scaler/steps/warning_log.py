"""Logs what is wrong with a target's settings once, until it is clearly over."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable
from typing import Final

from scaler.step_result import TargetStep
from service.logs import ProblemLog

_CLEARLY_SHORTER: Final = 0.8  # of the grace period


class WarningLog:
    """The grace period and the concurrency of each target."""

    def __init__(self, log: logging.Logger) -> None:
        self._log = log
        self._graces: dict[str, ProblemLog] = {}
        self._concurrencies: dict[str, ProblemLog] = {}

    def report(self, steps: Iterable[TargetStep], names: Collection[str]) -> None:
        """The steps of targets that were read; `names`: all targets."""
        self._graces = self._logs(self._graces, "grace period too short", names)
        self._concurrencies = self._logs(self._concurrencies, "worker concurrency contradicted", names)
        for step in steps:
            self._report_grace(step)
            self._report_concurrency(step)

    def _logs(
        self, before: dict[str, ProblemLog], event: str, names: Collection[str]
    ) -> dict[str, ProblemLog]:
        return {name: before.get(name) or ProblemLog(self._log, event, None, field="why") for name in names}

    def _report_grace(self, step: TargetStep) -> None:
        """The mean may vary around the grace period."""
        grace, run = step.grace_seconds, step.long_run_seconds
        if grace is None or run is None:
            return
        if step.grace_warning:
            why = f"jobs run longer than the grace period of {grace:g} s: a worker that is removed is killed"
            self._graces[step.name].report(why, target=step.name, run_seconds=round(run, 1))
        elif run < _CLEARLY_SHORTER * grace:
            self._graces[step.name].report("")

    def _report_concurrency(self, step: TargetStep) -> None:
        """Without the figure, which varies; it stays reported while there are no metrics."""
        if step.concurrency_warning:
            relation = "fewer jobs than" if step.excess is None else "more jobs than"
            why = f"each worker runs {relation} {step.concurrency_as_set}"
            self._concurrencies[step.name].report(why, target=step.name)
        elif step.decision is not None and step.decision.inputs:
            self._concurrencies[step.name].report("")
