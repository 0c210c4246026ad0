"""The commands as npm scripts, with npm itself: in the folder, from elsewhere, with arguments."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
import yaml

from lab.deadline import wait_until
from lab.ports import free_port
from lab.programs import find_program
from lab.redis import RedisServer

pytestmark = pytest.mark.timeout(180)  # 15 s alone: npm starts in half a second

DEPLOY = Path(__file__).parents[2] / "deploy"
SCRIPTS = json.loads((DEPLOY / "package.json").read_text())["scripts"]
OWN = (
    "REDIS_",
    "BULLMQ_",
    "EXPORTER_",
    "SCALER_",
    "SCALING_",
    "MONITORING_",
    "ENABLE_",
    "LOG_",
    "CRON_",
    "npm_",
)


def environment(folder: Path, settings: dict[str, str]) -> dict[str, str]:
    """With the commands on the PATH, as in an activated environment; npm's own files in `folder`."""
    own = {name: value for name, value in os.environ.items() if not name.startswith(OWN)}
    path = f"{Path(sys.executable).parent}:{own['PATH']}"
    npm = {"PATH": path, "HOME": str(folder), "NPM_CONFIG_UPDATE_NOTIFIER": "false"}
    return own | npm | settings


def npm(folder: Path, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [find_program("npm"), *arguments],
        cwd=folder,
        env=environment(folder, settings),
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.fixture
def application(tmp_path: Path) -> Path:
    """A project of a user, which has taken over the scripts."""
    (tmp_path / "package.json").write_text(json.dumps({"name": "app", "private": True, "scripts": SCRIPTS}))
    return tmp_path


def test_each_script_is_the_command_of_its_name() -> None:
    assert {name: name.replace(":", " ") for name in SCRIPTS} == SCRIPTS


@pytest.mark.parametrize("command", ["status", "health", "redis", "queues"])
def test_the_state_with_arguments(redis_server: RedisServer, application: Path, command: str) -> None:
    done = npm(
        application,
        *("run", "--silent", f"monitor:{command}", "--", "--local", "--json"),
        REDIS_URL=redis_server.url,
        LC_ALL="C",
    )
    assert json.loads(done.stdout), done.stderr
    assert done.returncode in (0, 1)


def test_from_another_folder(redis_server: RedisServer, tmp_path: Path) -> None:
    prefix = ("--prefix", str(DEPLOY))
    done = npm(
        tmp_path, *prefix, "run", "--silent", "monitor:redis", "--", "--local", REDIS_URL=redis_server.url
    )
    assert redis_server.address in done.stdout


def test_the_exporter_and_its_log(redis_server: RedisServer, application: Path) -> None:
    port = free_port()
    settings = {
        "REDIS_URL": redis_server.url,
        "EXPORTER_LISTEN": f"127.0.0.1:{port}",
        "LOG_FILE": "logs/monitoring.log",
    }
    process = subprocess.Popen(
        [find_program("npm"), "run", "monitor:start"],
        cwd=application,
        env=environment(application, settings),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        wait_until(lambda: _answers(f"http://127.0.0.1:{port}/readyz"), what="the exporter is ready")
        shown = npm(application, "run", "--silent", "monitor:status", **settings)
        assert "of 100" not in shown.stderr
        assert "redis" in shown.stdout
        assert "event=assessed" in (application / "logs" / "monitoring.log").read_text()
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(30)


def test_scaling_commands(application: Path) -> None:
    config = application / "scaler.yml"
    target = {"name": "mail", "queues": ["notifications"], "processes": {"command": ["sleep", "9"]}}
    config.write_text(yaml.safe_dump({"state_file": str(application / "state.json"), "targets": [target]}))
    run = ("run", "--silent")
    set_to = npm(
        application,
        *(*run, "scaling:manual", "--", "notifications", "10", "--reason", "a launch"),
        SCALER_CONFIG=str(config),
    )
    assert (set_to.returncode, set_to.stdout) == (0, "mail: 10 workers until `scaling auto mail`\n"), (
        set_to.stderr
    )
    without = npm(application, *run, "scaling:manual", SCALER_CONFIG=str(config))
    assert (without.returncode, "Missing argument 'QUEUE'" in without.stderr) == (2, True)
    back = npm(application, *run, "scaling:auto", "--", "notifications", SCALER_CONFIG=str(config))
    assert back.returncode == 0
    checked = npm(application, *run, "scaling:start", "--", "--check-config", SCALER_CONFIG=str(config))
    assert checked.stdout == "the settings are valid: 1 target\n"
    status = npm(application, *run, "scaling:status", SCALER_LISTEN=f"127.0.0.1:{free_port()}")
    assert (status.returncode, "no scaler at" in status.stderr) == (2, True)


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=5).status_code == 200
    except httpx.HTTPError:
        return False
