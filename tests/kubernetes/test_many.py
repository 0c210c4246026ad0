"""A thousand workloads: few requests a step, and no storm when all of them change at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import pytest

from lab.deadline import wait_until
from scaler import controller
from scaler.config.settings import PolicySettings, ScalerSettings
from scaler.controller import Controller, Managed
from scaler.kube.backend import KubernetesBackend
from scaler.model import Applied, NotApplied, QueueSample, TargetMetrics
from scaler.state.live import LiveState
from scaler.step_result import StepResult
from service.clock import Deadline, monotonic, now
from tests.support.kubernetes.admin import Admin
from tests.support.kubernetes.cluster import ACCOUNT, real_kubeconfig
from tests.support.kubernetes.front import Front
from tests.support.kubernetes.rules import RULES
from tests.support.kubernetes.targets import TargetOf
from tests.support.scaler_metrics import metrics

pytestmark = pytest.mark.timeout(400)  # 5 s alone, of a thousand workloads; a step may last half an interval

INTERVAL = 60.0  # longer than a step takes on a busy machine
BUDGET = 25.0  # seconds of a step, and of a request: nothing may time out on a busy machine
COUNT = 50 if real_kubeconfig() else 1000  # a real cluster has to run the pods
POLICY = PolicySettings(policy="threshold", cooldown_seconds=0, min_workers=1)


@dataclass
class FakeMetrics:
    waiting: int = 0

    def read(self, deadline: Deadline) -> Mapping[str, TargetMetrics]:
        sample = QueueSample(now(), self.waiting, 0.0)
        return {f"w{number}": TargetMetrics((f"q{number}",), sample) for number in range(COUNT)}


def settings(kubeconfig: str, rate: float) -> ScalerSettings:
    targets = [
        {"name": f"w{number}", "queues": [f"q{number}"], "kubernetes": {"name": f"w{number}"}}
        for number in range(COUNT)
    ]
    cluster = {
        "kubeconfig": kubeconfig,
        "requests_per_second": rate,
        "timeout_seconds": BUDGET,
        "lease_seconds": 600,  # which bounds the writes too
    }
    return ScalerSettings.model_validate(
        {"interval_seconds": INTERVAL, "kubernetes": cluster, "targets": targets}
    )


def test_targets_that_the_rate_limit_does_not_reach_in_a_step_take_turns(
    admin: Admin, front: Front, kubeconfig: str, token: str
) -> None:
    count = 40
    for number in range(count):
        admin.workload(f"w{number}", 1)
    admin.rules(ACCOUNT, [rule | {"verbs": [v for v in rule["verbs"] if v != "list"]} for rule in RULES])
    configured = settings(kubeconfig, rate=8).model_copy(update={"dry_run": True})
    cluster = KubernetesBackend(configured)
    managed = [Managed(target.name, POLICY, cluster.target(target)) for target in configured.targets[:count]]
    stepping = Controller(LiveState(None))
    stepping.step(FakeMetrics(), managed, 1.0, dry_run=True)  # what may be sent at once is sent

    def reads(number: int) -> int:
        return len(front.requested(f"GET .*/deployments/w{number}$"))

    front.forget()
    steps = 0
    while min(reads(number) for number in range(count)) < 2:
        stepping.step(FakeMetrics(), managed, 1.0, dry_run=True)
        steps += 1
        assert steps < 60
    assert max(reads(number) for number in range(count)) <= 4, "the first ones of 60 steps"
    cluster.api.close()


@pytest.mark.parametrize("rate", [150, 1000])
def test_a_step_sends_few_requests_within_the_rate_limit(
    admin: Admin, front: Front, kubeconfig: str, rate: float
) -> None:
    for number in range(COUNT):
        admin.workload(f"w{number}", 1)
    configured = settings(kubeconfig, rate)
    cluster, source = KubernetesBackend(configured), FakeMetrics()
    managed = [Managed(target.name, POLICY, cluster.target(target)) for target in configured.targets]
    cluster.elector._step()
    stepping = Controller(LiveState(None), leading=lambda: cluster.leading)

    def step() -> StepResult:
        front.forget()
        cluster.elector._step()
        return stepping.step(source, managed, BUDGET)

    step()
    lists = -(-COUNT // 500)
    quiet = step()
    assert len(front.requested("GET .*/deployments")) == lists
    assert len(front.requested("PATCH .*dryRun")) <= 50
    assert not front.writes()
    source.waiting, begin = 40, monotonic()
    results = [result.acted for result in step().steps]
    applied = sum(1 for result in results if isinstance(result, Applied))
    others = Counter(result.kind for result in results if isinstance(result, NotApplied))
    assert others.keys() <= {"throttled", "unreachable", "timeout"}
    unanswered = others["unreachable"] + others["timeout"]  # of a busy machine: written, or not
    assert applied <= len(front.writes()) <= applied + unanswered
    assert applied <= rate * (front.writes()[-1].at - begin) + 4 * rate + 1
    for _ in range(20):
        if all(admin.replicas(f"w{number}") > 1 for number in range(0, COUNT, COUNT // 10 - 1)):
            break
        step()
        assert len(front.requested("GET .*/deployments")) == lists
    else:
        pytest.fail("not every workload was scaled")
    names = {family.name for family in metrics(quiet, stepping.counters)}
    assert "oxherd_scaler_step_duration_seconds" in names
    print(f"{COUNT} workloads: {quiet.took:.3f} s for a quiet step")  # noqa: T201
    cluster.api.close()


def test_writes_that_hang_take_the_time_of_one_step_together(
    admin: Admin, front: Front, target_of: TargetOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(controller, "_ACT_SECONDS", 1.0)
    names = [f"w{number}" for number in range(24)]
    for name in names:
        admin.workload(name, 1)
    managed = [Managed(name, POLICY, target_of(name)) for name in names]
    source, running = FakeMetrics(), Controller(LiveState(None))
    running.step(source, managed, BUDGET, enabled=False)  # what may be written is known
    source.waiting = 40
    front.forget()
    with front.fault("PATCH .*/scale", "hang"):
        hanging = running.step(source, managed, 2.0)
    # Each thread has one, and so has the step's own, which does what no thread has begun.
    assert len(front.requested("PATCH .*/scale")) <= controller._THREADS + 1
    kinds = [step.acted.kind for step in hanging.steps if isinstance(step.acted, NotApplied)]
    assert len(kinds) == len(names)
    assert set(kinds) <= {"timeout", "throttled"}
    assert {step.acted for step in hanging.steps} & {controller._NO_TIME}

    def all_written() -> bool:
        running.step(source, managed, BUDGET)
        return all(admin.replicas(name) > 1 for name in names)

    wait_until(all_written, seconds=30, what="written")
