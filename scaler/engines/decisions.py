"""What the last step decided, for engines that act on it: the number, whether it may be 0, or why neither is
known. Pure.

The number is the policy's, within the bounds (`oxherd_scaler_recommended_replicas`). Absence is an answer of
its own and never a 0 or "inactive", so that an engine keeps the workers that there are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple, TypeAlias

from scaler.model import Missing
from scaler.serving import Serving
from scaler.step_result import StepResult, TargetStep
from service.outcome import Failed

Code: TypeAlias = Literal[
    "OK", "INVALID_ARGUMENT", "NOT_FOUND", "FAILED_PRECONDITION", "UNAVAILABLE", "RESOURCE_EXHAUSTED"
]
"""Those codes of gRPC that are answered; HTTP has statuses of the same meaning."""

_LASTING: Final = frozenset(
    {"not_found", "forbidden", "invalid"}
)  # of a workload: time alone changes nothing


class NoAnswer(NamedTuple):
    """Why there is no answer: a code of gRPC, and a sentence."""

    code: Code
    why: str


@dataclass(frozen=True)
class Decisions:
    """The targets as they are set, and the last step over them, by name. `at`: when it ended (unix s), and
    `ended`: the same on the caller's monotonic clock; `interval`: seconds between two steps."""

    targets: Sequence[Serving]
    steps: Mapping[str, TargetStep] = field(default_factory=dict)
    at: float = 0.0
    ended: float = 0.0
    interval: float = 0.0


def decisions_of(
    targets: Sequence[Serving], result: StepResult, *, ended: float, interval: float
) -> Decisions:
    """What a step decided."""
    steps = {step.name: step for step in result.steps}
    return Decisions(targets, steps, result.time + result.took, ended, interval)


def recommended(decisions: Decisions, name: str, now: float) -> int | NoAnswer:
    """The number of workers of this target that the policy recommends; `now` on the clock of `ended`."""
    step = _fresh_step(decisions, name, now)
    if isinstance(step, NoAnswer):
        return step
    number = step.recommended
    if number is None:
        return NoAnswer("UNAVAILABLE", _why_no_number(step))
    if step.unknown is not None and number <= _current(step):
        why = f"{step.name}: at least {number}, as not all is known: {step.unknown.message}"
        return NoAnswer("UNAVAILABLE", why)  # a lower bound is a reason to scale out, never in
    return number


def needed(decisions: Decisions, name: str, now: float) -> int | NoAnswer:
    """The number of workers for an engine that knows nothing but a number: the policy's, 0 where the scaler
    itself would scale to 0, and else at least 1."""
    number, needs = recommended(decisions, name, now), active(decisions, name, now)
    if isinstance(needs, NoAnswer):
        return needs
    if isinstance(number, NoAnswer):
        return number
    return max(1, number) if needs else 0


def active(decisions: Decisions, name: str, now: float) -> bool | NoAnswer:
    """Whether the target needs a worker: False where the scaler itself would scale it to 0."""
    step = _fresh_step(decisions, name, now)
    if isinstance(step, NoAnswer):
        return step
    if step.recommended is None or step.decision is None or isinstance(step.sample, Missing):
        return NoAnswer("UNAVAILABLE", _why_no_number(step))
    if step.settings.min_workers > 0 or step.sample.needing_workers > 0:
        return True
    if step.unknown is not None:
        return NoAnswer("UNAVAILABLE", f"{step.name}: not all is known: {step.unknown.message}")
    idle = step.decision.idle_seconds
    return idle is None or idle < step.settings.scale_to_zero_after_seconds


def _fresh_step(decisions: Decisions, name: str, now: float) -> TargetStep | NoAnswer:
    """The step of the target, if it is by metrics that are not too old."""
    step = decisions.steps.get(name)
    if step is None:
        return NoAnswer("UNAVAILABLE", f"{name}: the first step is not done yet")
    if isinstance(step.workers, Failed):
        code: Code = "FAILED_PRECONDITION" if step.workers.kind in _LASTING else "UNAVAILABLE"
        return NoAnswer(code, f"{name}: {step.workers.message}")
    if isinstance(step.sample, Missing):
        return NoAnswer("UNAVAILABLE", f"{name}: {step.sample.message}")
    age = decisions.at - step.sample.at + max(0.0, now - decisions.ended)
    most = max(step.settings.metrics_max_age_seconds, 2 * decisions.interval)
    if age > most:
        why = f"{name}: the last decision is by metrics that are {age:.0f} s old, over {most:g} s"
        return NoAnswer("UNAVAILABLE", why)
    return step


def _why_no_number(step: TargetStep) -> str:
    """Without a proposal of the policy, the sentence of the decision says why there is none."""
    return f"{step.name}: {step.decision.sentence if step.decision else 'no decision'}"


def _current(step: TargetStep) -> int:
    return 0 if isinstance(step.workers, Failed) else step.workers.value.requested
