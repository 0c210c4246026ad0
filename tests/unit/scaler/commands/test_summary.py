from __future__ import annotations

from typing import Any

import pytest

from scaler.commands.outlook import outlook, waiting_for_more
from scaler.commands.summary import summary
from tests.support.scaling_view import view

TIME = 1005.0


CONDITIONS = {
    "paused": ["Active", "Paused"],
    "disabled": ["Active", "Paused"],
    "contested": ["Contested"],
    "advising": ["Active", "Advising"],
    "override": ["Overridden"],
    "metrics_missing": ["MetricsStale"],
}


def target(waiting: float = 0.0, **fields: Any) -> dict[str, Any]:
    shown: dict[str, Any] = view(waiting)["targets"][0]
    reason = fields.get("reason")
    more = {"conditions": CONDITIONS[reason], "paused": reason == "paused"} if reason in CONDITIONS else {}
    return shown | more | fields


HELD = {"desired": 2, "recommended": 36, "notes": ["held at 2: gone"]}


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        (
            HELD | {"reason": "paused", "notes": ["paused: held at 2"]},
            "2 workers stay (paused) until `scaling auto mailer`; the metrics call for 36",
        ),
        (
            HELD | {"reason": "disabled", "notes": ["enabled is false: held at 2"]},
            "2 workers stay (disabled) until `enabled: true`; the metrics call for 36",
        ),
        (
            HELD | {"reason": "advising", "notes": ["mode is advise: held at 2"]},
            "2 workers stay (advising) until `mode: act`; the metrics call for 36",
        ),
        (
            {
                "desired": 36,
                "conditions": ["Active", "Shadowing"],
                "reason": "queue",
                "sentence": "36 workers: 4 wait",
                "notes": [],
            },
            "2 -> 36 workers, not applied (queue): 4 wait",
        ),
        (
            HELD | {"reason": "contested", "notes": ["held at 2: conflict: HPA"]},
            "2 workers stay (contested): conflict: HPA, until the other one is gone; the metrics call for 36",
        ),
        (
            HELD | {"reason": "metrics_missing", "recommended": None},
            "2 workers stay (metrics_missing): gone, until there are metrics again",
        ),
        (
            {
                "desired": 5,
                "recommended": 5,
                "reason": "override",
                "notes": ["override of 5 by ann: a sale"],
                "override": {"workers": 5, "until": TIME + 3600},
            },
            "2 -> 5 workers (override): override of 5 by ann: a sale, for 1 h more",
        ),
        (
            {"current": None, "desired": None, "reason": None, "error": "no such Deployment"},
            "not readable: no such Deployment",
        ),
        (
            {"desired": 2, "reason": "cooldown", "sentence": "3 workers: 4 wait; held", "notes": ["held"]},
            "2 workers stay (cooldown): 4 wait; held",
        ),
        (
            {"current": 0, "desired": 0, "reason": "load", "sentence": "0 workers: none wait", "notes": []},
            "no worker (load): none wait",
        ),
        (
            {"desired": 1, "reason": "load", "error": "API server away", "notes": []},
            "2 -> 1 worker, not applied (load): API server away",
        ),
    ],
)
def test_one_sentence_says_what_why_and_until_when(fields: dict[str, Any], sentence: str) -> None:
    assert summary(target(**fields), acting=True, time=TIME) == sentence


def test_a_pause_is_said_also_where_the_metrics_come_to_the_same_number() -> None:
    paused = target(conditions=["Paused"], paused=True, notes=["paused: held at 2"], reason="held")
    assert summary(paused, acting=True, time=TIME) == "2 workers stay (paused) until `scaling auto mailer`"
    assert outlook(paused, TIME) == ["`scaling auto mailer`: the metrics call for 2 workers"]


def test_a_decision_that_is_not_applied_is_said_to_be_so() -> None:
    said = summary(target(400.0), acting=False, time=TIME)
    assert said.startswith("2 -> 36 workers, not applied (queue): 400 wait")


@pytest.mark.parametrize(
    ("fields", "line"),
    [
        (HELD | {"reason": "paused"}, "`scaling auto mailer`: the metrics call for 36 workers"),
        (HELD | {"reason": "disabled"}, "`enabled: true` in the settings: the metrics call for 36 workers"),
        *(
            (
                HELD | {"reason": "advising", "origins": origins},
                f"`mode: act` {where}, or whoever sets the number: the metrics call for 36 workers",
            )
            for origins, where in [
                ({}, "in the settings"),
                ({"mode": "changed"}, "by `update_scaling_config` of the API, which has changed it"),
                ({"mode": "target", "enabled": "changed"}, "in its own settings"),
                ({"mode": "policies[2]"}, "in `policies[2]` of the settings"),
            ]
        ),
        (
            HELD | {"reason": "contested"},
            "the other controller has to leave the number alone: the metrics call for 36 workers",
        ),
        (
            HELD | {"reason": "override", "override": {"until": TIME + 40}},
            "the end of the override in 40 s, or `scaling auto mailer`: the metrics call for 36 workers",
        ),
        (HELD | {"reason": "metrics_missing", "metrics": {"why": "too slow"}}, "recent metrics: too slow"),
        ({"desired": None, "error": "no such user"}, "the error has to end: no such user"),
        ({"reason": "cooldown"}, "the end of the cooldown"),
        ({"desired": 40, "reason": "max"}, "a higher max_workers"),
        ({"desired": 40}, "nothing scales out: max_workers is 40"),
        ({"desired": 2}, "nothing scales in: min_workers is 2"),
    ],
)
def test_what_would_change_the_number(fields: dict[str, Any], line: str) -> None:
    assert line in outlook(target(400.0, **fields), TIME)


def test_the_end_of_a_hold_is_said_in_seconds() -> None:
    shown = target(0.0, desired=5, reason="held")
    shown["inputs"] = shown["inputs"] | {"held_seconds": 40.2, "enough": 3.0}
    assert "the end of the hold in 40 s: then 3 workers, if no more are needed" in outlook(shown, TIME)


def test_the_backlog_that_scales_out_is_the_one_of_the_policy() -> None:
    shown = target(3.0)
    waiting = waiting_for_more(shown)
    assert waiting is not None
    assert f"over {waiting:.0f} waiting jobs (3 now): scales out" in outlook(shown, TIME)
    for jobs, more in ((waiting - 1, False), (waiting + 2, True)):
        inputs = shown["inputs"] | {"waiting": jobs}
        assert (waiting_for_more(shown | {"inputs": inputs}) is None) == more


def test_another_policy_names_its_thresholds() -> None:
    shown = view(3.0, policy="threshold")["targets"][0]
    lines = outlook(shown, TIME)
    assert lines[0] == "over 10 waiting jobs (3 now): scales out"
