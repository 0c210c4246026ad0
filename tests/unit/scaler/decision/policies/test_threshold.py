"""Rows S1 to S3 of the table."""

from __future__ import annotations

from typing import Any

import pytest

from scaler.config.settings import PolicySettings
from scaler.decision.load_factor import target_load_factor
from scaler.decision.policies.threshold import Threshold
from scaler.model import Observation, QueueSample

USUAL = PolicySettings(policy="threshold")
AGGRESSIVE = PolicySettings(
    policy="threshold", scale_up_threshold=1.2, scale_down_threshold=0.5, cooldown_seconds=120, max_workers=50
)


def proposed(policy: PolicySettings, workers: int, waiting: float, active: float) -> tuple[int, str]:
    sample = QueueSample(0.0, waiting, active)
    rule = Threshold()
    proposal, _ = rule.decide(
        policy, 5.0, Observation(0.0, workers, workers, sample), sample, rule.initial_memory()
    )
    return proposal.workers, proposal.reason


@pytest.mark.parametrize(
    ("settings", "workers", "waiting", "active", "expected"),
    [
        ({}, 2, 5, 5, 0.5),
        ({}, 2, 100, 5, 1.0),
        ({"capacity_per_worker": 50}, 2, 5, 5, 0.1),
        ({"worker_concurrency": 5}, 2, 0, 5, 0.5),
        ({"worker_concurrency": 5, "capacity_per_worker": 20}, 2, 0, 5, 0.125),
        ({}, 0, 1, 0, 1.0),
        ({}, 0, 0, 0, 0.0),
    ],
)
def test_the_load_factor(
    settings: dict[str, Any], workers: int, waiting: float, active: float, expected: float
) -> None:
    policy = PolicySettings.model_validate(settings)
    assert target_load_factor(policy, QueueSample(0.0, waiting, active), workers) == expected


@pytest.mark.parametrize(
    ("policy", "workers", "waiting", "active", "expected"),
    [
        # waiting over target x scale-up threshold: 5 x 2, and 5 x 1.2
        (USUAL, 3, 11, 0, (4, "waiting")),
        (USUAL, 3, 10, 0, (3, "enough")),
        (USUAL, 3, 60, 0, (12, "waiting")),  # up to waiting / target at once
        (AGGRESSIVE, 3, 7, 0, (4, "waiting")),
        (AGGRESSIVE, 3, 6, 0, (3, "enough")),
        # load over 0.8 with jobs waiting
        (USUAL, 3, 2, 23, (4, "load")),
        (USUAL, 3, 2, 22, (3, "enough")),  # exactly 0.8
        # nothing waits and load under 0.2
        (USUAL, 5, 0, 9, (4, "idle")),
        # few wait: under target x scale-down threshold, 1.5 and 2.5
        (USUAL, 5, 1, 30, (4, "few_waiting")),
        (USUAL, 5, 2, 10, (5, "enough")),
        (AGGRESSIVE, 5, 2, 10, (4, "few_waiting")),
        (AGGRESSIVE, 5, 3, 10, (5, "enough")),
        # at full load it goes down when few wait, and up again as soon as a job does: it oscillates
        (USUAL, 5, 0, 50, (4, "few_waiting")),
        (USUAL, 4, 1, 40, (5, "load")),
        (USUAL, 0, 0, 0, (0, "idle")),
    ],
)
def test_up_and_down(
    policy: PolicySettings, workers: int, waiting: float, active: float, expected: tuple[int, str]
) -> None:
    assert proposed(policy, workers, waiting, active) == expected


def test_one_worker_at_a_time_if_so_configured() -> None:
    policy = USUAL.model_copy(update={"scaling_step": "one"})
    assert proposed(policy, 3, 60, 0) == (4, "waiting")


def test_it_remembers_nothing() -> None:
    rule = Threshold()
    assert rule.load(rule.dump(rule.initial_memory())) == rule.initial_memory()
    with pytest.raises(ValueError, match="threshold"):
        rule.load({"x": 1})
