"""The check of a timeline finds each kind of wrong notification; the figures of the table."""

from __future__ import annotations

import pytest

from exporter.config.settings import ExporterSettings
from lab.receiver import Notification
from tests.support.alerts.causes import Cause
from tests.support.alerts.monitoring import scaled_times
from tests.support.alerts.table import rows, texts
from tests.support.alerts.timeline import Timeline, timing_errors

AT = scaled_times(1 / 60)
COOLDOWN = AT.cooldowns["ClusterNodeDown"]


def notifications_at(*times: float, ends: tuple[float, ...]) -> list[Notification]:
    both = [(at, "firing") for at in times] + [(at, "resolved") for at in ends]
    labels = {"alertname": "ClusterNodeDown"}
    return [
        Notification(at, "/high", {"status": status, "commonLabels": labels}) for at, status in sorted(both)
    ]


def test_the_shipped_times_are_scaled() -> None:
    assert (COOLDOWN, AT.group_interval, AT.scrape, AT.evaluation) == (10, 1, 1, 1)
    assert (scaled_times(1).scrape, scaled_times(1).evaluation, scaled_times(1).group_interval) == (5, 15, 60)


@pytest.mark.parametrize("times", [(0, 10, 20, 30), (0, 9.5, 20, 30), (0, 10.5, 20), (0, 11.2, 20, 30)])
def test_one_notification_per_cooldown_and_one_resolved_is_right(times: tuple[float, ...]) -> None:
    assert timing_errors(notifications_at(*times, ends=(times[-1] + 4,)), COOLDOWN, AT) == []


@pytest.mark.parametrize(
    ("notifications", "complaint"),
    [
        (notifications_at(0, 5, 15, ends=(19,)), "5.0 s after the previous notification"),
        (notifications_at(0, 10, 11, ends=(19,)), "1.0 s after the previous notification"),
        (notifications_at(0, 11, 22, 33, ends=(37,)), "11.0 s between notifications in the mean"),
        (notifications_at(0, 12, 20, ends=(24,)), "12.0 s after the previous notification"),
        (notifications_at(0, 10, 30, ends=(34,)), "20.0 s after the previous notification"),
        (notifications_at(0, 10, 20, ends=()), "0 resolved notifications"),
        (notifications_at(0, 10, 20, ends=(22, 23)), "2 resolved notifications"),
        (notifications_at(0, 10, 20, ends=(12, 23)), "2 resolved notifications"),
        (notifications_at(0, 10, 20, ends=(12,)), "firing after the resolved notification"),
        (notifications_at(0, 10, 20, ends=(34,)), "no notification in the last 14.0 s"),
    ],
)
def test_wrong_times_of_notifications_are_reported(notifications: list[Notification], complaint: str) -> None:
    assert complaint in " ".join(timing_errors(notifications, COOLDOWN, AT))


def test_the_table_has_the_times_of_production() -> None:
    cause = Cause("node", "ClusterNodeDown", "a node killed", ExporterSettings(), begin=lambda: None)
    timeline = Timeline(cause, COOLDOWN, began=98.0, flapped=112.5, ended=122.5)
    timeline.notifications = notifications_at(100, 110, 120, 130, ends=(133,))
    *_, row = rows([timeline], AT)
    assert row == "| ClusterNodeDown | a node killed | 10:00 | 2:00 | 10:00 | 10:00 | 10:00 | 10:30 | - |"


def test_the_page_has_what_was_told_while_the_cause_lasted() -> None:
    cause = Cause("node", "ClusterNodeDown", "a node killed", ExporterSettings(), begin=lambda: None)
    timeline = Timeline(cause, COOLDOWN, began=98.0, flapped=112.5, ended=122.5)
    timeline.notifications = notifications_at(100, 110, 120, ends=(133,))
    for number, notification in enumerate(timeline.notifications):
        notification.body["commonAnnotations"] = {"description": f"Told {number}."}
    assert list(texts([timeline])) == ["- **ClusterNodeDown**, a node killed: Told 1."]
