"""Others that set the replicas of the same workload, against an API server."""

from __future__ import annotations

from lab.deadline import wait_until
from scaler.kube.api import KubeApi
from scaler.kube.backoff import Backoff
from scaler.kube.conflicts import MAX_REVERTS, OtherAutoscalers
from scaler.kube.workloads import Workloads
from scaler.model import Applied
from tests.support.kubernetes.admin import Admin
from tests.support.kubernetes.cluster import KubeApiOf
from tests.support.kubernetes.front import Front
from tests.support.kubernetes.targets import TargetOf, read, refused, soon


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


def test_an_autoscaler_stays_known_while_its_list_fails(
    admin: Admin, front: Front, target_of: TargetOf
) -> None:
    admin.workload("mail", 2)
    admin.autoscaler("mail-hpa", "mail")
    target = target_of()
    assert "HorizontalPodAutoscaler mail-hpa" in (read(target).contested or "")
    with front.fault("GET .*horizontalpodautoscalers", "status", status=503):
        assert "HorizontalPodAutoscaler mail-hpa" in (read(target).contested or "")


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
    target = target_of(api=api, workloads=Workloads(api))
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


def test_a_zero_of_a_manifest_is_told_from_one_that_somebody_set(admin: Admin, target_of: TargetOf) -> None:
    admin.workload("mail", 3)
    target = target_of()
    admin.set_replicas("mail", 0)
    assert (read(target).requested, read(target).applied) == (0, False)
    admin.workload("mail", 0, manager="flux")
    assert (read(target).requested, read(target).applied) == (0, True)


def test_a_workload_that_is_set_to_zero_again_and_again_is_not_contested(
    admin: Admin, target_of: TargetOf
) -> None:
    admin.workload("mail", 2)
    target = target_of()
    for _ in range(2 * MAX_REVERTS):
        target.scale(read(target).requested, 6, soon())
        admin.set_replicas("mail", 0)
        assert read(target).contested is None
