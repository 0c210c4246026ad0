"""The form of the histograms changes while the scaler runs, or differs between the servers that it asks:
nothing is counted twice, nothing jumps, and what is not there is not known."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from lab.deadline import wait_until
from lab.prometheus import Prometheus, start_prometheus
from scaler.config.settings import ScalerSettings
from scaler.model import Missing, QueueSample
from scaler.prometheus.promql import QueueKey
from scaler.prometheus.run_times import RunTimes
from scaler.prometheus.target_metrics import PrometheusMetrics
from service.clock import Deadline
from tests.support.run_times import (
    ATTEMPTS,
    FORMS,
    RUNS,
    RunTimeWorld,
    exporter_of,
    of_rounds,
    prometheus_version,
    run_time_world,
    scraped,
)

pytestmark = pytest.mark.timeout(240)

FLAGS = ["--enable-feature=native-histograms"]
SCRAPE = """
global: {{scrape_interval: 1s, scrape_timeout: 1s}}
scrape_configs: [{{job_name: oxherd, static_configs: [{{targets: ['{}']}}]}}]
"""
COUNTED = "sum(bullmq_job_started_total) == {}"


@pytest.fixture(scope="module")
def world() -> Iterator[RunTimeWorld]:
    with run_time_world() as found:
        yield found


def settings_of(*urls: str, **more: Any) -> ScalerSettings:
    targets = [{"name": name, "queues": [name], "processes": {"command": ["sleep"]}} for name in RUNS]
    return ScalerSettings.model_validate({"prometheus": {"urls": urls, **more}, "targets": targets})


def known(metrics: PrometheusMetrics) -> dict[str, QueueSample]:
    """The totals of each target."""
    read = metrics.read(Deadline.after(20))
    return {name: one.sample for name, one in read.items() if isinstance(one.sample, QueueSample)}


def known_attempts(metrics: PrometheusMetrics) -> dict[str, QueueSample] | None:
    """Those, once the attempts of each are known."""
    found = known(metrics)
    return found if all(sample.duration_count for sample in found.values()) else None


def grown(before: dict[str, QueueSample], after: dict[str, QueueSample]) -> dict[str, tuple[float, float]]:
    return {
        name: (
            (sample.duration_sum or 0.0) - (before[name].duration_sum or 0.0),
            (sample.duration_count or 0.0) - (before[name].duration_count or 0.0),
        )
        for name, sample in after.items()
    }


def test_totals_continue_at_a_server_that_has_the_other_form(world: RunTimeWorld) -> None:
    """Of two that scrape one exporter, only one takes native histograms."""
    address = world.exporters["both"]
    rounds = world.rounds
    with (
        start_prometheus(SCRAPE.format(address), flags=FLAGS) as native,
        start_prometheus(SCRAPE.format(address)) as classic,
    ):
        for server in (native, classic):
            server.wait_for(COUNTED.format(rounds * ATTEMPTS), seconds=60)
        assert native.query("sum(histogram_count(bullmq_job_processing_seconds))")
        assert not classic.query("sum(histogram_count(bullmq_job_processing_seconds))")
        metrics = PrometheusMetrics(settings_of(native.url, classic.url))
        before = known(metrics)
        assert before.keys() == RUNS.keys()
        native.process.stop()
        assert grown(before, known(metrics)) == of_rounds(0)
        world.run()
        classic.wait_for(COUNTED.format((rounds + 1) * ATTEMPTS), seconds=60)
        after = known(metrics)
        metrics.close()
    assert grown(before, after) == of_rounds(1)
    assert all(after[name].created == before[name].created for name in RUNS)


@pytest.mark.parametrize(("first", "then"), [("classic", "native"), ("both", "classic"), ("native", "both")])
def test_an_exporter_that_starts_again_with_another_form(world: RunTimeWorld, first: str, then: str) -> None:
    """Its counters begin again, as at any start: no jump, and what comes then counts once."""
    program = exporter_of(world.redis, first)
    program.start()
    try:
        with start_prometheus(SCRAPE.format(program.address), flags=FLAGS) as prometheus:
            prometheus.wait_for(COUNTED.format(0), seconds=60)
            world.run()
            prometheus.wait_for(COUNTED.format(ATTEMPTS), seconds=60)
            metrics = PrometheusMetrics(settings_of(prometheus.url))
            before = known(metrics)
            assert {n: (s.duration_sum, s.duration_count) for n, s in before.items()} == of_rounds(1)
            address = program.address
            assert program.stop()
            program = exporter_of(world.redis, then, address)
            program.start()
            prometheus.wait_for(COUNTED.format(0), seconds=60)
            assert known(metrics).keys() == RUNS.keys()
            world.run()
            prometheus.wait_for(COUNTED.format(ATTEMPTS), seconds=60)
            after = wait_until(lambda: known_attempts(metrics), what="run times", seconds=30)
            metrics.close()
    finally:
        assert program.stop()
    assert after is not None
    assert grown(before, after) == of_rounds(1)


# --- what others reported of native histograms --------------------------------------------------------------

FEDERATE = """
global: {{scrape_interval: 1s, scrape_timeout: 1s}}
scrape_configs:
  - job_name: federate
    honor_labels: true
    metrics_path: /federate
    params: {{'match[]': ['{{job=~"{jobs}"}}']}}
    static_configs: [{{targets: ['{address}']}}]
"""


@contextmanager
def federating(source: Prometheus, jobs: str) -> Iterator[Prometheus]:
    """A Prometheus that has read the series of these jobs from another one."""
    address = source.url.removeprefix("http://")
    with start_prometheus(FEDERATE.format(jobs=jobs, address=address), flags=FLAGS) as server:
        server.wait_for('scrape_duration_seconds{job="federate"}', seconds=30)
        yield server


def test_run_times_are_known_behind_a_federation(world: RunTimeWorld) -> None:
    """Some versions left native histograms out of /federate."""
    with scraped(world) as source, federating(source, "classic|native|both") as server:
        rounds = world.rounds
        for job in FORMS:
            server.wait_for(f'sum(bullmq_job_started_total{{job="{job}"}}) == {rounds * ATTEMPTS}')
            metrics = PrometheusMetrics(settings_of(server.url, matchers={"job": job}))
            found = known(metrics)
            metrics.close()
            assert {n: (s.duration_sum, s.duration_count) for n, s in found.items()} == of_rounds(rounds), job


def test_converted_histograms_behind_a_federation_are_known_or_everything_is_missing(
    world: RunTimeWorld,
) -> None:
    """Until 3.11 Prometheus leaves the bounds of converted ones out of /federate, and refuses to read that:
    of no queue there is a sample, and none counts as idle."""
    converting = prometheus_version() >= (3, 5)
    with scraped(world) as source, federating(source, "converted" if converting else "classic") as server:
        refused = wait_until(lambda: target_errors(server), what="scraped", seconds=30)
        metrics = PrometheusMetrics(settings_of(server.url))
        read = metrics.read(Deadline.after(20))
        metrics.close()
    samples = [one.sample for one in read.values()]
    if converting and prometheus_version() < (3, 11):
        assert refused is not None
        assert "custom bounds" in refused[0]
        assert all(isinstance(sample, Missing) and sample.kind == "empty" for sample in samples)
    else:
        assert refused == [""]
        assert all(isinstance(sample, QueueSample) and sample.duration_count for sample in samples)


def target_errors(server: Prometheus) -> list[str] | None:
    """The error of the last scrape of each target; None: not all were scraped."""
    targets = server.get("targets")["activeTargets"]
    done = all(target["health"] != "unknown" for target in targets)
    return [target["lastError"] for target in targets] if done else None


def test_a_mix_of_bounds_in_an_hour_leaves_the_slowest_jobs_unknown(
    world: RunTimeWorld, caplog: pytest.LogCaptureFixture
) -> None:
    """Of histograms with other bounds before a change Prometheus makes no rate, and warns; what it leaves out
    might be of one outcome only. The means go on."""
    converting = prometheus_version() >= (3, 5)
    program = exporter_of(world.redis, "classic")
    program.start()
    scrape = SCRAPE.replace("{{job_name", "{{convert_classic_histograms_to_nhcb: true, job_name")
    text = (scrape if converting else SCRAPE).format(program.address)
    try:
        with start_prometheus(text, flags=FLAGS) as prometheus:
            rounds_at(world, prometheus, 2)
            assert slowest(prometheus) == RUNS.keys()
            address = program.address
            assert program.stop()
            program = exporter_of(world.redis, "native", address)
            program.start()
            rounds_at(world, prometheus, 2)
            metrics = PrometheusMetrics(settings_of(prometheus.url))
            found = known(metrics)
            metrics.close()
            assert all(sample.duration_count == 2 * len(RUNS[name]) for name, sample in found.items())
            caplog.clear()
            assert slowest(prometheus) == (set() if converting else RUNS.keys())
    finally:
        assert program.stop()
    warnings = [record for record in caplog.records if record.message == "run times not read"]
    assert len(warnings) == converting
    assert all("custom buckets" in str(record.__dict__) for record in warnings)


def rounds_at(world: RunTimeWorld, prometheus: Prometheus, rounds: int) -> None:
    """So many of an exporter that has just started."""
    for done in range(rounds + 1):
        prometheus.wait_for(COUNTED.format(done * ATTEMPTS), seconds=60)
        if done < rounds:
            world.run()
    time.sleep(1.5)  # a second scrape: a rate needs it


def slowest(prometheus: Prometheus) -> set[str]:
    """The queues whose slowest jobs are known."""
    run_times = RunTimes(settings_of(prometheus.url).prometheus)
    keys = [QueueKey("bull", name) for name in RUNS]
    run_times.ask(keys)
    run_times.close(20)
    return {key.name for key in keys if run_times.longest([key])}
