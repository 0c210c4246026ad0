"""Weeks that a real Prometheus has on disk, planned by the command."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest
import yaml

from bench.loads import arrivals, run_times
from lab.recorded import recorded_jobs, recorded_prometheus
from scaler.config.policy_layers import resolve
from scaler.config.settings import ScalerSettings
from scaler.config.validation import load_scaler_settings
from scaler.plan.demand import HOURS_OF_WEEK, hour_of_week
from service.clock import now

pytestmark = pytest.mark.timeout(600)  # up to a minute alone, of computing

ROOT = Path(__file__).parents[3]
HOUR, DAY, WEEK = 3600, 86_400, 604_800
STEP = 60
WEEKS = 2
WORKERS = 5.0
GAP = (30 * HOUR, 32 * HOUR)  # in the first week
SECRET = "top-secret-value"


def rate(time: float) -> float:
    """Jobs/s: many in one half of each day, none in an hour of it."""
    return 0.0 if time % DAY < HOUR else 0.4 if time % DAY < 12 * HOUR else 0.05


@pytest.fixture(scope="module")
def end() -> int:
    return int(now() // HOUR * HOUR)


@pytest.fixture(scope="module")
def prometheus(end: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Two weeks of `mail` with two hours that are lacking; two days of `video`."""
    random = Random(3)
    at = arrivals(rate, WEEKS * WEEK, random)
    runs = run_times(at, 8.0, random)
    series = recorded_jobs(
        at,
        runs,
        queue="mail",
        begin=end - WEEKS * WEEK,
        seconds=WEEKS * WEEK,
        step=STEP,
        workers=WORKERS,
        gaps=[GAP],
    )
    at = arrivals(lambda _: 0.1, 2 * DAY, random)
    series |= recorded_jobs(
        at, run_times(at, 8.0, random), queue="video", begin=end - 2 * DAY, seconds=2 * DAY, step=STEP
    )
    with recorded_prometheus(series, tmp_path_factory.mktemp("plan")) as url:
        yield url


def scaling(*arguments: str, config: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "scaler", *arguments, "--config", str(config)],
        capture_output=True,
        text=True,
        timeout=500,
        cwd=ROOT,
        env={**os.environ, "COLUMNS": "160"},
        check=False,
    )


@pytest.fixture
def config(prometheus: str, tmp_path: Path) -> Path:
    file = tmp_path / "scaler.yml"
    file.write_text(
        yaml.safe_dump(
            {
                "prometheus": {"urls": [prometheus]},
                "defaults": {"max_workers": 60, "fallback_workers": 50},
                "targets": [
                    {
                        "name": "mailer",
                        "queues": ["mail"],
                        "worker_concurrency": 2,
                        "cooldown_seconds": 0,
                        "processes": {"command": ["node"], "environment": {"TOKEN": SECRET}},
                    },
                    {"name": "videos", "queues": ["video"], "processes": {"command": ["node"]}},
                    {"name": "nothing", "queues": ["nothing"], "processes": {"command": ["node"]}},
                ],
            }
        )
    )
    return file


def test_two_weeks_make_a_plan_of_a_week(config: Path, end: int, tmp_path: Path) -> None:
    picture = tmp_path / "plan.png"
    ran = scaling(
        *("plan", "mailer", "--weeks", "2", "--json", "--price", "0.5", "--compare", "10s"),
        *("--plot", str(picture)),
        config=config,
    )
    assert ran.returncode == 0, ran.stderr
    plan = json.loads(ran.stdout)
    assert plan["recorded_hours"] == WEEKS * HOURS_OF_WEEK - 2
    hours = {hour["hour"]: hour for hour in plan["hours"]}
    assert len(hours) == HOURS_OF_WEEK
    first = (end - WEEKS * WEEK) // HOUR
    for number in range(HOURS_OF_WEEK):
        hour = hours[hour_of_week(first + number)]
        assert hour["weeks"] == (1 if number in (30, 31) else 2)
        assert hour["jobs_per_second"] == pytest.approx(rate(number * HOUR), rel=0.15, abs=0.01)
        assert (hour["workers"] == 0) == (rate(number * HOUR) == 0)
        assert hour["workers"] <= 4
    strict, planned = plan["slos"]
    assert (strict["slo_seconds"], planned["slo_seconds"]) == (10.0, 30.0)
    assert planned["kept"]
    assert planned["over_slo"] <= 0.01
    assert strict["worker_hours"] > planned["worker_hours"]
    assert planned["price"] == pytest.approx(planned["worker_hours"] / 2)
    assert plan["fixed"]["worker_hours"] == plan["fixed"]["workers"] * HOURS_OF_WEEK
    assert plan["by_hour"]["worker_hours"] < plan["fixed"]["worker_hours"]
    assert 10 < plan["run_p99_seconds"] <= 30
    assert plan["grace_seconds"] >= plan["run_p99_seconds"]
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_its_settings_are_those_of_the_scaler(config: Path) -> None:
    ran = scaling("plan", "mailer", "--weeks", "1", "--settings", "--compare", "30s", config=config)
    assert ran.returncode == 0, ran.stderr
    assert SECRET not in ran.stdout + ran.stderr
    before = load_scaler_settings(config.read_text(), {}).model
    pasted = yaml.safe_load(config.read_text()) | yaml.safe_load(ran.stdout)
    after: ScalerSettings = load_scaler_settings(yaml.safe_dump(pasted), {}).model
    [target] = after.targets
    policy = resolve(after, target)
    assert 1 <= policy.min_workers <= policy.max_workers < 20
    assert policy.fallback_workers == policy.max_workers
    assert (policy.worker_concurrency, policy.cooldown_seconds) == (2, 0)
    assert target.processes is not None
    assert target.processes.grace_seconds >= before.targets[0].processes.grace_seconds  # type: ignore[union-attr]


def test_what_was_not_recorded_is_told_and_not_planned(config: Path) -> None:
    ran = scaling("plan", "videos", "--weeks", "1", "--compare", "30s", config=config)
    assert ran.returncode == 2
    assert "videos: worker_concurrency is neither set nor measured" in ran.stderr
    config.write_text(config.read_text().replace("name: videos", "name: videos\n  worker_concurrency: 2"))
    ran = scaling("plan", "videos", "nothing", "--weeks", "1", "--compare", "30s", config=config)
    assert ran.returncode == 1, ran.stderr
    assert ran.stderr.startswith("scaling: nothing: no job")
    assert "less than a week was recorded: nothing is known of 120 of the 168 hours" in ran.stdout
    assert ran.stdout.count(" ?") >= 100
    assert "settings:\ntargets:\n" in ran.stdout


def test_what_cannot_be_planned_is_an_error(config: Path, tmp_path: Path) -> None:
    for arguments, why in (
        (("nothing",), "scaling: nothing: no job"),
        (("nobody",), "there is no target or queue 'nobody'"),
        (("mailer", "--weeks", "13"), "1<=x<=12"),
        (("mailer", "--step", "1s"), "--step=1s"),
        (("mailer", "--compare", "1s,2s,3s,4s,5s,6s,7s,8s,9s"), "9 durations are too many: at most 8"),
        (("mailer", "--compare", "1s,soon"), "'soon' is not a duration"),
        (("mailer", "--price", "nan"), "--price"),
        (("mailer", "--plot", str(tmp_path / "none" / "x.png")), "--plot="),
    ):
        ran = scaling("plan", *arguments, config=config)
        assert (ran.returncode, ran.stdout.count("Traceback")) == (2, 0), ran.stdout
        assert why in ran.stderr
        assert "Traceback" not in ran.stderr
