"""A shard of a real cluster hangs: its queue is missing, not gone, and its past is no work afterwards."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from exporter.config.settings import ExporterSettings
from exporter.run import Exporter
from lab.bullmq import BullMQ
from lab.cluster import LocalCluster, start_cluster
from lab.deadline import wait_until
from lab.ports import free_port
from lab.prometheus import start_prometheus
from scaler.config.settings import PolicySettings
from scaler.config.validation import load_scaler_settings
from scaler.decision.step import step
from scaler.model import Control, Observation, QueueSample, TargetMetrics
from scaler.prometheus.target_metrics import PrometheusMetrics
from service.clock import Deadline, now

pytestmark = pytest.mark.timeout(180)  # 20 s alone

POLICY = PolicySettings(policy="threshold", min_workers=0, max_workers=40, cooldown_seconds=0)


@dataclass(frozen=True)
class World:
    cluster: LocalCluster
    bullmq: BullMQ
    port: int
    metrics: PrometheusMetrics
    busy: str
    quiet: str

    @contextmanager
    def exporting(self, **bullmq: Any) -> Iterator[Exporter]:
        """An exporter at the address that is scraped."""
        exporter = Exporter(
            ExporterSettings.model_validate(
                {
                    "listen": f"127.0.0.1:{self.port}",
                    "redis": {"cluster": self.cluster.addresses, "timeout_seconds": 0.3},
                    "bullmq": {"rescan_interval_seconds": 1, "discovery_interval_seconds": 1, **bullmq},
                }
            )
        )
        exporter.start()
        try:
            yield exporter
        finally:
            assert exporter.stop()

    def read(self) -> TargetMetrics:
        return self.metrics.read(Deadline.after(10))["t"]

    def until(self, holds: Callable[[TargetMetrics], Any], what: str) -> TargetMetrics:
        read = wait_until(
            lambda: one if holds(one := self.read()) else None, what=what, seconds=60, every=0.2
        )
        assert read is not None
        return read


@pytest.fixture
def world() -> Iterator[World]:
    """Two queues on two of three masters, which have no replicas: nothing takes over."""
    with ExitStack() as stack:
        cluster = stack.enter_context(
            start_cluster(replicas_per_master=0, config=["cluster-require-full-coverage no"])
        )
        bullmq = stack.enter_context(BullMQ(6, cluster=cluster.addresses))
        names = [f"{{mail-{number}}}" for number in range(20)]
        busy = names[0]
        quiet = next(name for name in names if cluster.owner_of(name) is not cluster.owner_of(busy))
        port = free_port()
        prometheus = stack.enter_context(
            start_prometheus(
                "scrape_configs:\n  - job_name: oxherd\n    scrape_interval: 1s\n    scrape_timeout: 1s\n"
                f"    static_configs: [{{targets: ['127.0.0.1:{port}']}}]\n"
            )
        )
        settings = load_scaler_settings(
            f"prometheus: {{urls: ['{prometheus.url}']}}\n"
            "targets: [{name: t, queues: ['{mail-*}'], processes: {command: [x]}}]",
            {},
            file="s.yml",
        ).model
        metrics = PrometheusMetrics(settings)
        stack.callback(metrics.close)
        world = World(cluster, bullmq, port, metrics, busy, quiet)
        yield world
        for node in cluster.nodes:
            if node.process.suspended:
                node.resume()


def workers(metrics: TargetMetrics, now_there: int) -> int:
    observation = Observation(now(), now_there, now_there, metrics.sample, unknown=metrics.unknown)
    return step(POLICY, 5.0, observation, Control(), None)[0].workers


def both(read: TargetMetrics) -> bool:
    return isinstance(read.sample, QueueSample) and read.unknown is None and len(read.queues) == 2


def test_a_pattern_holds_while_the_shard_of_a_busy_queue_hangs_and_the_exporter_restarts(
    world: World,
) -> None:
    world.bullmq.add_bulk(world.busy, 400)
    world.bullmq.add(world.quiet, delay=600_000)
    with world.exporting(events=False):
        read = world.until(lambda read: both(read) and read.sample.waiting == 400, "both queues")  # type: ignore[union-attr]
        assert workers(read, 20) > 20
        world.cluster.owner_of(world.busy).suspend()
        hidden = world.until(lambda read: read.unknown, "the busy queue is missing")
        assert workers(hidden, 20) == 20
    with world.exporting(events=False):
        again = world.until(
            lambda read: isinstance(read.sample, QueueSample) and read.unknown,
            "the exporter is back without it",
        )
        assert world.busy in again.queues
        assert workers(again, 20) == 20
        for node in world.cluster.nodes:
            if node.process.suspended:
                node.resume()
        back = world.until(both, "the busy queue is back")
        assert workers(back, 20) > 20


def test_counters_that_a_state_file_brings_back_are_no_work(world: World, tmp_path: Path) -> None:
    state = str(tmp_path / "state")
    worker = world.bullmq.start_worker(world.busy, concurrency=20)
    with world.exporting(state_file=state):
        world.bullmq.add(world.quiet, delay=600_000)
        world.bullmq.add_bulk(world.busy, 1)
        world.until(both, "both queues")
        world.bullmq.add_bulk(world.busy, 299)
        world.bullmq.wait_for_counts(world.busy, {"completed": 300})
        before = world.until(lambda read: both(read) and done(read) >= 300, "300 jobs are counted")
    world.bullmq.stop_worker(worker)
    owner = world.cluster.owner_of(world.busy)
    owner.suspend()
    with world.exporting(state_file=state):
        world.until(
            lambda read: isinstance(read.sample, QueueSample) and read.unknown, "the busy queue is missing"
        )
        owner.resume()
        after = world.until(lambda read: both(read) and done(read) >= 0, "the busy queue is back")
        assert done(after) == done(before)


def done(read: TargetMetrics) -> float:
    assert isinstance(read.sample, QueueSample)
    return -1.0 if read.sample.completed is None else read.sample.completed
