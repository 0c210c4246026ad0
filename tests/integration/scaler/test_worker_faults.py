"""What workers may do to a real scaler, and what they get of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import psutil
import pytest

from lab.deadline import wait_until
from tests.support.fake_prometheus import FakePrometheus
from tests.support.system import FULL, READ, Program, running

pytestmark = [pytest.mark.fault, pytest.mark.timeout(120)]

SECRETS = {
    "CRON_API_KEY": FULL,
    "CRON_API_READ_KEY": READ,
    "PROMETHEUS_USERNAME": "user-of-prometheus",
    "PROMETHEUS_PASSWORD": "the-password-of-prometheus",
    "SESSION_OF_SOMETHING_ELSE": "which-nobody-named",
}

ScalerOf = Callable[..., Program]


@pytest.fixture
def scaler(tmp_path: Path) -> Iterator[ScalerOf]:
    """`scaler("command", "argument", grace_seconds=1)`: a scaler with two such workers."""
    with ExitStack() as undo:
        prometheus = undo.enter_context(FakePrometheus(1, waiting=lambda _: 0))
        undo.callback(prometheus.shutdown)

        def start(
            *command: str,
            environ: dict[str, str] | None = None,
            through: Sequence[str] = (),
            **processes: Any,
        ) -> Program:
            settings = {
                "interval_seconds": 1,
                "prometheus": {"urls": [prometheus.url], "timeout_seconds": 1},
                "targets": [
                    {
                        "name": "mail",
                        "queues": ["mail"],
                        "policy": "threshold",
                        "min_workers": 2,
                        "processes": {"command": list(command), "grace_seconds": 2, "ready_seconds": 0.1}
                        | processes,
                    }
                ],
            }
            return undo.enter_context(
                running(tmp_path, "scaling", environ or {}, settings, key=None, through=through)
            )

        yield start


def descendants(program: Program) -> list[psutil.Process]:
    return psutil.Process(program.process.pid).children(recursive=True)


def count(program: Program, text: str) -> int:
    return program.log.read_text(errors="replace").count(text)


def stop(program: Program) -> float:
    """SIGTERM; the seconds until the scaler has gone."""
    begun = monotonic()
    program.process.send_signal(signal.SIGTERM)
    program.process.wait(30)
    return monotonic() - begun


def alive(processes: list[psutil.Process]) -> list[psutil.Process]:
    return [process for process in processes if _is_alive(process)]


def _is_alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != "zombie"
    except psutil.NoSuchProcess:  # it ended between the two
        return False


def test_a_worker_and_its_shim_have_no_secret_of_the_scaler(scaler: ScalerOf) -> None:
    given = SECRETS | {"REDIS_URL": "redis://:of-the-worker@localhost", "APP_MODE": "mail", "TZ": "UTC"}
    program = scaler(
        *("sh", "-c", "sleep 1000 & exec sleep 1000"),
        environ=given,
        environment_from=["REDIS_URL", "APP_*", "CRON*"],
        environment={"OF_THE_SETTINGS": "yes"},
    )
    wait_until(lambda: count(program, 'event="worker started"') == 2, what="both run")
    wait_until(lambda: len(descendants(program)) == 6, what="two shims, two workers, a child of each")
    for process in descendants(program):
        found = process.environ()
        assert not found.keys() & SECRETS.keys(), process.cmdline()
        assert not {value for value in SECRETS.values() if any(value in text for text in found.values())}
        assert not any(value in " ".join(process.cmdline()) for value in SECRETS.values())
        assert found["OXHERD_WORKER"] in ("mail-1", "mail-2")
        wanted = {"REDIS_URL": given["REDIS_URL"], "APP_MODE": "mail", "TZ": "UTC", "OF_THE_SETTINGS": "yes"}
        assert wanted.items() <= found.items()
        assert found["PATH"] == os.environ["PATH"]


def test_a_worker_of_the_same_user_cannot_read_the_scalers_environment(
    scaler: ScalerOf, tmp_path: Path
) -> None:
    """The scaler has no capability, where the test runs as root: root may read everything."""
    powerless = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"] if os.geteuid() == 0 else []
    script = (
        "read -r _ _ _ scaler _ </proc/$PPID/stat; cat /proc/$scaler/environ; echo status $?; exec sleep 9"
    )
    program = scaler("sh", "-c", script, environ=SECRETS, through=powerless)
    wait_until(lambda: count(program, 'line="status 1"') == 2, what="both have tried")
    assert count(program, "Permission denied") == 2


def test_a_worker_that_prints_without_end_fills_no_log(scaler: ScalerOf) -> None:
    program = scaler("sh", "-c", "case $OXHERD_WORKER in mail-1) exec yes;; *) exec cat /dev/zero;; esac")
    wait_until(lambda: count(program, "worker output") > 100, what="they are heard")
    process = psutil.Process(program.process.pid)
    before, begun = process.memory_info().rss, monotonic()
    sleep(10)
    first = program.log.stat().st_size
    cpu = sum(process.cpu_times()[:2])
    sleep(10)
    second = program.log.stat().st_size
    used = (sum(process.cpu_times()[:2]) - cpu) / 10
    assert first < 5 << 20, "two bursts of a MiB, a factor for what logfmt adds"
    assert second - first < 10 * 2 * (32 << 10) * 1.5
    assert process.memory_info().rss - before < 20 << 20
    assert used < 0.5, "of a core"
    assert count(program, 'event="worker output left out"') >= 2
    assert max(len(line) for line in program.log.read_bytes().splitlines()) < 9000
    assert program.client.get("/healthz", timeout=2).status_code == 200
    left = alive(descendants(program))
    assert stop(program) < 5, "two seconds of grace, a margin"
    wait_until(lambda: alive(left) == [], what="nobody is left")
    assert program.process.returncode == 0
    assert monotonic() - begun < 60


def test_workers_that_crash_at_once_are_started_ever_more_slowly(scaler: ScalerOf) -> None:
    program = scaler("sh", "-c", "exit 3")
    sleep(8)
    assert count(program, 'event="worker exited unexpectedly"') <= 2 * 4, "after 0, 1, 3, 7 s"
    assert descendants(program) == []
    assert stop(program) < 5


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=lambda number: number.name)
def test_families_that_ignore_sigterm_do_not_outlive_the_scaler(
    scaler: ScalerOf, number: signal.Signals
) -> None:
    """Loud ones, with daemons in sessions of their own and fifty children."""
    script = """
trap '' TERM
i=0; while [ $i -lt 50 ]; do sleep 1000 & i=$((i+1)); done
setsid sh -c "trap '' TERM; sleep 1000; sleep 1000" &
setsid setsid sleep 1000 &
while true; do echo loud; done
"""
    program = scaler("sh", "-c", script)
    wait_until(lambda: len(descendants(program)) >= 2 * 54, what="the families are complete", seconds=30)
    families = descendants(program)
    begun = monotonic()
    program.process.send_signal(number)
    program.process.wait(30)
    assert monotonic() - begun < 8, "the grace of 2 s, and margins"
    wait_until(lambda: alive(families) == [], what="nobody is left", seconds=10)


def test_a_secret_of_the_scaler_is_refused_by_name(tmp_path: Path) -> None:
    config = tmp_path / "scaler.yml"
    config.write_text(
        "targets:\n  - name: mail\n    queues: [mail]\n    processes:\n      command: [sleep, '9']\n"
        "      environment_from: [CRON_API_KEY]\n"
    )
    done = subprocess.run(
        [*(sys.executable, "-m", "scaler", "start", "--config", str(config))],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr == (
        f"scaling: targets[0].processes.environment_from=CRON_API_KEY ({config}, line 6): is a secret of the "
        "scaler, which no worker inherits; give workers a key of their own\n"
    )
