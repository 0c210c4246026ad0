"""The webhook keeps what it is told, in order and with the time of each."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from lab.receiver import Notification, Receiver


def tell(receiver: Receiver, alert: str, *, status: str = "firing", job: str = "oxherd") -> None:
    body = {"status": status, "commonLabels": {"alertname": alert, "job": job}}
    httpx.post(f"{receiver.url}/high", json=body, trust_env=False).raise_for_status()


def test_notifications_in_the_order_they_came_with_their_times() -> None:
    with Receiver() as receiver:
        before = time.monotonic()
        tell(receiver, "A")
        tell(receiver, "B", job="other")
        tell(receiver, "A", status="resolved", job="other")
        after = time.monotonic()
        notifications = receiver.notifications
    assert [
        (notification.path, notification.alert, notification.job, notification.firing)
        for notification in notifications
    ] == [
        ("/high", "A", "oxherd", True),
        ("/high", "B", "other", True),
        ("/high", "A", "other", False),
    ]
    times = [notification.at for notification in notifications]
    assert [before, *times, after] == sorted([before, *times, after])


def test_notifications_of_one_alert_and_of_one_job() -> None:
    with Receiver() as receiver:
        for job in ("one", "two"):
            tell(receiver, "A", job=job)
        tell(receiver, "B", job="one")
        assert [notification.job for notification in receiver.of("A")] == ["one", "two"]
        assert [notification.alert for notification in receiver.of("A", job="two")] == ["A"]
        assert receiver.of("B", job="two") == []


def test_a_group_of_several_alerts_has_no_name() -> None:
    group = Notification(0.0, "/high", {"status": "firing", "commonLabels": {}})
    assert (group.alert, group.job) == ("", "")


def test_each_notification_is_passed_on() -> None:
    passed: list[Notification] = []
    with Receiver(forward=passed.append) as receiver, ThreadPoolExecutor(8) as senders:
        list(senders.map(lambda n: tell(receiver, f"A{n}"), range(40)))
    for notifications in (passed, receiver.notifications):
        assert sorted(notification.alert for notification in notifications) == sorted(
            f"A{n}" for n in range(40)
        )


def test_nobody_listens_after_close() -> None:
    with Receiver() as receiver:
        tell(receiver, "A")
    with pytest.raises(httpx.ConnectError):
        tell(receiver, "A")
