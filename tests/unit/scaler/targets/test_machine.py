"""How many workers this machine can run."""

from __future__ import annotations

import resource

import pytest

from scaler.config.settings import ProcessSettings, ScalerSettings
from scaler.model import Applied, NotApplied
from scaler.targets.descriptors import Served
from scaler.targets.machine import (
    Machine,
    WorkerLimit,
    WorkerRoom,
    least_above,
    limit_of_workers,
    most_above,
    this_machine,
    worker_limit,
)
from scaler.targets.process import ProcessTarget
from service.clock import Deadline

PROCESSES = {"processes": {"command": ["sleep", "60"]}}
LIMIT = WorkerLimit(100, "500 MB of memory")


@pytest.mark.parametrize(
    ("machine", "limit"),
    [
        (Machine(), None),
        (Machine(memory=500 << 20), (100, "500 MB of memory")),
        (Machine(500 << 20, descriptors=164), (50, "164 file descriptors, RLIMIT_NOFILE")),
        (Machine(500 << 20, descriptors=10), (0, "10 file descriptors, RLIMIT_NOFILE")),
        (Machine(500 << 20, 1024, processes=64), (32, "64 processes")),
        (
            Machine(descriptors=1024, served=Served(512)),
            (224, "1024 file descriptors, RLIMIT_NOFILE, of which 512 are for HTTP"),
        ),
        (
            Machine(descriptors=1024, served=Served(512, 128)),
            (160, "1024 file descriptors, RLIMIT_NOFILE, of which 512 are for HTTP and 128 for KEDA"),
        ),
    ],
)
def test_the_lowest_counts(machine: Machine, limit: tuple[int, str] | None) -> None:
    assert worker_limit(machine) == limit


def test_this_machine_has_a_limit() -> None:
    machine = this_machine(ScalerSettings())
    assert machine.memory is not None
    assert machine.memory > 100 << 20
    limit = worker_limit(machine)
    assert limit is not None
    assert 10 < limit.workers < 10_000_000


def test_the_descriptors_of_connections_are_not_for_workers() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (200, hard))
    try:
        few, many = (limit_of_workers(settings(1, 1, web={"max_connections": most})) for most in (32, 1000))
        keda = limit_of_workers(settings(1, 1, web={"max_connections": 32}, keda={"listen": "127.0.0.1:1"}))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert few == (52, "200 file descriptors, RLIMIT_NOFILE, of which 32 are for HTTP")
    assert many == (18, "200 file descriptors, RLIMIT_NOFILE, of which 100 are for HTTP")
    assert keda == (39, "200 file descriptors, RLIMIT_NOFILE, of which 32 are for HTTP and 25 for KEDA")


def settings(least: int, most: int, **others: object) -> ScalerSettings:
    targets = [{"name": f"t{n}", "queues": [f"q{n}"], **PROCESSES} for n in range(2)]
    bounds = {"min_workers": least, "max_workers": most}
    return ScalerSettings.model_validate({"defaults": bounds, "targets": targets, **others})


def test_what_settings_want_is_compared_with_the_machine() -> None:
    assert least_above(settings(50, 60), LIMIT) is None
    assert least_above(settings(51, 60), LIMIT) == (
        "102 workers at least (min_workers): this machine can run 100 workers at most (500 MB of memory)"
    )
    assert most_above(settings(1, 50), LIMIT) is None
    assert "102 workers at most" in str(most_above(settings(1, 51), LIMIT))
    assert most_above(settings(1, 51, max_total_workers=100), LIMIT) is None


def test_pods_are_not_of_this_machine() -> None:
    pods = [{"name": "t", "queues": ["q"], "kubernetes": {"name": "w"}}]
    assert limit_of_workers(ScalerSettings.model_validate({"targets": pods})) is None


def test_targets_share_the_machine() -> None:
    room = WorkerRoom(WorkerLimit(5, "x"))
    assert room.request("a", 3) is None
    assert room.request("b", 3) == "6 workers together: this machine can run 5 workers at most (x)"
    assert room.request("b", 2) is None
    assert room.request("a", 2) is None
    assert room.request("b", 3) is None
    room.leave("a")
    assert room.request("b", 5) is None
    assert WorkerRoom(None).request("a", 10**6) is None


@pytest.mark.fault
def test_more_workers_than_the_machine_can_run_are_refused_by_the_target() -> None:
    room = WorkerRoom(WorkerLimit(3, "15 MB of memory"))
    target = ProcessTarget("mail", ProcessSettings(command=("sleep", "60")), room=room)
    try:
        result = target.scale(0, 10**6, Deadline.after(1))
        assert isinstance(result, NotApplied)
        assert result.message == (
            "1000000 workers together: this machine can run 3 workers at most (15 MB of memory)"
        )
        assert target.scale(0, 1, Deadline.after(1)) == Applied(1)
    finally:
        target.close()
