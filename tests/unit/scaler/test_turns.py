"""Targets take turns where not all can be read in a step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from scaler.config.settings import PolicySettings
from scaler.controller import Controller, Managed
from scaler.model import QueueSample, TargetMetrics, Workers
from scaler.state.live import LiveState
from scaler.step_result import StepResult
from service.clock import Deadline, now
from service.outcome import Failed, Ok, Outcome
from tests.support.targets import FakeTarget

POLICY = PolicySettings(policy="threshold", cooldown_seconds=0)


@dataclass
class Budget:
    """Requests that a step may send."""

    left: int = 0


@dataclass
class LimitedTarget(FakeTarget):
    """It can be read while the budget lasts."""

    budget: Budget = field(default_factory=Budget)

    def read(self, deadline: Deadline, *, acts: bool = True) -> Outcome[Workers]:
        if self.budget.left <= 0:
            return Failed("throttled", "not sent, rate limit requests_per_second is reached")
        self.budget.left -= 1
        return super().read(deadline, acts=acts)


@dataclass
class FakeMetrics:
    names: list[str]
    waiting: int = 0

    def read(self, deadline: Deadline) -> Mapping[str, TargetMetrics]:
        return {name: TargetMetrics((name,), QueueSample(now(), self.waiting, 2.0)) for name in self.names}


class Fleet:
    def __init__(self, count: int) -> None:
        self.budget = Budget()
        self.targets = {f"w{number}": LimitedTarget(budget=self.budget) for number in range(count)}
        self.metrics = FakeMetrics(list(self.targets))
        self.controller = Controller(LiveState(None))

    def step(self, budget: int, **options: Any) -> StepResult:
        self.budget.left = budget
        managed = [Managed(name, POLICY, target) for name, target in self.targets.items()]
        return self.controller.step(self.metrics, managed, 5.0, **options)

    def reads(self) -> list[int]:
        return [len(target.acts) for target in self.targets.values()]


def test_a_thousand_targets_at_250_requests_a_step_are_each_read_every_four_steps() -> None:
    fleet = Fleet(1000)
    for turn in range(1, 4):
        for _ in range(4):
            fleet.step(250)
        assert set(fleet.reads()) == {turn}


@pytest.mark.parametrize("budget", [1, 7, 30, 39])
def test_no_target_starves_whatever_the_budget_is(budget: int) -> None:
    fleet = Fleet(40)
    for _ in range(60):
        fleet.step(budget)
    assert max(fleet.reads()) - min(fleet.reads()) <= 1


def test_a_target_that_waits_keeps_its_last_decision_and_is_not_scaled_on_it_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    fleet = Fleet(2)
    fleet.step(2)
    fleet.metrics.waiting = 40
    first = fleet.step(1)
    assert [step.desired for step in first.steps] == [8, 2]
    assert [isinstance(step.workers, Ok) for step in first.steps] == [True, True]
    second = fleet.step(1)
    assert [step.desired for step in second.steps] == [8, 8]
    assert second.steps[0].acted is None
    assert [target.calls for target in fleet.targets.values()] == [[(2, 8)], [(2, 8)]]
    assert fleet.controller.counters.errors == {"throttled": 2}
    assert sum(fleet.controller.counters.decisions.values()) == 2
    assert [record.message for record in caplog.records if record.levelname == "WARNING"] == [
        "targets not read in time"
    ]


def test_a_target_that_waited_too_long_is_not_readable(monkeypatch: pytest.MonkeyPatch) -> None:
    fleet = Fleet(1)
    fleet.step(1)
    monkeypatch.setattr("scaler.controller.now", lambda: now() + 120)
    [step] = fleet.step(0).steps
    assert isinstance(step.workers, Failed)
    assert step.desired is None


def test_the_workers_of_a_target_that_waits_count_for_the_capacity_of_all() -> None:
    fleet = Fleet(2)
    fleet.metrics.waiting = 40
    fleet.step(2, most=16)
    for _ in range(4):
        result = fleet.step(1, most=16)
        assert sum(step.desired or 0 for step in result.steps) <= 16
