"""A step as plain data: what /status.json and the commands show. Times are unix seconds, ages in seconds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any, Final, TypeAlias

from scaler.config.settings import TargetSettings
from scaler.model import Missing, NotApplied, Override
from scaler.state.model import Action
from scaler.step_result import StepResult, TargetStep
from service.outcome import Failed, Ok

ScalerView: TypeAlias = Mapping[str, Any]

NAME: Final = "oxherd scaler"
_ACTIONS_SHOWN: Final = 20
_UNSEEN: Final = ("at", "created", "joined")  # of a sample: nothing that counts jobs


def scaler_view(
    result: StepResult | None,
    *,
    version: str,
    uptime: float,
    actions: Iterable[Action],
    origins: Mapping[str, Mapping[str, str]],
    configured: Mapping[str, TargetSettings] | None = None,
    interval: float | None = None,
    age: float = 0.0,
    held: str = "",
) -> ScalerView:
    """Everything. Before the first step there are no targets. `origins`: where a target's keys are set;
    `configured`: the targets as they are set, by name; `interval`: seconds between two steps (None: not
    known); `age`: seconds since the end of the step, by which its figures are older too; `held`: why no
    target is scaled, whatever its metrics say."""
    view: dict[str, Any] = {
        "name": NAME,
        "version": version,
        "uptime_seconds": uptime,
        "actions": [asdict(action) for action in list(actions)[-_ACTIONS_SHOWN:][::-1]],
    }
    if result is None:
        return view | {"time": None, "targets": []}
    return view | {
        "time": result.time,
        "step_seconds": result.took,
        "step_age_seconds": age,
        "interval_seconds": interval,
        "enabled": result.enabled,
        "dry_run": result.dry_run,
        "leading": result.leading,
        "held": held or None,
        "targets": [
            _target(
                step,
                origins.get(step.name, {}),
                (configured or {}).get(step.name),
                result.time + result.took + age,
            )
            for step in result.steps
        ],
    }


def _target(
    step: TargetStep, origins: Mapping[str, str], configured: TargetSettings | None, at: float
) -> ScalerView:
    workers = step.workers.value if isinstance(step.workers, Ok) else None
    decision = step.decision
    return {
        "name": step.name,
        "queues": list(step.queues),
        "prefix": configured.prefix if configured else None,
        "configured_queues": list(configured.queues) if configured else [],
        "policy": step.settings.policy,
        "settings": step.settings.model_dump(),
        "origins": {key: origin for key, origin in origins.items() if origin != "built in"},
        "current": workers.requested if workers else None,
        "ready": workers.ready if workers else None,
        "start_seconds": workers.start_seconds if workers else None,
        "desired": step.desired,
        "recommended": step.recommended,
        "min": step.settings.min_workers,
        "max": step.settings.max_workers,
        "load_factor": step.load_factor,
        "worker_utilization": step.worker_utilization,
        "activity": None if step.activity is None else step.activity._asdict(),
        "wait_estimate_seconds": step.wait_estimate,
        "conditions": sorted(step.conditions),
        "conditions_since": dict(sorted(step.since.items())),
        "warnings": list(step.warnings),
        "run_seconds": step.run_seconds,
        "run_p99_seconds": step.run_p99.seconds if step.run_p99 else None,
        "grace_seconds": step.grace_seconds,
        "reason": decision.reason if decision else None,
        "sentence": decision.sentence if decision else _trouble(step),
        "inputs": dict(decision.inputs) if decision else {},
        "notes": list(decision.notes) if decision else [],
        "paused": step.control.paused,
        "override": _override(step.control.override),
        "metrics": _metrics(step, at),
        "error": _trouble(step),
    }


def _metrics(step: TargetStep, at: float) -> ScalerView:
    if isinstance(step.sample, Missing):
        return {"missing": step.sample.kind, "why": step.sample.message}
    figures = {name: value for name, value in step.sample._asdict().items() if name not in _UNSEEN}
    return {"missing": None, "age_seconds": max(0.0, at - step.sample.at), **figures}


def _override(override: Override | None) -> ScalerView | None:
    return None if override is None else asdict(override)


def _trouble(step: TargetStep) -> str | None:
    if isinstance(step.workers, Failed):
        return step.workers.message
    if isinstance(step.acted, NotApplied):
        return step.acted.message
    return None
