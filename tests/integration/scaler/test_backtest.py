"""A day that a real Prometheus has on disk, replayed by the command."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from math import pi, sin
from pathlib import Path

import pytest

from lab.recorded import recorded_prometheus
from service.clock import now

pytestmark = pytest.mark.timeout(300)  # up to 17 s alone, of computing

ROOT = Path(__file__).parents[3]
STEP = 15
RUN = 2.0


def day(end: float) -> dict[str, list[tuple[int, float]]]:
    """One queue: waves of 1 to 9 jobs/s that run 2 s each and never wait."""
    begin = int(end) - 86400
    series: dict[str, list[tuple[int, float]]] = {}
    done = 0.0
    for at in range(begin, int(end), STEP):
        rate = 5 + 4 * sin(2 * pi * (at - begin) / 14400)
        done += rate * STEP
        for name, value in (
            ('bullmq_job_count{prefix="bull",queue="mail",state="waiting"}', 0.0),
            ('bullmq_job_count{prefix="bull",queue="mail",state="prioritized"}', 0.0),
            ('bullmq_job_count{prefix="bull",queue="mail",state="active"}', rate * RUN),
            ('bullmq_job_completed{prefix="bull",queue="mail"}', done),
            ('bullmq_job_failed{prefix="bull",queue="mail"}', 0.0),
            ('bullmq_job_processing_seconds_sum{prefix="bull",queue="mail",outcome="completed"}', done * RUN),
            ('bullmq_job_processing_seconds_count{prefix="bull",queue="mail",outcome="completed"}', done),
            ('bullmq_queue_workers{prefix="bull",queue="mail"}', 6.0),
        ):
            series.setdefault(name, []).append((at, value))
    return series


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with recorded_prometheus(day(now()), tmp_path_factory.mktemp("backtest")) as url:
        yield url


def scaling(*arguments: str, config: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "scaler", *arguments, "--config", str(config)],
        capture_output=True,
        text=True,
        timeout=240,
        cwd=ROOT,
        env={**os.environ, "COLUMNS": "160"},
        check=False,
    )


@pytest.fixture
def config(prometheus: str, tmp_path: Path) -> Path:
    file = tmp_path / "scaler.yml"
    file.write_text(
        f"prometheus: {{urls: ['{prometheus}']}}\n"
        "targets:\n  - {name: mailer, queues: [mail], min_workers: 1, worker_concurrency: 4, max_workers: 20,"
        " processes: {command: [node]}}\n"
        "  - {name: other, queues: [video], worker_concurrency: 4, processes: {command: [node]}}\n"
    )
    return file


def test_a_recorded_day_under_two_policies(config: Path, tmp_path: Path) -> None:
    (tmp_path / "few.yml").write_text("max_workers: 3\n")
    picture = tmp_path / "trial.png"
    ran = scaling(
        *("backtest", "mailer", "--json", "--policy", str(tmp_path / "few.yml"), "--plot", str(picture)),
        config=config,
    )
    assert ran.returncode == 0, ran.stderr
    result = json.loads(ran.stdout)
    assert result["jobs"] == pytest.approx(86400 * 5, rel=0.01)
    assert result["recorded_worker_hours"] == pytest.approx(6 * 24, rel=0.01)
    usual, few = result["policies"]
    assert usual["least_worker_hours"] == pytest.approx(10 / 4 * 24, rel=0.05)
    assert usual["over_slo"] < 0.001
    assert usual["worker_hours"] < 6 * 24
    assert few["over_slo"] > 0.3
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_as_a_table(config: Path) -> None:
    ran = scaling("backtest", "mailer", "--since", "8h", config=config)
    assert ran.returncode == 0, ran.stderr
    assert "mailer: 143," in ran.stdout or "mailer: 144," in ran.stdout
    assert "as configured (wait_target, SLO 30 s)" in ran.stdout


def test_a_history_that_cannot_be_replayed_is_an_error(config: Path, tmp_path: Path) -> None:
    (tmp_path / "wrong.yml").write_text("aims: 1\n")
    for arguments, why in (
        (("other",), "scaling: other: no job"),
        (("mailer", "--policy", str(tmp_path / "wrong.yml")), "aims: unknown setting"),
        (("mailer", "--policy", "nowhere.yml"), "no such file"),
        (("nobody",), "there is no target or queue 'nobody'"),
        (("mailer", "--step", "1ms"), "'1ms' is not a duration"),
        (("mailer", "--since", "300d", "--step", "1s"), "steps are too many"),
        (("mailer", "--plot", str(tmp_path / "none" / "x.png")), "--plot="),
    ):
        ran = scaling("backtest", *arguments, config=config)
        assert (ran.returncode, ran.stdout.count("Traceback")) == (2, 0), ran.stdout
        assert why in ran.stderr
        assert "Traceback" not in ran.stderr
