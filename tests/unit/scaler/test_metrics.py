"""Series whose presence depends on the policy."""

from __future__ import annotations

import pytest

from scaler.config.settings import PolicySettings
from scaler.metrics import SCALER_FAMILIES
from scaler.model import Control, Missing
from scaler.step_result import StepCounters, StepResult, TargetStep
from service.outcome import Failed


@pytest.mark.parametrize(
    ("settings", "samples"),
    [
        ({"policy": "wait_target", "wait_slo_seconds": 12}, [(("mail,news", "mail"), 12.0)]),
        ({"policy": "threshold"}, []),
    ],
)
def test_a_limit_of_the_wait_is_published_where_the_policy_has_one(
    settings: dict[str, object], samples: list[object]
) -> None:
    [family] = [family for family in SCALER_FAMILIES if family.name == "oxherd_scaler_wait_slo_seconds"]
    step = TargetStep(
        name="mail",
        queues=("mail", "news"),
        settings=PolicySettings.model_validate(settings),
        time=0.0,
        workers=Failed("error", "unknown"),
        sample=Missing("no_data", "none"),
        control=Control(),
    )
    result = StepResult(time=0.0, took=0.0, steps=(step,), leading=True, enabled=True, dry_run=False)
    assert list(family.read(result, StepCounters())) == samples
