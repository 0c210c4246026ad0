"""The status view of a scaler with one target, after two samples."""

from __future__ import annotations

import json
from typing import Any

from scaler.config.settings import PolicySettings
from scaler.decision.step import step
from scaler.model import Control, Observation, QueueSample, Workers
from scaler.step_result import StepResult, TargetStep
from scaler.views import scaler_view
from service.outcome import Ok


def view(
    waiting: float,
    *,
    policy: str = "wait_target",
    settings: dict[str, Any] | None = None,
    since: float = 1005.0,
    **sample: Any,
) -> dict[str, Any]:
    """As the scaler would show it after two samples; jobs wait since this time."""
    given = {"policy": policy, "worker_concurrency": 4, "max_workers": 40, "cooldown_seconds": 0}
    checked = PolicySettings.model_validate(given | (settings or {}))
    memory = None
    decided: list[TargetStep] = []
    for at in (since - 5.0, *([since] if since < 1005 else []), 1005.0):
        figures = QueueSample(at, waiting if at >= since else 0, 8, completed=10 * at, failed=0.0, due=0.0)
        figures = figures._replace(**sample)
        observation = Observation(at, 2, 2, figures, 25.0)
        decision, memory = step(checked, 5.0, observation, Control(), memory)
        workers = Ok(Workers(2, 2, 25.0))
        decided = [
            TargetStep("mailer", ("mail", "mail-retry"), checked, at, workers, figures, Control(), decision)
        ]
    shown = scaler_view(
        StepResult(1005.0, 0.1, tuple(decided)), version="1", uptime=1.0, actions=(), origins={}
    )
    data: dict[str, Any] = json.loads(json.dumps(shown))
    return data
