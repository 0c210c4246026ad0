"""No false alarm: restarts, pauses, limits and queues without workers, with all times multiplied by 1/20.

Each threshold and each alert's `for` passes twice in the run, but for those that are hours.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Final
from unittest import mock

import httpx
import pytest

from exporter.bullmq import locks
from exporter.config.settings import ExporterSettings
from exporter.run import Exporter
from lab.bullmq import BullMQ
from lab.deadline import wait_until
from lab.prometheus import Prometheus
from lab.receiver import Receiver
from lab.redis import start_redis
from tests.support.alerts.causes import Host
from tests.support.alerts.monitoring import monitoring, scaled_times
from tests.support.calm import CalmLoad, threshold_seconds

FACTOR: Final = 1 / 20
SCRAPE: Final = 2.0
"""Seconds: a scrape's time-out is as long, and a busy machine needs it."""
TIMES: Final = replace(scaled_times(FACTOR, extra=True), scrape=SCRAPE)
HOURS: Final = frozenset({"paused_seconds", "redis_unsaved_seconds", "waiting_children_seconds"})
"""Thresholds that take hours: nothing here may reach them."""
OF_THE_START: Final = frozenset({"OxherdExporterDown"})
"""A Prometheus that has started scrapes nothing for five seconds, whatever the factor."""
SECONDS: Final = 5 + 2 * max(
    *TIMES.waits.values(),
    *(FACTOR * seconds for name, seconds in threshold_seconds().items() if name not in HOURS),
)

pytestmark = pytest.mark.timeout(240)  # 80 s alone


@dataclass(frozen=True)
class World:
    """After the run. `seen` are the conditions of all looks and what they measured, `scores` the scores."""

    load: CalmLoad
    prometheus: Prometheus
    receiver: Receiver
    seen: Mapping[str, int]
    scores: Collection[float]


def settings(url: str) -> ExporterSettings:
    """As they are shipped, but for the factor; `nightly-*` has no worker on purpose."""
    thresholds = {name: FACTOR * seconds for name, seconds in threshold_seconds().items()}
    of_the_process = {"process_memory_ratio": 1.0, "process_memory_bytes": 1 << 40}  # the tests are it
    return ExporterSettings.model_validate(
        {
            "listen": "127.0.0.1:0",
            "redis": {"url": url},
            "bullmq": {
                "discovery_interval_seconds": 1,
                "rescan_interval_seconds": 60 * FACTOR,
                "schedulers": {"interval_seconds": 1},
            },
            "health": {
                "thresholds": thresholds | of_the_process,
                "queues": [{"match": "nightly-*", "excluded": True}],
            },
        }
    )


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with ExitStack() as undo:
        server = undo.enter_context(start_redis())
        load = CalmLoad(undo.enter_context(BullMQ(6, url=server.url)), FACTOR)
        load.begin()
        for name, seconds in {"LOOK_SECONDS": locks.LOOK_SECONDS, "LOCK_SECONDS": locks.LOCK_SECONDS}.items():
            undo.enter_context(mock.patch.object(locks, name, FACTOR * seconds))
        with mock.patch("exporter.collect.HostSource", return_value=Host()):
            exporter = Exporter(settings(server.url))
        exporter.start()
        undo.callback(exporter.stop)
        receiver = undo.enter_context(Receiver())
        home = tmp_path_factory.mktemp("calm")
        targets = {"calm": exporter.address}
        prometheus = undo.enter_context(
            monitoring(targets, TIMES, receiver, home, shortest_range=2.5 * SCRAPE)
        )
        prometheus.wait_for("oxherd_health_score")
        seen: Counter[str] = Counter()
        scores: list[float] = []

        def look() -> None:
            health = httpx.get(f"http://{exporter.address}/status.json", timeout=30).json()["health"]
            scores.append(health["score"])
            seen.update(f"{issue['name']}: {issue['measured']}" for issue in health["issues"])

        load.look = look
        load.run(SECONDS)
        yield World(load, prometheus, receiver, seen, scores)


def test_no_condition_was_there(world: World) -> None:
    assert world.seen == {}
    assert set(world.scores) == {100.0}


def test_no_alert_fired(world: World) -> None:
    fired = world.prometheus.query('max_over_time(ALERTS{alertstate="firing"}[5m])')
    told = {notification.alert for notification in world.receiver.notifications}
    alerts = told | {labels["alertname"] for labels, _ in fired}
    assert alerts - OF_THE_START == {"OxherdWatchdog"}
    assert [up for _, up in world.prometheus.query("min_over_time(up[5m])")] == [1]


def test_the_load_was_what_it_is_meant_to_be(world: World) -> None:
    counts = {
        queue: world.load.jobs.counts(queue)
        for queue in ("rolling", "recreated", "bursts", "cron", "paused", "limited", "new", "nightly-report")
    }
    assert all(counts[queue]["completed"] for queue in ("rolling", "recreated", "bursts", "cron", "new"))
    assert counts["paused"]["waiting"] == counts["nightly-report"]["waiting"] == 5
    assert counts["limited"]["completed"] >= 2
    assert counts["limited"]["waiting"] > 0
    assert world.load.restarts > 10
    counted = world.prometheus.query('max_over_time(bullmq_queue_workers{queue="recreated"}[5m])')
    assert [workers for _, workers in counted] == [1]


def test_a_queue_that_really_stands_still_is_told(world: World) -> None:
    """The last of the tests: it is not calm then."""
    for worker in world.load.workers.pop("recreated"):
        world.load.jobs.stop_worker(worker)
    world.load.jobs.add_bulk("recreated", 5)
    wait_until(lambda: world.receiver.of("QueueSystemDown"), what="the alert", seconds=90, every=0.1)
