"""Rollouts, drains and disruption budgets: which numbers the scaler sees then, and what it changes.

The pods have a readiness gate, which holds a rollout where a test needs it.
"""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from lab.deadline import wait_until
from scaler.busy import WorkerJobs
from scaler.kube.api import KubeApi
from scaler.kube.idle import IdleFirst
from scaler.kube.target import KubernetesTarget
from scaler.model import Applied, Workers
from service.clock import Deadline
from service.outcome import Failed, Ok
from tests.support.kubernetes.admin import Admin
from tests.support.kubernetes.fake_objects import seconds_since
from tests.support.kubernetes.front import Front
from tests.support.kubernetes.targets import TargetOf, read, soon

GRACE = 20
SURGE: dict[str, Any] = {"strategy": {"rollingUpdate": {"maxSurge": 2, "maxUnavailable": 0}}}
IN_PLACE: dict[str, Any] = {"strategy": {"rollingUpdate": {"maxSurge": 0, "maxUnavailable": 2}}}
HASH = "pod-template-hash"


def eventually(target: KubernetesTarget, **expected: object) -> Workers:
    """The state of the target, once it has these fields."""

    def arrived() -> Workers | None:
        workers = read(target)
        return workers if expected.items() <= workers._asdict().items() else None

    found = wait_until(arrived, seconds=50, what=f"{expected}")
    assert found is not None
    return found


def ready_workload(admin: Admin, target_of: TargetOf, replicas: int, **spec: Any) -> KubernetesTarget:
    """A Deployment all of whose pods are ready, gates open."""
    admin.workload("mail", replicas, gated=True, grace=GRACE, **spec)
    target = target_of()
    wait_until(lambda: len(admin.pods("mail")) == replicas, seconds=50, what="the pods")
    admin.gate("mail", ready=True)
    eventually(target, ready=replicas)
    return target


def wait_for_pods(admin: Admin, target: KubernetesTarget, number: int) -> None:
    """Until there are so many that are not ending."""

    def arrived() -> bool:
        read(target)
        return len(admin.pods("mail")) == number

    wait_until(arrived, seconds=50, what=f"{number} pods")


def by_template(admin: Admin) -> dict[str, int]:
    """How many pods there are of each template."""
    admin.get("mail")
    hashes = [pod["metadata"]["labels"][HASH] for pod in admin.pods("mail")]
    return {known: hashes.count(known) for known in hashes}


def begin_rollout(admin: Admin, target: KubernetesTarget, pods: int) -> None:
    """Until there are so many pods, old and new: as many as it may have while no new one is ready."""
    admin.roll_out("mail")

    def begun() -> bool:
        read(target)
        return len(by_template(admin)) == 2 and len(admin.pods("mail")) == pods

    wait_until(begun, seconds=50, what="a rollout")


def test_the_surge_of_a_rollout_is_no_part_of_what_is_asked_for(admin: Admin, target_of: TargetOf) -> None:
    target = ready_workload(admin, target_of, 8, minReadySeconds=3600, **SURGE)
    begin_rollout(admin, target, 10)
    assert read(target)[:2] == (8, 8), "two new ones are not ready"
    admin.gate("mail", ready=True)
    workers = eventually(target, ready=10)
    assert (workers.requested, workers.contested, workers.leaving) == (8, None, 0)


def test_pods_that_a_rollout_replaced_are_leaving_until_they_end(admin: Admin, target_of: TargetOf) -> None:
    target = ready_workload(admin, target_of, 4, **SURGE)
    begin_rollout(admin, target, 6)
    admin.gate("mail", ready=True)
    workers = eventually(target, leaving=2)
    assert workers.requested == 4
    for _ in range(3):
        read(target)
        admin.gate("mail", ready=True)
    workers = eventually(target, ready=4, leaving=4)
    assert workers.requested == 4
    assert len(by_template(admin)) == 1


def test_without_a_surge_the_ready_ones_are_fewer(admin: Admin, front: Front, target_of: TargetOf) -> None:
    target = ready_workload(admin, target_of, 8, **IN_PLACE)
    begin_rollout(admin, target, 8)
    workers = eventually(target, ready=6)
    assert (workers.requested, workers.leaving) == (8, 2)
    admin.gate("mail", ready=True)
    eventually(target, ready=6, leaving=4)
    assert not front.writes()


def test_no_start_time_is_learned_of_a_rollout_alone(admin: Admin, front: Front, target_of: TargetOf) -> None:
    target = ready_workload(admin, target_of, 3, **SURGE)
    begin_rollout(admin, target, 5)
    front.forget()
    for _ in range(3):
        admin.gate("mail", ready=True)
        read(target)
    wait_until(lambda: len(by_template(admin)) == 1, seconds=50, what="the end of the rollout")
    eventually(target, ready=3)
    assert target.start_times() == ()
    assert not front.requested("GET .*/pods")


@pytest.mark.parametrize("flaps", [False, True], ids=["steady", "old pods lose their readiness"])
def test_start_times_of_a_scale_out_into_a_rollout_are_those_of_pods_that_started(
    admin: Admin, target_of: TargetOf, *, flaps: bool
) -> None:
    target = ready_workload(admin, target_of, 4, **SURGE)
    wait_until(lambda: _age_of_the_oldest(admin) >= 6, seconds=50, what="pods that are some seconds old")
    begin_rollout(admin, target, 6)
    assert target.scale(4, 6, soon()) == Applied(6)
    asked = time.monotonic()
    wait_for_pods(admin, target, 8)
    for ready in (False, True, True) if flaps else (True, True, True):
        admin.gate("mail", ready=ready)
        read(target)
    eventually(target, requested=6, ready=6)
    # Which of them are learned depends on when they are looked at: none where some lost readiness between.
    longest = max(target.start_times(), default=0.0)
    assert longest <= time.monotonic() - asked + 1, "no age of an old pod"


def _age_of_the_oldest(admin: Admin) -> float:
    return max(seconds_since(pod["metadata"]["creationTimestamp"]) for pod in admin.pods("mail"))


# --- scale-in in the middle of a rollout ------------------------------------------------------------------


class Exporter:
    """An exporter that knows which pods have jobs."""

    def __init__(self) -> None:
        self.jobs: dict[str, int] = {}

    def __call__(self, deadline: Deadline) -> WorkerJobs:
        return WorkerJobs(self.jobs, complete=True)


def rolled_out(admin: Admin, api: KubeApi, target_of: TargetOf, **spec: Any) -> KubernetesTarget:
    """Six old pods, of which one has a job, and two new ones, which are not ready."""
    exporter = Exporter()
    admin.workload("mail", 6, gated=True, grace=GRACE, **SURGE, **spec)
    target = target_of(idle_first=IdleFirst(api, exporter))
    wait_until(lambda: len(admin.pods("mail")) == 6, seconds=50, what="the pods")
    admin.gate("mail", ready=True)
    eventually(target, ready=6)
    exporter.jobs = {admin.pods("mail")[0]["metadata"]["name"]: 1}
    assert target.idle(soon()) == Ok(5)
    begin_rollout(admin, target, 8)
    return target


def test_which_pods_are_idle_does_not_count_while_a_rollout_goes_on(
    admin: Admin, api: KubeApi, target_of: TargetOf
) -> None:
    """A scale-in is divided over old and new pods, whatever they cost: what follows is that nothing is scaled
    in where a job may outlast the grace period."""
    target = rolled_out(admin, api, target_of)
    answer = target.idle(soon())
    assert isinstance(answer, Failed)
    assert answer.message == (
        f"Deployment {admin.namespace}/mail is being rolled out, and which of its pods go is not ours"
    )
    for _ in range(4):
        admin.gate("mail", ready=True)
        read(target)
    wait_until(lambda: len(by_template(admin)) == 1, seconds=50, what="the end of the rollout")
    eventually(target, ready=6)
    assert isinstance(target.idle(soon()), Ok)


def test_a_scale_in_in_a_rollout_is_divided_over_old_and_new_pods(
    admin: Admin, api: KubeApi, target_of: TargetOf
) -> None:
    target = rolled_out(admin, api, target_of)
    assert sorted(by_template(admin).values()) == [2, 6]
    assert target.scale(6, 3, soon()) == Applied(3)
    wait_until(lambda: sum(by_template(admin).values()) == 5, seconds=50, what="three pods and the surge")
    assert sorted(by_template(admin).values()) == [2, 3], "1 and 4, and then the rollout goes on"


@pytest.mark.parametrize("stuck", [True, False], ids=["stuck", "paused"])
def test_a_rollout_that_does_not_go_on_holds_nothing(
    admin: Admin, api: KubeApi, target_of: TargetOf, *, stuck: bool
) -> None:
    """It may stay as it is for days: pods are scaled in and out as ever, idle ones first."""
    target = rolled_out(admin, api, target_of, progressDeadlineSeconds=4, minReadySeconds=1)
    if not stuck:
        admin.change("mail", {"paused": True})

    def answers() -> bool:
        read(target)
        return isinstance(target.idle(soon()), Ok)

    wait_until(answers, seconds=50, what="an answer")
    assert target.scale(6, 9, soon()) == Applied(9)
    wait_until(lambda: sum(by_template(admin).values()) == 11, seconds=50, what="nine pods and the surge")
    workers = read(target)
    assert workers.requested == 9
    assert workers.ready == 6, "those of the new template are not ready, and those that were asked for"
    assert target.scale(9, 3, soon()) == Applied(3)
    wait_until(lambda: sum(by_template(admin).values()) == 5, seconds=50, what="three pods and the surge")


def test_a_paused_deployment_is_scaled(admin: Admin, target_of: TargetOf) -> None:
    target = ready_workload(admin, target_of, 2, paused=True, **SURGE)
    assert target.scale(2, 4, soon()) == Applied(4)
    wait_for_pods(admin, target, 4)
    assert target.scale(4, 1, soon()) == Applied(1)
    wait_for_pods(admin, target, 1)


# --- drains and budgets -----------------------------------------------------------------------------------


def test_a_drain_is_no_change_of_the_number(admin: Admin, front: Front, target_of: TargetOf) -> None:
    target = ready_workload(admin, target_of, 3)
    assert admin.evict(admin.pods("mail")[0]["metadata"]["name"])
    workers = eventually(target, ready=2)
    assert (workers.requested, workers.contested) == (3, None)
    wait_for_pods(admin, target, 3)
    admin.gate("mail", ready=True)
    eventually(target, ready=3, requested=3)
    assert target.start_times() == ()
    assert not front.writes()


@pytest.mark.parametrize(
    ("replicas", "budget", "evicted"),
    [
        (3, {"minAvailable": "100%"}, False),
        (1, {"minAvailable": 1}, False),
        (1, {"minAvailable": "50%"}, False),
        (3, {"maxUnavailable": 1}, True),
        (1, {"maxUnavailable": 1}, True),
        (1, {"maxUnavailable": "25%"}, True),
    ],
    ids=json.dumps,
)
def test_a_budget_limits_a_drain_and_no_scale_in(
    admin: Admin, target_of: TargetOf, replicas: int, budget: dict[str, int | str], *, evicted: bool
) -> None:
    """One that counts from below stops every drain once the scaler has set as few."""
    target = ready_workload(admin, target_of, 3)
    admin.budget("mail", **budget)
    if replicas < 3:
        assert target.scale(3, replicas, soon()) == Applied(replicas)
    wait_for_pods(admin, target, replicas)
    assert admin.evict(admin.pods("mail")[0]["metadata"]["name"]) is evicted
    assert target.scale(replicas, 0, soon()) == Applied(0)
    wait_for_pods(admin, target, 0)
