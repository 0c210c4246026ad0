"""The webhook records notifications in order, with their times."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from lab.receiver import Notification, Receiver


def send(receiver: Receiver, alert: str, *, status: str = "firing", job: str = "oxherd") -> None:
    body = {"status": status, "commonLabels": {"alertname": alert, "job": job}}
    httpx.post(f"{receiver.url}/high", json=body, trust_env=False).raise_for_status()


def test_notifications_are_in_order_of_arrival_with_their_times() -> None:
    with Receiver() as receiver:
        before = time.monotonic()
        send(receiver, "A")
        send(receiver, "B", job="other")
        send(receiver, "A", status="resolved", job="other")
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
            send(receiver, "A", job=job)
        send(receiver, "B", job="one")
        assert [notification.job for notification in receiver.of("A")] == ["one", "two"]
        assert [notification.alert for notification in receiver.of("A", job="two")] == ["A"]
        assert receiver.of("B", job="two") == []


def test_a_group_of_several_alerts_has_no_name() -> None:
    group = Notification(0.0, "/high", {"status": "firing", "commonLabels": {}})
    assert (group.alert, group.job) == ("", "")


def test_each_notification_is_forwarded() -> None:
    forwarded: list[Notification] = []
    with Receiver(forward=forwarded.append) as receiver, ThreadPoolExecutor(8) as senders:
        list(senders.map(lambda n: send(receiver, f"A{n}"), range(40)))
    for notifications in (forwarded, receiver.notifications):
        assert sorted(notification.alert for notification in notifications) == sorted(
            f"A{n}" for n in range(40)
        )


def test_the_port_is_free_after_close() -> None:
    with Receiver() as receiver:
        send(receiver, "A")
    with pytest.raises(httpx.ConnectError):
        send(receiver, "A")
