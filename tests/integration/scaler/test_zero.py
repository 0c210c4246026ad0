"""To no worker and from none, as people have seen other autoscalers do it wrong."""

from __future__ import annotations

import threading

import pytest

from lab.prometheus import start_prometheus
from scaler.model import Missing
from tests.support.scaled_queues import scaled_queues

pytestmark = pytest.mark.timeout(180)


def test_a_queue_that_keeps_up_with_short_jobs_is_not_idle() -> None:
    """Jobs of 2 ms come all the time; hardly any sample shows one."""
    with scaled_queues(["short"], scale_to_zero_after_seconds=4) as world:
        target, stopped = world.targets["short"], threading.Event()
        target.ms = 2

        def add() -> None:
            while not stopped.wait(0.5):
                world.bullmq.add("short")

        adding = threading.Thread(target=add)
        adding.start()
        try:
            world.step_until(lambda _: target.workers != [], what="the first job starts a worker")
            shown = 0

            def watched(_: object) -> bool:
                nonlocal shown
                shown += 1
                return shown >= 40

            world.step_until(watched, what="20 s of short jobs")
        finally:
            stopped.set()
            adding.join()
        assert 0 not in target.numbers[1:]
        world.step_until(lambda _: target.workers == [], what="no worker without jobs")


def test_without_metrics_the_fallback_starts_the_first_worker_and_an_empty_prometheus_keeps_it() -> None:
    with scaled_queues(["mail"], fallback_workers=3, fallback_after_failures=2) as world:
        target = world.targets["mail"]
        world.step()
        assert target.workers == []
        port = world.prometheus.port
        world.prometheus.process.stop()
        world.step_until(lambda _: len(target.workers) == 3, what="the fallback")
        missing = 0
        with start_prometheus(world.scrape.replace("scrape_interval: 1s", "scrape_interval: 30s"), port=port):
            for _ in range(10):
                step = world.step()["mail"]
                missing += isinstance(step.sample, Missing)
                assert len(target.workers) == 3
        assert missing
