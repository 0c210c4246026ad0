"""Two Prometheus servers that a label tells apart, and two exporters of one Redis: one notification each.

The exporters are texts of their series; times are 1/60.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import pytest
import yaml

from lab.deadline import wait_until
from lab.receiver import Notification, Receiver
from tests.support.alerts.monitoring import DEPLOY, alertmanager_for, prometheus_for, scaled_times
from tests.support.alerts.texts import failed, nodes, standing_still
from tests.support.alerts.timeline import PATIENCE, intervals
from tests.support.exposition import exposing

pytestmark = pytest.mark.timeout(240)

TIMES = scaled_times(1 / 60)
JOB = "pair"
QUEUES = [f"q{number}" for number in range(7)]
HOST = """\
host_info{boot_id="machine"} 1
host_memory_available_bytes 5
host_memory_total_bytes 100
host_load1 12
host_machine_cpu_count 4
"""
REDIS = (
    "bullmq_up 1\n" + nodes(["a:1", "b:1"], ["c:1"], memory=0.9) + standing_still(QUEUES) + failed(QUEUES, 9)
)
WRONG = REDIS + HOST + 'oxherd_collect_success{source="redis"} 1\noxherd_health_score 10\n'
FIRING = {
    "ClusterNodeDown": JOB,
    "HighMemoryUsage": JOB,
    "QueueSystemDown": JOB,
    "SystemMemoryLow": "machine",
    "HighSystemLoad": "machine",
    "HealthScoreCritical": JOB,
}
LONGEST = "HighSystemLoad"


@dataclass
class Figures:
    """What both exporters expose."""

    text: str


@dataclass(frozen=True)
class World:
    notifications: list[Notification]
    ended: float

    def of(self, alert: str) -> list[Notification]:
        return [notification for notification in self.notifications if notification.alert == alert]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Everything but Redis itself is wrong for a repeat of the longest cooldown, then all is well again."""
    figures = Figures(WRONG)
    with ExitStack() as undo:
        receiver = undo.enter_context(Receiver())
        home = tmp_path_factory.mktemp("pairs")
        exporters = [undo.enter_context(exposing(lambda: figures.text)) for _ in range(2)]
        alertmanager = undo.enter_context(alertmanager_for(TIMES, receiver, home))
        for replica in "ab":
            undo.enter_context(
                prometheus_for({JOB: exporters}, TIMES, alertmanager, home, replica=replica, region="north")
            )
        wait_until(
            lambda: len(receiver.of(LONGEST)) == 2,
            what="a repeat of each alert",
            seconds=TIMES.cooldowns[LONGEST] + PATIENCE + 60,
            every=0.1,
        )
        ended = time.monotonic()
        figures.text = 'bullmq_up 1\noxherd_collect_success{source="redis"} 1\noxherd_health_score 100\n'
        wait_until(
            lambda: all(any(not each.firing for each in receiver.of(alert)) for alert in FIRING),
            what="each alert is resolved",
            seconds=TIMES.cooldowns[LONGEST] + 60 * TIMES.factor + PATIENCE + 60,
            every=0.1,
        )
        time.sleep(2 * TIMES.group_interval)  # no notification may come in this time
        yield World(list(receiver.notifications), ended)


@pytest.mark.parametrize("alert", FIRING)
def test_one_notification_a_cooldown_and_one_at_the_end(world: World, alert: str) -> None:
    notifications = world.of(alert)
    firing = [notification for notification in notifications if notification.firing]
    slack = TIMES.group_interval / 2 + 1.0
    assert [gap for gap in intervals(firing) if gap < TIMES.cooldowns[alert] - slack] == []
    assert [notification.firing for notification in notifications] == [True] * len(firing) + [False]
    assert {notification.job for notification in notifications} == {FIRING[alert]}


def test_nothing_else_is_told_and_other_labels_of_the_servers_stay(world: World) -> None:
    assert {notification.alert for notification in world.notifications} == set(FIRING)
    labels = [notification.body["commonLabels"] for notification in world.notifications]
    assert {each["region"] for each in labels} == {"north"}
    assert [each for each in labels if "replica" in each] == []


def test_failed_jobs_of_two_exporters_are_counted_once(world: World) -> None:
    """63 of the seven queues, which both exporters count, are not over 100."""
    assert world.of("HighFailedJobs") == []


def test_each_redis_node_and_exporter_is_named_once(world: World) -> None:
    text = world.of("SystemMemoryLow")[0].body["commonAnnotations"]["description"]
    assert text.count("(5%)") == 2  # one for each exporter of the host
    text = world.of("HighMemoryUsage")[0].body["commonAnnotations"]["description"]
    assert (text.count("a:1"), text.count("b:1")) == (1, 1)


def test_the_usual_names_of_the_label_are_dropped() -> None:
    config: dict[str, Any] = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())
    [drop] = config["alerting"]["alert_relabel_configs"]
    assert drop["action"] == "labeldrop"
    assert {"replica", "prometheus_replica"} <= set(drop["regex"].split("|"))
