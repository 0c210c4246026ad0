"""A workload as a target, against an API server: what is read and written, how errors are handled."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lab.deadline import wait_until
from scaler.kube.api import KubeApi
from scaler.kube.backoff import Backoff
from scaler.kube.conflicts import MAX_REVERTS, OtherAutoscalers
from scaler.kube.errors import KubeError
from scaler.kube.objects import Ref, WorkloadKind
from scaler.kube.target import KubernetesTarget
from scaler.kube.workloads import LIST_FROM, Workloads
from scaler.model import Applied, NotApplied
from service.clock import Deadline
from service.outcome import Failed, Ok
from tests.support.kubernetes.admin import Admin, RefusedError
from tests.support.kubernetes.cluster import ACCOUNT, KubeApiOf
from tests.support.kubernetes.front import Front
from tests.support.kubernetes.rules import RULES, without
from tests.support.kubernetes.targets import Leadership, TargetOf, read, soon


def failed(target: KubernetesTarget) -> Failed:
    outcome = target.read(soon())
    assert isinstance(outcome, Failed)
    return outcome


def refused(target: KubernetesTarget, old: int, new: int) -> NotApplied:
    outcome = target.scale(old, new, soon())
    assert isinstance(outcome, NotApplied)
    return outcome


# --- out and in --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["Deployment", "StatefulSet"])
def test_out_in_to_nothing_and_from_nothing(
    admin: Admin, front: Front, target_of: TargetOf, kind: WorkloadKind
) -> None:
    admin.workload("mail", 2, kind)
    target = target_of(kind=kind)
    for old, new in [(2, 7), (7, 3), (3, 0), (0, 4), (4, 1)]:
        assert read(target).requested == old
        assert target.scale(old, new, soon()) == Applied(new)
        assert admin.replicas("mail", kind) == new
    assert len(front.writes()) == 5
    assert all(
        write.path.partition("?")[0].endswith(f"/{kind.lower()}s/mail/scale") for write in front.writes()
    )
    assert all("fieldManager=oxherd-scaler" in write.path for write in front.writes())


def test_nothing_but_the_scale_is_ever_written(admin: Admin, front: Front, target_of: TargetOf) -> None:
    before = admin.workload("mail", 2)
    target = target_of()
    read(target)
    target.scale(2, 5, soon())
    after = admin.get("mail")
    assert after["spec"]["template"] == before["spec"]["template"]
    assert {request.method for request in front.recorded} == {"GET", "PATCH"}


# --- start times -------------------------------------------------------------------------------------------


def start_times(target: KubernetesTarget) -> tuple[float, ...]:
    read(target)
    return target.start_times()


def test_the_start_times_of_pods_that_it_asked_for_are_measured(admin: Admin, target_of: TargetOf) -> None:
    admin.workload("mail", 2)
    target = target_of()
    wait_until(lambda: read(target).ready == 2, seconds=50, what="two pods are ready")
    assert read(target).start_seconds is None, "others asked for these pods"
    assert target.scale(2, 4, soon()) == Applied(4)
    wait_until(lambda: len(start_times(target)) == 2, seconds=50, what="two start times")
    workers = read(target)
    assert workers.ready == 4
    assert workers.start_seconds is not None
    assert workers.start_seconds >= 0


def test_a_pod_that_loses_its_readiness_for_a_moment_has_not_started_again(
    admin: Admin, front: Front, target_of: TargetOf
) -> None:
    admin.workload("mail", 2, gated=True)
    target = target_of()
    wait_until(lambda: len(admin.pods("mail")) == 2, seconds=50, what="two pods")
    admin.gate("mail", ready=True)
    wait_until(lambda: read(target).ready == 2, seconds=50, what="two pods are ready")
    target.scale(2, 3, soon())
    wait_until(lambda: len(admin.pods("mail")) == 3, seconds=50, what="three pods")
    admin.gate("mail", ready=True)
    wait_until(lambda: len(start_times(target)) == 1, seconds=50, what="a start time")
    before, again = start_times(target), target_of()
    front.forget()
    for ready in (False, True):
        admin.gate("mail", ready=ready)
        expected = 3 if ready else 0
        wait_until(lambda: read(target).ready == expected, seconds=50, what="the readiness")  # noqa: B023
    assert start_times(target) == before
    assert start_times(again) == (), "a scaler that starts now has seen no pod start"
    assert not front.requested("GET .*/pods")


def test_start_times_of_another_process_count_on(admin: Admin, target_of: TargetOf) -> None:
    admin.workload("mail", 1)
    target = target_of()
    target.restore_start_times([3.0, float("nan"), -1.0, 5.0])
    assert target.start_times() == (3.0, 5.0)
    assert read(target).start_seconds == 5.0


# --- conflicts of writes -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("old", "by_hand"), [(2, 9), (2, 0), (0, 1)])
def test_an_edit_between_read_and_write_is_a_conflict_and_not_overwritten(
    admin: Admin, target_of: TargetOf, old: int, by_hand: int
) -> None:
    admin.workload("mail", old)
    target = target_of()
    assert read(target).requested == old
    admin.set_replicas("mail", by_hand)
    refusal = refused(target, old, 5)
    assert refusal.kind == "conflict"
    assert f"no longer at {old}" in refusal.message
    assert admin.replicas("mail") == by_hand
    assert read(target).requested == by_hand
    assert target.scale(by_hand, 5, soon()) == Applied(5)


def test_a_number_that_the_server_refuses_is_not_a_conflict(admin: Admin, target_of: TargetOf) -> None:
    admin.workload("mail", 2)
    target = target_of()
    read(target)
    assert refused(target, 2, -1).kind == "invalid"


# --- refusals ----------------------------------------------------------------------------------------------


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


# what a server answers that has just started, before its roles are loaded
STARTING: dict[str, Any] = {
    "status": 403,
    "body": b'{"kind": "Status", "reason": "Forbidden", "message": "deployments is forbidden"}',
}


def again(target: KubernetesTarget) -> None:
    """Read until it works: within seconds, not a minute."""
    wait_until(lambda: isinstance(target.read(soon()), Ok), seconds=15, what="read again")


def test_a_server_that_has_just_started_is_asked_again_at_once(
    admin: Admin, front: Front, target_of: TargetOf
) -> None:
    admin.workload("mail", 2)
    target = target_of()
    before = read(target)
    with front.fault("(GET|PATCH) .*(deployments|autoscalers|scaledobjects)", "status", times=3, **STARTING):
        failure = failed(target)
    assert failure.kind == "unreachable", "nothing is denied yet"
    assert "asked again" in failure.message
    again(target)
    assert read(target).ready is not None
    assert read(target) == before
    assert target.scale(2, 3, soon()) == Applied(3)


def test_a_write_that_a_starting_server_refuses_is_no_denial(
    admin: Admin, front: Front, target_of: TargetOf
) -> None:
    admin.workload("mail", 2)
    target = target_of()
    read(target)
    with front.fault("PATCH .*/scale", "status", **STARTING):
        assert refused(target, 2, 3).kind == "unreachable"
    wait_until(lambda: target.scale(2, 3, soon()) == Applied(3), seconds=15, what="written")


def test_one_list_that_a_starting_server_refuses_does_not_end_the_lists(
    admin: Admin, front: Front, api: KubeApi
) -> None:
    workloads = Workloads(api, 0.0)
    refs = [Ref("Deployment", admin.namespace, f"w{number}") for number in range(LIST_FROM)]
    for ref in refs:
        admin.workload(ref.name, 1)
        workloads.register(ref)
    workloads.read(refs[0], soon())
    with front.fault("GET .*/deployments", "status", **STARTING):
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
    failure = failed(target_of(api=api, workloads=Workloads(api, 0.0)))
    assert failure.kind == "unauthorized"
    assert "nobody-secret" not in failure.message


@pytest.mark.parametrize(
    ("status", "kind"),
    [(409, "conflict"), (429, "throttled"), (500, "unreachable"), (503, "unreachable"), (418, "invalid")],
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


@pytest.mark.parametrize(("fault", "kind"), [("hang", "timeout"), ("reset", "unreachable")])
def test_a_server_that_does_not_answer(
    admin: Admin, front: Front, api_of: KubeApiOf, target_of: TargetOf, fault: str, kind: str
) -> None:
    admin.workload("mail", 2)
    api = api_of(timeout_seconds=0.3)
    target = target_of(api=api, workloads=Workloads(api, 0.0))
    read(target)
    with front.fault("PATCH .*/scale", fault):
        assert refused(target, 2, 3).kind == kind
    with front.fault("GET .*/deployments/mail", fault):
        assert failed(target).kind == kind
    wait_until(lambda: isinstance(target.read(soon()), Ok), what="read again")
    wait_until(lambda: target.scale(2, 3, soon()) == Applied(3), what="written again")


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
    failure = failed(target_of(api=api, workloads=Workloads(api, 0.0)))
    assert failure.kind == "unreachable"
    assert text in failure.message
    assert "secret-token" not in failure.message


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


# --- without leadership ------------------------------------------------------------------------------------


@pytest.mark.parametrize("fence", [Leadership(leading=False), Leadership(seconds=0.1)])
def test_nothing_is_written_without_the_lease(
    admin: Admin, front: Front, target_of: TargetOf, fence: Leadership
) -> None:
    admin.workload("mail", 2)
    target = target_of(fence=fence)
    read(target)
    assert refused(target, 2, 3).kind == "fenced"
    assert front.writes() == []


# --- few requests ------------------------------------------------------------------------------------------


def test_many_workloads_are_read_with_one_list(admin: Admin, front: Front, api: KubeApi) -> None:
    workloads = Workloads(api, 60.0)
    refs = [Ref("Deployment", admin.namespace, f"w{number}") for number in range(LIST_FROM)]
    for number, ref in enumerate(refs):
        admin.workload(ref.name, number)
        workloads.register(ref)
    assert [workloads.read(ref, soon()).replicas for ref in refs] == list(range(LIST_FROM))
    assert len(front.requested("GET ")) == 1


def test_a_step_lists_once_however_long_it_takes(admin: Admin, front: Front, api: KubeApi) -> None:
    workloads, step = Workloads(api, 0.0), Deadline.after(60.0)
    refs = [Ref("Deployment", admin.namespace, f"w{number}") for number in range(LIST_FROM)]
    for ref in refs:
        admin.workload(ref.name, 1)
        workloads.register(ref)
    front.latency = 0.05
    for ref in refs:
        workloads.read(ref, step)
    assert len(front.requested("GET ")) == 1
    workloads.read(refs[0], soon())
    assert len(front.requested("GET ")) == 2, "the next step has a list of its own"


def test_without_the_right_to_list_each_is_got(admin: Admin, front: Front, api: KubeApi) -> None:
    rules = without(RULES, "deployments")
    rules.append({"apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["get"]})
    workloads = Workloads(api, 60.0)
    refs = [Ref("Deployment", admin.namespace, f"w{number}") for number in range(LIST_FROM)]
    for ref in refs:
        admin.workload(ref.name, 1)
        workloads.register(ref)
    admin.rules(ACCOUNT, rules)
    assert [workloads.read(ref, soon()).ready is not None for ref in refs] == [True] * LIST_FROM
    assert len(front.requested("GET .*/deployments\\?")) == 1
    assert len(front.requested("GET .*/deployments/w")) == LIST_FROM


# --- others that scale -------------------------------------------------------------------------------------


def test_an_autoscaler_on_the_same_workload_is_named_until_it_is_gone(
    admin: Admin, target_of: TargetOf
) -> None:
    admin.workload("mail", 2)
    target = target_of()
    assert read(target).contested is None
    admin.autoscaler("mail-hpa", "mail")
    contested = read(target).contested
    assert contested is not None
    assert "HorizontalPodAutoscaler mail-hpa" in contested
    admin.remove_autoscaler("mail-hpa")
    assert read(target).contested is None


def test_an_autoscaler_that_is_put_beside_it_is_seen_after_the_first_write_that_it_reverts(
    admin: Admin, front: Front, api: KubeApi, target_of: TargetOf
) -> None:
    admin.workload("mail", 2)
    target = target_of(autoscalers=OtherAutoscalers(api))
    read(target)
    admin.autoscaler("mail-hpa", "mail")
    target.scale(2, 6, soon())
    admin.set_replicas("mail", 2, manager="kube-controller-manager")
    wait_until(lambda: read(target).contested is not None, seconds=20, what="it is seen")
    assert "HorizontalPodAutoscaler mail-hpa" in (read(target).contested or "")
    assert len(front.writes()) == 1


def test_what_an_autoscaler_reverted_holds_nothing_once_it_is_gone(
    admin: Admin, front: Front, target_of: TargetOf
) -> None:
    admin.workload("mail", 2)
    target = target_of()
    with front.fault("GET .*(autoscalers|scaledobjects)", "status", status=500):
        for _ in range(MAX_REVERTS):
            read(target)
            target.scale(2, 6, soon())
            admin.set_replicas("mail", 2, manager="kube-controller-manager")
        assert "reverts" in (read(target).contested or "")
    admin.autoscaler("mail-hpa", "mail")
    assert "HorizontalPodAutoscaler mail-hpa" in (read(target).contested or "")
    admin.remove_autoscaler("mail-hpa")
    assert read(target).contested is None


def test_a_manager_that_the_server_does_not_name_is_described(admin: Admin, target_of: TargetOf) -> None:
    """Of a workload that was applied server-side without replicas the server keeps no owner of them."""
    admin.workload("mail", None, manager="flux")
    target = target_of()
    for _ in range(MAX_REVERTS):
        target.scale(read(target).requested, 6, soon())
        read(target)
        admin.set_replicas("mail", 2)
    contested = read(target).contested or ""
    assert "kubectl scale, or an autoscaler" in contested
    assert "oxherd" not in contested


def test_a_manager_that_reverts_again_and_again_is_named_and_left_alone(
    admin: Admin, target_of: TargetOf
) -> None:
    admin.workload("mail", 2)
    target = target_of()
    for _ in range(MAX_REVERTS):
        assert read(target).contested is None
        assert target.scale(2, 6, soon()) == Applied(6)
        assert read(target).contested is None
        admin.set_replicas("mail", 2, manager="gitops")
    contested = read(target).contested
    assert contested is not None
    assert "gitops" in contested


def test_a_write_whose_response_is_lost_is_not_a_conflict(
    admin: Admin, front: Front, api_of: KubeApiOf, target_of: TargetOf
) -> None:
    admin.workload("mail", 2)
    api = api_of(timeout_seconds=1.0)
    target = target_of(api=api, workloads=Workloads(api, 0.0))
    for turn in range(2 * MAX_REVERTS):
        assert read(target).contested is None
        requested = 2 + 2 * turn
        assert target.scale(requested, requested + 1, soon()) == Applied(requested + 1)
        with front.fault("PATCH .*/scale(\\?(?!.*dryRun)|$)", "after"):
            assert refused(target, requested + 1, requested + 2).kind == "timeout"
        assert admin.replicas("mail") == requested + 2
        target._backoff = Backoff()


def test_one_edit_by_hand_is_not_a_conflict(admin: Admin, target_of: TargetOf) -> None:
    admin.workload("mail", 2)
    target = target_of()
    read(target)
    target.scale(2, 6, soon())
    admin.set_replicas("mail", 3)
    for _ in range(2 * MAX_REVERTS):
        assert read(target).contested is None


def test_the_fake_and_the_real_one_refuse_what_they_do_not_know(admin: Admin) -> None:
    """Facts that the code rests on: of the server, whichever it is."""
    admin.workload("mail", 0)
    path = f"/apis/apps/v1/namespaces/{admin.namespace}/deployments/mail/scale"
    assert admin.ask("GET", path)["spec"] == {}

    def patch(content: str, body: object) -> int:
        try:
            admin.ask("PATCH", path, body, content)
        except RefusedError as error:
            return error.status
        return 200

    def test_of(value: object) -> list[dict[str, object]]:
        return [
            {"op": "test", "path": "/spec/replicas", "value": value},
            {"op": "add", "path": "/spec/replicas", "value": 1},
        ]

    assert patch("application/json-patch+json", test_of(0)) == 422
    assert patch("application/unknown+json", {}) == 415
    stale = {"metadata": {"resourceVersion": "1"}, "spec": {"replicas": 3}}
    assert patch("application/merge-patch+json", stale) == 409
    assert patch("application/json-patch+json", test_of(None)) == 200
    assert json.loads(json.dumps(admin.ask("GET", path)["spec"])) == {"replicas": 1}
