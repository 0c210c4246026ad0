"""The whole scaler as a process in a cluster: figures in, replicas and Events out, overrides."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from lab.deadline import wait_until
from tests.support.fake_prometheus import FakePrometheus, Waiting
from tests.support.kubernetes.admin import Admin
from tests.support.kubernetes.cluster import STATE
from tests.support.kubernetes.front import Front
from tests.support.kubernetes.scalers import ScalerProcess, scaler, settings

pytestmark = pytest.mark.timeout(180)  # up to 13 s alone, of a process and its steps

STEPS = "oxherd_scaler_steps_total"
ScalerOf: TypeAlias = Callable[..., ScalerProcess]


@pytest.fixture
def scaler_of(kubeconfig: str, prometheus: FakePrometheus, tmp_path: Path) -> Iterator[ScalerOf]:
    with ExitStack() as undo:

        def start(name: str = "one", **changed: Any) -> ScalerProcess:
            data = settings(kubeconfig, prometheus.url, **changed)
            return undo.enter_context(scaler(name, tmp_path, data))

        yield start


def replicas(admin: Admin, expected: int) -> None:
    wait_until(lambda: admin.replicas("mail") == expected, what=f"{expected} replicas", seconds=60)


def target(process: ScalerProcess) -> dict[str, Any]:
    status = process.status() or {}
    return next(iter(status.get("targets") or [{}]))


def has(process: ScalerProcess, condition: str) -> None:
    wait_until(lambda: condition in target(process).get("conditions", []), what=condition, seconds=60)


def has_not(process: ScalerProcess, condition: str) -> None:
    wait_until(lambda: condition not in target(process).get("conditions", ()), what=condition, seconds=60)


def steps_of(process: ScalerProcess) -> int:
    lines = process.metrics().splitlines()
    return int(next(float(line.split()[1]) for line in lines if line.startswith(STEPS)))


def reasons(admin: Admin) -> list[str]:
    return [event["reason"] for event in admin.events()]


def scaling(folder: Path, *words: str) -> str:
    """`scaling ...` with the settings of the scaler that runs."""
    command = [sys.executable, "-m", "scaler", *words, "--config", str(folder / "one.yml")]
    completed = subprocess.run(command, capture_output=True, check=False, timeout=60, env=dict(os.environ))
    return (completed.stdout + completed.stderr).decode()


def test_a_burst_is_followed_out_and_in_with_events(
    admin: Admin, scaler_of: ScalerOf, waiting: Waiting
) -> None:
    admin.workload("mail", 1)
    process = scaler_of()
    wait_until(process.is_leader, what="it leads", seconds=60)
    waiting.jobs = 40
    replicas(admin, 8)
    waiting.jobs = 0
    replicas(admin, 1)
    wait_until(lambda: {"ScaledUp", "ScaledDown"} <= set(reasons(admin)), what="events")
    event = admin.events()[0]
    assert event["involvedObject"]["name"] == "mail"
    assert event["message"].startswith("from 1 to 8: ")
    wait_until(lambda: "actions" in (admin.config_map(STATE).get("data") or {}), what="the state is kept")


def test_to_nothing_and_from_nothing(admin: Admin, scaler_of: ScalerOf, waiting: Waiting) -> None:
    admin.workload("mail", 1)
    process = scaler_of(defaults={"min_workers": 0, "scale_to_zero_after_seconds": 1})
    replicas(admin, 0)
    waiting.jobs = 3
    replicas(admin, 1)
    assert process.is_leader()


def test_overrides_by_command_and_by_hand_go_through_the_config_map(
    admin: Admin, scaler_of: ScalerOf, tmp_path: Path
) -> None:
    admin.workload("mail", 1)
    process = scaler_of()
    wait_until(process.is_leader, what="it leads", seconds=60)
    output = scaling(tmp_path, "manual", "mail", "5", "--reason", "a launch", "--for", "1h", "--by", "ada")
    assert output.startswith("mail: 5 workers for 1 h")
    replicas(admin, 5)
    has(process, "Overridden")
    assert scaling(tmp_path, "manual", "mail", "50", "--reason", "x").startswith("scaling: 50 is not within")
    assert "scaled by its metrics again" in scaling(tmp_path, "auto", "mail")
    replicas(admin, 1)
    admin.edit_config_map(STATE, {"paused": '["mail"]'})
    has(process, "Paused")
    admin.edit_config_map(STATE, {"paused": "[]", "enabled": "false"})
    wait_until(lambda: (process.status() or {}).get("enabled") is False, what="switched off", seconds=60)
    wait_until(lambda: {"Overridden", "OverriddenEnded", "Paused"} <= set(reasons(admin)), what="events")


def test_replicas_set_by_hand_are_noticed_and_followed_up(
    admin: Admin, scaler_of: ScalerOf, waiting: Waiting, front: Front
) -> None:
    admin.workload("mail", 1)
    process = scaler_of()
    wait_until(process.is_leader, what="it leads", seconds=60)
    with front.fault("PATCH .*/scale(\\?(?!.*dryRun)|$)", "hang"):
        waiting.jobs = 40
        wait_until(
            lambda: front.requested("PATCH .*/scale(\\?(?!.*dryRun)|$)"), what="a write hangs", seconds=60
        )
        admin.set_replicas("mail", 3)
    replicas(admin, 8)
    assert all(b'"value": 1}' not in write.body or b'"value": 8}' in write.body for write in front.writes())


def test_with_another_autoscaler_there_is_a_conflict_and_no_write(
    admin: Admin, scaler_of: ScalerOf, waiting: Waiting, front: Front
) -> None:
    admin.workload("mail", 2)
    admin.autoscaler("rival", "mail")
    process = scaler_of()
    wait_until(process.is_leader, what="it leads", seconds=60)
    waiting.jobs = 40
    has(process, "Contested")
    wait_until(lambda: target(process)["metrics"].get("waiting") == 40, what="it sees the jobs", seconds=60)
    assert "HorizontalPodAutoscaler rival" in target(process)["sentence"]
    assert target(process)["desired"] == 2
    assert not front.writes()
    wait_until(lambda: "Contested" in reasons(admin), what="an event")


def test_beside_another_autoscaler_it_advises_and_then_takes_over(
    admin: Admin, scaler_of: ScalerOf, waiting: Waiting, front: Front
) -> None:
    admin.workload("mail", 2)
    admin.autoscaler("rival", "mail")
    process = scaler_of()
    wait_until(process.is_leader, what="it leads", seconds=60)
    admin.edit_config_map(STATE, {"policies": '{"mail": {"mode": "advise"}}'})
    waiting.jobs = 40
    has(process, "Advising")
    wait_until(lambda: target(process)["recommended"] == 8, what="it recommends 8", seconds=60)
    assert target(process)["desired"] == 2
    assert "Contested" not in target(process)["conditions"]
    admin.set_replicas("mail", 6)
    wait_until(lambda: target(process)["current"] == 6, what="it sees the other one's number", seconds=60)
    assert not front.writes()
    admin.remove_autoscaler("rival")
    admin.edit_config_map(STATE, {"policies": "{}"})
    replicas(admin, 8)


def test_without_metrics_it_holds_and_says_so(
    admin: Admin, scaler_of: ScalerOf, waiting: Waiting, prometheus: FakePrometheus
) -> None:
    admin.workload("mail", 1)
    waiting.jobs = 40
    process = scaler_of()
    replicas(admin, 8)
    prometheus.names = ["other"]
    has(process, "MetricsStale")
    prometheus.names = ["mail"]
    has_not(process, "MetricsStale")
    assert admin.replicas("mail") >= 8
    wait_until(lambda: {"MetricsStale", "MetricsStaleEnded"} <= set(reasons(admin)), what="events")


def test_a_readiness_flap_a_rollout_and_a_server_that_starts_change_nothing(
    admin: Admin, scaler_of: ScalerOf, waiting: Waiting, front: Front
) -> None:
    admin.workload("mail", 1, gated=True)
    process = scaler_of(defaults={"policy": "wait_target", "worker_concurrency": 5, "wait_slo_seconds": 30})
    wait_until(process.is_leader, what="it leads", seconds=60)
    waiting.jobs = 40
    wait_until(lambda: admin.replicas("mail") == 8, what="8 replicas", seconds=60)

    def ready(number: int) -> None:
        admin.gate("mail", ready=number > 0)
        wait_until(lambda: target(process).get("ready") == number, what=f"{number} are ready", seconds=60)

    ready(8)
    wait_until(lambda: target(process)["start_seconds"] is not None, what="start times", seconds=60)
    before, written = target(process)["start_seconds"], len(front.writes())
    for number in (0, 8, 0, 8):
        ready(number)
    for pod in admin.pods("mail"):
        admin.delete_pod(pod["metadata"]["name"])
    wait_until(lambda: len(admin.pods("mail")) == 8, what="8 new pods", seconds=60)
    ready(8)
    steps = steps_of(process)
    with front.starting(times=12):
        wait_until(lambda: steps_of(process) > steps + 5, what="steps", seconds=60)
    wait_until(lambda: target(process).get("ready") == 8, what="it is read again", seconds=60)
    wait_until(process.is_leader, what="it leads", seconds=60)
    assert admin.replicas("mail") == 8
    assert len(front.writes()) == written
    assert target(process)["start_seconds"] == before
    assert "Forbidden" not in reasons(admin)


def test_a_workload_that_somebody_set_to_zero_rests_until_somebody_sets_it_otherwise(
    admin: Admin, scaler_of: ScalerOf, waiting: Waiting, front: Front
) -> None:
    admin.workload("mail", 1)
    process = scaler_of()
    wait_until(process.is_leader, what="it leads", seconds=60)
    waiting.jobs = 40
    replicas(admin, 8)
    admin.set_replicas("mail", 0)
    has(process, "Resting")
    written = len(front.writes())
    assert "rests at 0" in target(process)["sentence"]
    assert "Contested" not in target(process)["conditions"]
    wait_until(lambda: "Resting" in reasons(admin), what="an event")
    process.stop()
    successor = scaler_of("two")
    has(successor, "Resting")
    wait_until(successor.is_leader, what="it leads", seconds=60)
    wait_until(lambda: target(successor)["metrics"].get("waiting") == 40, what="it sees the jobs", seconds=60)
    assert admin.replicas("mail") == 0
    assert len(front.writes()) == written
    admin.set_replicas("mail", 1)
    replicas(admin, 8)
    has_not(successor, "Resting")


def test_its_own_zero_is_scaled_from_zero_by_a_successor(
    admin: Admin, scaler_of: ScalerOf, waiting: Waiting
) -> None:
    admin.workload("mail", 1)
    to_zero = {"min_workers": 0, "scale_to_zero_after_seconds": 1}
    process, follower = scaler_of(defaults=to_zero), scaler_of("two", defaults=to_zero)
    wait_until(lambda: process.is_leader() or follower.is_leader(), what="one leads", seconds=60)
    replicas(admin, 0)
    leader, other = (process, follower) if process.is_leader() else (follower, process)
    assert leader.stop() == 0
    wait_until(other.is_leader, what="the other leads", seconds=60)
    waiting.jobs = 40
    replicas(admin, 8)


def test_a_workload_that_goes_and_comes_again(admin: Admin, scaler_of: ScalerOf, waiting: Waiting) -> None:
    admin.workload("mail", 1)
    process = scaler_of()
    wait_until(process.is_leader, what="it leads", seconds=60)
    admin.delete("mail")
    has(process, "TargetNotFound")
    admin.workload("mail", 1)
    waiting.jobs = 40
    replicas(admin, 8)
    has_not(process, "TargetNotFound")


def test_without_reading_its_state_it_does_nothing(
    admin: Admin, scaler_of: ScalerOf, waiting: Waiting, front: Front
) -> None:
    """A pause that cannot be read may be there."""
    admin.workload("mail", 1)
    admin.edit_config_map(STATE, {"paused": '["mail"]'})
    waiting.jobs = 40
    with front.fault("GET .*/configmaps", "status", status=500):
        process = scaler_of()
        wait_until(lambda: target(process).get("desired") == 8, what="it decides", seconds=60)
        assert not process.is_leader()
    has(process, "Paused")
    assert not front.writes()


def test_a_dry_run_beside_it_takes_no_part(
    admin: Admin, scaler_of: ScalerOf, waiting: Waiting, front: Front
) -> None:
    admin.workload("mail", 1)
    dry = scaler_of("dry", dry_run=True)
    waiting.jobs = 40
    wait_until(lambda: target(dry).get("desired") == 8, what="it decides", seconds=60)
    assert not [request for request in front.recorded if request.method != "GET"]
    assert admin.replicas("mail") == 1


def test_a_missing_kubeconfig_is_an_error_at_start(tmp_path: Path) -> None:
    (tmp_path / "scaler.yml").write_text(
        "targets: [{name: mail, queues: [mail], kubernetes: {name: mail}}]\n"
        "kubernetes: {kubeconfig: /nowhere/config}\n"
    )
    command = [sys.executable, "-m", "scaler", "start", "--config", str(tmp_path / "scaler.yml")]
    completed = subprocess.run(command, capture_output=True, check=False, timeout=60)
    assert completed.returncode == 2
    assert completed.stderr.decode().startswith("scaling: kubernetes.kubeconfig=/nowhere/config")
