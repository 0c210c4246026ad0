"""The workers of all targets together, `max_total_workers`: no target gives up a worker that has a job."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from scaler.step_result import TOTAL_LIMIT, TargetStep, within_capacity
from scaler.targets.base import Target
from scaler.targets.idle_answers import IdleAnswers
from service.outcome import Failed, Ok


def within_limit(
    steps: Sequence[TargetStep],
    priorities: Mapping[str, int],
    most: int,
    *,
    known: Mapping[str, int],
    targets: Mapping[str, Target],
    answers: IdleAnswers | None,
    limit: str = TOTAL_LIMIT,
) -> list[TargetStep]:
    """The steps with `most` workers together, which `limit` is the name of, see `within_capacity`. Those of
    `targets` that would lose a worker are asked first how many are idle; `answers`: None where nobody is
    asked."""
    while True:
        limited = within_capacity(steps, priorities, most, known, limit=limit)
        if answers is None:
            return limited
        losing = {step.name for step in limited if _loses(step)} & set(targets)
        asked = [
            _with_busy(step, answers, targets[step.name]) if step.name in losing else step for step in steps
        ]
        if asked == list(steps):
            return limited
        steps = asked  # what one keeps, others have to give up


def _loses(step: TargetStep) -> bool:
    return (
        step.decision is not None
        and isinstance(step.workers, Ok)
        and step.decision.workers < step.workers.value.requested
    )


def _with_busy(step: TargetStep, answers: IdleAnswers, target: Target) -> TargetStep:
    """With the workers that have a job by the target's answer, if they are more than by its metrics."""
    if step.decision is None or not isinstance(step.workers, Ok):
        return step
    workers, busy = step.workers.value, step.decision.busy
    answer = answers.of(step.name, target)
    if isinstance(answer, Ok):
        ready = workers.requested if workers.ready is None else workers.ready
        busy = max(busy, ready - answer.value)
    elif isinstance(answer, Failed) and step.may_outlast_grace:
        busy = workers.requested
    return step._replace(decision=step.decision._replace(busy=min(busy, workers.requested)))
