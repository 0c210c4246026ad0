"""KEDA acts on what it is answered: real BullMQ, exporter and Prometheus, from no worker to many and back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc
import pytest

from lab.deadline import wait_until
from scaler.engines.decisions import Decisions, decisions_of
from scaler.keda.answers import METRIC
from scaler.keda.server import KedaServer
from service.clock import Deadline, monotonic
from tests.support.keda_client import metrics_request, ref, stub
from tests.support.scaled_queues import ScaledQueues, scaled_queues

pytestmark = pytest.mark.timeout(180)  # half a minute alone, of jobs and of what is idle for long enough


class Keda:
    """What KEDA and its HPA do after each step, without their pauses."""

    def __init__(self, world: ScaledQueues, server: KedaServer, client: Any) -> None:
        self._world, self._server, self._client = world, server, client
        self.answers: list[tuple[bool, int]] = []

    def step(self) -> int:
        """The workers after a step of the scaler, which it does not act on."""
        before = len(self._workers.workers)
        self._world.step()
        assert len(self._workers.workers) == before, "only KEDA acts"
        result = self._world.controller.last
        assert result is not None
        decisions = decisions_of(self._world.settings.targets, result, ended=monotonic(), interval=1.0)
        self._server.publish(decisions)
        try:
            active = self._client.IsActive(ref(queue="mail"), timeout=10).result
            request = metrics_request(METRIC, queue="mail")
            (value,) = self._client.GetMetrics(request, timeout=10).metricValues
        except grpc.RpcError:
            return before  # without a decision KEDA keeps what there is
        self.answers.append((active, value.metricValue))
        wanted = max(1, value.metricValue) if active else 0  # the HPA's least is 1
        if wanted != before:
            self._workers.scale(before, wanted, Deadline.after(30))
        return wanted

    def until(self, reached: Callable[[int], bool], *, what: str, seconds: float = 60.0) -> None:
        """Two steps a second; raises TimeoutError."""
        wait_until(lambda: reached(self.step()), what=what, seconds=seconds, every=0.5)

    @property
    def _workers(self) -> Any:
        return self._world.targets["mail"]


def test_keda_scales_by_the_policys_number_and_to_zero_when_nothing_is_left() -> None:
    with scaled_queues(["mail"], enabled=False, scale_to_zero_after_seconds=3) as world:
        server = KedaServer("127.0.0.1", 0, Decisions(world.settings.targets))
        server.start()
        try:
            with grpc.insecure_channel(server.address) as channel:
                keda = Keda(world, server, stub(channel))
                keda.until(lambda workers: bool(keda.answers) and workers == 0, what="it is answered")
                world.bullmq.add_bulk("mail", 60)
                keda.until(lambda workers: workers > 3, what="many workers for 60 jobs of 1 s")
                keda.until(lambda workers: workers == 0, what="none, once they are done", seconds=120)
        finally:
            server.stop()
        world.prometheus.wait_for('sum(bullmq_job_completed_total{queue="mail"}) == 60')
        assert all(0 <= number <= 20 for _, number in keda.answers)
