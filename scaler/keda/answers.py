"""From the decisions of the last step to what KEDA is told: a number, whether it may be 0, or why neither is
known. Pure.

The number is the policy's, within the bounds (`oxherd_scaler_recommended_replicas`), as the value of a metric
whose target is 1: the HPA's ceil(value / target) is this number. Absence is an error and never a 0 or
"inactive", so that KEDA keeps the replicas, and its `fallback` applies.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Final, Literal, NamedTuple, TypeAlias

from scaler.model import Missing
from scaler.serving import Serving, targets_serving
from scaler.step_result import StepResult, TargetStep
from service.outcome import Failed

METRIC: Final = "recommended-replicas"
"""The name of the only metric. KEDA puts the number of the trigger before it."""

METRIC_TARGET: Final = 1
"""Its target for the HPA, as an average of all replicas."""

Code: TypeAlias = Literal[
    "OK", "INVALID_ARGUMENT", "NOT_FOUND", "FAILED_PRECONDITION", "UNAVAILABLE", "RESOURCE_EXHAUSTED"
]
"""Those codes of gRPC that are answered."""

_LONGEST_NAME: Final = 100  # characters of a name that is repeated
_NEAR: Final = 3  # names that are suggested
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


def known_target(targets: Sequence[Serving], metadata: Mapping[str, str]) -> str | NoAnswer:
    """The name of the target that the metadata of a trigger mean by `target` or `queue`."""
    named, queue = metadata.get("target", ""), metadata.get("queue", "")
    if bool(named) == bool(queue):
        given = "has both" if named else "has neither"
        return NoAnswer("INVALID_ARGUMENT", f"the trigger's metadata {given}: set target or queue")
    names = [target.name for target in targets]
    if named:
        return (
            named if named in names else NoAnswer("NOT_FOUND", _unknown("no target is called", named, names))
        )
    meant = [target.name for target in targets_serving(targets, queue)]
    if len(meant) == 1:
        return meant[0]
    if not meant:
        queues = {queue for target in targets for queue in target.queues}
        return NoAnswer("NOT_FOUND", _unknown("no target serves queue", queue, queues))
    which = ", ".join(sorted(meant)[:_NEAR])
    why = f"several targets serve queue {_shown(queue)}: set target to one of them ({which})"
    return NoAnswer("INVALID_ARGUMENT", why)


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


def _unknown(what: str, name: str, known: Iterable[str]) -> str:
    names = sorted(known)
    near = get_close_matches(name[:_LONGEST_NAME], names, n=_NEAR) or names[:_NEAR]
    nearest = f"the nearest: {', '.join(near)}" if near else "the settings have no targets"
    return f"{what} {_shown(name)}: {nearest}"


def _shown(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else f"{name[:_LONGEST_NAME]}..."
