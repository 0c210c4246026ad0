"""Refusals and failures of the API server: which of them last, and when it is asked again."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab.deadline import wait_until
from scaler.kube import api as kube_api
from scaler.kube import backoff
from scaler.kube.api import KubeApi
from scaler.kube.errors import KubeError
from scaler.kube.objects import Ref
from scaler.kube.target import KubernetesTarget
from scaler.kube.workloads import LIST_FROM, Workloads
from scaler.model import Applied
from service.clock import monotonic
from service.outcome import Ok
from tests.support.kubernetes.admin import Admin
from tests.support.kubernetes.cluster import ACCOUNT, KubeApiOf
from tests.support.kubernetes.front import Front
from tests.support.kubernetes.rules import RULES, without
from tests.support.kubernetes.targets import TargetOf, failed, read, refused, soon


def test_a_workload_that_is_not_there(target_of: TargetOf) -> None:
    failure = failed(target_of("nobody"))
    assert (failure.kind, "nobody" in failure.message) == ("not_found", True)


def test_a_slip_in_the_name_is_named_as_a_possible_cause_of_a_refusal(
    admin: Admin, target_of: TargetOf
) -> None:
    """With resourceNames the server does not say whether there is such a workload."""
    admin.workload("mail", 2)
    named = [rule | {"resourceNames": ["mail"]} if rule["apiGroups"] == ["apps"] else rule for rule in RULES]
    admin.rules(ACCOUNT, named)
    assert read(target_of("mail")).requested == 2
    failure = failed(target_of("male"))
    assert failure.kind == "forbidden"
    assert "a slip in the name" in failure.message


def test_a_role_that_does_not_let_us_scale_is_noticed_before_there_is_need(
    admin: Admin, front: Front, target_of: TargetOf
) -> None:
    admin.workload("mail", 2)
    admin.rules(ACCOUNT, without(RULES, "deployments/scale"))
    target = target_of()
    assert failed(target).kind == "forbidden"
    requested = len(front.recorded)
    assert "patch deployments" in failed(target).message
    assert len(front.recorded) == requested, "a server that has said no is asked again"


def test_a_workload_that_was_read_has_had_its_turn_though_no_request_is_left_for_the_proof(
    admin: Admin, front: Front, target_of: TargetOf
) -> None:
    """Else the first ones would take all requests of each step, and none would be decided on."""
    admin.workload("mail", 2)
    target = target_of()
    with front.fault("PATCH .*/scale.*dryRun", "status", status=429):
        assert read(target).requested == 2
    assert [request.status for request in front.requested("PATCH .*/scale.*dryRun")] == [429]
    again(target)
    assert [request.status for request in front.requested("PATCH .*/scale.*dryRun")] == [429, 200]


def again(target: KubernetesTarget) -> None:
    """Read until it works: within seconds, not a minute."""
    wait_until(lambda: isinstance(target.read(soon()), Ok), seconds=15, what="read again")


@pytest.mark.fault
def test_a_server_that_has_just_started_is_asked_again_at_once(
    admin: Admin, front: Front, target_of: TargetOf
) -> None:
    admin.workload("mail", 2)
    target = target_of()
    before = read(target)
    with front.starting(times=3):
        failure = failed(target)
    assert failure.kind == "unreachable", "nothing is denied yet"
    assert "asked again" in failure.message
    again(target)
    assert read(target).ready is not None
    assert read(target) == before
    assert target.scale(2, 3, soon()) == Applied(3)


@pytest.mark.fault
def test_a_write_that_a_starting_server_refuses_is_no_denial(
    admin: Admin, front: Front, target_of: TargetOf
) -> None:
    admin.workload("mail", 2)
    target = target_of()
    read(target)
    with front.starting("PATCH .*/scale"):
        assert refused(target, 2, 3).kind == "unreachable"
    wait_until(lambda: target.scale(2, 3, soon()) == Applied(3), seconds=15, what="written")


@pytest.mark.fault
def test_one_list_that_a_starting_server_refuses_does_not_end_the_lists(
    admin: Admin, front: Front, api: KubeApi
) -> None:
    workloads = Workloads(api)
    refs = [Ref("Deployment", admin.namespace, f"w{number}") for number in range(LIST_FROM)]
    for ref in refs:
        admin.workload(ref.name, 1)
        workloads.register(ref)
    workloads.read(refs[0], soon())
    with front.starting("GET .*/deployments"):
        step = soon()
        for ref in refs:
            with pytest.raises(KubeError, match="asked again"):
                workloads.read(ref, step)
    front.forget()

    def listed() -> bool:
        try:
            return workloads.read(refs[0], soon()).ready is not None
        except KubeError:
            return False

    wait_until(listed, seconds=15, what="listed again")
    assert not front.requested("GET .*/deployments/w")


@pytest.mark.fault
def test_a_token_that_is_replaced_is_read_at_once(
    admin: Admin, front: Front, target_of: TargetOf, kubeconfig: str
) -> None:
    admin.workload("mail", 2)
    target = target_of()
    read(target)
    admin.kubeconfig(Path(kubeconfig), admin.new_account(ACCOUNT))
    assert read(target).requested == 2
    assert target.scale(2, 3, soon()) == Applied(3)


def test_a_token_that_stays_refused_is_denied_after_a_minute_not_at_once(
    admin: Admin, front: Front, target_of: TargetOf
) -> None:
    admin.workload("mail", 2)
    target = target_of()
    read(target)
    with front.fault("GET .*/deployments/mail", "status", status=401):
        assert failed(target).kind == "unreachable"
    again(target)


def test_a_dry_run_needs_no_permission_to_scale(admin: Admin, target_of: TargetOf) -> None:
    admin.workload("mail", 2)
    admin.rules(ACCOUNT, without(RULES, "deployments/scale"))
    assert read(target_of(dry_run=True)).requested == 2


def test_a_target_that_does_not_act_needs_no_permission_to_scale(admin: Admin, target_of: TargetOf) -> None:
    admin.workload("mail", 2)
    admin.rules(ACCOUNT, without(RULES, "deployments/scale"))
    advised = target_of().read(soon(), acts=False)
    assert isinstance(advised, Ok)
    assert advised.value.requested == 2
    assert failed(target_of()).kind == "forbidden", "one that acts does"


def test_a_role_for_the_scale_alone_is_enough(admin: Admin, target_of: TargetOf) -> None:
    admin.workload("mail", 2)
    admin.rules(ACCOUNT, [rule for rule in RULES if "deployments/scale" in rule["resources"]])
    target = target_of()
    workers = read(target)
    assert (workers.requested, workers.ready, workers.start_seconds) == (2, None, None)
    assert target.scale(2, 3, soon()) == Applied(3)


def test_a_token_that_is_none(admin: Admin, api_of: KubeApiOf, target_of: TargetOf, tmp_path: Path) -> None:
    admin.workload("mail", 2)
    api = api_of(kubeconfig=admin.kubeconfig(tmp_path / "other", f"{admin.namespace}:nobody-secret"))
    failure = failed(target_of(api=api, workloads=Workloads(api)))
    assert failure.kind == "unauthorized"
    assert "nobody-secret" not in failure.message


@pytest.mark.fault
@pytest.mark.parametrize(
    ("status", "kind"),
    [
        *((404, "not_found"), (409, "conflict")),
        *((422, "invalid"), (429, "throttled"), (500, "unreachable"), (503, "unreachable"), (418, "invalid")),
    ],
)
def test_the_kind_of_each_status(
    admin: Admin, front: Front, target_of: TargetOf, status: int, kind: str
) -> None:
    admin.workload("mail", 2)
    target = target_of()
    read(target)
    with front.fault("PATCH .*/scale", "status", status=status):
        assert refused(target, 2, 3).kind == kind
    assert admin.replicas("mail") == 2


@pytest.mark.fault
@pytest.mark.parametrize(
    "body",
    [
        b"<html>welcome</html>",
        b"",
        b"null",
        b"{}",
        b"[]",
        b'"text"',
        b"7",
        b"[" * 100_000,
        b'{"spec": {"replicas": "many"}}',
        b'{"spec": {"replicas": -1}, "status": []}',
        b'{"spec": null, "metadata": 7, "status": "x"}',
    ],
)
def test_an_answer_that_is_no_workload_changes_nothing(
    admin: Admin, front: Front, target_of: TargetOf, body: bytes
) -> None:
    admin.workload("mail", 2)
    target = target_of()
    read(target)
    with front.fault("GET .*/mail", "status", status=200, body=body):
        failed(target_of())
    with front.fault("PATCH .*/scale", "status", status=200, body=body):
        refused(target, 2, 3)
    assert admin.replicas("mail") == 2
    assert read(target).requested == 2


@pytest.mark.fault
@pytest.mark.parametrize(("fault", "kind"), [("hang", "timeout"), ("reset", "unreachable")])
def test_a_server_that_does_not_answer(
    admin: Admin, front: Front, api_of: KubeApiOf, target_of: TargetOf, fault: str, kind: str
) -> None:
    admin.workload("mail", 2)
    api = api_of(timeout_seconds=1.5)
    target = target_of(api=api, workloads=Workloads(api))
    read(target)
    with front.fault("PATCH .*/scale", fault):
        assert refused(target, 2, 3).kind == kind
    with front.fault("GET .*/deployments/mail", fault):
        assert failed(target).kind == kind
    wait_until(lambda: isinstance(target.read(soon()), Ok), what="read again")
    wait_until(lambda: target.scale(2, 3, soon()) == Applied(3), what="written again")


@pytest.mark.fault
@pytest.mark.parametrize(
    ("server", "text"),
    [
        ("https://127.0.0.1:{port}", "SSL"),
        ("http://nowhere.invalid:1", "cannot resolve"),
        ("http://127.0.0.1:9", "refused"),
    ],
)
def test_a_server_that_cannot_be_reached(
    admin: Admin, front: Front, api_of: KubeApiOf, target_of: TargetOf, tmp_path: Path, server: str, text: str
) -> None:
    url = server.format(port=front.server_address[1])
    api = api_of(kubeconfig=admin.kubeconfig(tmp_path / "other", "secret-token", server=url))
    failure = failed(target_of(api=api, workloads=Workloads(api)))
    assert failure.kind == "unreachable"
    assert text in failure.message
    assert "secret-token" not in failure.message


@pytest.mark.fault
def test_no_request_is_sent_before_the_retry_after_of_a_busy_server(
    admin: Admin, front: Front, target_of: TargetOf
) -> None:
    admin.workload("mail", 2)
    admin.workload("video", 2)
    mail, video = target_of("mail"), target_of("video")
    read(mail)
    with front.fault("PATCH .*/mail/scale", "status", status=429, headers={"Retry-After": "30"}):
        refusal = refused(mail, 2, 3)
    assert (refusal.kind, refusal.retry_after) == ("throttled", 30.0)
    requested = len(front.recorded)
    assert failed(video).kind == "throttled"
    assert refused(mail, 2, 3).kind == "throttled"
    assert len(front.recorded) == requested


@pytest.mark.fault
def test_an_hour_of_retry_after_stops_requests_for_a_minute(
    admin: Admin, front: Front, api: KubeApi, target_of: TargetOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    passed = 0.0
    for module in (kube_api, backoff):
        monkeypatch.setattr(module, "monotonic", lambda: monotonic() + passed)
    admin.workload("mail", 2)
    target = target_of()
    read(target)
    with front.fault("PATCH .*/mail/scale", "status", status=429, headers={"Retry-After": "3000"}):
        assert "asked again after 60 s" in refused(target, 2, 3).message
    assert failed(target).kind == "throttled"
    passed = 60.0
    assert read(target).requested == 2
    assert target.scale(2, 3, soon()) == Applied(3)


@pytest.mark.fault
def test_a_write_that_fails_is_tried_again_with_growing_pauses(
    admin: Admin, front: Front, target_of: TargetOf
) -> None:
    admin.workload("mail", 2)
    target = target_of()
    read(target)
    with front.fault("PATCH .*/scale", "status", status=500):
        for _ in range(20):
            assert refused(target, 2, 3).kind == "unreachable"
        assert len(front.requested("PATCH .*/scale(\\?(?!.*dryRun)|$)")) == 1
