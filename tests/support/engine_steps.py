"""Steps of one target, as KEDA's external scaler gets them."""

from __future__ import annotations

from typing import Any, Final

from scaler.config.settings import PolicySettings, TargetSettings
from scaler.engines.decisions import Decisions
from scaler.model import Control, Decision, Missing, QueueSample, Workers
from scaler.step_result import TargetStep
from service.outcome import Failed, Ok

AT: Final = 1000.0
"""The time of the step, unix seconds and monotonic."""


def target(name: str = "mail", *queues: str, **given: Any) -> TargetSettings:
    """A target that serves the queue of its name, if no others."""
    return TargetSettings.model_validate({"name": name, "queues": queues or (name,), **given})


def target_step(
    number: int | None = 7,
    *,
    name: str = "mail",
    current: int | Failed = 3,
    sample: QueueSample | Missing | None = None,
    idle: float | None = None,
    unknown: Missing | None = None,
    **policy: Any,
) -> TargetStep:
    """The policy proposed `number`; two jobs wait, if no other sample is given."""
    settings = {"min_workers": 0, "max_workers": 50} | policy
    workers = current if isinstance(current, Failed) else Ok(Workers(current, current))
    decision = Decision(3, number, "load", "held at 3: 900 jobs after 2", idle_seconds=idle)
    return TargetStep(
        name,
        (name,),
        PolicySettings.model_validate(settings),
        AT,
        workers,
        QueueSample(AT - 1, 2.0, 0.0) if sample is None else sample,
        Control(),
        decision=None if isinstance(current, Failed) else decision,
        unknown=unknown,
    )


def decided(*steps: TargetStep, interval: float = 5.0) -> Decisions:
    """These steps, of targets that serve the queues of their names."""
    targets = [target(step.name) for step in steps]
    return Decisions(targets, {step.name: step for step in steps}, AT, AT, interval)
