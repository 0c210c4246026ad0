"""The API server's objects: what is read of them, and the patches."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaler.kube.conflicts import MAX_REVERTS, Reverts
from scaler.kube.election import record_of
from scaler.kube.errors import LONGEST_RETRY_AFTER, error_of_response, seconds_of
from scaler.kube.objects import (
    Autoscaler,
    api_time,
    conflicts_of,
    owner_of_replicas,
    pod_of,
    scale_patch,
    selector_text,
    unix_seconds,
    workload_of,
    workload_of_scale,
)
from tests.support.kubernetes.fake_api import FakeApi
from tests.support.kubernetes.patches import RefusedError, patched


def owned(*managers: tuple[str, str]) -> list[dict[str, Any]]:
    fields: dict[str, Any] = {"fieldsV1": {"f:spec": {"f:replicas": {}}}}
    return [{"manager": manager, "time": time} | fields for manager, time in managers]


def test_a_workload_is_read_with_its_owner_and_its_pods_selector() -> None:
    workload = workload_of(
        {
            "metadata": {
                "resourceVersion": "7",
                "uid": "u",
                "managedFields": [
                    {"manager": "controller", "time": "2026-01-03T00:00:00Z", "fieldsV1": {"f:status": {}}},
                    *owned(("kubectl", "2026-01-01T00:00:00Z"), ("keda", "2026-01-02T00:00:00Z")),
                ],
            },
            "spec": {"replicas": 3, "selector": {"matchLabels": {"b": "2", "a": "1"}}},
            "status": {"readyReplicas": 2},
        }
    )
    assert (workload.replicas, workload.ready, workload.owner, workload.selector) == (3, 2, "keda", "a=1,b=2")
    assert workload_of({"metadata": {}, "spec": {}}).replicas == 1, "the API's own default"
    assert workload_of({"metadata": {}, "spec": {"replicas": 0}}).ready == 0


@pytest.mark.parametrize("spec", [{"replicas": -1}, {"replicas": "3"}, {"replicas": True}, []])
def test_invalid_workloads_are_refused(spec: object) -> None:
    with pytest.raises(ValueError, match=r"replicas|not an object"):
        workload_of({"spec": spec})


@pytest.mark.fault
@pytest.mark.parametrize(
    ("read", "data"),
    [
        (workload_of, {"spec": {"replicas": 1, "template": [1]}}),
        (workload_of, {"spec": {"replicas": 1, "selector": {"matchExpressions": [5]}}}),
        (workload_of, {"metadata": {"managedFields": ["x"]}, "spec": {"replicas": 1}}),
        (pod_of, {"metadata": {}, "status": {"conditions": [[]]}}),
        (pod_of, {"metadata": {}, "status": {"containerStatuses": [{"restartCount": []}]}}),
        (lambda data: conflicts_of([data], []), {"metadata": {"ownerReferences": 5}}),
        (record_of, {"metadata": {}, "spec": {"leaseTransitions": [1]}}),
    ],
)
def test_parts_of_another_kind_than_documented_are_refused(
    read: Callable[[Any], object], data: dict[str, Any]
) -> None:
    with pytest.raises(ValueError, match="not as the API documents it"):
        read(data)


def test_an_empty_scale_is_one_of_nothing() -> None:
    assert workload_of_scale({"kind": "Scale", "spec": {}, "status": {"selector": "a=1"}}).replicas == 0
    with pytest.raises(ValueError, match="not a Scale"):
        workload_of_scale({"kind": "Status"})


@given(st.integers(0, 50), st.integers(0, 50), st.integers(0, 50))
def test_the_patch_changes_what_it_expects_and_nothing_else(old: int, new: int, current: int) -> None:
    scale = {"kind": "Scale", "spec": {"replicas": current} if current else {}}
    body = json.dumps(scale_patch(old, new)).encode()
    if current == old:
        assert patched(scale, "application/json-patch+json", body)["spec"]["replicas"] == new
    else:
        with pytest.raises(RefusedError, match="rejected"):
            patched(scale, "application/json-patch+json", body)


@pytest.mark.parametrize(
    ("selector", "text"),
    [
        ({}, ""),
        ({"matchLabels": {"app": "mail"}}, "app=mail"),
        (
            {
                "matchExpressions": [
                    {"key": "tier", "operator": "In", "values": ["a", "b"]},
                    {"key": "env", "operator": "NotIn", "values": ["dev"]},
                    {"key": "x", "operator": "Exists"},
                    {"key": "y", "operator": "DoesNotExist"},
                ]
            },
            "tier in (a,b),env notin (dev),x,!y",
        ),
    ],
)
def test_a_selector_as_a_query(selector: dict[str, Any], text: str) -> None:
    assert selector_text(selector) == text


def test_a_selector_of_another_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="Near"):
        selector_text({"matchExpressions": [{"key": "a", "operator": "Near"}]})


def pod(ready: str | None, restarts: int = 0, cost: str = "0") -> dict[str, Any]:
    condition = [{"type": "Ready", "status": "True", "lastTransitionTime": ready}] if ready else []
    scheduled = {"type": "PodScheduled", "status": "True", "lastTransitionTime": "2026-01-01T00:00:02Z"}
    return {
        "metadata": {
            "name": "p",
            "creationTimestamp": "2026-01-01T00:00:00Z",
            "annotations": {"controller.kubernetes.io/pod-deletion-cost": cost},
        },
        "status": {
            "conditions": [scheduled, *condition],
            "containerStatuses": [{"restartCount": restarts}],
        },
    }


@pytest.mark.parametrize(
    ("data", "seconds", "ready"),
    [
        (pod("2026-01-01T00:00:12Z"), 10.0, True),
        (pod(None), None, False),
        (pod("2026-01-01T00:00:12Z", restarts=1), None, True),
        (pod("2025-12-31T23:59:00Z"), None, True),
    ],
)
def test_how_long_a_pod_took_from_scheduled_to_ready(
    data: dict[str, Any], seconds: float | None, *, ready: bool
) -> None:
    pod = pod_of(data)
    assert (pod.start_seconds, pod.ready) == (seconds, ready)


def test_a_pod_that_does_not_say_when_it_was_scheduled_counts_from_its_creation() -> None:
    data = pod("2026-01-01T00:00:12Z")
    del data["status"]["conditions"][0]
    assert pod_of(data).start_seconds == 12.0


def test_an_invalid_deletion_cost_counts_as_none() -> None:
    assert [pod_of(pod(None, cost=text)).cost for text in ("7", "-3", "many")] == [7, -3, 0]


def test_times_as_the_api_writes_them() -> None:
    assert unix_seconds("1970-01-01T00:01:00Z") == 60.0
    assert unix_seconds(api_time(60.25, micro=True)) == 60.25
    with pytest.raises(ValueError, match="missing"):
        unix_seconds(None)


def hpa(name: str, target: str, owner: str | None = None, *disabled: str) -> dict[str, Any]:
    owners = [{"kind": "ScaledObject", "name": owner, "controller": True}] if owner else []
    behavior = {direction: {"selectPolicy": "Disabled"} for direction in disabled}
    return {
        "metadata": {"name": name, "ownerReferences": owners},
        "spec": {
            "scaleTargetRef": {"kind": "Deployment", "name": target},
            "minReplicas": 2,
            "maxReplicas": 5,
            "behavior": behavior,
        },
    }


def scaled_object(**annotations: str) -> dict[str, Any]:
    marks = {f"autoscaling.keda.sh/{key.replace('_', '-')}": value for key, value in annotations.items()}
    return {
        "metadata": {"name": "so", "annotations": marks},
        "spec": {"scaleTargetRef": {"name": "mail"}},
    }


def test_other_autoscalers_are_named_by_workload() -> None:
    keda = {"metadata": {"name": "so"}, "spec": {"scaleTargetRef": {"name": "video"}}}
    conflicts = conflicts_of([hpa("h", "mail"), hpa("keda-hpa-so", "text", "so3")], [keda])
    assert conflicts == {
        ("Deployment", "mail"): Autoscaler("HorizontalPodAutoscaler h"),
        ("Deployment", "text"): Autoscaler("ScaledObject so3"),
        ("Deployment", "video"): Autoscaler("ScaledObject so"),
    }


@pytest.mark.parametrize(
    ("annotations", "scales"),
    [
        ({}, True),
        ({"paused": "true"}, False),
        ({"paused": "1"}, False),
        ({"paused": "please"}, False),
        ({"paused": "false"}, True),
        ({"paused": "0"}, True),
        ({"paused_replicas": "3"}, True),
        ({"paused_replicas": "3", "paused": "true"}, True),
        ({"paused_scale_in": "true"}, True),
        ({"paused_scale_out": "true"}, True),
        ({"paused_scale_in": "true", "paused_scale_out": "false"}, True),
        ({"paused_scale_in": "true", "paused_scale_out": "true"}, False),
    ],
)
def test_kedas_pause_marks_are_read_as_keda_reads_them(annotations: dict[str, str], *, scales: bool) -> None:
    assert bool(conflicts_of([], [scaled_object(**annotations)])) is scales


def test_the_number_that_keda_keeps_is_named() -> None:
    conflict = conflicts_of([], [scaled_object(paused_replicas="3")])["Deployment", "mail"]
    assert conflict.name == "ScaledObject so (which keeps it at 3: paused-replicas)"


@pytest.mark.parametrize(
    ("disabled", "scaled"),
    [
        ((), [0, 1, 2, 5, 6]),
        (("scaleDown",), [0, 1, 2, 5, 6]),
        (("scaleUp",), [0, 1, 2, 5, 6]),
        (("scaleUp", "scaleDown"), [1, 6]),
    ],
)
def test_an_hpa_whose_directions_are_disabled_only_keeps_its_bounds(
    disabled: tuple[str, ...], scaled: list[int]
) -> None:
    conflict = conflicts_of([hpa("h", "mail", None, *disabled)], [])["Deployment", "mail"]
    assert [replicas for replicas in (0, 1, 2, 5, 6) if conflict.scales(replicas)] == scaled


def test_a_scaled_object_paused_in_both_directions_has_an_hpa_that_keeps_the_bounds() -> None:
    paused = scaled_object(paused_scale_in="true", paused_scale_out="true")
    conflicts = conflicts_of([hpa("keda-hpa-so", "mail", "so", "scaleUp", "scaleDown")], [paused])
    assert conflicts == {("Deployment", "mail"): Autoscaler("ScaledObject so", 2, 5)}


def test_replicas_that_nobody_set_have_no_owner() -> None:
    assert owner_of_replicas([]) is None


def test_a_write_through_the_scale_has_no_time_and_is_the_last_one() -> None:
    scale = {"manager": "hpa", "subresource": "scale", "fieldsV1": {"f:spec": {"f:replicas": {}}}}
    assert owner_of_replicas([scale, *owned(("flux", "2026-01-01T00:00:00Z"))]) == "hpa"


# --- reverted writes ---------------------------------------------------------------------------------------


def read_as(replicas: int, owner: str | None = "gitops") -> Any:
    data = {
        "metadata": {"managedFields": owned((owner, "t")) if owner else []},
        "spec": {"replicas": replicas},
    }
    return workload_of(data)


def test_a_workload_that_is_reverted_is_left_alone_longer_each_time() -> None:
    reverts, now, pauses = Reverts(), 0.0, []
    for _ in range(3):
        for _ in range(MAX_REVERTS):
            now += 10
            assert reverts.contested(now) is None
            reverts = reverts.after_write(5).after_read(now, read_as(2))
        contested = reverts.contested(now)
        assert contested is not None
        assert "gitops" in contested
        pauses.append(reverts.paused_until - now)
        now = reverts.paused_until
    assert pauses == [300.0, 600.0, 1200.0]


def test_reverts_that_are_rare_or_may_be_our_own_are_not_a_conflict() -> None:
    reverts = Reverts()
    for turn in range(10):
        reverts = reverts.after_write(5).after_read(turn * 700.0, read_as(2))
        for _ in range(MAX_REVERTS):
            reverts = reverts.after_write(5).without_write().after_read(turn * 700.0, read_as(2))
        assert reverts.contested(turn * 700.0) is None


def test_another_installation_of_the_scaler_is_a_conflict_too() -> None:
    reverts = Reverts()
    for turn in range(MAX_REVERTS):
        reverts = reverts.after_write(5).after_read(float(turn), read_as(2, "oxherd-scaler"))
    assert "another oxherd-scaler" in (reverts.contested(MAX_REVERTS) or "")


# --- refusals ----------------------------------------------------------------------------------------------


def test_an_error_names_the_request_and_the_reason() -> None:
    body = b'{"kind": "Status", "reason": "NotFound", "message": "deployments \\"mail\\" not found"}'
    error = error_of_response("get deployments a/mail", 404, body, None)
    assert (error.kind, error.status, error.reason) == ("not_found", 404, "NotFound")
    assert str(error) == 'get deployments a/mail: 404 NotFound: deployments "mail" not found'


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", None, b'{"message": 3}'])
def test_a_refusal_of_a_proxy_has_a_status_at_least(body: bytes | None) -> None:
    assert str(error_of_response("get x", 502, body, None)) == "get x: 502"
    assert error_of_response("get x", 502, body, None).kind == "unreachable"


@pytest.mark.parametrize(
    ("header", "status", "seconds"),
    [("5", 429, 5.0), (None, 429, 1.0), ("soon", 429, 1.0), ("-1", 503, None), ("nan", 429, 1.0)],
)
def test_how_long_to_stay_away(header: str | None, status: int, seconds: float | None) -> None:
    assert seconds_of(header, status) == seconds


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("header", ["3000", "86400"])
def test_a_server_that_asks_for_an_hour_is_asked_again_after_a_minute(status: int, header: str) -> None:
    error = error_of_response("get x", status, b"", header)
    assert error.retry_after == LONGEST_RETRY_AFTER == 60.0
    assert str(error) == f"get x: {status}; Retry-After is {header} s, asked again after 60 s"


@pytest.mark.parametrize("header", ["0", "2.5", "60"])
def test_up_to_a_minute_a_server_gets_the_pause_that_it_asks_for(header: str) -> None:
    assert error_of_response("get x", 429, b"", header).retry_after == float(header)


def test_the_fake_makes_no_new_version_of_what_does_not_change() -> None:
    """What the tests rest on: as a real server, and unlike a naive one."""
    fake = FakeApi()
    fake.answer("POST", "/api/v1/namespaces", {}, b'{"metadata": {"name": "a"}}')
    path = "/api/v1/namespaces/a/configmaps"
    fake.answer("POST", path, {}, b'{"metadata": {"name": "c"}, "data": {"k": "v"}}')
    content = {"Content-Type": "application/merge-patch+json"}
    first = fake.answer("PATCH", f"{path}/c", content, b'{"data": {"k": "v"}}')
    assert first == fake.answer("GET", f"{path}/c", {}, b"")


@pytest.mark.parametrize(("pods", "seconds"), [({}, 30.0), ({"terminationGracePeriodSeconds": 600}, 600.0)])
def test_the_grace_period_is_that_of_the_pods(pods: dict[str, Any], seconds: float) -> None:
    spec = {"replicas": 1, "template": {"spec": pods}}
    assert workload_of({"metadata": {}, "spec": spec}).grace_seconds == seconds


def test_of_a_scale_the_grace_period_is_not_known() -> None:
    assert workload_of_scale({"kind": "Scale", "spec": {}, "status": {}}).grace_seconds is None


@pytest.mark.parametrize(
    ("status", "outdated", "rolling"),
    [
        ({}, 0, False),
        ({"replicas": 8, "updatedReplicas": 8}, 0, False),
        ({"replicas": 10, "updatedReplicas": 2}, 8, False),
        ({"replicas": 8, "conditions": [{"type": "Progressing", "status": "True"}]}, 8, True),
        ({"replicas": 8, "conditions": [{"type": "Progressing", "status": "False"}]}, 8, False),
        ({"replicas": 8, "conditions": [{"type": "Progressing", "status": "Unknown"}]}, 8, False),
        ({"replicas": 8, "conditions": [{"type": "Available", "status": "True"}]}, 8, False),
        (
            {"replicas": 8, "updatedReplicas": 8, "conditions": [{"type": "Progressing", "status": "True"}]},
            0,
            False,
        ),
    ],
)
def test_a_rollout_goes_on_while_old_pods_are_there_and_its_controller_says_so(
    status: dict[str, Any], outdated: int, *, rolling: bool
) -> None:
    """An observedGeneration that is behind, or a text as a Rollout's, says nothing of pods."""
    data = {
        "metadata": {"generation": 7},
        "spec": {"replicas": 8},
        "status": {"observedGeneration": "6", **status},
    }
    workload = workload_of(data)
    assert (workload.outdated, workload.rolling, workload.terminating) == (outdated, rolling, None)


def test_terminating_pods_are_known_where_the_server_counts_them() -> None:
    data = {"metadata": {}, "spec": {"replicas": 8}, "status": {"terminatingReplicas": 0}}
    assert workload_of(data).terminating == 0
