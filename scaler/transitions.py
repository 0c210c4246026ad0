"""The transitions of a target in a step: changes of its workers, conditions that begin or end. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from scaler.model import Applied, Condition, Missing, NotApplied
from scaler.step_result import TargetStep
from service.outcome import Failed, Ok

_TROUBLES: Final[frozenset[Condition]] = frozenset(
    {
        *("MetricsStale", "TargetNotFound", "Forbidden", "Contested", "AtMax"),
        *("GraceTooShort", "ConcurrencyMismatch", "CrashLoop", "PolicyInvalid"),
    }
)

_SHOWN_BY_METRICS: Final[frozenset[Condition]] = frozenset({"GraceTooShort", "ConcurrencyMismatch"})
_SHOWN_UNREAD: Final[frozenset[Condition]] = frozenset(
    {"MetricsStale", "TargetNotFound", "Forbidden", "Advising", "Shadowing"}
)


@dataclass(frozen=True, slots=True)
class Transition:
    """`reason` is one word in CamelCase; `trouble`: an operator should look."""

    target: str
    reason: str
    message: str
    trouble: bool = False


def transitions_of(step: TargetStep, before: frozenset[Condition] | None) -> Iterator[Transition]:
    """In the order in which they are read; `before` is None at the first step of the target."""
    known = frozenset({"Active"}) if before is None else before
    after = known_conditions(step, before)
    for condition in sorted(after - known):
        if before is not None or condition != "Active":
            yield Transition(step.name, condition, why(step, condition), trouble=condition in _TROUBLES)
    for condition in sorted((before or frozenset()) - after):
        yield Transition(step.name, f"{condition}Ended", f"no longer {_ENDED[condition]}")
    if isinstance(step.acted, Applied) and isinstance(step.workers, Ok) and step.decision is not None:
        old, new = step.workers.value.requested, step.acted.workers
        reason = "ScaledUp" if new > old else "ScaledDown"
        yield Transition(step.name, reason, f"from {old} to {new}: {step.decision.sentence}")


def known_conditions(step: TargetStep, before: frozenset[Condition] | None) -> frozenset[Condition]:
    """The conditions after the step. Where the target could not be read, those that only a decision shows are
    as before: an API server that is away ends no pause. Without metrics, so are those that these show."""
    if isinstance(step.sample, Missing) and before is not None and step.decision is not None:
        return step.conditions | (before & _SHOWN_BY_METRICS)
    if step.decision is not None or not isinstance(step.workers, Failed) or before is None:
        return step.conditions
    stay = before - _SHOWN_UNREAD
    if step.workers.kind not in {"not_found", "forbidden"}:
        stay |= before & {"TargetNotFound", "Forbidden"}
    return step.conditions | stay


_ENDED: Final = {
    "Active": "active: no worker is needed",
    "Paused": "paused",
    "Overridden": "overridden: the metrics decide again",
    "MetricsStale": "without metrics",
    "TargetNotFound": "missing",
    "Forbidden": "forbidden",
    "Contested": "contested: the metrics decide again",
    "Resting": "resting at 0: the metrics decide again",
    "AtMax": "at its maximum",
    "GraceTooShort": "running jobs for longer than the grace period",
    "ConcurrencyMismatch": "running another number of jobs at once than is set",
    "CrashLoop": "with workers that exit soon after each start",
    "PolicyInvalid": "with a changed policy that cannot be used",
    "Advising": "only advised: the metrics decide",
    "Shadowing": "only looked at: decisions are applied",
}


def why(step: TargetStep, condition: Condition) -> str:
    """What a condition that is there is because of."""
    if condition in {"TargetNotFound", "Forbidden"}:
        failed = step.workers if isinstance(step.workers, Failed) else step.acted
        if isinstance(failed, Failed | NotApplied):
            return failed.message
    if condition == "MetricsStale":
        unknown = step.sample if isinstance(step.sample, Missing) else step.unknown
        if unknown is not None:
            return unknown.message
    if condition == "CrashLoop" and step.crash_loop:
        return step.crash_loop
    if condition == "PolicyInvalid":
        return step.policy_problem
    if condition == "GraceTooShort":
        return step.grace_warning
    if condition == "ConcurrencyMismatch":
        return step.concurrency_warning
    return step.decision.sentence if step.decision else condition
