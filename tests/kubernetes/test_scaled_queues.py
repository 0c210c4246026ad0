"""The whole scaler with targets that are ScaledQueues: declared, scaled, told, paused, taken away."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeAlias

import pytest
import yaml

from deploy.crd.schema import definition
from lab.deadline import wait_until
from scaler.configuration import Reloader, read_scaler_settings
from scaler.run import Scaler
from tests.support.fake_prometheus import FakePrometheus, Waiting
from tests.support.kubernetes.admin import Admin
from tests.support.kubernetes.cluster import ACCOUNT
from tests.support.kubernetes.front import Front
from tests.support.kubernetes.manifests import of
from tests.support.kubernetes.rules import RULES, scaled_queue_rules
from tests.support.kubernetes.scaled_queues import ScaledQueueAdmin
from tests.support.kubernetes.scalers import settings

pytestmark = pytest.mark.timeout(180)  # of a process and its steps, on a busy machine

ScalerOf: TypeAlias = Callable[..., Scaler]
FAST = {"minWorkers": 1, "maxWorkers": 4}


@pytest.fixture
def queues(admin: Admin, token: str) -> ScaledQueueAdmin:
    """With the definition, and the rights of the manifests."""
    admin.define(definition())
    admin.rules(ACCOUNT, [*RULES, *scaled_queue_rules()])
    return ScaledQueueAdmin(admin)


@pytest.fixture
def scaler_of(
    admin: Admin, kubeconfig: str, queues: ScaledQueueAdmin, prometheus: FakePrometheus, tmp_path: Path
) -> Iterator[ScalerOf]:
    with ExitStack() as undo:

        def start(name: str = "one", **changed: Any) -> Scaler:
            data = settings(kubeconfig, prometheus.url, **{"targets": [], **changed})
            declared = {"namespaces": [admin.namespace]} | changed.get("scaled_queues", {})
            data.pop("scaled_queues", None)
            data["kubernetes"] |= {"scaled_queues": declared, "timeout_seconds": 5, "lease_seconds": 5}
            file = tmp_path / f"{name}.yml"
            file.write_text(yaml.safe_dump(data))
            options: dict[str, Any] = {"config": str(file), "listen": "127.0.0.1:0"}
            process = Scaler(Reloader(read_scaler_settings({}, **options), {}, **options))
            process.start()
            undo.callback(process.stop)
            return process

        yield start


def eventually(holds: Callable[[], object], what: str) -> None:
    wait_until(lambda: bool(holds()), what=what, seconds=60)


def replicas(admin: Admin, expected: int, name: str = "mail") -> None:
    eventually(lambda: admin.replicas(name) == expected, f"{expected} replicas")


def test_a_scaled_queue_is_a_target(
    admin: Admin, queues: ScaledQueueAdmin, scaler_of: ScalerOf, waiting: Waiting
) -> None:
    admin.workload("mail", 1)
    queues.apply("mail", **FAST)
    process = scaler_of()
    eventually(lambda: queues.condition("mail", "Ready").get("status") == "True", "Ready")
    waiting.jobs = 20
    replicas(admin, 4)
    eventually(lambda: queues.status("mail").get("decisions"), "a decision")
    status = queues.status("mail")
    [decision] = status["decisions"]
    assert (decision["from"], decision["to"]) == (1, 4)
    assert status["observedGeneration"] == 1
    eventually(lambda: queues.status("mail").get("current") == 4, "current")
    assert queues.condition("mail", "Active")["status"] == "True"
    assert queues.condition("mail", "Paused")["status"] == "False"
    assert "ScaledUp" in queues.events("mail")
    workload = [event for event in admin.events() if event["involvedObject"]["kind"] == "Deployment"]
    assert "ScaledUp" in {event["reason"] for event in workload}
    [target] = process.status()["targets"]
    assert target["name"] == f"{admin.namespace}/mail"


@pytest.mark.parametrize("kind", ["Deployment", "StatefulSet"])
def test_a_grace_period_that_is_too_short_is_told_in_the_status(
    admin: Admin, queues: ScaledQueueAdmin, scaler_of: ScalerOf, prometheus: FakePrometheus, kind: str
) -> None:
    admin.workload("mail", 1, kind, grace=45)
    prometheus.run_seconds = 57.0
    queues.apply("mail", **FAST, targetRef={"name": "mail", "kind": kind})
    scaler_of()
    eventually(lambda: queues.condition("mail", "GraceTooShort").get("status") == "True", "GraceTooShort")
    message = queues.condition("mail", "GraceTooShort")["message"]
    assert message.startswith("jobs run 57 s on average, longer than the grace period of 45 s")
    assert queues.condition("mail", "Ready")["status"] == "True", "it is a warning"
    eventually(lambda: "GraceTooShort" in queues.events("mail"), "an Event")
    if kind == "Deployment":
        spec = {"template": {"spec": {"terminationGracePeriodSeconds": 60}}}
        admin.change("mail", spec)
        eventually(lambda: queues.condition("mail", "GraceTooShort").get("status") == "False", "a longer one")


def test_a_deleted_one_lets_go_and_leaves_the_replicas(
    admin: Admin, queues: ScaledQueueAdmin, scaler_of: ScalerOf, waiting: Waiting
) -> None:
    admin.workload("mail", 2)
    queues.apply("mail", **FAST)
    waiting.jobs = 20
    process = scaler_of()
    replicas(admin, 4)
    queues.delete("mail")
    eventually(lambda: not process.status()["targets"], "no target")
    waiting.jobs = 0
    assert admin.replicas("mail") == 4


def test_an_invalid_one_is_told_and_the_last_valid_spec_stays(
    admin: Admin, queues: ScaledQueueAdmin, scaler_of: ScalerOf, waiting: Waiting
) -> None:
    admin.workload("mail", 1)
    queues.apply("mail", **FAST)
    scaler_of()
    eventually(lambda: queues.condition("mail", "Ready").get("status") == "True", "Ready")
    since = queues.condition("mail", "MetricsStale")["lastTransitionTime"]
    queues.apply("mail", minWorkers=9, maxWorkers=4)  # a rule of the schema, which this server may not run
    eventually(lambda: queues.condition("mail", "Ready").get("reason") == "SpecInvalid", "SpecInvalid")
    message = queues.condition("mail", "Ready")["message"]
    assert message.startswith("spec.minWorkers: min_workers 9 is above max_workers 4")
    assert message.endswith("the last valid spec stays in force")
    assert queues.status("mail")["observedGeneration"] == 2
    waiting.jobs = 20
    replicas(admin, 4)
    assert queues.condition("mail", "MetricsStale")["lastTransitionTime"] == since, "it has not changed"
    queues.apply("mail", minWorkers=1, maxWorkers=5)
    replicas(admin, 5)
    eventually(lambda: queues.condition("mail", "Ready").get("status") == "True", "Ready again")
    reasons = [reason for reason in queues.events("mail") if reason.startswith("Spec")]
    assert reasons == ["SpecInvalid", "SpecValid"]


def test_a_pause_and_an_override_are_annotations(
    admin: Admin, queues: ScaledQueueAdmin, scaler_of: ScalerOf, waiting: Waiting
) -> None:
    admin.workload("mail", 1)
    queues.apply("mail", **FAST)
    queues.annotate("mail", paused="true")
    waiting.jobs = 20
    scaler_of()
    eventually(lambda: queues.condition("mail", "Paused").get("status") == "True", "Paused")
    assert admin.replicas("mail") == 1
    until = (datetime.now(UTC) + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    queues.annotate("mail", paused=None, override="3", override_until=until)
    replicas(admin, 3)
    eventually(lambda: queues.condition("mail", "Overridden").get("status") == "True", "Overridden")
    assert queues.condition("mail", "Paused")["status"] == "False"
    queues.annotate("mail", override="many")
    eventually(lambda: queues.condition("mail", "OrderInvalid").get("status") == "True", "OrderInvalid")
    message = queues.condition("mail", "OrderInvalid")["message"]
    assert "oxherd.dev/override should be a number of workers" in message
    assert admin.replicas("mail") == 3, "what cannot be read may be any order"
    past = (datetime.now(UTC) - timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    queues.annotate("mail", override="2", override_until=past)
    replicas(admin, 4)
    eventually(lambda: queues.condition("mail", "OrderInvalid").get("status") == "False", "readable")
    assert "OrderInvalid" in queues.events("mail")
    assert queues.get("mail")["metadata"]["generation"] == 1


def test_the_settings_win_a_workload(
    admin: Admin, queues: ScaledQueueAdmin, scaler_of: ScalerOf, waiting: Waiting
) -> None:
    admin.workload("mail", 1)
    queues.apply("mail", queues=["other"], minWorkers=7, maxWorkers=7)
    queues.apply("news", targetRef={"name": "news"}, queues=["mail"])
    own = {"name": "mine", "queues": ["mail"], "kubernetes": {"name": "mail"}, "max_workers": 3}
    waiting.jobs = 20
    scaler_of(targets=[own])
    replicas(admin, 3)
    eventually(lambda: queues.condition("mail", "Ready").get("reason") == "WorkloadTaken", "WorkloadTaken")
    assert queues.condition("mail", "Ready")["message"].startswith(
        "spec.targetRef: mine scales this workload already"
    )
    eventually(lambda: queues.condition("news", "Ready").get("reason") == "QueueTaken", "QueueTaken")


def test_without_the_right_to_write_a_status_scaling_goes_on(
    admin: Admin,
    front: Front,
    queues: ScaledQueueAdmin,
    scaler_of: ScalerOf,
    waiting: Waiting,
    caplog: pytest.LogCaptureFixture,
) -> None:
    rules = [rule for rule in scaled_queue_rules() if rule["resources"] != ["scaledqueues/status"]]
    admin.rules(ACCOUNT, [*RULES, *rules])
    admin.workload("mail", 1)
    queues.apply("mail", **FAST)
    waiting.jobs = 20
    scaler_of()
    replicas(admin, 4)
    eventually(lambda: front.requested("PATCH .*/scaledqueues/mail/status"), "a refused write")
    assert queues.status("mail") == {}
    lines = [record for record in caplog.records if record.message == "cannot write scaled queue status"]
    assert len(lines) == 1
    assert "403" in lines[0].error  # type: ignore[attr-defined]


def test_only_the_leader_writes(
    admin: Admin, front: Front, queues: ScaledQueueAdmin, scaler_of: ScalerOf, waiting: Waiting
) -> None:
    admin.workload("mail", 1)
    queues.apply("mail", **FAST)
    first = scaler_of("one")
    eventually(lambda: first.leading, "a leader")
    eventually(lambda: queues.condition("mail", "Ready").get("status") == "True", "Ready")
    second = scaler_of("two")
    eventually(lambda: second.status()["targets"], "the same target")
    waiting.jobs = 20
    replicas(admin, 4)
    eventually(lambda: queues.status("mail").get("current") == 4, "current")
    agents = {request.user_agent for request in front.requested("PATCH .*/scaledqueues/mail/status")}
    assert len(agents) == 1, "each scaler has its identity in its user agent"
    assert not second.leading


def test_a_status_is_written_on_a_change_and_seldom(
    admin: Admin, front: Front, queues: ScaledQueueAdmin, scaler_of: ScalerOf, waiting: Waiting
) -> None:
    admin.workload("mail", 1)
    queues.apply("mail", **FAST)
    process = scaler_of()
    eventually(lambda: queues.condition("mail", "Ready").get("status") == "True", "Ready")
    front.forget()
    steps = process.controller.counters.steps
    eventually(lambda: process.controller.counters.steps >= steps + 5, "steps")
    written = front.requested("PATCH .*/scaledqueues/mail/status")
    assert len(written) <= 1, "nothing has changed but ages"


def test_the_rights_of_the_manifests_are_enough(
    admin: Admin, front: Front, queues: ScaledQueueAdmin, scaler_of: ScalerOf, waiting: Waiting
) -> None:
    """Those of the base, and the ClusterRole: no Role that names a workload."""
    own = [rule for role in of("base", "Role") for rule in role["rules"]]
    admin.rules(ACCOUNT, [*own, *scaled_queue_rules()])
    admin.workload("mail", 1)
    queues.apply("mail", **FAST)
    waiting.jobs = 20
    scaler_of()
    replicas(admin, 4)
    eventually(lambda: queues.status("mail").get("current") == 4, "current")
    eventually(lambda: "ScaledUp" in queues.events("mail"), "an Event")
    refused = [request for request in front.recorded if request.status == 403]
    assert [f"{request.method} {request.path}" for request in refused] == []


def test_all_namespaces_need_a_binding_of_the_cluster(
    admin: Admin, queues: ScaledQueueAdmin, scaler_of: ScalerOf, caplog: pytest.LogCaptureFixture
) -> None:
    scaler_of(scaled_queues={"namespaces": ["*"]})
    eventually(
        lambda: any(record.message == "cannot read scaled queues" for record in caplog.records), "a line"
    )
    [record] = [record for record in caplog.records if record.message == "cannot read scaled queues"]
    assert "list scaledqueues in all namespaces: 403" in record.error  # type: ignore[attr-defined]
