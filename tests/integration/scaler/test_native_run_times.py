"""The scaler on a real Prometheus that has the run times in classic form, in native form, or in both: what it
knows, and what it decides. `make test-prometheus` runs it on newer versions."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab.deadline import wait_until
from lab.prometheus import Prometheus
from scaler.backtest.arrivals import HistoryPoint
from scaler.backtest.history import read_history
from scaler.config.settings import ScalerSettings
from scaler.configuration import Reloader, read_scaler_settings
from scaler.model import QueueSample
from scaler.prometheus.observer import Observer
from scaler.prometheus.promql import DEFAULT_QUERIES, QueueKey
from scaler.prometheus.run_times import RunTimes
from scaler.run import Scaler
from scaler.step_result import TargetStep
from service.clock import Deadline
from tests.support.run_times import (
    ROUNDS,
    RUNS,
    RunTimeWorld,
    exact_p99,
    of_rounds,
    run_time_world,
    scraped,
    seconds_of,
)

pytestmark = pytest.mark.timeout(240)

GROWTH = 2 ** (1 / 8)
KEYS = [QueueKey("bull", name) for name in RUNS]


@pytest.fixture(scope="module")
def world() -> Iterator[RunTimeWorld]:
    with run_time_world() as found:
        yield found


@pytest.fixture(scope="module")
def prometheus(world: RunTimeWorld) -> Iterator[Prometheus]:
    for queue in RUNS:  # before their streams move: until then they are not counted again
        world.redis.cli("lpush", f"bull:{queue}:wait", *(f"job-{n}" for n in range(300)))
    with scraped(world) as server:
        for job in jobs(server):
            server.wait_for(f'sum(bullmq_job_count{{state="waiting",job="{job}"}}) == {300 * len(RUNS)}')
        yield server


def jobs(prometheus: Prometheus) -> list[str]:
    return sorted({labels["job"] for labels, _ in prometheus.query("up")})


def settings_of(*urls: str, job: str | None = None, **more: Any) -> ScalerSettings:
    return ScalerSettings.model_validate(
        {
            "prometheus": {"urls": urls, "matchers": {"job": job} if job else {}},
            "targets": [
                {"name": name, "queues": [name], "processes": {"command": ["sleep"], "grace_seconds": 1}}
                for name in RUNS
            ],
            **more,
        }
    )


def samples_of(settings: ScalerSettings) -> dict[str, QueueSample]:
    observer = Observer(settings.prometheus, {DEFAULT_QUERIES: KEYS})
    try:
        found = observer.observe(Deadline.after(20)).of(KEYS)
    finally:
        observer.close()
    return {key.name: sample for key, sample in found.items() if isinstance(sample, QueueSample)}


def test_each_form_has_the_same_figures(prometheus: Prometheus) -> None:
    assert {"classic", "native", "both"} <= set(jobs(prometheus))
    known = {job: samples_of(settings_of(prometheus.url, job=job)) for job in jobs(prometheus)}
    for samples in known.values():
        assert {
            name: (sample.duration_sum, sample.duration_count) for name, sample in samples.items()
        } == of_rounds(ROUNDS)
        for name, sample in samples.items():
            classic = known["classic"][name]
            assert timeless(sample) == timeless(classic)


def timeless(sample: QueueSample) -> QueueSample:
    """Without what differs between two scrapes, or by a rounding."""
    return sample._replace(at=0, oldest_waiting=None, busy_seconds=None, duration_sum=None)


def test_the_slowest_jobs_are_known_as_well_as_the_form_allows(prometheus: Prometheus) -> None:
    for job in jobs(prometheus):
        run_times = RunTimes(settings_of(prometheus.url, job=job).prometheus)
        run_times.ask(KEYS)
        run_times.close(20)
        for key in KEYS:
            longest, exact = run_times.longest([key]), exact_p99(key.name)
            assert longest is not None, (job, key)
            if job in ("native", "both"):
                assert exact / GROWTH <= longest.seconds <= exact * GROWTH
            else:
                assert longest.seconds == pytest.approx(min(exact, 300.0), rel=0.1)


@contextmanager
def running(config: Path) -> Iterator[Scaler]:
    scaler = Scaler(Reloader(read_scaler_settings({}, config=str(config)), {}, config=str(config)))
    scaler.start()
    try:
        yield scaler
    finally:
        assert scaler.stop()


def decided(prometheus: Prometheus, job: str, folder: Path) -> dict[str, TargetStep]:
    """The first steps of a scaler that know how long the slowest jobs run."""
    more = {"listen": "127.0.0.1:0", "interval_seconds": 1, "dry_run": True}
    more["defaults"] = {"metrics_max_age_seconds": 60, "max_workers": 500, "wait_slo_seconds": 120}
    text = settings_of(prometheus.url, job=job, **more).model_dump(mode="json", exclude_unset=True)
    config = folder / f"{job}.yml"
    config.write_text(yaml.safe_dump(text))
    with running(config) as scaler:

        def reached() -> dict[str, TargetStep] | None:
            last = scaler.controller.last
            steps = {step.name: step for step in last.steps} if last else {}
            return steps if steps and all(step.run_p99 for step in steps.values()) else None

        found = wait_until(reached, what=f"{job}: run times", seconds=60)
    assert found is not None
    return found


def test_the_scaler_decides_as_with_classic_histograms(prometheus: Prometheus, tmp_path: Path) -> None:
    classic = decided(prometheus, "classic", tmp_path)
    native = decided(prometheus, "native", tmp_path)
    for name, step in native.items():
        other = classic[name]
        assert step.run_seconds == pytest.approx(seconds_of(name) / len(RUNS[name]))
        assert step.run_seconds == pytest.approx(other.run_seconds)
        assert step.desired == pytest.approx(other.desired, abs=4)  # it goes with how long they waited
        assert step.conditions == other.conditions
        assert "GraceTooShort" in step.conditions
        assert step.run_p99 is not None
        assert exact_p99(name) / GROWTH <= step.run_p99.seconds <= exact_p99(name) * GROWTH
    assert 100 < (native["video"].desired or 0) < 200  # by run time; 300 jobs wait
    assert native["mail"].desired == 2


def test_a_backtest_has_the_run_times(prometheus: Prometheus) -> None:
    for job in jobs(prometheus):
        settings = settings_of(prometheus.url, job=job)

        def last(settings: ScalerSettings = settings) -> HistoryPoint | None:
            """None: the latest scrape failed, in a second on a busy machine."""
            end = time.time()
            [*_, point] = read_history(
                settings, settings.targets[0], begin=end - 2, end=end, step=1, deadline=Deadline.after(20)
            )
            return point if point.ended is not None else None

        name = settings.targets[0].name
        point = wait_until(last, what=f"{job}: a scrape")
        assert point is not None
        assert point.duration_sum == pytest.approx(ROUNDS * seconds_of(name)), job
        assert point.duration_count == ROUNDS * len(RUNS[name])
