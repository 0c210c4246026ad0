"""`scaling decide --jsonl`: observations in, decisions out, a JSON object a line. Time in it is the caller's.

Only policy and guards run; each decision is taken as carried out.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import isfinite
from typing import Any, Final, TextIO

from pydantic import ValidationError

from scaler.decision.step import TargetMemory, acted, step
from scaler.model import Control, Missing, Observation, QueueSample
from scaler.settings import PolicySettings

_INTERVAL: Final = 5.0
_OVERRIDES: Final = {
    "concurrency": "worker_concurrency",
    "min_replicas": "min_workers",
    "max_replicas": "max_workers",
    "slo_wait_s": "wait_slo_seconds",
}
_OPTIONAL: Final = {
    "completed": "completed_total",
    "failed": "failed_total",
    "added": "added_total",
    "duration_sum": "duration_sum_s",
    "duration_count": "duration_count",
    "oldest_waiting": "oldest_waiting_s",
    "due": "due",
}


_CLOCKS: Final = ("time", "scrape_time")
"""Fields that may be below 0: a clock may begin anywhere."""


class LineError(ValueError):
    """A line that cannot be used; the text says which field and why."""


@dataclass(frozen=True)
class Conversation:
    """All that one line leaves for the next."""

    settings: PolicySettings = field(default_factory=PolicySettings)
    interval: float = _INTERVAL
    memory: TargetMemory | None = None
    over: bool = False


def answer(line: str, talk: Conversation) -> tuple[dict[str, Any] | None, Conversation]:
    """The reply to a line, None for none, and the conversation after it; a bad line changes nothing."""
    try:
        return _answered(json.loads(line), talk)
    except LineError as error:
        return {"error": str(error)}, talk
    except (json.JSONDecodeError, RecursionError):
        return {"error": "the line is not JSON"}, talk


def run(lines: TextIO, replies: TextIO) -> int:
    """Answer line by line until `end` or the end of the lines; the exit code, 1 after a bad line."""
    talk, code = Conversation(), 0
    for line in lines:
        if not line.strip():
            continue
        reply, talk = answer(line, talk)
        if talk.over:
            break
        if reply is not None:
            code = code or int("error" in reply)
            replies.write(json.dumps(reply) + "\n")
            replies.flush()
    return code


def _answered(told: object, talk: Conversation) -> tuple[dict[str, Any] | None, Conversation]:
    if not isinstance(told, dict):
        raise LineError("a line should be a JSON object")
    match told.get("type"):
        case "init":
            return {"ready": True}, _begun(told)
        case "observe":
            return _observed(told, talk)
        case "end":
            return None, replace(talk, over=True)
        case other:
            raise LineError(f"type: {json.dumps(other)} is none of init, observe and end")


def _begun(told: Mapping[str, Any]) -> Conversation:
    config = told.get("config", {})
    if not isinstance(config, dict):
        raise LineError("config: should be an object")
    config = dict(config)
    interval = _number({"interval_seconds": config.pop("interval_seconds", _INTERVAL)}, "interval_seconds")
    return Conversation(_checked(config), _INTERVAL if interval is None else interval)


def _checked(config: Mapping[str, Any]) -> PolicySettings:
    try:
        return PolicySettings.model_validate(config)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = ".".join(str(part) for part in first["loc"])
        raise LineError(f"config.{name}: {first['msg']}") from None


def _observed(told: Mapping[str, Any], talk: Conversation) -> tuple[dict[str, Any], Conversation]:
    settings = talk.settings
    given = {ours: told[name] for name, ours in _OVERRIDES.items() if told.get(name) is not None}
    if given:
        settings = _checked(settings.model_dump() | given)
    interval = _number(told, "interval_s") or talk.interval
    time, workers = _number(told, "time"), _number(told, "replicas")
    if time is None or workers is None:
        raise LineError(f"{'time' if time is None else 'replicas'}: should be a number")
    ready = _number(told, "ready_replicas")
    seen = Observation(time, int(workers), None if ready is None else int(ready), _sample(told, time))
    decision, memory = step(settings, interval, seen, Control(), talk.memory)
    if decision.workers != seen.workers:
        memory = acted(memory, time)
    reply = {"replicas": decision.workers, "reason": f"{decision.reason}: {decision.sentence}"}
    return reply, replace(talk, memory=memory)


def _sample(told: Mapping[str, Any], time: float) -> QueueSample | Missing:
    if told.get("metrics_ok") is False:
        return Missing("unreachable", "metrics_ok is false")
    waiting, active = _number(told, "waiting"), _number(told, "active")
    if waiting is None or active is None:
        return Missing("empty", f"{'waiting' if waiting is None else 'active'} is missing")
    at = _number(told, "scrape_time")
    optional = {ours: _number(told, name) for ours, name in _OPTIONAL.items()}
    return QueueSample(time if at is None else at, waiting, active, **optional)


def _number(told: Mapping[str, Any], name: str) -> float | None:
    value = told.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
        raise LineError(f"{name}: {json.dumps(value)} is no number")
    if value < 0 and name not in _CLOCKS:
        raise LineError(f"{name}: {json.dumps(value)} is below 0")
    return float(value)
