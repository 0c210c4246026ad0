"""Workloads of other kinds: whatever has /scale, found by asking the server, and Rollouts as Deployments."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from scaler.kube.api import KubeApi
from scaler.kube.conflicts import OtherAutoscalers
from scaler.kube.objects import Ref
from scaler.kube.target import KubernetesTarget
from scaler.kube.workloads import Workloads
from scaler.model import Applied
from tests.support.kubernetes.admin import Admin
from tests.support.kubernetes.cluster import ACCOUNT
from tests.support.kubernetes.front import Front
from tests.support.kubernetes.rules import RULES
from tests.support.kubernetes.targets import Leadership, failed, read, soon

MadeOf = Callable[[str, str], KubernetesTarget]


def definition(kind: str, api_version: str, *, scaled: bool = True) -> dict[str, Any]:
    """Of a kind whose objects are as Deployments."""
    group, _, version = api_version.partition("/")
    plural = f"{kind.lower()}s"
    scale = {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"}
    scale["labelSelectorPath"] = ".status.selector"
    anything = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}"},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"kind": kind, "plural": plural, "singular": kind.lower(), "listKind": f"{kind}List"},
            "versions": [
                {
                    "name": version,
                    "served": True,
                    "storage": True,
                    "schema": {"openAPIV3Schema": anything},
                    "subresources": {"scale": scale} if scaled else {},
                }
            ],
        },
    }


@pytest.fixture
def made_of(admin: Admin, api: KubeApi) -> Iterator[MadeOf]:
    """Defines a kind, makes a workload `mail` of two replicas of it, and a target of that."""
    defined = []

    def make(kind: str, api_version: str) -> KubernetesTarget:
        defined.append(definition(kind, api_version))
        admin.define(defined[-1])
        admin.workload("mail", 2, kind, api_version=api_version)
        group = api_version.partition("/")[0]
        rule = {"apiGroups": [group], "verbs": ["get", "patch"]}
        admin.rules(ACCOUNT, [*RULES, rule | {"resources": [f"{kind.lower()}s", f"{kind.lower()}s/scale"]}])
        ref = Ref(kind, admin.namespace, "mail", api_version)
        return KubernetesTarget(ref, api, Workloads(api), OtherAutoscalers(api), Leadership())

    yield make
    for known in defined:
        admin.undefine(known)


def test_a_kind_is_found_by_asking_the_server_once(admin: Admin, front: Front, made_of: MadeOf) -> None:
    target = made_of("Kitchen", "cooks.example.org/v1beta2")
    for old, new in [(2, 7), (7, 0), (0, 1)]:
        workers = read(target)
        assert (workers.requested, workers.ready) == (old, None), "only its /scale is known"
        assert target.scale(old, new, soon()) == Applied(new)
        assert admin.replicas("mail", "Kitchen", "cooks.example.org/v1beta2") == new
    assert len(front.requested("GET /apis/cooks.example.org/v1beta2/?$")) == 1
    assert not front.requested("GET .*/kitchens/mail( |$|\\?)")


def test_a_rollout_is_read_as_a_deployment_is(front: Front, made_of: MadeOf) -> None:
    target = made_of("Rollout", "argoproj.io/v1alpha1")
    workers = read(target)
    assert (workers.ready, workers.grace_seconds, workers.leaving) == (2, 0.0, 0)
    assert target.scale(2, 3, soon()) == Applied(3)
    assert not front.requested("GET /apis/argoproj.io/v1alpha1/?$"), "its resource is known"


@pytest.mark.parametrize("kind", ["Kitchn", "Kitchen"])
def test_a_kind_without_scale_is_not_found(admin: Admin, api: KubeApi, kind: str) -> None:
    known = definition("Kitchen", "cooks.example.org/v1", scaled=False)
    admin.define(known)
    ref = Ref(kind, admin.namespace, "mail", "cooks.example.org/v1")
    target = KubernetesTarget(ref, api, Workloads(api), OtherAutoscalers(api), Leadership())
    failure = failed(target)
    admin.undefine(known)
    assert failure.kind == "not_found"
    assert f"cooks.example.org/v1 has no kind {kind} with /scale" in failure.message


def test_pods_of_an_unknown_selector_are_not_those_of_others(
    admin: Admin, front: Front, made_of: MadeOf
) -> None:
    """A Rollout whose pods another object defines has no selector of its own."""
    target = made_of("Rollout", "argoproj.io/v1alpha1")
    path = f"/apis/argoproj.io/v1alpha1/namespaces/{admin.namespace}/rollouts/mail"
    patch = {"spec": {"selector": None, "template": None, "workloadRef": {"kind": "Deployment", "name": "x"}}}
    admin.ask("PATCH", path, patch, "application/merge-patch+json")
    assert read(target).grace_seconds is None, "there is no such Deployment"
    assert target.scale(2, 5, soon()) == Applied(5)
    read(target)
    assert not front.requested("GET .*/pods")


def test_the_grace_period_of_a_rollout_is_that_of_the_deployment_that_defines_its_pods(
    admin: Admin, front: Front, made_of: MadeOf
) -> None:
    target = made_of("Rollout", "argoproj.io/v1alpha1")
    path = f"/apis/argoproj.io/v1alpha1/namespaces/{admin.namespace}/rollouts/mail"
    patch = {"spec": {"template": None, "workloadRef": {"kind": "Deployment", "name": "mail-pods"}}}
    admin.workload("mail-pods", 0, grace=90)
    admin.ask("PATCH", path, patch, "application/merge-patch+json")
    assert [read(target).grace_seconds for _ in range(3)] == [90.0] * 3
    assert len(front.requested("GET .*/deployments/mail-pods$")) == 1, "once in five minutes"
