"""The state file of a running scaler, broken, locked, deleted, on a full disk: no order is taken for none."""

from __future__ import annotations

import json
import os
import resource
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from lab.deadline import wait_until
from lab.ports import free_port
from lab.process import ChildProcess
from scaler.model import Override
from scaler.state.model import OperatorState, State, to_json, with_override, with_pause
from tests.support.fake_prometheus import FakePrometheus
from tests.support.scrapes import get, scrape

pytestmark = [pytest.mark.fault, pytest.mark.timeout(90)]  # 3 to 20 s alone

KEY = "k" * 32
ORDERS = State(
    with_pause(with_override(OperatorState(), "mail", Override(4, "a sale", "ann", 1.0)), "q1", paused=True)
)
STORED = to_json(ORDERS)


@pytest.fixture
def folder() -> Iterator[Path]:
    """One that other users may read, as /var/lib is."""
    with tempfile.TemporaryDirectory(prefix="oxherd-state-") as name:
        path = Path(name)
        path.chmod(0o755)
        yield path


@pytest.fixture
def prometheus() -> Iterator[FakePrometheus]:
    """Of two queues, for which one worker is enough."""
    with FakePrometheus(2) as server:
        yield server
        server.shutdown()


@dataclass
class Running:
    """A scaler in a process of its own, with two targets of 1 to 6 workers."""

    process: ChildProcess
    url: str
    state: Path
    environ: Mapping[str, str]

    def series(self, name: str, **labels: str) -> float | None:
        return get(scrape(self.url), name, **labels)

    def workers(self, target: str) -> float | None:
        return self.series("oxherd_scaler_current_replicas", target=target, queue=target)

    def why_not_ready(self) -> list[str]:
        reasons: list[str] = httpx.get(f"{self.url}/readyz").json()["reasons"]
        return reasons

    def steps(self) -> float:
        return self.series("oxherd_scaler_steps_total") or 0.0

    def wait_for_steps(self, count: int = 3) -> None:
        before = self.steps()
        wait_until(lambda: self.steps() >= before + count, what=f"{count} steps", seconds=30, every=0.1)

    def wait_for_workers(self, target: str, count: int) -> None:
        wait_until(lambda: self.workers(target) == count, what=f"{count} of {target}", seconds=30, every=0.1)

    def order(self, action: str, **body: object) -> httpx.Response:
        return httpx.post(
            f"{self.url}/api/monitoring",
            headers={"x-api-key": KEY},
            json={"action": action, **body},
            timeout=15,
        )

    def log(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.process.log.read_text().splitlines() if line[:1] == "{"]

    def logged(self, event: str) -> list[dict[str, Any]]:
        return [line for line in self.log() if line["event"] == event]

    def command(self, *words: str) -> str:
        command = [sys.executable, "-m", "scaler", *words]
        return subprocess.run(
            command, env=self.environ, capture_output=True, text=True, check=True, timeout=30
        ).stdout


Start = Callable[[], Running]


@pytest.fixture
def start(folder: Path, prometheus: FakePrometheus) -> Iterator[Start]:
    """`start()`: with what is at the path of the state file."""
    started: list[ChildProcess] = []
    port = free_port()
    processes = {"command": ["sleep", "1000"], "grace_seconds": 1, "ready_seconds": 0.1}
    target = {"min_workers": 1, "max_workers": 6, "processes": processes}
    config = {
        "listen": f"127.0.0.1:{port}",
        "interval_seconds": 1,
        "state_file": str(folder / "state.json"),
        "log": {"format": "json", "level": "info"},
        "prometheus": {"urls": [prometheus.url], "timeout_seconds": 1},
        "targets": [{"name": "mail", "queues": ["mail"]} | target, {"name": "q1", "queues": ["q1"]} | target],
    }
    (folder / "scaler.yml").write_text(yaml.safe_dump(config))
    environ = os.environ | {"SCALER_CONFIG": str(folder / "scaler.yml"), "CRON_API_KEY": KEY}

    def begin() -> Running:
        process = ChildProcess(
            [sys.executable, "-m", "scaler", "start"],
            name="scaler",
            log=folder / f"log-{len(started)}",
            environ=environ,
        )
        started.append(process)
        return Running(process, f"http://127.0.0.1:{port}", folder / "state.json", environ)

    try:
        yield begin
    finally:
        for process in started:
            if process.is_running():
                os.kill(process.pid, signal.SIGTERM)
                process.wait(seconds=20)


def answers(running: Running) -> bool:
    """Whether it has done a step; raises as soon as it has ended."""
    running.process.check()
    try:
        return running.steps() >= 1
    except httpx.TransportError:
        return False


def started(start: Start) -> Running:
    running = start()
    wait_until(lambda: answers(running), what="a first step", seconds=30, every=0.1)
    return running


def as_another_user(*command: str) -> list[str]:
    """Only root may be another one; else it is another process of this user."""
    other = ["setpriv", "--reuid", "65534", "--clear-groups"] if os.geteuid() == 0 else []
    return [*other, *command]


# --- what another user may do -----------------------------------------------------------------------------


def test_another_user_can_not_lock_the_state(start: Start, folder: Path) -> None:
    """Who may read a file may lock it: these are for their owner."""
    (folder / "state.json.lock").touch(0o644)
    running = started(start)
    assert running.order("pause_scaling", queueName="mail").status_code == 200
    for name in ("state.json", "state.json.lock", "state.json.owner"):
        assert stat.S_IMODE((folder / name).stat().st_mode) == 0o600, name
        if os.geteuid() != 0:
            continue  # this user may open it
        locked = subprocess.run(
            as_another_user("flock", "-n", str(folder / name), "true"), capture_output=True, check=False
        )
        assert locked.returncode != 0, name
        assert b"Permission denied" in locked.stderr, name


def test_a_lock_that_is_not_given_back_holds_up_neither_steps_nor_the_end(start: Start, folder: Path) -> None:
    lock = folder / "state.json.lock"
    lock.touch(0o644)
    holder = subprocess.Popen(as_another_user("flock", str(lock), "sleep", "1000"), start_new_session=True)
    try:
        wait_until(
            lambda: subprocess.run(["flock", "-n", str(lock), "true"], check=False).returncode != 0,
            what="it is locked",
        )
        running = started(start)
        running.wait_for_workers("mail", 1)
        answer = running.order("pause_scaling", queueName="mail")
        assert (answer.status_code, answer.elapsed.total_seconds() < 12) == (503, True)
        assert "another process holds it for over 5 s" in answer.text
        running.wait_for_steps()
        assert (running.series("oxherd_scaler_state_write_errors_total") or 0) >= 1
        [unsaved] = running.logged("state not saved")
        assert "state.json.lock" in unsaved["error"]
        os.kill(running.process.pid, signal.SIGTERM)
        running.process.wait(seconds=20)
    finally:
        os.killpg(holder.pid, signal.SIGKILL)
        holder.wait(10)


# --- what cannot be read ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        STORED[: len(STORED) // 2],
        "",
        STORED.replace("scaler 1", "scaler 2"),
        STORED.replace("scaler 1", "scaler 0"),
        STORED.replace('"format"', '"form"'),
        json.dumps(json.loads(STORED) | {"overrides": "none"}),
    ],
    ids=["torn", "empty", "newer", "older", "no format", "no orders"],
)
def test_a_state_that_cannot_be_read_at_a_start_holds_until_somebody_decides(
    start: Start, folder: Path, text: str
) -> None:
    state = folder / "state.json"
    state.write_text(text)
    running = started(start)
    running.wait_for_steps()
    assert (running.workers("mail"), running.workers("q1")) == (0, 0), "none is started, none was there"
    assert running.series("oxherd_scaler_state_readable") == 0
    assert running.series("oxherd_scaler_leader") == 0
    [reason] = running.why_not_ready()
    assert reason.startswith("nothing is scaled: ")
    assert reason.endswith("`scaling state discard`")
    assert len(running.logged("state not usable, nothing is scaled")) == 1
    assert state.read_text() == text, "nothing is written over it"
    status = subprocess.run(
        [sys.executable, "-m", "scaler", "status"], env=running.environ, capture_output=True, check=False
    )
    assert (status.returncode, b"nothing is scaled" in status.stdout) == (1, True)
    state.write_text(STORED)
    running.wait_for_workers("mail", 4)
    assert (running.workers("q1"), running.why_not_ready()) == (0, []), "it is paused, and had none"
    assert running.series("oxherd_scaler_state_readable") == 1


def test_as_many_workers_as_there_were_go_on_while_orders_of_another_version_are_not_known(
    start: Start, folder: Path
) -> None:
    """As after a roll back: nothing is scaled, and nothing stands still."""
    learned = to_json(State(ORDERS.operator, {"mail": {"workers": 3}, "q1": {"workers": 2}}))
    (folder / "state.json").write_text(learned.replace("scaler 1", "scaler 2"))
    running = started(start)
    running.wait_for_workers("mail", 3)
    running.wait_for_steps()
    assert (running.workers("mail"), running.workers("q1")) == (3, 2)
    assert running.series("oxherd_scaler_leader") == 0
    (folder / "state.json").write_text(learned)
    running.wait_for_workers("mail", 4)
    assert running.workers("q1") == 2


def test_an_operator_goes_on_with_what_can_be_read(start: Start, folder: Path) -> None:
    text = STORED.replace("scaler 1", "scaler 2")
    (folder / "state.json").write_text(text)
    running = started(start)
    said = running.command("state", "discard")
    [aside] = folder.glob("state.json.unusable-*")
    assert (
        said == f"orders that are kept: mail: 4 workers, q1: paused\nwhat could not be read is in {aside}\n"
    )
    assert aside.read_text() == text
    running.wait_for_workers("mail", 4)
    assert running.why_not_ready() == []
    assert "nothing is discarded" in running.command("state", "discard")


def test_one_order_that_cannot_be_read_holds_its_target_alone(start: Start, folder: Path) -> None:
    for workers in ("1e5", "1e9", "1e400", "-1", "NaN", '"many"'):
        text = STORED.replace('"workers": 4', f'"workers": {workers}').replace('"q1"\n', "\n")
        (folder / "state.json").write_text(text)
        running = started(start)
        running.wait_for_workers("q1", 1)
        known = workers == "1e5"  # a number, and as many as the bounds allow
        running.wait_for_workers("mail", 6 if known else 0)
        assert running.series("oxherd_scaler_state_readable") == float(known)
        assert running.why_not_ready() == []
        os.kill(running.process.pid, signal.SIGTERM)
        running.process.wait(seconds=20)


def test_a_state_file_that_is_a_fifo_or_huge_never_hangs_a_start(start: Start, folder: Path) -> None:
    os.mkfifo(folder / "state.json")
    refused = start().process
    refused.wait(seconds=20)
    assert "it is not a regular file" in refused.tail()
    (folder / "state.json").unlink()
    with (folder / "state.json").open("wb") as file:
        file.truncate(1 << 40)
    running = started(start)
    [reason] = running.why_not_ready()
    assert "larger than 64 MiB" in reason


# --- while it runs ----------------------------------------------------------------------------------------


def test_orders_outlive_the_deletion_of_their_file(start: Start, folder: Path) -> None:
    state = folder / "state.json"
    state.write_text(STORED)
    running = started(start)
    running.wait_for_workers("mail", 4)
    state.unlink()
    wait_until(state.exists, what="it is written again", seconds=20)
    running.wait_for_steps()
    assert running.workers("mail") == 4
    assert json.loads(state.read_text())["overrides"]["mail"]["workers"] == 4
    [gone] = running.logged("state gone, written again")
    assert (gone["level"], gone["orders"]) == ("warning", "mail: 4 workers, q1: paused")


def test_links_beside_the_state_are_not_followed(start: Start, folder: Path) -> None:
    """But for the state file itself, whose target is replaced."""
    precious, data = folder / "precious", folder / "data"
    precious.write_text("precious")
    data.mkdir()
    (data / "real.json").write_text(STORED)
    (folder / "state.json").symlink_to(data / "real.json")
    for name in ("real.json.new", "real.json.new-1"):
        (data / name).symlink_to(precious)
    running = started(start)
    running.wait_for_workers("mail", 4)
    assert running.order("pause_scaling", queueName="mail").status_code == 200
    assert (folder / "state.json").is_symlink()
    assert "mail" in json.loads((data / "real.json").read_text())["paused"]
    assert precious.read_text() == "precious"
    (folder / "other.json.lock").symlink_to(precious)
    config = yaml.safe_load((folder / "scaler.yml").read_text())
    config["state_file"] = str(folder / "other.json")
    (folder / "scaler.yml").write_text(yaml.safe_dump(config))
    refused = subprocess.run(
        [sys.executable, "-m", "scaler", "pause", "mail"],
        env=running.environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert refused.returncode == 2
    assert "other.json.lock cannot be locked" in refused.stderr


def test_a_full_disk_is_told_and_what_came_meanwhile_is_saved_when_there_is_room(
    start: Start, folder: Path
) -> None:
    """A limit of the process takes the part of the disk: each write fails, and then none."""
    running = started(start)
    running.wait_for_workers("mail", 1)
    state = folder / "state.json"
    wait_until(state.exists, what="it is saved", seconds=20)
    before = state.read_text()
    limit = resource.prlimit(running.process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(running.process.pid, resource.RLIMIT_FSIZE, (0, limit[1]))
    answer = running.order("manual_scale", queueName="mail", targetWorkers=3, reason="a sale")
    assert (answer.status_code, "cannot be written" in answer.text) == (503, True)
    wait_until(
        lambda: running.series("oxherd_scaler_state_write_errors_total"), what="a failed write", seconds=20
    )
    assert (state.read_text(), running.why_not_ready()) == (before, [])
    assert list(folder.glob("state.json.new*")) == []
    resource.prlimit(running.process.pid, resource.RLIMIT_FSIZE, limit)
    answer = running.order("manual_scale", queueName="mail", targetWorkers=3, reason="a sale")
    assert answer.status_code == 200
    running.wait_for_workers("mail", 3)
    assert json.loads(state.read_text())["overrides"]["mail"]["workers"] == 3
