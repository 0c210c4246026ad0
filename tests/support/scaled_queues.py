"""Queues of real BullMQ whose workers a controller scales, by a real exporter and a real Prometheus."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

from exporter.config.settings import ExporterSettings
from exporter.run import Exporter
from lab.bullmq import BullMQ
from lab.deadline import wait_until
from lab.prometheus import Prometheus, start_prometheus
from lab.redis import RedisServer, start_redis
from scaler.busy import BusyLookup, idle_workers
from scaler.config.settings import ScalerSettings
from scaler.controller import Controller, Managed
from scaler.model import Applied, NotApplied, Workers
from scaler.prometheus.target_metrics import PrometheusMetrics
from scaler.state.live import LiveState
from scaler.step_result import TargetStep
from service.clock import Deadline
from service.outcome import Failed, Ok, Outcome, UnreadableError


@dataclass
class BullMQWorkers:
    """A target whose workers run two jobs of `ms` at once, in BullMQ's own process; `busy` knows which."""

    bullmq: BullMQ
    queue: str
    ms: int = 1000
    opts: dict[str, Any] = field(default_factory=dict)
    workers: list[int] = field(default_factory=list)
    numbers: list[int] = field(default_factory=lambda: [0])
    busy: BusyLookup | None = None
    started: int = 0

    @property
    def most(self) -> int:
        return max(self.numbers)

    def read(self, deadline: Deadline, *, acts: bool = True) -> Ok[Workers]:
        del deadline, acts
        return Ok(Workers(len(self.workers), len(self.workers), 1.0))

    def idle(self, deadline: Deadline) -> Outcome[int] | None:
        if self.busy is None:
            return None
        try:
            idle = idle_workers(self.busy(deadline), f"{self.queue}-", len(self.workers))
        except UnreadableError as error:
            return Failed(error.kind, str(error))
        return None if idle is None else Ok(idle)

    def scale(self, old: int, new: int, deadline: Deadline) -> Applied | NotApplied:
        del old, deadline
        while len(self.workers) < new:
            self.started += 1
            name, behaviour = f"{self.queue}-{self.started}", {"ms": self.ms}
            self.workers.append(
                self.bullmq.start_worker(
                    self.queue, concurrency=2, name=name, behaviour=behaviour, **self.opts
                )
            )
        while len(self.workers) > new:
            self.bullmq.stop_worker(self.workers.pop())
        self.numbers.append(new)
        return Applied(new)

    def start_times(self) -> tuple[float, ...]:
        return ()

    def restore_start_times(self, seconds: Sequence[float]) -> None:
        """It measures none."""

    def close(self) -> None:
        self.scale(len(self.workers), 0, Deadline.after(10))


@dataclass
class ScaledQueues:
    """A target for each queue, with the queue's name; all have the same policy."""

    redis: RedisServer
    bullmq: BullMQ
    exporter_url: str
    prometheus: Prometheus
    scrape: str
    metrics: PrometheusMetrics
    targets: dict[str, BullMQWorkers]
    settings: ScalerSettings

    controller: Controller = field(default_factory=lambda: Controller(LiveState(None)))

    def step(self) -> dict[str, TargetStep]:
        managed = [
            Managed(target.name, target, self.targets[target.name]) for target in self.settings.targets
        ]
        return {step.name: step for step in self.controller.step(self.metrics, managed, 1.0).steps}

    def step_until(
        self, reached: Callable[[Mapping[str, TargetStep]], bool], *, what: str, seconds: float = 60.0
    ) -> None:
        """Two steps a second; raises TimeoutError."""
        wait_until(lambda: reached(self.step()), what=what, seconds=seconds, every=0.5)


@contextmanager
def scaled_queues(queues: Sequence[str], **policy: Any) -> Iterator[ScaledQueues]:
    """Scraped each second; workers of two jobs each, from none to 20."""
    with ExitStack() as undo:
        redis = undo.enter_context(start_redis())
        bullmq = undo.enter_context(BullMQ(6, url=redis.url))
        exporter = Exporter(
            ExporterSettings.model_validate(
                {"listen": "127.0.0.1:0", "redis": {"url": redis.url}, "bullmq": {"queues": list(queues)}}
            )
        )
        exporter.start()
        undo.callback(exporter.stop)
        scrape = (
            "scrape_configs:\n  - job_name: oxherd\n    scrape_interval: 1s\n    scrape_timeout: 1s\n"
            f"    static_configs: [{{targets: ['{exporter.address}']}}]\n"
        )
        prometheus = undo.enter_context(start_prometheus(scrape))
        prometheus.wait_for(f"count(bullmq_job_added_total) == {len(queues)}")
        given = {"min_workers": 0, "max_workers": 20, "worker_concurrency": 2} | policy
        settings = ScalerSettings.model_validate(
            {
                "prometheus": {"urls": [prometheus.url]},
                "targets": [{"name": queue, "queues": [queue], **given} for queue in queues],
            }
        )
        metrics = PrometheusMetrics(settings)
        undo.callback(metrics.close)
        targets = {queue: BullMQWorkers(bullmq, queue) for queue in queues}
        for target in targets.values():
            undo.callback(target.close)
        url = f"http://{exporter.address}"
        yield ScaledQueues(redis, bullmq, url, prometheus, scrape, metrics, targets, settings)
