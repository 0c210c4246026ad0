"""What the scaler makes of exporters that restart, fail over and hide queues, with a real Prometheus.

The expositions are fixed texts that a test changes; a real exporter is where the row needs its behaviour.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from lab.deadline import wait_until
from lab.prometheus import Prometheus, start_prometheus
from scaler.config.validation import load_scaler_settings
from scaler.decision.policies.flow import Flow, mean_rate, update_flow
from scaler.decision.step import TargetMemory, step
from scaler.model import Control, Decision, Missing, Observation, QueueSample, TargetMetrics
from scaler.prometheus.target_metrics import PrometheusMetrics
from service.clock import Deadline, now
from tests.support.exposition import exposing

pytestmark = pytest.mark.timeout(120)


class Exposition:
    """The text of one exporter, which a test changes while it is scraped; None: it does not answer."""

    def __init__(self) -> None:
        self.text: str | None = ""
        self.scrapes = 0

    def __call__(self) -> str | None:
        self.scrapes += 1
        return self.text

    def publish(
        self, *queues: tuple[str, dict[str, float]], up: int = 1, info: str = "", start: int = 1
    ) -> None:
        lines = [f"bullmq_up {up}", f"process_start_time_seconds {start}"]
        if info:
            lines.append(f'oxherd_redis_deployment_info{{redis_deployment="{info}"}} 1')
        for name, figures in queues:
            labels = f'prefix="bull",queue="{name}"'
            states = {"waiting": 0.0, "prioritized": 0.0, "active": 0.0} | {
                state: value
                for state, value in figures.items()
                if state in ("waiting", "prioritized", "active")
            }
            lines += [
                f'bullmq_job_count{{{labels},state="{state}"}} {value}'
                for state, value in states.items()
                if value >= 0
            ]
            if "completed" in figures:
                lines.append(f"bullmq_job_completed_total{{{labels}}} {figures['completed']}")
                lines.append(f"bullmq_job_failed_total{{{labels}}} 0")
        self.text = "\n".join(lines) + "\n"


class World:
    """Expositions, the Prometheus that scrapes them every second, and the metrics of the target `t`."""

    def __init__(self, stack: ExitStack, expositions: list[Exposition], queues: list[str]) -> None:
        addresses = [stack.enter_context(exposing(exposition)) for exposition in expositions]
        self.expositions = expositions
        targets = ", ".join(repr(address) for address in addresses)
        self.prometheus: Prometheus = stack.enter_context(
            start_prometheus(
                "scrape_configs:\n  - job_name: oxherd\n    scrape_interval: 1s\n    scrape_timeout: 1s\n"
                f"    static_configs: [{{targets: [{targets}]}}]\n"
            )
        )
        text = (
            f"prometheus: {{urls: ['{self.prometheus.url}']}}\n"
            f"targets: [{{name: t, queues: {queues}, processes: {{command: [x]}}}}]"
        )
        self.metrics = PrometheusMetrics(load_scaler_settings(text, {}, file="s.yml").model)
        stack.callback(self.metrics.close)

    def read(self) -> TargetMetrics:
        return self.metrics.read(Deadline.after(10))["t"]

    def until(self, holds: Callable[[TargetMetrics], Any], what: str) -> TargetMetrics:
        read = wait_until(
            lambda: one if holds(one := self.read()) else None, what=what, seconds=60, every=0.2
        )
        assert read is not None
        return read


WorldOf = Callable[..., World]


@pytest.fixture
def world() -> Iterator[WorldOf]:
    with ExitStack() as stack:

        def make(*queues: str, exporters: int = 1) -> World:
            return World(stack, [Exposition() for _ in range(exporters)], list(queues))

        yield make


def waiting(metrics: TargetMetrics) -> float | None:
    return metrics.sample.waiting if isinstance(metrics.sample, QueueSample) else None


def completed(metrics: TargetMetrics) -> float:
    assert isinstance(metrics.sample, QueueSample)
    assert metrics.sample.completed is not None
    return metrics.sample.completed


def decided(metrics: TargetMetrics, workers: int, memory: TargetMemory | None, **policy: Any) -> Decision:
    settings = load_scaler_settings("targets: []", {}, file="s.yml").model.defaults.model_copy(update=policy)
    observation = Observation(now(), workers, workers, metrics.sample, unknown=metrics.unknown)
    return step(settings, 5.0, observation, Control(), memory)[0]


# --- jumps of the counters ----------------------------------------------------------------------------------


@pytest.mark.parametrize("other", [5_000_000.0, 3.0], ids=["higher", "lower"])
def test_a_failover_to_another_exporter_is_no_work(world: WorldOf, other: float) -> None:
    at = world("mail", exporters=2)
    first, second = at.expositions
    second.text = None
    first.publish(("mail", {"completed": 100}))
    before = at.until(lambda read: waiting(read) == 0, "the first exporter counts")
    assert completed(before) == 100
    second.publish(("mail", {"completed": other, "waiting": 7}))
    first.text = None
    after = at.until(lambda read: waiting(read) == 7, "the second exporter counts")
    assert completed(after) == 100
    second.publish(("mail", {"completed": other + 40, "waiting": 8}))
    later = at.until(lambda read: waiting(read) == 8, "the second one's next scrape")
    assert completed(later) == 140
    flow: Flow | None = None
    for read in (before, after, later):
        assert isinstance(read.sample, QueueSample)
        flow = update_flow(flow, read.sample)
    assert flow is not None
    assert flow.points[-1].came < 100
    assert mean_rate(flow, 30) < 100


def test_an_exporter_behind_the_same_address_that_is_another_one_is_no_work(world: WorldOf) -> None:
    at = world("mail")
    (exporter,) = at.expositions
    exporter.publish(("mail", {"completed": 100}), start=1)
    assert completed(at.until(lambda read: waiting(read) == 0, "the exporter counts")) == 100
    exporter.publish(("mail", {"completed": 90_000, "waiting": 7}), start=2)
    assert completed(at.until(lambda read: waiting(read) == 7, "the other one counts")) == 100


def test_a_queue_of_a_pattern_that_is_away_for_a_scrape_is_unknown_and_then_no_work(world: WorldOf) -> None:
    at = world("mail-*")
    (exporter,) = at.expositions
    small, large = ("mail-a", {"completed": 10.0}), ("mail-b", {"completed": 30_000.0})
    exporter.publish(small, large)
    before = at.until(lambda read: read.queues == ("mail-a", "mail-b"), "both queues")
    assert completed(before) == 30_010
    exporter.publish(small)
    away = at.until(lambda read: read.unknown, "a queue is away")
    assert away.unknown is not None
    assert "mail-b" in away.unknown.message
    exporter.publish(small, large)
    after = at.until(lambda read: not read.unknown, "it is back")
    assert completed(after) == 30_010


# --- what is missing ----------------------------------------------------------------------------------------


def test_one_of_two_waiting_states_is_missing(world: WorldOf) -> None:
    at = world("mail")
    (exporter,) = at.expositions
    exporter.publish(("mail", {"waiting": 500, "active": 3}))
    at.until(lambda read: waiting(read) == 500, "both states")
    exporter.publish(("mail", {"waiting": -1, "active": 3}))
    read = at.until(lambda read: isinstance(read.sample, Missing), "no jobs that wait")
    assert isinstance(read.sample, Missing)
    assert "no waiting" in read.sample.message


def test_an_exporter_that_could_not_read_all_bars_scaling_in_for_a_pattern(world: WorldOf) -> None:
    at = world("mail-*")
    (exporter,) = at.expositions
    exporter.publish(("mail-b", {"active": 0}), up=0)
    read = at.until(lambda read: waiting(read) == 0, "the queue that is known")
    decision = decided(read, 20, None, policy="threshold", cooldown_seconds=0.0, min_workers=0)
    assert (decision.workers, "MetricsStale" in decision.conditions) == (20, True)


def test_beside_a_queue_that_never_had_a_job_the_other_scales_out_from_zero(world: WorldOf) -> None:
    at = world("mail", "mail-retry")
    (exporter,) = at.expositions
    exporter.publish(("mail", {"waiting": 1800, "completed": 0}))
    read = at.until(lambda read: waiting(read) == 1800, "the queue that is known")
    decision = decided(read, 0, None, min_workers=0)
    assert decision.workers >= 1
    assert "mail-retry" in decision.sentence


# --- whose metrics they are ---------------------------------------------------------------------------------


def test_two_deployments_in_one_job_are_a_duplicate(world: WorldOf) -> None:
    at = world("mail", exporters=2)
    first, second = at.expositions
    first.publish(("mail", {"waiting": 0}), info="east")
    second.publish(("mail", {"waiting": 500}), info="west")
    read = at.until(lambda read: getattr(read.sample, "kind", "") == "duplicate", "two deployments")
    assert isinstance(read.sample, Missing)
    assert 'deployment "east"' in read.sample.message
    assert 'deployment "west"' in read.sample.message


def test_two_exporters_of_one_deployment_are_one(world: WorldOf) -> None:
    at = world("mail", exporters=2)
    for exporter in at.expositions:
        exporter.publish(("mail", {"waiting": 500}), info="east")
    at.prometheus.wait_for("count(oxherd_redis_deployment_info) == 2")
    assert waiting(at.read()) == 500
