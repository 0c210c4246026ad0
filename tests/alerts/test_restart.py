"""Prometheus restarts while alerts fire whose cause lasts: no end, and no repeat before the cooldown.

The exporter is a text of its series; times are a tenth. Beside the shipped flag a second Prometheus has the
default, with which a restart ends an alert: the test would notice.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import pytest

from lab.deadline import wait_until
from lab.receiver import Notification, Receiver
from tests.support.alerts.monitoring import (
    DEFAULT_GRACE,
    SHIPPED_GRACE,
    alertmanager_for,
    prometheus_for,
    scaled_times,
)
from tests.support.alerts.texts import HEALTHY, nodes, standing_still
from tests.support.alerts.timeline import PATIENCE, intervals
from tests.support.exposition import exposing

pytestmark = pytest.mark.timeout(600)

TIMES = scaled_times(1 / 10)
SHIPPED, DEFAULT = "shipped-flag", "default-flag"
ALERTS = ("QueueSystemDown", "ClusterNodeDown", "HighMemoryUsage")
WRONG = HEALTHY + standing_still(["mail"]) + nodes(["a:1"], ["b:1"], memory=0.9)


@dataclass(frozen=True)
class World:
    notifications: list[Notification]

    def of(self, alert: str, job: str) -> list[Notification]:
        return [each for each in self.notifications if (each.alert, each.job) == (alert, job)]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with ExitStack() as undo:
        receiver = undo.enter_context(Receiver())
        home = tmp_path_factory.mktemp("restart")
        address = undo.enter_context(exposing(WRONG))
        alertmanager = undo.enter_context(alertmanager_for(TIMES, receiver, home))
        servers = [
            undo.enter_context(prometheus_for({job: [address]}, TIMES, alertmanager, home, grace=grace))
            for job, grace in ((SHIPPED, SHIPPED_GRACE), (DEFAULT, DEFAULT_GRACE))
        ]
        for job in (SHIPPED, DEFAULT):
            wait_until(
                lambda job=job: all(receiver.of(alert, job=job) for alert in ALERTS),  # type: ignore[misc]
                what=f"the alerts of {job}",
                seconds=300 * TIMES.factor + PATIENCE,
                every=0.1,
            )
        for server in servers:
            server.restart()
            server.wait()
        wait_until(
            lambda: len(receiver.of("HighMemoryUsage", job=SHIPPED)) == 2,
            what="the repeat",
            seconds=TIMES.cooldowns["HighMemoryUsage"] + PATIENCE,
            every=0.1,
        )
        time.sleep(2 * TIMES.group_interval)  # no notification may come in this time
        yield World(list(receiver.notifications))


@pytest.mark.parametrize("alert", ALERTS)
def test_a_restart_is_neither_an_end_nor_a_repeat(world: World, alert: str) -> None:
    notifications = world.of(alert, SHIPPED)
    assert all(notification.firing for notification in notifications)
    slack = TIMES.group_interval / 2 + 1.0
    assert [gap for gap in intervals(notifications) if abs(gap - TIMES.cooldowns[alert]) > slack] == []
    assert len(notifications) >= 2


def test_with_the_default_of_the_flag_it_is_an_end(world: World) -> None:
    assert not all(notification.firing for notification in world.of("HighMemoryUsage", DEFAULT))
