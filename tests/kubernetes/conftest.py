"""An API server for each test: the fake, or the real one that OXHERD_TEST_KUBECONFIG names."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from scaler.config.settings import KubernetesSettings
from scaler.kube.api import KubeApi
from scaler.kube.conflicts import OtherAutoscalers
from scaler.kube.objects import Ref
from scaler.kube.target import KubernetesTarget
from scaler.kube.workloads import Workloads
from tests.support.fake_prometheus import FakePrometheus, Waiting, fake_prometheus
from tests.support.kubernetes.admin import Admin
from tests.support.kubernetes.cluster import ACCOUNT, LEASE, STATE, KubeApiOf, real_kubeconfig
from tests.support.kubernetes.fake_api import FakeApi
from tests.support.kubernetes.front import Front
from tests.support.kubernetes.rules import RULES
from tests.support.kubernetes.targets import Leadership, TargetOf


@pytest.fixture
def front(request: pytest.FixtureRequest) -> Iterator[Front]:
    """In front of the API server: requests are recorded, faults injected. As a parameter: whether the one in
    memory has the CRDs of KEDA."""
    if real_kubeconfig():
        from tests.support.kubernetes.upstream import upstream

        server = Front(upstream(real_kubeconfig()))
    else:
        server = Front(FakeApi(keda=getattr(request, "param", True)).answer)
    yield server
    server.stop()


@pytest.fixture
def admin(front: Front) -> Iterator[Admin]:
    """With a namespace that holds the empty lease and state, as the manifests do."""
    settles = 1.0 if real_kubeconfig() else 0.0
    name = f"oxherd-test-{uuid.uuid4().hex[:10]}"
    administrator = Admin(front, name, os.environ.get("OXHERD_TEST_IMAGE", "busybox:stable"), settles)
    administrator.ask("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
    administrator.ask("POST", f"/api/v1/namespaces/{name}/configmaps", {"metadata": {"name": STATE}})
    leases = f"/apis/coordination.k8s.io/v1/namespaces/{name}/leases"
    administrator.ask("POST", leases, {"metadata": {"name": LEASE}})
    yield administrator
    administrator.ask("DELETE", f"/api/v1/namespaces/{name}")


@pytest.fixture
def waiting() -> Waiting:
    return Waiting()


@pytest.fixture
def prometheus(waiting: Waiting) -> Iterator[FakePrometheus]:
    with fake_prometheus(waiting=waiting) as server:
        yield server


@pytest.fixture
def token(admin: Admin) -> str:
    """Of an account with the rules of the manifests."""
    return admin.account(ACCOUNT, RULES)


@pytest.fixture
def kubeconfig(admin: Admin, token: str, tmp_path: Path) -> str:
    return admin.kubeconfig(tmp_path / "kubeconfig", token)


@pytest.fixture
def api_of(kubeconfig: str) -> Iterator[KubeApiOf]:
    """Clients of that account; settings may be changed."""
    clients: list[KubeApi] = []

    def make(identity: str = "test", **changed: Any) -> KubeApi:
        settings = {"kubeconfig": kubeconfig, "timeout_seconds": 2.0} | changed
        clients.append(KubeApi(KubernetesSettings(**settings), identity))
        return clients[-1]

    yield make
    for client in clients:
        client.close()


@pytest.fixture
def api(api_of: KubeApiOf) -> KubeApi:
    return api_of()


@pytest.fixture
def target_of(admin: Admin, api: KubeApi) -> TargetOf:
    workloads, autoscalers = Workloads(api), OtherAutoscalers(api, every=0.0)

    def make(name: str = "mail", kind: str = "Deployment", **options: Any) -> KubernetesTarget:
        ref = Ref(kind, admin.namespace, name)
        given: dict[str, Any] = {"api": api, "workloads": workloads, "autoscalers": autoscalers}
        return KubernetesTarget(ref, **given | {"fence": Leadership()} | options)

    return make
