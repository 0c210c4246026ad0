from __future__ import annotations

import pytest

from scaler.config.conflicts import conflicting_settings
from scaler.config.settings import ScalerSettings


def lines(interval: float, **target: object) -> list[str]:
    mailer = {"name": "mailer", "queues": ["mail"], "processes": {"command": ["x"]}} | target
    return conflicting_settings(
        ScalerSettings.model_validate({"interval_seconds": interval, "targets": [mailer]})
    )


@pytest.mark.parametrize(
    ("interval", "target", "numbers"),
    [
        (120.0, {}, ("30 s", "120 s", "interval_seconds")),
        (5.0, {"queue_slo_seconds": {"mail": 3}}, ("3 s", "5 s", "interval_seconds")),
        (5.0, {"cooldown_seconds": 300}, ("30 s", "300 s", "cooldown_seconds")),
        (5.0, {"stabilization_up_seconds": 60}, ("30 s", "60 s", "stabilization_up_seconds")),
        (5.0, {"metrics_max_age_seconds": 600}, ("30 s", "600 s", "metrics_max_age_seconds")),
    ],
)
def test_what_cannot_work_together_is_named_with_its_numbers(
    interval: float, target: dict[str, object], numbers: tuple[str, ...]
) -> None:
    [line] = lines(interval, **target)
    assert line.startswith("mailer: ")
    assert all(number in line for number in numbers)


@pytest.mark.parametrize("target", [{}, {"policy": "threshold", "cooldown_seconds": 300}])
def test_what_works_is_not_named(target: dict[str, object]) -> None:
    assert lines(5.0, **target) == []
