"""A target in one sentence, from a status view: what, why, and until when. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from shlex import quote
from typing import Any, Final

from service.units import count, duration, printable

_LATE_STEPS: Final = 3
_HELD: Final = re.compile(r"^(?:paused|enabled is false|mode is advise): held at \d+|^held at \d+: ")
"""What the first words of the sentence say already."""


def decider(target: Mapping[str, Any]) -> str | None:
    """What decides instead of the metrics: advising, contested, paused, disabled, resting, override,
    metrics_missing.

    None: the metrics do. A decision's `reason` does not say so where both come to the same number.
    """
    conditions = target["conditions"]
    if "Advising" in conditions:
        return "advising"
    if "Contested" in conditions:
        return "contested"
    if "Paused" in conditions:
        return "paused" if target["paused"] else "disabled"
    if "Resting" in conditions:
        return "resting"
    if "Overridden" in conditions:
        return "override"
    return "metrics_missing" if "MetricsStale" in conditions else None


def late_by(view: Mapping[str, Any]) -> float | None:
    """Seconds since the last step, if three should have followed it: a step hangs, or the scaler is being
    stopped, and what is shown is as old. None: it is not late, or a scaler that does not say."""
    age, interval = view.get("step_age_seconds"), view.get("interval_seconds")
    if view["time"] is None or age is None or interval is None:
        return None
    return age if age > _LATE_STEPS * interval + view["step_seconds"] else None


def workers_text(number: int | None) -> str:
    """1 worker, 4 workers, no worker; ? workers if the number is not known."""
    if number is None:
        return "? workers"
    return {0: "no worker", 1: "1 worker"}.get(number, f"{count(number)} workers")


def summary(target: Mapping[str, Any], *, acting: bool, time: float) -> str:
    """One sentence; `acting`: decisions are applied, `time`: of the view (unix s)."""
    if target["current"] is None:
        return printable(f"not readable: {target['error'] or 'no step yet'}")
    what, why, until = _what(target, acting=acting), _why(target), _until(target, time)
    sentence = f"{what} {until}" if until and not why else what
    if why:
        sentence += f": {why}{f', {until}' if until else ''}"
    recommended = target.get("recommended")
    if decider(target) and recommended not in {None, target["desired"]}:
        sentence += f"; the metrics call for {recommended}"
    return printable(sentence)


def conditions_text(target: Mapping[str, Any], time: float) -> list[str]:
    """Each condition with the time that it holds, `AtMax 12 min`; `Active` is the ordinary one, without."""
    since: Mapping[str, float] = target.get("conditions_since") or {}
    return [
        f"{name} {_roughly(time - since[name])}" if name in since and name != "Active" else name
        for name in target["conditions"]
    ]


def _roughly(seconds: float) -> str:
    """The largest unit of the duration."""
    return " ".join(duration(seconds).split(" ")[:2])


def policy_sentence(target: Mapping[str, Any]) -> str:
    """What the policy says, without what the guards added."""
    sentence, notes = target["sentence"] or "", target["notes"]
    return sentence.removesuffix("; ".join(notes)).removesuffix("; ") if notes else sentence


def _what(target: Mapping[str, Any], *, acting: bool) -> str:
    current, desired = target["current"], target["desired"]
    reason = target["reason"] if target["reason"] == "fallback" else decider(target) or target["reason"]
    if desired is None or desired == current:
        stay = "stays" if current == 1 else "stay"
        return f"{workers_text(current)} {stay} ({reason})" if current else f"no worker ({reason})"
    change = f"{current} -> {workers_text(desired)}"
    applied = acting and not target["error"] and "Shadowing" not in target["conditions"]
    return f"{change} ({reason})" if applied else f"{change}, not applied ({reason})"


def _why(target: Mapping[str, Any]) -> str:
    if target["error"]:
        return str(target["error"])
    notes: Sequence[str] = target["notes"]
    if decider(target):
        shortened = (_HELD.sub("", note) for note in notes)
        return "; ".join(note for note in shortened if note)
    head, colon, rest = policy_sentence(target).partition(": ")
    said = rest if colon and head.endswith(("worker", "workers")) else policy_sentence(target)
    return "; ".join([*([said] if said else []), *notes])


def _until(target: Mapping[str, Any], time: float) -> str:
    """Until when that holds, where a time or an event ends it."""
    override = target["override"]
    match decider(target):
        case "override" if override is not None and override["until"] is not None:
            return f"for {duration(override['until'] - time)} more"
        case "override" | "paused":
            return f"until `scaling auto {quote(target['name'])}`"
        case "disabled":
            return "until `enabled: true`"
        case "advising":
            return "until `mode: act`"
        case "contested":
            return "until the other one is gone"
        case "resting":
            return "until it is set to 1 or more"
        case "metrics_missing":
            return "until there are metrics again"
    return ""
