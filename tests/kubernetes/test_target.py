"""A workload as a target, against an API server: what is read and written, how errors are handled."""

from __future__ import annotations

import pytest

from scaler.kube.api import KubeApi
from scaler.kube.conflicts import MAX_REVERTS
from scaler.kube.objects import Ref
from scaler.kube.workloads import LIST_FROM, Workloads
from scaler.model import Applied, NotApplied
from service.clock import Deadline
from tests.support.kubernetes.admin import Admin
from tests.support.kubernetes.cluster import ACCOUNT
from tests.support.kubernetes.front import Front
from tests.support.kubernetes.rules import RULES, without
from tests.support.kubernetes.targets import Leadership, TargetOf, read, refused, soon

# --- out and in -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["Deployment", "StatefulSet"])
def test_out_in_to_nothing_and_from_nothing(
    admin: Admin, front: Front, target_of: TargetOf, kind: str
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


# --- conflicts of writes ----------------------------------------------------------------------------------


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


# --- without leadership -----------------------------------------------------------------------------------


@pytest.mark.parametrize("fence", [Leadership(leading=False), Leadership(seconds=0.1)])
def test_nothing_is_written_without_the_lease(
    admin: Admin, front: Front, target_of: TargetOf, fence: Leadership
) -> None:
    admin.workload("mail", 2)
    target = target_of(fence=fence)
    read(target)
    assert refused(target, 2, 3).kind == "fenced"
    assert front.writes() == []


def test_a_step_that_is_over_is_no_loss_of_the_lease(admin: Admin, front: Front, target_of: TargetOf) -> None:
    admin.workload("mail", 2)
    target = target_of()
    read(target)
    outcome = target.scale(2, 3, Deadline.after(0.1))
    assert isinstance(outcome, NotApplied)
    assert (outcome.kind, front.writes()) == ("throttled", [])
    assert target.scale(2, 3, soon()) == Applied(3)


# --- few requests -----------------------------------------------------------------------------------------


def test_many_workloads_are_read_with_one_list(admin: Admin, front: Front, api: KubeApi) -> None:
    workloads, step = Workloads(api), soon()
    refs = [Ref("Deployment", admin.namespace, f"w{number}") for number in range(LIST_FROM)]
    for number, ref in enumerate(refs):
        admin.workload(ref.name, number)
        workloads.register(ref)
    assert [workloads.read(ref, step).replicas for ref in refs] == list(range(LIST_FROM))
    assert len(front.requested("GET ")) == 1


def test_a_step_lists_once_however_long_it_takes(admin: Admin, front: Front, api: KubeApi) -> None:
    workloads, step = Workloads(api), Deadline.after(60.0)
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


def test_a_step_right_after_a_write_sees_it_and_blames_nobody(
    admin: Admin, api: KubeApi, target_of: TargetOf
) -> None:
    """As when the interval is shortened, or commands wake the scaler several times within an interval."""
    workloads = Workloads(api)
    targets = [target_of(f"w{number}", workloads=workloads) for number in range(LIST_FROM)]
    for target in targets:
        admin.workload(target.ref.name, 2)
    for replicas in range(3, 4 + 2 * MAX_REVERTS):
        assert targets[0].scale(read(targets[0]).requested, replicas, soon()) == Applied(replicas)
        seen = read(targets[0])
        assert (seen.requested, seen.contested) == (replicas, None)


def test_targets_that_are_made_again_are_read_with_one_list(
    admin: Admin, front: Front, api: KubeApi, target_of: TargetOf
) -> None:
    workloads = Workloads(api)
    names = [f"w{number}" for number in range(LIST_FROM)]
    for name in names:
        admin.workload(name, 2)
    before = [target_of(name, workloads=workloads, dry_run=True) for name in names]
    after = [target_of(name, workloads=workloads, dry_run=True) for name in names]
    for target in before:
        target.close()
    step = soon()
    for target in after:
        target.read(step)
    assert len(front.requested("GET .*/deployments")) == 1


def test_without_the_right_to_list_each_is_got(admin: Admin, front: Front, api: KubeApi) -> None:
    rules = without(RULES, "deployments")
    rules.append({"apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["get"]})
    workloads = Workloads(api)
    refs = [Ref("Deployment", admin.namespace, f"w{number}") for number in range(LIST_FROM)]
    for ref in refs:
        admin.workload(ref.name, 1)
        workloads.register(ref)
    admin.rules(ACCOUNT, rules)
    assert [workloads.read(ref, soon()).ready is not None for ref in refs] == [True] * LIST_FROM
    assert len(front.requested("GET .*/deployments\\?")) == 1
    assert len(front.requested("GET .*/deployments/w")) == LIST_FROM
