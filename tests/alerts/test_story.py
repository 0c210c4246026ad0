"""What the run is judged by finds each way in which an alert can be told wrongly; the table's figures."""

from __future__ import annotations

import pytest

from exporter.config.settings import ExporterSettings
from lab.receiver import Notification
from tests.support.alerts.causes import Cause
from tests.support.alerts.monitoring import pace
from tests.support.alerts.story import Story, untimely
from tests.support.alerts.table import rows

AT = pace(1 / 60)
COOLDOWN = AT.cooldowns["ClusterNodeDown"]


def told(*times: float, ends: tuple[float, ...]) -> list[Notification]:
    both = [(at, "firing") for at in times] + [(at, "resolved") for at in ends]
    labels = {"alertname": "ClusterNodeDown"}
    return [
        Notification(at, "/high", {"status": status, "commonLabels": labels}) for at, status in sorted(both)
    ]


def test_the_shipped_times_are_scaled() -> None:
    assert (COOLDOWN, AT.tick, AT.scrape, AT.evaluation) == (10, 1, 1, 1)
    assert (pace(1).scrape, pace(1).evaluation, pace(1).tick) == (5, 15, 60)


@pytest.mark.parametrize("times", [(0, 10, 20, 30), (0, 9.5, 20, 30), (0, 10.5, 20)])
def test_once_a_cooldown_and_one_end_is_right(times: tuple[float, ...]) -> None:
    assert untimely(told(*times, ends=(times[-1] + 4,)), COOLDOWN, AT) == []


@pytest.mark.parametrize(
    ("notifications", "complaint"),
    [
        (told(0, 5, 15, ends=(19,)), "told 5.0 s after the one before"),
        (told(0, 10, 11, ends=(19,)), "told 1.0 s after the one before"),
        (told(0, 11, 22, ends=(26,)), "told 11.0 s after the one before"),
        (told(0, 10, 30, ends=(34,)), "told 20.0 s after the one before"),
        (told(0, 10, 20, ends=()), "its end was told 0 times"),
        (told(0, 10, 20, ends=(22, 23)), "its end was told 2 times"),
        (told(0, 10, 20, ends=(12, 23)), "its end was told 2 times"),
        (told(0, 10, 20, ends=(12,)), "told again after its end"),
        (told(0, 10, 20, ends=(34,)), "not told in its last 14.0 s"),
    ],
)
def test_what_is_told_too_often_too_seldom_or_after_its_end(
    notifications: list[Notification], complaint: str
) -> None:
    assert complaint in " ".join(untimely(notifications, COOLDOWN, AT))


def test_the_table_has_the_times_of_production() -> None:
    cause = Cause("node", "ClusterNodeDown", "a node killed", ExporterSettings(), begin=lambda: None)
    story = Story(cause, COOLDOWN, began=98.0, flapped=112.5, ended=122.5)
    story.notifications = told(100, 110, 120, 130, ends=(133,))
    *_, row = rows([story], AT)
    assert row == "| ClusterNodeDown | a node killed | 10:00 | 2:00 | 10:00 | 10:00 | 10:00 | 10:30 | - |"
