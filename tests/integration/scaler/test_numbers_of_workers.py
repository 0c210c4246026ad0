"""A zero too many in an order, in the state file or in the settings: workers are bounded by the machine."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from bench.programs import Program
from lab.deadline import wait_until
from lab.ports import free_port
from scaler.config.settings import ScalerSettings
from scaler.state.model import FORMAT
from scaler.targets.machine import this_machine, worker_limit
from tests.support.starving import started

pytestmark = [pytest.mark.fault, pytest.mark.timeout(90)]

KEY = "the-full-key-of-these-tests"
LIMIT = worker_limit(this_machine(ScalerSettings()))


def settings(folder: Path, **policy: object) -> dict[str, Any]:
    """A target of processes; Prometheus is not there, so that nothing but orders change its number."""
    processes = {"command": ["sleep", "600"], "grace_seconds": 1, "ready_seconds": 0}
    return {
        "prometheus": {"urls": ["http://127.0.0.1:9"]},
        "interval_seconds": 1,
        "state_file": str(folder / "state.json"),
        "api": {"key": KEY},
        "targets": [{"name": "mail", "queues": ["mail"], "min_workers": 1, "processes": processes, **policy}],
    }


@contextmanager
def running(folder: Path, **policy: object) -> Iterator[tuple[Program, httpx.Client]]:
    """A scaler that has taken a step."""
    program = Program("scaler", settings(folder, **policy), folder)
    url = f"http://{program.address}"
    try:
        with httpx.Client(base_url=url, headers={"x-api-key": KEY}, trust_env=False, timeout=10) as client:
            program.process.wait_for(lambda: is_ready(client))
            yield program, client
    finally:
        program.stop(seconds=20)


def is_ready(client: httpx.Client) -> bool:
    try:
        return client.get("/readyz").status_code == 200
    except httpx.TransportError:
        return False


def order(client: httpx.Client, action: str, **keys: object) -> tuple[int, str]:
    response = client.post("/api/monitoring", json={"action": action, "queueName": "mail", **keys})
    return response.status_code, response.json().get("error", "")


def workers_of(client: httpx.Client) -> int:
    number: int = client.get("/api/monitoring?action=scaling_status").json()["data"]["targets"][0]["current"]
    return number


def test_an_order_of_more_workers_than_the_machine_can_run_is_refused(tmp_path: Path) -> None:
    assert LIMIT is not None
    above = min(LIMIT.workers + 1, 100_000)
    with running(tmp_path, max_workers=100_000) as (program, client):
        for keys in (
            {"maxWorkers": 10**9},
            {"minWorkers": 10**6, "maxWorkers": 10**9},
            {"minWorkers": above},
        ):
            status, error = order(client, "update_scaling_config", **keys)
            assert (status, "orkers" in error) == (400, True), error
        status, error = order(client, "manual_scale", targetWorkers=above, reason="a zero too many")
        assert status == 400
        assert f"this machine can run {LIMIT.workers}" in error
        assert order(client, "manual_scale", targetWorkers=3, reason="all is well")[0] == 200
        wait_for_workers(client, 3)
        began = time.monotonic()
        program.stop(seconds=20)
        assert time.monotonic() - began < 10


def test_descriptors_that_http_may_take_are_not_for_workers(tmp_path: Path) -> None:
    """256 of them: half for connections, 64 for the scaler, two for each of 32 workers."""
    config = tmp_path / "scaler.yml"
    config.write_text(
        yaml.safe_dump({**settings(tmp_path, max_workers=90), "listen": f"127.0.0.1:{(port := free_port())}"})
    )
    arguments = ("scaler", "start", "--config", str(config))
    with (
        started(*arguments, log=tmp_path / "log", environ={}, limits=["--nofile=256"], as_user=False),
        httpx.Client(base_url=f"http://127.0.0.1:{port}", headers={"x-api-key": KEY}, timeout=10) as client,
    ):
        wait_until(lambda: is_ready(client), what="it is ready", seconds=20)
        status, error = order(client, "manual_scale", targetWorkers=33, reason="one too many")
        assert (status, "this machine can run 32" in error) == (400, True), error
        assert order(client, "manual_scale", targetWorkers=32, reason="as many as fit")[0] == 200
        wait_for_workers(client, 32)


def wait_for_workers(client: httpx.Client, count: int) -> None:
    until = time.monotonic() + 20
    while workers_of(client) != count:
        assert time.monotonic() < until, workers_of(client)
        time.sleep(0.2)


def test_what_is_too_many_in_the_state_file_starts_no_worker(tmp_path: Path) -> None:
    state = {
        "format": FORMAT,
        "policies": {"mail": {"min_workers": 10**6, "max_workers": 10**9}},
        "overrides": {"mail": {"workers": 10**9, "reason": "x", "by": "ann", "at": 1.0, "until": None}},
    }
    (tmp_path / "state.json").write_text(json.dumps(state))
    with running(tmp_path) as (program, client):
        wait_until(lambda: "changed policy not usable" in program.log.read_text(), what="it is said")
        assert "overrides.mail: workers: 1000000000 is not from 0 to 100000" in program.log.read_text()
        assert workers_of(client) == 0  # an order that cannot be read holds its target


def test_settings_whose_least_workers_do_not_fit_are_refused(tmp_path: Path) -> None:
    assert LIMIT is not None
    if LIMIT.workers >= 100_000:
        pytest.fail("this machine is larger than any number of workers that can be set")
    least = LIMIT.workers + 1
    program = Program("scaler", settings(tmp_path, min_workers=least, max_workers=least), tmp_path)
    try:
        program.process.wait(seconds=20)
    except subprocess.TimeoutExpired:
        pytest.fail("it has started")
    finally:
        program.stop()
    assert f"{least} workers at least (min_workers): this machine can run" in program.log.read_text()


def test_thousands_of_workers_that_were_meant_start_some_at_a_time_and_end(tmp_path: Path) -> None:
    """SIGTERM is heard while they are being started."""
    with running(tmp_path, max_workers=2000) as (program, client):
        assert order(client, "manual_scale", targetWorkers=1500, reason="a sale")[0] == 200
        wait_for_workers(client, 1500)
        time.sleep(1)
        began = time.monotonic()
        program.stop(seconds=60)
        assert time.monotonic() - began < 30
