"""The status of a ScaledQueue, from the last step of its target and the status before. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple, get_args

from scaler.config.admission import Admission
from scaler.kube.objects import Json, api_time
from scaler.model import Applied, Condition
from scaler.step_result import TargetStep
from scaler.transitions import known_conditions, why
from service.outcome import Failed, Ok

MOST_DECISIONS: Final = 5
_LONGEST_SENTENCE: Final = 1024
_USUAL: Final[tuple[Condition, ...]] = (
    "Active",
    "AtMax",
    "Contested",
    "MetricsStale",
    "Overridden",
    "Paused",
)
"""Conditions that are always there, so that `kubectl wait` finds them; the others once they were True."""

_CONDITIONS: Final[tuple[Condition, ...]] = get_args(Condition)
_DOES: Final = {"act": "Scaling", "advise": "Advising", "shadow": "Shadowing"}


class Declaration(NamedTuple):
    """What of the object the status is of. `order_problem`: why an order in it cannot be read."""

    generation: int
    admission: Admission
    order_problem: str = ""


def status_of_step(
    step: TargetStep, declaration: Declaration, before: Json, conditions_before: frozenset[Condition] | None
) -> dict[str, Any]:
    """None is the value of what is not known: it removes the field in a merge patch."""
    workers = step.workers.value if isinstance(step.workers, Ok) else None
    requested = workers.requested if workers else None
    conditions = {name: why(step, name) for name in known_conditions(step, conditions_before)}
    message = step.workers.message if isinstance(step.workers, Failed) else ""
    sentence = step.decision.sentence if step.decision else message
    return {
        "observedGeneration": declaration.generation,
        "current": step.acted.workers if isinstance(step.acted, Applied) else requested,
        "ready": workers.ready if workers else None,
        "desired": step.desired,
        "recommended": step.recommended,
        "reason": step.decision.reason if step.decision else None,
        "sentence": sentence[:_LONGEST_SENTENCE],
        "decisions": _decisions(step, before),
        "conditions": _conditions(_ready(step, declaration), conditions, declaration, before, step.time),
    }


def status_without_step(declaration: Declaration, before: Json, at: float) -> dict[str, Any]:
    """Of an object that is no target: it is refused, or no step has been taken yet."""
    admission = declaration.admission
    ready = (
        ("False", admission.reason, admission.sentence) if admission.reason else ("Unknown", "NoStepYet", "")
    )
    unknown = dict.fromkeys(("current", "ready", "desired", "recommended", "reason", "sentence"))
    return {
        "observedGeneration": declaration.generation,
        **unknown,
        "decisions": _known_decisions(before),
        "conditions": _conditions(ready, {}, declaration, before, at),
    }


def differs(status: Json, written: Json) -> bool:
    """Whether a status is worth a write: not for the figures in a sentence, which change in each step."""
    return _substance(status) != _substance(written)


def _substance(status: Json) -> dict[str, Any]:
    substance = {key: value for key, value in status.items() if key != "sentence" and value is not None}
    conditions = status.get("conditions")
    if isinstance(conditions, Sequence) and not isinstance(conditions, str):
        substance["conditions"] = sorted(
            (
                str(entry.get("type")),
                str(entry.get("status")),
                str(entry.get("reason")),
                str(entry.get("message")) if str(entry.get("type")) in {"Ready", _ORDER} else "",
            )
            for entry in conditions
            if isinstance(entry, Mapping)
        )
    return substance


# --- parts -----------------------------------------------------------------------------------------------

_ORDER: Final = "OrderInvalid"


def _ready(step: TargetStep, declaration: Declaration) -> tuple[str, str, str]:
    """Status, reason and message of the condition Ready."""
    if declaration.admission.reason:
        return "False", declaration.admission.reason, declaration.admission.sentence
    unscalable: tuple[Condition, ...] = ("TargetNotFound", "Forbidden")
    for condition in unscalable:
        if condition in step.conditions:
            return "False", condition, why(step, condition)
    if isinstance(step.workers, Failed):
        return "Unknown", "TargetUnreadable", step.workers.message
    if not step.settings.enabled:
        return "True", "Disabled", "the scaler's settings have enabled: false for it"
    return "True", _DOES[step.settings.mode], ""


def _conditions(
    ready: tuple[str, str, str],
    true: Mapping[Condition, str],
    declaration: Declaration,
    before: Json,
    at: float,
) -> list[dict[str, Any]]:
    """A condition that changes has the time of now, one that stays the time that it has."""
    known = {
        str(entry.get("type")): entry
        for entry in _list_of(before.get("conditions"))
        if isinstance(entry, Mapping)
    }
    entries: dict[str, tuple[str, str, str]] = {"Ready": ready}
    if declaration.order_problem or _ORDER in known:
        problem = declaration.order_problem
        entries[_ORDER] = ("True" if problem else "False", "Unreadable" if problem else "Readable", problem)
    if true or ready[0] != "False":
        shown = {*_USUAL, *true, *(name for name in _CONDITIONS if name in known)}
        for name in sorted(shown):
            entries[name] = (
                ("True", name, "" if name == "Active" else true[name])
                if name in true
                else ("False", f"Not{name}", "")
            )
    return [
        _entry(name, state, known.get(name, {}), generation=declaration.generation, at=at)
        for name, state in entries.items()
    ]


def _entry(
    name: str, state: tuple[str, str, str], before: Json, *, generation: int, at: float
) -> dict[str, Any]:
    status, reason, message = state
    since = before.get("lastTransitionTime") if before.get("status") == status else None
    return {
        "type": name,
        "status": status,
        "reason": reason,
        "message": message[:_LONGEST_SENTENCE],
        "observedGeneration": generation,
        "lastTransitionTime": since if isinstance(since, str) else api_time(at),
    }


def _decisions(step: TargetStep, before: Json) -> list[Any]:
    """The newest first."""
    known = _known_decisions(before)
    if not isinstance(step.acted, Applied) or step.decision is None or not isinstance(step.workers, Ok):
        return known
    decision = {
        "time": api_time(step.time),
        "from": step.workers.value.requested,
        "to": step.acted.workers,
        "reason": step.decision.reason,
        "sentence": step.decision.sentence[:_LONGEST_SENTENCE],
    }
    return [decision, *known][:MOST_DECISIONS]


def _known_decisions(before: Json) -> list[Any]:
    decisions = [entry for entry in _list_of(before.get("decisions")) if isinstance(entry, Mapping)]
    return decisions[:MOST_DECISIONS]


def _list_of(value: object) -> list[Any]:
    return list(value) if isinstance(value, Iterable) and not isinstance(value, str | Mapping) else []
