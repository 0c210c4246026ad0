"""Exporters that divide the queues, a real Prometheus and a scaler: a shard that is killed is missing."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import pytest

from exporter.bullmq.sharding import shard_number
from exporter.config.settings import ExporterSettings
from exporter.run import Exporter
from exporter.snapshot.queues import QueueId
from lab.bullmq import BullMQ
from lab.deadline import wait_until
from lab.ports import free_port
from lab.prometheus import Prometheus, start_prometheus
from lab.redis import RedisServer, start_redis
from scaler.config.validation import load_scaler_settings
from scaler.model import QueueSample, TargetMetrics
from scaler.prometheus.target_metrics import PrometheusMetrics
from service.clock import Deadline

pytestmark = pytest.mark.timeout(240)  # 30 s alone

SHARDS = 3
QUEUES = [f"mail-{number}" for number in range(12)]
KILLED = shard_number(QueueId("bull", QUEUES[0]), SHARDS)


def of_shard(number: int) -> list[str]:
    return [name for name in QUEUES if shard_number(QueueId("bull", name), SHARDS) == number]


@dataclass(frozen=True)
class World:
    server: RedisServer
    ports: list[int]
    prometheus: Prometheus
    exporters: dict[int, Exporter]

    def start(self, number: int) -> None:
        settings = {
            "listen": f"127.0.0.1:{self.ports[number - 1]}",
            "redis": {"url": self.server.url},
            "bullmq": {"rescan_interval_seconds": 1, "discovery_interval_seconds": 1},
            "shard": f"{number}/{SHARDS}",
        }
        self.exporters[number] = exporter = Exporter(ExporterSettings.model_validate(settings))
        exporter.start()

    def stop(self, number: int) -> None:
        assert self.exporters.pop(number).stop()

    def reads(self, **targets: list[str]) -> PrometheusMetrics:
        settings = {
            "prometheus": {"urls": [self.prometheus.url]},
            "targets": [
                {"name": name, "queues": queues, "processes": {"command": ["x"]}}
                for name, queues in targets.items()
            ],
        }
        return PrometheusMetrics(load_scaler_settings(json.dumps(settings), {}, file="s.yml").model)

    def number(self, expression: str) -> float | None:
        found = self.prometheus.query(expression)
        return found[0][1] if found else None


@pytest.fixture
def world() -> Iterator[World]:
    with ExitStack() as stack:
        server = stack.enter_context(start_redis())
        server.wait()
        bullmq = stack.enter_context(BullMQ(6, url=server.url))
        for name in QUEUES:
            bullmq.add_bulk(name, 10)
        ports = [free_port() for _ in range(SHARDS)]
        targets = ", ".join(f"'127.0.0.1:{port}'" for port in ports)
        prometheus = stack.enter_context(
            start_prometheus(
                "scrape_configs:\n  - job_name: oxherd\n    scrape_interval: 1s\n    scrape_timeout: 1s\n"
                f"    static_configs: [{{targets: [{targets}]}}]\n"
            )
        )
        world = World(server, ports, prometheus, {})
        for number in range(1, SHARDS + 1):
            world.start(number)
        yield world
        for number in list(world.exporters):
            world.stop(number)


def waiting(read: TargetMetrics) -> float | None:
    return read.sample.waiting if isinstance(read.sample, QueueSample) else None


def until(metrics: PrometheusMetrics, holds: Callable[[dict[str, TargetMetrics]], Any], what: str) -> None:
    wait_until(lambda: holds(dict(metrics.read(Deadline.after(10)))), what=what, seconds=90, every=0.3)


def test_a_shard_that_is_killed_is_missing_and_never_gone(world: World) -> None:
    everything, killed = 10 * len(QUEUES), 10 * len(of_shard(KILLED))
    others = [name for name in QUEUES if name not in of_shard(KILLED)]
    metrics, named = world.reads(all=["mail-*"]), world.reads(there=others, killed=of_shard(KILLED))
    try:
        until(metrics, lambda read: waiting(read["all"]) == everything, "the sum over all shards")
        until(metrics, lambda read: read["all"].unknown is None, "no shard is missing")
        sums = "sum(max by (prefix, queue) (bullmq_job_count{state='waiting'}))"
        wait_until(lambda: world.number(sums) == everything, what="each queue once", seconds=60)
        world.stop(KILLED)
        until(named, lambda read: waiting(read["killed"]) is None, "its queues are missing")
        until(metrics, lambda read: read["all"].unknown is not None, "so is a part of the pattern's")
        read = dict(named.read(Deadline.after(10)))
        assert waiting(read["there"]) == everything - killed
        assert read["there"].unknown is None, "targets of the other shards go on"
    finally:
        metrics.close()
        named.close()
