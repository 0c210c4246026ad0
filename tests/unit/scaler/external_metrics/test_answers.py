from __future__ import annotations

from time import process_time
from typing import Any

import pytest

from scaler.config.settings import TargetSettings
from scaler.engines.decisions import Decisions, NoAnswer
from scaler.external_metrics.answers import (
    EXTERNAL_METRIC,
    HTTP_STATUSES,
    metric_values,
    places_of,
    status_failure,
)
from scaler.model import Missing, QueueSample
from scaler.step_result import TargetStep
from tests.support.engine_steps import AT, target, target_step

DONE = "2026-11-30T12:00:00Z"


def workload(name: str, **given: Any) -> dict[str, Any]:
    return {"kubernetes": {"name": name, **given}}


TARGETS = [
    target("mail", **workload("mail-worker", namespace="shop")),
    target("media", **workload("media-worker")),
    target("shop/images", "images", **workload("images", namespace="shop")),
    target("local", processes={"command": ["node"]}),
]
STEPS = [target_step(number, name=name) for name, number in (("mail", 7), ("media", 3), ("shop/images", 4))]


def asked(
    selector: str = "", namespace: str = "shop", steps: list[TargetStep] | None = None, now: float = AT
) -> Any:
    decisions = Decisions(TARGETS, {step.name: step for step in steps or STEPS}, AT, AT, 5.0)
    return metric_values(decisions, places_of(TARGETS, "oxherd"), namespace, selector, now=now, at=DONE)


def numbers(answer: Any) -> list[str]:
    return [item["value"] for item in answer["items"]]


def test_the_answer_is_a_list_of_values() -> None:
    assert asked("target=mail") == {
        "kind": "ExternalMetricValueList",
        "apiVersion": "external.metrics.k8s.io/v1beta1",
        "metadata": {},
        "items": [
            {
                "metricName": EXTERNAL_METRIC,
                "metricLabels": {"target": "mail", "workload": "mail-worker"},
                "timestamp": DONE,
                "value": "7",
            }
        ],
    }


@pytest.mark.parametrize(
    ("selector", "namespace", "found"),
    [
        ("target=mail", "shop", ["7"]),
        ("target in (mail)", "shop", ["7"]),
        ("workload=mail-worker", "shop", ["7"]),
        ("scaledqueue=images", "shop", ["4"]),
        ("workload=images", "shop", ["4"]),
        ("", "shop", ["7", "4"]),
        ("target", "shop", ["7"]),
        ("target=media", "oxherd", ["3"]),  # the namespace of the scaler, where the target names none
    ],
)
def test_targets_are_found_by_their_labels(selector: str, namespace: str, found: list[str]) -> None:
    assert numbers(asked(selector, namespace)) == found


@pytest.mark.parametrize(
    ("selector", "namespace", "why"),
    [
        ("target=mail", "oxherd", "no target in namespace oxherd has target=mail: there are target=media,"),
        ("target=mial", "shop", "no target in namespace shop has target=mial: the nearest: mail"),
        (
            "target=images",
            "shop",
            ": there are scaledqueue=images,workload=images; target=mail",
        ),
        ("scaledqueue=image", "shop", "the nearest: images"),
        ("target=mail", "bank", "no target has its workload in namespace bank"),
        ("target=local", "oxherd", "no target in namespace oxherd has target=local"),
    ],
)
def test_what_means_nothing_is_told_with_what_there_is(selector: str, namespace: str, why: str) -> None:
    """Only of the namespace: no team is told what another one has."""
    answer = asked(selector, namespace)
    assert isinstance(answer, NoAnswer)
    assert answer.code == "NOT_FOUND"
    assert why in answer.why


def test_what_is_no_selector_is_an_error() -> None:
    answer = asked("target=mail media")
    assert isinstance(answer, NoAnswer)
    assert (answer.code, HTTP_STATUSES[answer.code]) == ("INVALID_ARGUMENT", 400)
    assert answer.why == "no label selector from character 1 on: target=mail media"


def test_one_number_that_is_not_known_makes_all_of_them_an_error() -> None:
    """The HPA adds up what there is: the sum of the others would be too little."""
    missing = target_step(None, name="mail", sample=Missing("empty", "no such series"))
    answer = asked("", steps=[missing, STEPS[2]])
    assert answer == NoAnswer("UNAVAILABLE", "mail: no such series")
    assert numbers(asked("scaledqueue=images", steps=[missing, STEPS[2]])) == ["4"]


def test_steps_that_hang_are_no_answer_for_ever() -> None:
    assert numbers(asked("target=mail", now=AT + 59)) == ["7"]
    assert isinstance(asked("target=mail", now=AT + 61), NoAnswer)


def test_zero_is_where_the_scaler_itself_would_scale_to_zero() -> None:
    nothing = QueueSample(AT - 1, 0.0, 0.0)
    for idle, number in ((10.0, "1"), (300.0, "0")):
        step = target_step(0, name="mail", sample=nothing, idle=idle)
        assert numbers(asked("target=mail", steps=[step])) == [number]


def test_every_code_has_a_status_with_a_reason() -> None:
    for status in {*HTTP_STATUSES.values(), 401, 404, 405}:
        assert status_failure(status, "why")["reason"] not in {"", "InternalError"}


@pytest.mark.fault
@pytest.mark.parametrize(
    "selector",
    [
        f"scaledqueue in ({','.join(f'queue-nubmer-{index}' for index in range(200))})",
        f"scaledqueue={'queue-number-' * 300}7",
        ",".join(f"scaledqueue!=x{index}" for index in range(50)) + ",scaledqueue=queue-nubmer-7",
        f"scaledqueue notin ({','.join(f'queue-nubmer-{index}' for index in range(200))}),!scaledqueue",
    ],
)
def test_no_question_of_a_namespace_with_many_targets_takes_long(selector: str) -> None:
    """It is answered on the loop that answers all others; whoever views the namespace may ask."""
    many = [target(f"shop/queue-number-{index}", **workload("w", namespace="shop")) for index in range(2000)]
    places, decisions = places_of(many, "oxherd"), Decisions(many)
    before = process_time()
    answer = metric_values(decisions, places, "shop", selector, now=AT, at=DONE)
    assert isinstance(answer, NoAnswer)
    assert process_time() - before < 0.5


def test_the_nearest_of_what_is_not_wanted_is_not_told() -> None:
    answer = asked("target notin (mial),!workload")
    assert isinstance(answer, NoAnswer)
    assert "nearest" not in answer.why


def test_a_slash_in_the_name_of_a_target_makes_no_scaled_queue_of_it() -> None:
    """Those of ScaledQueues have the namespace before it, in which the workload is."""
    targets = [
        target("eu/mail", **workload("a", namespace="shop")),
        target("eu/media", **workload("b")),
        target("shop/images", **workload("c", namespace="shop")),
    ]
    assert [place.labels for place in places_of(targets, "oxherd")] == [
        {"target": "eu/mail", "workload": "a"},
        {"target": "eu/media", "workload": "b"},
        {"scaledqueue": "images", "workload": "c"},
    ]


def test_scaled_queues_of_one_name_are_apart_by_their_namespaces() -> None:
    targets = [
        target("shop/mail", **workload("w", namespace="shop")),
        target("bank/mail", **workload("w", namespace="bank")),
    ]
    steps = {step.name: step for step in (target_step(3, name="shop/mail"), target_step(5, name="bank/mail"))}
    places = places_of(targets, "oxherd")
    for namespace, number in (("shop", "3"), ("bank", "5")):
        for selector in ("scaledqueue=mail", "workload=w", ""):
            decisions = Decisions(targets, steps, AT, AT, 5.0)
            answer = metric_values(decisions, places, namespace, selector, now=AT, at=DONE)
            assert numbers(answer) == [number]


def test_a_target_without_a_workload_is_nowhere() -> None:
    places = places_of([TargetSettings(name="local", queues=("a",))], "oxherd")
    assert places == []
