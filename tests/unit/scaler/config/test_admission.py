"""Which declared targets are taken, and what is told of the others."""

from __future__ import annotations

from typing import Any

import pytest

from scaler.config.admission import Admission, DeclaredTarget, admit
from scaler.config.scaled_queue import target_of
from scaler.config.settings import ScalerSettings, TargetSettings
from scaler.config.validation import load_scaler_settings

OWN = """
defaults: {max_workers: 10}
targets:
  - {name: own, queues: [own, "own-*"], kubernetes: {name: own-worker}}
"""


def settings(text: str = OWN) -> ScalerSettings:
    return load_scaler_settings(text, {}, file="s.yml").model


def target(name: str, **spec: Any) -> TargetSettings:
    return target_of("shop", name, {"targetRef": {"name": name}, "queues": [name]} | spec)


def candidate(name: str, created: str = "2026", **spec: Any) -> DeclaredTarget:
    return DeclaredTarget(created, f"shop/{name}", target(name, **spec))


def admissions(*candidates: DeclaredTarget, most: int = 10, text: str = OWN) -> dict[str, Admission]:
    admitted = admit(settings(text), candidates, most, home="shop")
    return {name.removeprefix("shop/"): admission for name, admission in admitted.items()}


def test_all_that_exclude_nothing_are_taken() -> None:
    taken = admissions(
        candidate("a"), candidate("b", queues=["b", "b-*"]), candidate("c", prefix="x", queues=["own"])
    )
    assert all(admission == Admission(admission.target) for admission in taken.values())
    assert all(admission.target is not None for admission in taken.values())


@pytest.mark.parametrize(
    ("spec", "reason", "sentence"),
    [
        (
            {"targetRef": {"name": "own-worker"}},
            "WorkloadTaken",
            "spec.targetRef: own scales this workload already",
        ),
        ({"queues": ["x", "own"]}, "QueueTaken", "spec.queues: own serves own already"),
        (
            {"queues": ["own-a"]},
            "QueueTaken",
            "own serves own-*: a queue of it and of own-a would be counted twice",
        ),
        ({"queues": ["ow*"]}, "QueueTaken", "own serves own-*: a queue of it and of ow*"),
        (
            {"minWorkers": 11},
            "SpecInvalid",
            "spec.minWorkers: min_workers 11 is above max_workers 10; nothing",
        ),
        (
            {"queueSloSeconds": {"b": 1}},
            "SpecInvalid",
            "spec.queueSloSeconds.b: the target serves no such queue: a",
        ),
        ({"idleFirst": True}, "SpecInvalid", "spec.idleFirst: needs exporter_url"),
    ],
)
def test_what_cannot_be_taken_is_told_by_its_field(spec: dict[str, Any], reason: str, sentence: str) -> None:
    admission = admissions(candidate("a", **spec))["a"]
    assert (admission.target, admission.reason) == (None, reason)
    assert sentence in admission.sentence


def test_the_same_workload_of_another_namespace_or_api_is_another_one() -> None:
    elsewhere = DeclaredTarget(
        "1", "news/a", target_of("news", "a", {"targetRef": {"name": "own-worker"}, "queues": ["a"]})
    )
    rollout = {"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "name": "own-worker"}
    taken = admissions(elsewhere, candidate("b", targetRef=rollout))
    assert [admission.reason for admission in taken.values()] == ["", ""]


def test_an_older_one_counts_more_whatever_the_order() -> None:
    young, old = candidate("a", "2026-02"), candidate("b", "2026-01", targetRef={"name": "a"})
    for order in ([young, old], [old, young]):
        taken = admissions(*order)
        assert (taken["a"].reason, taken["b"].reason) == ("WorkloadTaken", "")
        assert taken["a"].sentence.startswith("spec.targetRef: shop/b scales this workload")


def test_of_an_invalid_one_the_last_valid_spec_stays() -> None:
    before = target("a", maxWorkers=5)
    invalid = DeclaredTarget("1", "shop/a", None, "spec.maxWorkers: should be a whole number", before)
    admission = admissions(invalid)["a"]
    assert admission.target == before
    assert admission.reason == "SpecInvalid"
    assert (
        admission.sentence == "spec.maxWorkers: should be a whole number; the last valid spec stays in force"
    )


def test_a_last_spec_that_is_not_valid_any_more_does_not_stay() -> None:
    invalid = candidate("a", minWorkers=20)._replace(before=target("a", minWorkers=12))
    admission = admissions(invalid)["a"]
    assert admission.target is None
    assert admission.sentence.endswith("nothing is scaled")


def test_so_many_are_taken_the_oldest_first() -> None:
    taken = admissions(candidate("a", "3"), candidate("b", "1"), candidate("c", "2"), most=2)
    assert {name: admission.reason for name, admission in taken.items()} == {"b": "", "c": "", "a": "TooMany"}
    assert "max_objects, which is 2" in taken["a"].sentence


def test_one_that_is_refused_takes_no_place() -> None:
    taken = admissions(candidate("a", "1", minWorkers=11), candidate("b", "2"), most=1)
    assert taken["b"].target is not None
