"""`scaling decide --jsonl`: observations in, decisions out, one JSON object per line, in the caller's time.

Only the policy and the guards run; each decision counts as applied.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import isnan
from typing import Any, Final, TextIO

from pydantic import ValidationError

from scaler.config.settings import REMOVED_KEYS, PolicySettings
from scaler.decision.step import TargetMemory, record_scaling, step
from scaler.model import Control, Missing, Observation, QueueSample

_INTERVAL: Final = 5.0
_SETTING_FIELDS: Final = {
    "concurrency": "worker_concurrency",
    "min_replicas": "min_workers",
    "max_replicas": "max_workers",
    "slo_wait_s": "wait_slo_seconds",
}
_SAMPLE_FIELDS: Final = {
    "completed": "completed_total",
    "failed": "failed_total",
    "added": "added_total",
    "duration_sum": "duration_sum_s",
    "duration_count": "duration_count",
    "oldest_waiting": "oldest_waiting_s",
    "due": "due",
    "busy_seconds": "busy_seconds_total",
    "held": "held",
    "limit_seconds": "limit_s",
    "concurrency_limit": "concurrency_limit",
    "largest_share": "largest_share",
    "largest_active": "largest_active",
    "stalled": "stalled_total",
    "unseen": "unseen",
}
_OWN_FIELDS: Final = frozenset(
    {
        *("type", "time", "replicas", "ready_replicas", "idle_replicas", "start_s", "interval_s"),
        *("metrics_ok", "scrape_time", "waiting", "active"),
    }
)


_MOST: Final = 1e15
"""The largest number of a field: what is above counts no jobs, and its products may not be finite."""

_CLOCK_FIELDS: Final = ("time", "scrape_time")
"""Fields that may be below 0: a clock may start at any value."""


class LineError(ValueError):
    """An invalid line; the text says which field and why."""


@dataclass(frozen=True)
class Session:
    """The state between two lines."""

    settings: PolicySettings = field(default_factory=PolicySettings)
    interval: float = _INTERVAL
    memory: TargetMemory | None = None
    ended: bool = False


def reply_to(line: str, session: Session) -> tuple[dict[str, Any] | None, Session]:
    """The reply to a line, None if there is none, and the session after it; a bad line does not change it."""
    try:
        message = json.loads(line)
    except (ValueError, RecursionError):  # also for a number of thousands of digits
        return {"error": "the line is not JSON"}, session
    try:
        return _handle(message, session)
    except LineError as error:
        return {"error": str(error)}, session


def reply_to_lines(lines: TextIO, replies: TextIO) -> int:
    """Reply line by line until `end` or the end of the input; the exit code, 1 after a bad line."""
    session, code = Session(), 0
    for line in lines:
        if not line.strip():
            continue
        reply, session = reply_to(line, session)
        if session.ended:
            break
        if reply is not None:
            code = code or int("error" in reply)
            replies.write(json.dumps(reply) + "\n")
            replies.flush()
    return code


def _handle(message: object, session: Session) -> tuple[dict[str, Any] | None, Session]:
    if not isinstance(message, dict):
        raise LineError("a line should be a JSON object")
    match message.get("type"):
        case "init":
            return {"ready": True}, _handle_init(message)
        case "observe":
            return _handle_observe(message, session)
        case "end":
            return None, replace(session, ended=True)
        case kind:
            raise LineError(f"type: {json.dumps(kind)} is not init, observe or end")


def _handle_init(message: Mapping[str, Any]) -> Session:
    config = message.get("config", {})
    if not isinstance(config, dict):
        raise LineError("config: should be an object")
    config = dict(config)
    interval = _number({"interval_seconds": config.pop("interval_seconds", _INTERVAL)}, "interval_seconds")
    return Session(_policy_settings(config), _INTERVAL if interval is None else interval)


def _policy_settings(config: Mapping[str, Any]) -> PolicySettings:
    removed = next((key for key in config if key in REMOVED_KEYS), None)
    if removed:
        raise LineError(f"config.{removed}: {REMOVED_KEYS[removed]}")
    try:
        return PolicySettings.model_validate(config)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = ".".join(str(part) for part in first["loc"])
        raise LineError(f"config.{name}: {first['msg']}") from None


def _handle_observe(message: Mapping[str, Any], session: Session) -> tuple[dict[str, Any], Session]:
    settings = session.settings
    changed = {key: message[name] for name, key in _SETTING_FIELDS.items() if message.get(name) is not None}
    if changed:
        settings = _policy_settings(settings.model_dump() | changed)
    interval = _number(message, "interval_s") or session.interval
    time, workers = _number(message, "time"), _number(message, "replicas")
    if time is None or workers is None:
        raise LineError(f"{'time' if time is None else 'replicas'}: should be a number")
    observation = Observation(
        time,
        int(workers),
        _count(message, "ready_replicas"),
        _sample(message, time),
        _number(message, "start_s"),
        idle=_count(message, "idle_replicas"),
    )
    decision, memory = step(settings, interval, observation, Control(), session.memory)
    if decision.workers != observation.workers:
        memory = record_scaling(memory, time)
    reply: dict[str, Any] = {
        "replicas": decision.workers,
        "reason": f"{decision.reason}: {decision.sentence}",
    }
    ignored = sorted(message.keys() - _OWN_FIELDS - _SETTING_FIELDS.keys() - set(_SAMPLE_FIELDS.values()))
    if ignored:
        reply["ignored"] = ignored
    return reply, replace(session, memory=memory)


def _sample(message: Mapping[str, Any], time: float) -> QueueSample | Missing:
    if message.get("metrics_ok") is False:
        return Missing("unreachable", "metrics_ok is false")
    waiting, active = _number(message, "waiting"), _number(message, "active")
    if waiting is None or active is None:
        return Missing("empty", f"{'waiting' if waiting is None else 'active'} is missing")
    at = _number(message, "scrape_time")
    optional = {key: _number(message, name) for key, name in _SAMPLE_FIELDS.items()}
    return QueueSample(time if at is None else at, waiting, active, **optional)


def _count(message: Mapping[str, Any], name: str) -> int | None:
    number = _number(message, name)
    return None if number is None else int(number)


def _number(message: Mapping[str, Any], name: str) -> float | None:
    value = message.get(name)
    if value is None:
        return None
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if number and abs(value) > _MOST:  # an integer may be larger than any float
        raise LineError(f"{name}: a number over {_MOST:g}")
    if not number or isnan(value):
        raise LineError(f"{name}: {json.dumps(value)} is not a number")
    if value < 0 and name not in _CLOCK_FIELDS:
        raise LineError(f"{name}: {json.dumps(value)} is below 0")
    return float(value)
