"""A ScaledQueue's spec as a target, and a target as a spec."""

from __future__ import annotations

from typing import Any

import pytest

from scaler.config.scaled_queue import MOST_DECLARED_QUEUES, POLICY_NAMES, SpecError, spec_of, target_of
from scaler.config.settings import POLICY_KEYS, TargetSettings, WorkloadSettings

SPEC: dict[str, Any] = {"targetRef": {"name": "mail-worker"}, "queues": ["mail"]}


def refused(**changed: Any) -> str:
    with pytest.raises(SpecError) as caught:
        target_of("shop", "mail", SPEC | changed)
    return str(caught.value)


def test_the_least_is_a_workload_and_a_queue() -> None:
    target = target_of("shop", "mail", SPEC)
    assert target.name == "shop/mail"
    assert target.kubernetes == WorkloadSettings(namespace="shop", name="mail-worker")
    assert target.queues == ("mail",)
    assert target.prefix == "bull"
    assert not target.model_fields_set & set(POLICY_KEYS), "the layers of the settings count"


def test_every_setting_of_a_policy_has_its_field() -> None:
    assert set(POLICY_NAMES.values()) == set(POLICY_KEYS) - {"enabled"}
    assert POLICY_NAMES["waitSloSeconds"] == "wait_slo_seconds"


def test_all_fields() -> None:
    reference = {"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "name": "mail"}
    more = {"maxWorkers": 20, "waitSloSeconds": 5, "priority": 3, "queueSloSeconds": {"a": 2}}
    given = {"targetRef": reference, "queues": ["a", "b-*"], "prefix": "x", "mode": "act", "idleFirst": False}
    target = target_of("shop", "mail", given | more)
    assert target == TargetSettings(
        name="shop/mail",
        queues=("a", "b-*"),
        prefix="x",
        mode="act",
        max_workers=20,
        wait_slo_seconds=5.0,
        priority=3,
        queue_slo_seconds={"a": 2.0},
        kubernetes=WorkloadSettings(
            api_version="argoproj.io/v1alpha1",
            kind="Rollout",
            name="mail",
            namespace="shop",
            idle_first=False,
        ),
    )


@pytest.mark.parametrize("mode", ["act", "advise", "shadow"])
def test_the_mode_is_that_of_the_settings(mode: str) -> None:
    assert target_of("shop", "mail", SPEC | {"mode": mode}).mode == mode


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"minWorkers": -1}, "spec.minWorkers: should be greater than or equal to 0"),
        ({"maxWorkers": "5"}, "spec.maxWorkers: should be a whole number"),
        ({"queues": []}, "spec.queues: should not be empty"),
        ({"queues": ["a", ""]}, "spec.queues: a name should not be empty"),
        (
            {"queues": ["x"] * (MOST_DECLARED_QUEUES + 1)},
            f"spec.queues: should have at most {MOST_DECLARED_QUEUES} entries",
        ),
        ({"queues": ["x" * 600]}, "spec.queues: should have at most 512 letters each"),
        ({"queueSloSeconds": {"a": -1}}, "spec.queueSloSeconds.a: should be greater than 0"),
        ({"mode": "off"}, "spec.mode: should be 'act', 'advise' or 'shadow'"),
        ({"enabled": False}, "spec.enabled: unknown field"),
        ({"min_workers": 1}, "spec.min_workers: unknown field"),
        ({"targetRef": None}, "spec.targetRef: is missing"),
        ({"targetRef": {}}, "spec.targetRef.name: is missing"),
        ({"targetRef": {"name": "a", "namespace": "other"}}, "spec.targetRef.namespace: unknown field"),
        ({"targetRef": {"name": "A b"}}, "spec.targetRef.name: string should match pattern"),
        ({"targetRef": {"name": "a", "kind": "Job"}}, "of another kind, set its apiVersion"),
    ],
)
def test_an_error_names_the_field(changed: dict[str, Any], sentence: str) -> None:
    assert sentence in refused(**changed)


@pytest.mark.parametrize("spec", [None, 5, [], "x"])
def test_what_is_no_spec_is_refused(spec: object) -> None:
    with pytest.raises(SpecError, match="spec: is missing"):
        target_of("shop", "mail", spec)


def test_a_target_as_a_spec_has_only_what_differs() -> None:
    workload = WorkloadSettings(name="mail", namespace="shop")
    target = TargetSettings(name="mail", queues=("mail",), wait_slo_seconds=45.0, kubernetes=workload)
    assert spec_of(target, {"wait_slo_seconds": 45.0, "mode": "advise"}) == {
        "targetRef": {"name": "mail"},
        "queues": ["mail"],
        "mode": "advise",
        "waitSloSeconds": 45,
    }


def test_a_spec_is_the_target_that_it_was_made_of() -> None:
    workload = WorkloadSettings(
        api_version="argoproj.io/v1alpha1", kind="Rollout", name="mail", namespace="shop", idle_first=True
    )
    target = TargetSettings(
        name="shop/mail",
        queues=("mail", "report-*"),
        prefix="{x}",
        queue_slo_seconds={"mail": 5.0},
        priority=-2,
        mode="shadow",
        policy="threshold",
        max_workers=7,
        scale_down_threshold=0.25,
        cooldown_seconds=12.5,
        kubernetes=workload,
    )
    own = {key: getattr(target, key) for key in POLICY_KEYS if key in target.model_fields_set}
    assert target_of("shop", "mail", spec_of(target, own)) == target


def test_processes_are_no_scaled_queue() -> None:
    target = TargetSettings.model_validate(
        {"name": "mail", "queues": ["mail"], "processes": {"command": ["node", "x.js"]}}
    )
    with pytest.raises(ValueError, match="mail: its workers are processes"):
        spec_of(target, {})
