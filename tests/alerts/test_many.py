"""Hundreds of queues and nodes with one cause, on real servers: one notification in each cooldown.

The exporter is a text of its series; times are 1/60.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from lab.deadline import wait_until
from lab.receiver import Notification, Receiver
from tests.support.alerts.monitoring import monitoring, scaled_times
from tests.support.alerts.texts import HEALTHY, failed, nodes, standing_still
from tests.support.alerts.timeline import PATIENCE, intervals
from tests.support.exposition import exposing

pytestmark = pytest.mark.timeout(240)

TIMES = scaled_times(1 / 60)
JOB = "many"
QUEUES = [f"q{number:03d}" for number in range(200)]
OTHERS = [f"other{number}" for number in range(8)]
DOWN = [f"10.0.0.{number}:6379" for number in range(50)]
FULL = [f"10.0.1.{number}:6379" for number in range(150)]
ALERTS = ("QueueSystemDown", "ClusterNodeDown", "HighMemoryUsage", "HighFailedJobs")


@dataclass(frozen=True)
class World:
    """All notifications until a repeat of each alert; `changed` is when other queues stood still."""

    notifications: list[Notification]
    changed: float

    def of(self, alert: str) -> list[Notification]:
        return [notification for notification in self.notifications if notification.alert == alert]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    stuck = [QUEUES]

    def text() -> str:
        ill = nodes(FULL, DOWN, memory=0.9) + failed(QUEUES, 1)
        return HEALTHY + standing_still(stuck[-1]) + ill

    with ExitStack() as undo:
        receiver = undo.enter_context(Receiver())
        address = undo.enter_context(exposing(text))
        home: Path = tmp_path_factory.mktemp("many")
        undo.enter_context(monitoring({JOB: address}, TIMES, receiver, home))
        wait_until(
            lambda: len(receiver.of("QueueSystemDown", job=JOB)) == 2,
            what="a repeat",
            seconds=PATIENCE + 60,
            every=0.1,
        )
        changed = time.monotonic()
        stuck.append(OTHERS)
        wait_until(
            lambda: all(len(receiver.of(alert, job=JOB)) >= 2 for alert in ALERTS),
            what="a repeat of each alert",
            seconds=TIMES.cooldowns["HighFailedJobs"] + PATIENCE + 60,
            every=0.1,
        )
        yield World(list(receiver.notifications), changed)


def test_nothing_else_is_told(world: World) -> None:
    assert {notification.alert for notification in world.notifications} == set(ALERTS)
    assert all(len(notification.body["alerts"]) == 1 for notification in world.notifications)
    assert all(notification.firing for notification in world.notifications)


@pytest.mark.parametrize("alert", ALERTS)
def test_one_notification_a_cooldown(world: World, alert: str) -> None:
    slack = TIMES.group_interval / 2 + 1.0
    gaps = intervals(world.of(alert))
    assert gaps
    assert [gap for gap in gaps if abs(gap - TIMES.cooldowns[alert]) > slack] == []


@pytest.mark.parametrize(
    ("alert", "listed", "count"),
    [
        ("QueueSystemDown", QUEUES[:5], "200 in all"),
        ("ClusterNodeDown", DOWN, "50 in all"),
        ("HighMemoryUsage", FULL, "150 in all"),
        ("HighFailedJobs", QUEUES, "200 jobs failed"),
    ],
)
def test_it_names_five_of_the_affected_and_how_many_there_are(
    world: World, alert: str, listed: list[str], count: str
) -> None:
    text = description(world.of(alert)[0])
    words = {word.rstrip(".") for word in text.replace(",", " ").split()}
    assert len(words & set(listed)) == 5
    assert count in text


def test_new_members_come_with_the_next_repeat_and_not_before(world: World) -> None:
    repeats = world.of("QueueSystemDown")
    texts = [description(notification) for notification in repeats]
    assert all("q000" in text for text in texts[:2])
    assert "other0 (8s), other1 (7s)" in texts[-1]
    assert texts[-1].endswith("and more, 8 in all.")
    assert repeats[2].at - world.changed > TIMES.cooldowns["QueueSystemDown"] / 2


def description(notification: Notification) -> str:
    return str(notification.body["commonAnnotations"]["description"])
