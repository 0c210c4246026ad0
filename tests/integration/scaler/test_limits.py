"""Paused, rate-limited and globally limited queues of BullMQ 6, and jobs that wait for others."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import pytest

from exporter.config.settings import ExporterSettings
from exporter.run import Exporter
from lab.bullmq import BullMQ
from lab.deadline import wait_until
from lab.prometheus import start_prometheus
from lab.redis import start_redis
from scaler.config.settings import ScalerSettings
from scaler.controller import Controller, Managed
from scaler.model import Applied, NotApplied, QueueSample, Workers
from scaler.prometheus.target_metrics import PrometheusMetrics
from scaler.state.live import LiveState
from scaler.step_result import TargetStep
from service.clock import Deadline
from service.outcome import Ok

pytestmark = pytest.mark.timeout(180)

QUEUES = ("paused", "limited", "global", "parents")
JOBS = 400
STEPS = 30
"""Samples of a second each; the first few may be of the time before the jobs came."""


@dataclass
class BullMQWorkers:
    """A target whose workers run two jobs of a second at once, in BullMQ's own process."""

    bullmq: BullMQ
    queue: str
    opts: dict[str, Any] = field(default_factory=dict)
    workers: list[int] = field(default_factory=list)
    most: int = 0

    def read(self, deadline: Deadline) -> Ok[Workers]:
        del deadline
        return Ok(Workers(len(self.workers), len(self.workers), 1.0))

    def idle(self, deadline: Deadline) -> int | None:
        del deadline
        return None

    def scale(self, old: int, new: int, deadline: Deadline) -> Applied | NotApplied:
        del old, deadline
        while len(self.workers) < new:
            behaviour = {"ms": 1000}
            self.workers.append(
                self.bullmq.start_worker(self.queue, concurrency=2, behaviour=behaviour, **self.opts)
            )
        while len(self.workers) > new:
            self.bullmq.stop_worker(self.workers.pop())
        self.most = max(self.most, new)
        return Applied(new)

    def start_times(self) -> tuple[float, ...]:
        return ()

    def restore_start_times(self, seconds: Sequence[float]) -> None:
        """It measures none."""

    def close(self) -> None:
        self.scale(len(self.workers), 0, Deadline.after(10))


@dataclass
class World:
    bullmq: BullMQ
    metrics: PrometheusMetrics
    targets: dict[str, BullMQWorkers]
    settings: ScalerSettings

    def step(self, controller: Controller) -> dict[str, TargetStep]:
        managed = [
            Managed(target.name, target, self.targets[target.name]) for target in self.settings.targets
        ]
        return {step.name: step for step in controller.step(self.metrics, managed, 1.0).steps}


@pytest.fixture
def world() -> Iterator[World]:
    with ExitStack() as undo:
        redis = undo.enter_context(start_redis())
        bullmq = undo.enter_context(BullMQ(6, url=redis.url))
        exporter = Exporter(
            ExporterSettings.model_validate(
                {"listen": "127.0.0.1:0", "redis": {"url": redis.url}, "bullmq": {"queues": list(QUEUES)}}
            )
        )
        exporter.start()
        undo.callback(exporter.stop)
        scrape = (
            "scrape_configs:\n  - job_name: oxherd\n    scrape_interval: 1s\n    scrape_timeout: 1s\n"
            f"    static_configs: [{{targets: ['{exporter.address}']}}]\n"
        )
        prometheus = undo.enter_context(start_prometheus(scrape))
        prometheus.wait_for('bullmq_job_added_total{queue="global"}')
        policy = {"min_workers": 0, "max_workers": 20, "worker_concurrency": 2}
        settings = ScalerSettings.model_validate(
            {
                "prometheus": {"urls": [prometheus.url]},
                "targets": [{"name": queue, "queues": [queue], **policy} for queue in QUEUES],
            }
        )
        metrics = PrometheusMetrics(settings)
        undo.callback(metrics.close)
        targets = {queue: BullMQWorkers(bullmq, queue) for queue in QUEUES}
        targets["limited"].opts = {"limiter": {"max": 1, "duration": 2000}}
        for target in targets.values():
            undo.callback(target.close)
        yield World(bullmq, metrics, targets, settings)


def test_what_limits_a_queue_bounds_its_workers(world: World) -> None:
    bullmq = world.bullmq
    bullmq.pause("paused")
    bullmq.set_global_concurrency("global", 2)
    for queue in QUEUES[:3]:
        bullmq.add_bulk(queue, JOBS)
    # The parent waits for a child that fails for good, in a queue that nobody serves.
    bullmq.add_flow(
        {
            "name": "parent",
            "queueName": "parents",
            "children": [{"name": "child", "queueName": "children", "data": {}}],
        }
    )
    failing = bullmq.start_worker("children", behaviour={"fail": True})
    bullmq.wait_for_counts("children", {"failed": 1})
    bullmq.stop_worker(failing)
    assert bullmq.counts("parents")["waiting-children"] == 1

    controller = Controller(LiveState(None))
    steps: list[dict[str, TargetStep]] = []
    seen: set[float] = set()

    def stepped() -> bool:
        last = world.step(controller)
        sample = last["global"].sample
        if isinstance(sample, QueueSample) and sample.waiting > 0 and sample.at not in seen:
            seen.add(sample.at)
            steps.append(last)
        return len(steps) >= STEPS

    wait_until(stepped, what=f"{STEPS} samples with jobs", seconds=150, every=0.5)
    samples = {name: step.sample for name, step in steps[-1].items()}
    paused, _, bounded, parents = (samples[name] for name in QUEUES)
    assert isinstance(paused, QueueSample)
    assert isinstance(bounded, QueueSample)
    assert isinstance(parents, QueueSample)
    assert (paused.waiting, paused.held, paused.runnable) == (JOBS, JOBS, 0)
    assert bounded.concurrency_limit == 2
    assert parents.waiting == 0
    limits = [step["limited"].sample for step in steps]
    assert any(isinstance(limited, QueueSample) and limited.limit_seconds for limited in limits)
    assert {name: target.most for name, target in world.targets.items() if name != "limited"} == {
        "paused": 0,
        "global": 1,
        "parents": 0,
    }
    assert len(world.targets["limited"].workers) <= 2
