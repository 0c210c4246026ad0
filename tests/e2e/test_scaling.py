"""The scaler with real BullMQ jobs, real workers and a real Prometheus."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from exporter.config.settings import ExporterSettings
from exporter.run import Exporter
from lab.bullmq import BullMQ
from lab.deadline import wait_until
from lab.ports import free_port
from lab.prometheus import Prometheus, start_prometheus
from lab.redis import RedisServer, start_redis
from scaler.configuration import Reloader, read_scaler_settings
from scaler.model import Applied, QueueSample
from scaler.run import Scaler
from scaler.step_result import StepResult, TargetStep
from service.outcome import Ok

pytestmark = pytest.mark.timeout(300)  # 29 s alone, of workers that follow a burst

ROOT = Path(__file__).parents[2]
SLO = 20.0
JOB_MS = 200
SETTINGS = """
listen: 127.0.0.1:0
interval_seconds: 1
state_file: {home}/state.json
prometheus:
  urls: ["{prometheus}"]
  timeout_seconds: 2
targets:
  - name: mailer
    queues: [mail]
    min_workers: 1
    max_workers: 8
    worker_concurrency: 2
    wait_slo_seconds: {slo}
    start_cost_seconds: 4
    metrics_max_age_seconds: 5
    processes:
      command: [node, {worker}]
      environment:
        WORKER_QUEUE: mail
        WORKER_REDIS: {redis}
        WORKER_JOB_MS: "{ms}"
        WORKER_CONCURRENCY: "2"
      grace_seconds: 20
      ready_seconds: 1
"""


@dataclass
class StepRecorder:
    """Records every step of a scaler."""

    scaler: Scaler
    results: list[StepResult] = field(default_factory=list)
    stopping: threading.Event = field(default_factory=threading.Event)

    def record(self) -> None:
        while not self.stopping.wait(0.02):
            last = self.scaler.controller.last
            if last is not None and (not self.results or self.results[-1] is not last):
                self.results.append(last)

    @property
    def steps(self) -> list[TargetStep]:
        return [result.steps[0] for result in list(self.results)]

    def last(self) -> TargetStep | None:
        steps = self.steps
        return steps[-1] if steps else None


@dataclass
class World:
    redis: RedisServer
    bullmq: BullMQ
    prometheus: Prometheus
    config: Path

    def burst(self, count: int) -> None:
        self.bullmq.add_bulk("mail", count, removeOnComplete=False)

    def all_done(self, count: int, seconds: float) -> None:
        self.bullmq.wait_for_counts("mail", {"completed": count}, seconds=seconds)

    def ran(self) -> list[str]:
        """Ids of jobs in the order of their start, as the workers recorded them."""
        return self.redis.cli("lrange", "ran:mail", 0, -1).split()

    def longest_wait(self) -> float:
        """The longest time from a job's addition to its start, by BullMQ's timestamps; seconds."""
        return int(self.redis.cli("eval", _LONGEST_WAIT, 0)) / 1000


_LONGEST_WAIT = """
local longest = 0
for _, id in ipairs(redis.call('lrange', 'ran:mail', 0, -1)) do
  local at = redis.call('hmget', 'bull:mail:' .. id, 'timestamp', 'processedOn')
  longest = math.max(longest, at[2] - at[1])
end
return longest
"""


def requested(step: TargetStep) -> int:
    assert isinstance(step.workers, Ok), step.workers
    return step.workers.value.requested


def prometheus_config(exporter: str) -> str:
    return (
        "scrape_configs:\n  - job_name: oxherd\n    scrape_interval: 1s\n    scrape_timeout: 1s\n"
        f"    static_configs: [{{targets: ['{exporter}']}}]\n"
    )


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with ExitStack() as undo:
        redis = undo.enter_context(start_redis())
        bullmq = undo.enter_context(BullMQ(6, url=redis.url))
        exporter = Exporter(
            ExporterSettings.model_validate(
                {
                    "listen": "127.0.0.1:0",
                    "redis": {"url": redis.url},
                    "bullmq": {"queues": ["mail"]},
                }
            )
        )
        exporter.start()
        undo.callback(exporter.stop)
        port = free_port()
        prometheus = start_prometheus(prometheus_config(exporter.address), port=port)
        undo.callback(prometheus.close)
        config = tmp_path / "scaler.yml"
        config.write_text(
            SETTINGS.format(
                home=tmp_path,
                prometheus=prometheus.url,
                slo=SLO,
                worker=ROOT / "lab" / "node" / "worker.mjs",
                redis=redis.address,
                ms=JOB_MS,
            )
        )
        prometheus.wait_for('bullmq_job_completed_total{queue="mail"}')
        yield World(redis, bullmq, prometheus, config)


@contextmanager
def scaling(world: World) -> Iterator[StepRecorder]:
    loaded = read_scaler_settings({}, config=str(world.config))
    scaler = Scaler(Reloader(loaded, {}, config=str(world.config)))
    recorder = StepRecorder(scaler)
    thread = threading.Thread(target=recorder.record)
    scaler.start()
    thread.start()
    try:
        yield recorder
    finally:
        recorder.stopping.set()
        thread.join()
        assert scaler.stop()


def test_workers_follow_a_burst_and_no_job_is_lost_or_run_twice(world: World) -> None:
    with scaling(world) as recorder:
        wait_until(
            lambda: (
                (step := recorder.last()) and isinstance(step.workers, Ok) and step.workers.value.ready == 1
            ),
            what="the first worker is ready",
            seconds=60,
        )
        world.burst(400)
        world.all_done(400, seconds=60)
        wait_until(
            lambda: (step := recorder.last()) and requested(step) == 1,
            what="back to one worker",
            seconds=60,
            every=0.2,
        )
        steps = recorder.steps
    # The first step whose sample has the waiting jobs of the burst requests more workers.
    first = next(step for step in steps if isinstance(step.sample, QueueSample) and step.sample.waiting > 20)
    assert first.decision is not None
    assert first.decision.workers > requested(first) == 1
    assert isinstance(first.acted, Applied)
    assert max(requested(step) for step in steps) >= 3
    ids = world.ran()
    assert sorted(ids) == sorted(set(ids))
    assert len(ids) == 400
    assert world.longest_wait() < SLO
    assert world.bullmq.counts("mail")["failed"] == 0


@pytest.mark.fault
def test_without_prometheus_nothing_scales_in_and_the_scaler_recovers(world: World) -> None:
    port = world.prometheus.port
    with scaling(world) as recorder:
        wait_until(
            lambda: (step := recorder.last()) and requested(step) == 1, what="the first worker", seconds=60
        )
        world.burst(600)
        wait_until(lambda: (step := recorder.last()) and requested(step) >= 3, what="more", seconds=60)
        exporter_config = (Path(world.prometheus.process.log).parent / "prometheus.yml").read_text()
        world.prometheus.process.stop()
        wait_until(
            lambda: (step := recorder.last()) and "MetricsStale" in step.conditions,
            what="the condition says so",
            seconds=60,
        )
        before = recorder.last()
        assert before is not None
        at_least = requested(before)
        count = len(recorder.results)
        world.all_done(600, seconds=60)
        wait_until(
            lambda: len(recorder.results) > count + 15, what="fifteen steps without metrics", seconds=60
        )
        without_metrics = recorder.steps[count:]
        assert all(requested(step) == at_least for step in without_metrics)
        assert all("MetricsStale" in step.conditions and step.decision for step in without_metrics)
        assert {step.decision.reason for step in without_metrics if step.decision} == {"metrics_missing"}
        with start_prometheus(exporter_config, port=port):
            wait_until(
                lambda: (
                    (step := recorder.last())
                    and requested(step) == 1
                    and "MetricsStale" not in step.conditions
                ),
                what="recovery, and back to one worker",
                seconds=120,
            )


@contextmanager
def steady_load(world: World, per_second: int) -> Iterator[None]:
    """Jobs of a second each that come evenly, until the block ends."""
    config = world.config.read_text()
    world.config.write_text(config.replace(f'WORKER_JOB_MS: "{JOB_MS}"', 'WORKER_JOB_MS: "1000"'))
    stopping = threading.Event()

    def add() -> None:
        while not stopping.wait(1 / per_second):
            world.burst(1)

    thread = threading.Thread(target=add)
    thread.start()
    try:
        yield
    finally:
        stopping.set()
        thread.join()


def settled(recorder: StepRecorder) -> int:
    """The number of workers once it has been the same, and all were ready, for 15 steps."""

    def same() -> int:
        steps = recorder.steps[-15:]
        numbers = {counts(step) for step in steps}
        requested_now, ready = next(iter(numbers), (0, 0))
        settles = len(steps) == 15 and len(numbers) == 1 and requested_now == ready
        return requested_now if settles and requested_now > 1 else 0

    return wait_until(same, what="a number of workers that stays", seconds=120)


def counts(step: TargetStep) -> tuple[int, int | None]:
    """Requested and ready workers; of a target that was not read 0 and None."""
    return (
        (step.workers.value.requested, step.workers.value.ready)
        if isinstance(step.workers, Ok)
        else (0, None)
    )


def test_a_restart_of_prometheus_or_of_the_scaler_changes_nothing(world: World) -> None:
    """By one worker the number may differ, as the rate is measured again."""
    with steady_load(world, per_second=6):
        with scaling(world) as recorder:
            before = settled(recorder)
            first = len(recorder.results)
            world.prometheus.process.stop()
            wait_until(
                lambda: (step := recorder.last()) and "MetricsStale" in step.conditions,
                what="Prometheus is missed",
                seconds=60,
            )
            world.prometheus.start_again()
            wait_until(
                lambda: (step := recorder.last()) and "MetricsStale" not in step.conditions,
                what="there are metrics again",
                seconds=60,
            )
            back = len(recorder.results)
            wait_until(lambda: len(recorder.results) > back + 20, what="twenty steps more", seconds=60)
            assert abs(settled(recorder) - before) <= 1
            steps = recorder.steps
        assert {requested(step) for step in steps[first:back]} == {before}
        assert all(requested(step) >= before - 1 for step in steps[back:])
        with scaling(world) as again:
            assert abs(settled(again) - before) <= 1
            steps = again.steps
        # The jobs that came while the scaler was away may need more for a moment, the longer a machine takes.
        assert abs(requested(steps[0]) - before) <= 1
        assert all(requested(step) >= before - 1 for step in steps)
        assert all((step.desired or 0) >= before - 1 for step in steps)
    assert world.bullmq.counts("mail")["failed"] == 0
    ids = world.ran()
    assert len(ids) == len(set(ids)), "a job was run twice"


def run(world: World, *arguments: str) -> subprocess.CompletedProcess[str]:
    environ = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("SCAL", "PROMETHEUS", "REDIS"))
    }
    return subprocess.run(
        [sys.executable, "-m", "scaler", *arguments, "--config", str(world.config)],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=ROOT,
        env=environ | {"COLUMNS": "200"},
        check=False,
    )


def test_an_override_is_set_and_removed(world: World) -> None:
    with scaling(world) as recorder:
        url = f"http://{recorder.scaler.address}"
        wait_until(
            lambda: (step := recorder.last()) and requested(step) == 1, what="the first worker", seconds=60
        )
        refused = run(world, "manual", "mail", "9", "--reason", "sale")
        assert (refused.returncode, refused.stderr) == (
            2,
            "scaling: 9 is not within the bounds of mailer: 1 to 8 workers\n",
        )
        output = run(world, "manual", "mail", "3", "--reason", "a sale is on", "--by", "ann", "--for", "1h")
        assert output.returncode == 0, output.stderr
        assert output.stdout.startswith("mailer: 3 workers for 1 h, until ")
        wait_until(lambda: (step := recorder.last()) and requested(step) == 3, what="three", seconds=60)
        shown = run(world, "status", "--url", url)
        assert shown.returncode == 0, shown.stderr
        assert "Overridden" in shown.stdout
        assert "by ann: a sale is on" in shown.stdout
        view = json.loads(run(world, "status", "--url", url, "--json").stdout)
        assert view["targets"][0]["override"]["workers"] == 3
        assert run(world, "auto", "mail").stdout == "mailer: scaled by its metrics again\n"
        wait_until(
            lambda: (step := recorder.last()) and requested(step) == 1, what="one worker again", seconds=60
        )
    with scaling(world) as again:
        wait_until(again.last, what="a first step after the restart", seconds=60)
        actions = again.scaler.status()["actions"]
        assert [(action["old"], action["new"]) for action in actions[::-1]][:2] == [(0, 1), (1, 3)]
