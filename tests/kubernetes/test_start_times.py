"""Start times of pods, against an API server: which pods count."""

from __future__ import annotations

import pytest

from lab.deadline import wait_until
from scaler.kube.target import KubernetesTarget
from scaler.model import Applied
from tests.support.kubernetes.admin import Admin
from tests.support.kubernetes.front import Front
from tests.support.kubernetes.targets import TargetOf, read, soon


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


@pytest.mark.fault
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
