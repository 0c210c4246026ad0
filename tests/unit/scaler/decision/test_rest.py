"""A workload that somebody set to 0 rests; a zero of this scaler, or of a manifest, does not."""

from __future__ import annotations

from typing import Any

import pytest

from scaler.config.settings import PolicySettings
from scaler.decision.guards import apply_guards
from scaler.decision.memory import GuardMemory, dump_guards, load_guards, record_change
from scaler.model import Control, Decision, Missing, Observation, Override, Proposal, QueueSample

JOBS = QueueSample(0.0, 40.0, 0.0)


def policy(**keys: Any) -> PolicySettings:
    return PolicySettings.model_validate({"min_workers": 1, "max_workers": 10, **keys})


def decide(
    settings: PolicySettings,
    workers: int,
    memory: GuardMemory,
    *,
    at: float = 0.0,
    sample: QueueSample | Missing = JOBS,
    control: Control = Control(),  # noqa: B008  # frozen
    **seen: Any,
) -> tuple[Decision, GuardMemory]:
    """One step with 40 jobs, for which the policy proposes 8 workers."""
    observation = Observation(at, workers, workers, sample, **({"shared": True} | seen))
    proposal = None if isinstance(sample, Missing) else Proposal(8, "queue", "8 workers for 40 jobs")
    return apply_guards(settings, observation, proposal, control, memory)


def seen_at(workers: int, settings: PolicySettings | None = None) -> GuardMemory:
    return decide(settings or policy(), workers, GuardMemory())[1]


@pytest.mark.parametrize("least", [0, 1])
def test_a_workload_that_somebody_set_to_zero_rests_and_says_so(least: int) -> None:
    settings = policy(min_workers=least, scale_to_zero_after_seconds=600)
    memory = seen_at(5, settings)
    for at in (5.0, 10.0, 3600.0):
        sample = QueueSample(at, 40.0, 0.0)
        decision, memory = decide(settings, 0, memory, at=at, sample=sample)
        assert (decision.workers, decision.reason) == (0, "resting")
        assert "Resting" in decision.conditions
        assert "rests at 0, as somebody set it" in decision.sentence


def test_it_rests_until_somebody_sets_it_otherwise() -> None:
    _, memory = decide(policy(), 0, seen_at(5))
    decision, memory = decide(policy(), 1, memory)
    assert (decision.workers, "Resting" in decision.conditions) == (8, False)
    decision, _ = decide(policy(), 0, memory)
    assert decision.workers == 0, "and again"


def test_a_zero_of_our_own_does_not_rest() -> None:
    settings = policy(min_workers=0)
    memory = record_change(seen_at(1, settings), 0.0, 0)
    assert decide(settings, 0, memory)[0].workers == 8
    restored = load_guards(dump_guards(memory))
    assert decide(settings, 0, restored)[0].workers == 8


def test_who_set_it_to_zero_is_known_after_a_restart() -> None:
    _, memory = decide(policy(), 0, seen_at(5))
    assert decide(policy(), 0, load_guards(dump_guards(memory)))[0].workers == 0
    down = load_guards(dump_guards(seen_at(5)))
    assert decide(policy(), 0, down)[0].workers == 0, "set while no scaler ran"


def test_a_zero_that_we_wanted_and_whose_answer_was_lost_is_our_own() -> None:
    settings = policy(min_workers=0, scale_to_zero_after_seconds=60)
    memory = GuardMemory()
    for at in (0.0, 30.0, 61.0):
        _, memory = decide(settings, 1, memory, at=at, sample=QueueSample(at, 0.0, 0.0))
    decision, _ = decide(settings, 0, memory, at=66.0, sample=QueueSample(66.0, 40.0, 0.0))
    assert decision.workers == 8
    override = Control(override=Override(0, "maintenance", "ada", 0.0))
    _, memory = decide(policy(), 0, seen_at(5), control=override)
    assert decide(policy(), 0, memory)[0].workers == 8, "the override has ended"


@pytest.mark.parametrize(("least", "workers"), [(0, 8), (1, 0)])
def test_a_new_workload_at_zero_is_scaled_from_zero_where_that_is_the_minimum(
    least: int, workers: int
) -> None:
    assert decide(policy(min_workers=least), 0, GuardMemory())[0].workers == workers


def test_a_zero_of_a_manifest_is_a_start_value_where_the_minimum_is_zero() -> None:
    settings = policy(min_workers=0)
    assert decide(settings, 0, seen_at(5, settings), applied=True)[0].workers == 8
    assert decide(policy(), 0, seen_at(5), applied=True)[0].workers == 0


def test_the_zero_of_another_autoscaler_is_no_persons() -> None:
    settings = policy(min_workers=0)
    decision, memory = decide(settings, 0, seen_at(5, settings), contested="conflict: ScaledObject so")
    assert (decision.workers, decision.reason) == (0, "contested")
    assert decide(settings, 0, memory)[0].workers == 8


def test_an_override_ends_the_rest_and_nothing_else_raises_it() -> None:
    settings = policy(fallback_workers=3, fallback_after_failures=1)
    _, memory = decide(settings, 0, seen_at(5))
    missing = Missing("unreachable", "Prometheus does not answer")
    decision, memory = decide(settings, 0, memory, sample=missing)
    assert decision.workers == 0
    assert {"Resting", "MetricsStale"} <= decision.conditions
    override = Control(override=Override(2, "a launch", "ada", 0.0))
    decision, _ = decide(settings, 0, memory, control=override)
    assert decision.workers == 2
    assert "Resting" not in decision.conditions


def test_a_pause_holds_before_the_rest_does() -> None:
    _, memory = decide(policy(), 0, seen_at(5), control=Control(paused=True))
    decision, _ = decide(policy(), 0, memory)
    assert decision.workers == 0
    assert "Resting" in decision.conditions


def test_where_nobody_else_sets_the_number_zero_is_no_rest() -> None:
    memory = seen_at(5)
    assert decide(policy(), 0, memory, shared=False)[0].workers == 8
