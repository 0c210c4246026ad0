"""The status of a ScaledQueue: what is in it, when its conditions changed, when it is worth a write."""

from __future__ import annotations

from typing import Any

import pytest

from deploy.crd.schema import definition
from scaler.config.admission import Admission
from scaler.config.settings import PolicySettings
from scaler.kube.scaled_queues.status import Declaration, differs, status_of_step, status_without_step
from scaler.model import Applied, Condition, Control, Decision, Missing, QueueSample, Workers
from scaler.step_result import TargetStep
from service.outcome import Failed, Ok, Outcome

VALID = Declaration(3, Admission(None))


def step(
    time: float = 1000.0,
    *,
    workers: Outcome[Workers] = Ok(Workers(2, 1)),  # noqa: B008  # frozen
    conditions: frozenset[Condition] = frozenset(),
    sentence: str = "5 jobs wait",
    desired: int = 4,
    acted: Applied | None = None,
    mode: Any = "act",
    sample: Any = QueueSample(1000.0, 5, 1),  # noqa: B008  # frozen
) -> TargetStep:
    decision = Decision(desired, desired, "queue", sentence, conditions=conditions)
    decided = None if isinstance(workers, Failed) else decision
    policy = PolicySettings(min_workers=1, max_workers=3, mode=mode)
    return TargetStep("shop/mail", ("mail",), policy, time, workers, sample, Control(), decided, acted)


def status(
    taken: TargetStep, before: dict[str, Any] | None = None, told: Declaration = VALID
) -> dict[str, Any]:
    return status_of_step(taken, told, before or {}, None)


def condition(of: dict[str, Any], kind: str) -> dict[str, Any]:
    return next((entry for entry in of["conditions"] if entry["type"] == kind), {})


def test_the_numbers_of_a_step() -> None:
    made = status(step())
    assert {
        key: made[key] for key in ("observedGeneration", "current", "ready", "desired", "recommended")
    } == {
        "observedGeneration": 3,
        "current": 2,
        "ready": 1,
        "desired": 4,
        "recommended": 3,
    }
    assert (made["reason"], made["sentence"], made["decisions"]) == ("queue", "5 jobs wait", [])


def test_every_field_is_in_the_schema() -> None:
    schema = definition()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["status"]
    made = status(step(acted=Applied(4)))
    assert made.keys() == schema["properties"].keys()
    assert made["decisions"][0].keys() == schema["properties"]["decisions"]["items"]["properties"].keys()
    assert made["conditions"][0].keys() == schema["properties"]["conditions"]["items"]["properties"].keys()


def test_the_usual_conditions_are_there_false_too() -> None:
    made = status(step(conditions=frozenset({"Active"})))
    assert [entry["type"] for entry in made["conditions"]] == [
        *("Ready", "Active", "AtMax", "Contested", "MetricsStale", "Overridden", "Paused")
    ]
    assert condition(made, "Active")["status"] == "True"
    assert condition(made, "Paused") == {
        "type": "Paused",
        "status": "False",
        "reason": "NotPaused",
        "message": "",
        "observedGeneration": 3,
        "lastTransitionTime": "1970-01-01T00:16:40Z",
    }


def test_another_condition_is_there_once_it_was_true() -> None:
    resting = status(step(conditions=frozenset({"Resting"})))
    assert condition(resting, "Resting")["status"] == "True"
    after = status(step(2000.0), resting)
    assert condition(after, "Resting")["status"] == "False"
    assert condition(after, "Resting")["lastTransitionTime"] == "1970-01-01T00:33:20Z"


def test_the_time_of_a_condition_is_that_of_its_change() -> None:
    first = status(step(1000.0))
    same = status(step(2000.0), first)
    assert condition(same, "Paused") == condition(first, "Paused")
    changed = status(step(3000.0, conditions=frozenset({"Paused"})), same)
    assert condition(changed, "Paused")["lastTransitionTime"] == "1970-01-01T00:50:00Z"


@pytest.mark.parametrize(
    ("taken", "ready"),
    [
        (step(), ("True", "Scaling")),
        (step(mode="advise"), ("True", "Advising")),
        (step(mode="shadow"), ("True", "Shadowing")),
        (step(workers=Failed("not_found", "no such Deployment")), ("False", "TargetNotFound")),
        (step(workers=Failed("forbidden", "no right")), ("False", "Forbidden")),
        (step(workers=Failed("timeout", "no response")), ("Unknown", "TargetUnreadable")),
    ],
)
def test_when_it_is_ready(taken: TargetStep, ready: tuple[str, str]) -> None:
    entry = condition(status(taken), "Ready")
    assert (entry["status"], entry["reason"]) == ready


def test_an_invalid_spec_is_not_ready_though_the_last_one_is_in_force() -> None:
    told = Declaration(4, Admission(None, "SpecInvalid", "spec.maxWorkers: should be a number"))
    entry = condition(status(step(), told=told), "Ready")
    assert (entry["status"], entry["reason"], entry["message"]) == (
        *("False", "SpecInvalid", "spec.maxWorkers: should be a number"),
    )


def test_one_that_is_no_target_keeps_its_decisions_and_has_no_number() -> None:
    before = status(step(acted=Applied(4)))
    told = Declaration(4, Admission(None, "QueueTaken", "spec.queues: own serves mail already"))
    made = status_without_step(told, before, 2000.0)
    assert made["decisions"] == before["decisions"]
    assert made["current"] is made["desired"] is None
    assert [(entry["type"], entry["reason"]) for entry in made["conditions"]] == [("Ready", "QueueTaken")]


def test_an_order_that_cannot_be_read_is_a_condition_until_it_can() -> None:
    made = status(step(), told=VALID._replace(order_problem="annotation x"))
    entry = condition(made, "OrderInvalid")
    assert (entry["status"], entry["message"]) == ("True", "annotation x")
    assert condition(status(step(), made), "OrderInvalid")["status"] == "False"
    assert not condition(status(step()), "OrderInvalid")


def test_the_last_five_decisions_the_newest_first() -> None:
    made: dict[str, Any] = {}
    for number in range(7):
        made = status(step(1000.0 + number, acted=Applied(number), sentence=f"number {number}"), made)
    assert [decision["to"] for decision in made["decisions"]] == [6, 5, 4, 3, 2]
    assert made["decisions"][0] == {
        "time": "1970-01-01T00:16:46Z",
        "from": 2,
        "to": 6,
        "reason": "queue",
        "sentence": "number 6",
    }
    assert made["current"] == 6
    assert status(step(), made)["decisions"] == made["decisions"], "a step without a change"


def test_what_others_wrote_into_it_is_no_error() -> None:
    for before in ({"conditions": "x", "decisions": 5}, {"conditions": [5], "decisions": {"a": 1}}):
        assert condition(status(step(), before), "Ready")["status"] == "True"


def test_only_what_changed_is_worth_a_write() -> None:
    made = status(step())
    assert differs(made, {})
    assert not differs(status(step(5000.0, sentence="6 jobs wait"), made), made)
    assert differs(status(step(desired=3), made), made)
    assert differs(status(step(conditions=frozenset({"AtMax"})), made), made)
    stale = step(sample=Missing("empty", "no series"))
    assert not differs(status(stale, status(stale)), status(stale))
    stored = {
        key: value for key, value in status(step(workers=Ok(Workers(2, None)))).items() if value is not None
    }
    assert not differs(status(step(workers=Ok(Workers(2, None))), stored), stored), (
        "what is not known is absent"
    )


def test_a_warning_of_the_settings_is_told_and_does_not_make_it_unready() -> None:
    """Of whatever kind of workload: the grace period is that of its pods."""
    slow = QueueSample(1000.0, 5, 1, duration_sum=570.0, duration_count=10.0)
    made = status(step(workers=Ok(Workers(2, 2, grace_seconds=30.0)), sample=slow))
    warned = condition(made, "GraceTooShort")
    assert (warned["status"], warned["reason"]) == ("True", "GraceTooShort")
    assert warned["message"].startswith("jobs run 57 s on average, longer than the grace period of 30 s")
    assert condition(made, "Ready")["status"] == "True"
    enough = status(step(workers=Ok(Workers(2, 2, grace_seconds=60.0)), sample=slow), before=made)
    assert condition(enough, "GraceTooShort")["status"] == "False"
    assert not condition(status(step(workers=Ok(Workers(2, 2)), sample=slow)), "GraceTooShort"), "not known"
