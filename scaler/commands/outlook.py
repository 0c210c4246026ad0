"""What would change the number of workers of a target, from a status view. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import ceil
from shlex import quote
from typing import Any, Final

from scaler.commands.summary import decider, workers_text
from scaler.decision.policies.needs import Situation, needs_of
from service.units import count, duration, plain

_ROUNDING_TOLERANCE: Final = 0.1  # of a worker, as in the policy
_MOST_WAITING: Final = 1e9

_AFTER_GUARD: Final = {
    "cooldown": "the end of the cooldown",
    "step_limit": "the next step: it may go as far again",
    "busy_unknown": "it has to be known again who has a job: those without one go then",
    "not_idle_yet": "scale_to_zero_after_seconds without a job: the last worker goes then",
    "max": "a higher max_workers",
    "min": "a lower min_workers",
    "capacity": "a higher max_total_workers, or other targets that need less",
    "first_job": "a first worker that is ready: the metrics decide then",
}


def outlook(target: Mapping[str, Any], time: float) -> list[str]:
    """A line for each event that would change the number; `time` is that of the view (unix s)."""
    if target["desired"] is None:
        return [f"the error has to end: {target['error']}"]
    if decider(target):
        return [_released(target, time)]
    lines = [_AFTER_GUARD[target["reason"]]] if target["reason"] in _AFTER_GUARD else []
    if target["reason"] == "stabilizing":
        windows = [target["settings"][f"stabilization_{way}_seconds"] for way in ("up", "down")]
        lines.append(f"the end of the window (up {windows[0]:g} s, down {windows[1]:g} s)")
    more = _by_needs if "queue_slots" in target["inputs"] else _by_threshold
    return lines + list(more(target))


def _released(target: Mapping[str, Any], time: float) -> str:
    """What gives the decision back to the metrics, and what they call for."""
    override, recommended = target["override"], target.get("recommended")
    then = f": the metrics call for {workers_text(recommended)}" if recommended is not None else ""
    match decider(target):
        case "override" if override is not None and override["until"] is not None:
            left = duration(override["until"] - time)
            return f"the end of the override in {left}, or `scaling auto {quote(target['name'])}`{then}"
        case "override" | "paused":
            return f"`scaling auto {quote(target['name'])}`{then}"
        case "disabled":
            return f"{_setting(target, 'enabled', 'true')}{then}"
        case "advising":
            return f"{_setting(target, 'mode', 'act')}, or whoever sets the number{then}"
        case "contested":
            return f"the other controller has to leave the number alone{then}"
    return f"recent metrics: {target['metrics'].get('why') or 'there are none'}"


def _setting(target: Mapping[str, Any], key: str, value: str) -> str:
    """A setting as it would have to be, and where it is."""
    origin = target.get("origins", {}).get(key)
    if origin == "changed":
        where = "by `update_scaling_config` of the API, which has changed it"
    elif origin == "target":
        where = "in its own settings"
    else:
        where = "in the settings" if origin is None else f"in `{origin}` of the settings"
    return f"`{key}: {value}` {where}"


def _by_needs(target: Mapping[str, Any]) -> Iterator[str]:
    inputs, desired = target["inputs"], target["desired"]
    if "cap_slots" in inputs:
        yield "the end of the rate limit or pause that holds jobs back"
    elif desired >= target["max"]:
        yield f"nothing scales out: max_workers is {target['max']}"
    else:
        waiting = waiting_for_more(target)
        if waiting is not None:
            yield f"over {count(waiting)} waiting jobs ({count(inputs['waiting'])} now): scales out"
    enough = int(inputs["enough"])
    if desired <= target["min"]:
        yield f"nothing scales in: min_workers is {target['min']}"
    elif "held_seconds" in inputs and enough < desired:
        held = duration(inputs["held_seconds"])
        yield f"the end of the hold in {held}: then {workers_text(enough)}, if no more are needed"
    elif target["reason"] == "busy":
        yield "jobs that end: workers without one go first"
    else:
        slots = (desired - 1 + _ROUNDING_TOLERANCE) * inputs["concurrency"]
        yield f"a need of under {plain(slots)} slots: scales in, once it has lasted"


def _by_threshold(target: Mapping[str, Any]) -> Iterator[str]:
    settings, inputs, desired = target["settings"], target["inputs"], target["desired"]
    if "target_waiting" not in inputs:
        yield "a second sample: the rate of jobs is known then"
        return
    waiting, wanted = count(inputs["waiting"]), inputs["target_waiting"]
    if desired >= target["max"]:
        yield f"nothing scales out: max_workers is {target['max']}"
    else:
        most = plain(wanted * settings["scale_up_threshold"])
        yield f"over {most} waiting jobs ({waiting} now): scales out"
    if desired <= target["min"]:
        yield f"nothing scales in: min_workers is {target['min']}"
    else:
        yield f"under {plain(wanted * settings['scale_down_threshold'])} waiting jobs: scales in"


def waiting_for_more(target: Mapping[str, Any]) -> float | None:
    """The waiting jobs beyond which the policy would propose more workers than were decided, if all else
    stayed; None if it proposes more already, or would not for any number."""
    situation, slots = _situation(target), target["inputs"]["concurrency"]

    def more(waiting: float) -> bool:
        need = needs_of(situation._replace(waiting=waiting)).most
        return bool(ceil(need / slots - _ROUNDING_TOLERANCE) > target["desired"])

    least, most = situation.waiting, max(1.0, 2 * situation.waiting)
    while not more(most):
        least, most = most, 2 * most
        if most > _MOST_WAITING:
            return None
    if more(least):
        return None
    while most - least > 1:
        middle = (least + most) // 2
        least, most = (least, middle) if more(middle) else (middle, most)
    return least


def _situation(target: Mapping[str, Any]) -> Situation:
    inputs: Mapping[str, float] = target["inputs"]
    current, slots = target["current"] or 0, inputs["concurrency"]
    ready = current if target["ready"] is None else min(current, target["ready"])
    return Situation(
        waiting=inputs["waiting"],
        active=inputs["active"] + inputs.get("stalled", 0.0),
        due=inputs["due"],
        level=inputs["level"],
        rate=inputs["rate"],
        run_seconds=inputs["service_seconds"],
        run_error=0.0,
        slo=inputs["slo_seconds"],
        start=inputs["start_seconds"],
        horizon=inputs["horizon_seconds"],
        ready_slots=ready * slots,
        asked_slots=current * slots,
        oldest=inputs["oldest_seconds"],
    )
