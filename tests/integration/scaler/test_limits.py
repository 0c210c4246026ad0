"""Paused, rate-limited and globally limited queues of BullMQ 6, and jobs that wait for others."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from lab.deadline import wait_until
from scaler.config.settings import ScalerSettings
from scaler.model import QueueSample
from scaler.prometheus.target_metrics import PrometheusMetrics
from scaler.step_result import TargetStep
from service.clock import Deadline
from tests.support.scaled_queues import ScaledQueues, scaled_queues

pytestmark = pytest.mark.timeout(180)

QUEUES = ("paused", "limited", "global", "parents")
JOBS = 400
STEPS = 30
"""Samples of a second each; the first few may be of the time before the jobs came."""


def test_what_limits_a_queue_bounds_its_workers() -> None:
    with scaled_queues(QUEUES) as world:
        world.targets["limited"].opts = {"limiter": {"max": 1, "duration": 2000}}
        _limited(world)


def _limited(world: ScaledQueues) -> None:
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

    steps: list[dict[str, TargetStep]] = []
    seen: set[float] = set()

    def stepped() -> bool:
        last = world.step()
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


def test_a_limit_or_a_pause_of_one_queue_bounds_no_other() -> None:
    with scaled_queues(("window", "free", "paused"), min_workers=1) as world:
        bullmq = world.bullmq
        bullmq.pause("paused")
        bullmq.add_bulk("window", 3)
        limiter = {"max": 1000, "duration": 3_600_000}
        bullmq.start_worker("window", concurrency=1, behaviour={"ms": 1}, limiter=limiter)
        bullmq.wait_for_counts("window", {"completed": 3})
        for queue in ("paused", "free"):
            bullmq.add_bulk(queue, 5, delay=50_000)
        bullmq.add_bulk("free", JOBS)
        target = {"name": "all", "queues": ["window", "free", "paused"], "min_workers": 1}
        settings = ScalerSettings.model_validate(
            {"prometheus": {"urls": [world.prometheus.url]}, "targets": [target]}
        )
        metrics = PrometheusMetrics(settings)
        found: list[QueueSample] = []

        def complete() -> bool:
            sample = metrics.read(Deadline.after(5))["all"].sample
            if isinstance(sample, QueueSample) and sample.waiting == JOBS and sample.due:
                found.append(sample)
            return bool(found)

        wait_until(complete, what="a sample with the jobs of all queues", seconds=30, every=0.2)
        metrics.close()
        alone = world.step()
    (sample,) = found
    assert (sample.limit_seconds, sample.runnable, sample.due) == (0.0, JOBS, 5.0)
    window, paused = alone["window"].sample, alone["paused"].sample
    assert isinstance(window, QueueSample)
    assert isinstance(paused, QueueSample)
    assert window.limit_seconds
    assert paused.due == 0.0


def test_a_limit_of_the_workers_that_is_not_reached_bounds_nothing() -> None:
    """BullMQ's key of the limit has a time to live from its first job on."""
    with scaled_queues(("generous",), min_workers=1) as world:
        target = world.targets["generous"]
        target.opts = {"limiter": {"max": 1_000_000, "duration": 3_600_000}}
        world.bullmq.add_bulk("generous", JOBS)
        told: set[float] = set()

        def scaled_out(steps: Mapping[str, TargetStep]) -> bool:
            sample = steps["generous"].sample
            if isinstance(sample, QueueSample) and sample.limit_seconds:
                told.add(sample.limit_seconds)
            return bool(told) and target.most > 4

        world.step_until(scaled_out, what="more workers while the window of the limit runs")
