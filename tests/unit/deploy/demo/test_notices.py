from __future__ import annotations

from typing import Any

from deploy.demo.notices import Firing

NODE_DOWN = {
    "status": "firing",
    "fingerprint": "a1",
    "labels": {
        "alertname": "ClusterNodeDown",
        "severity": "high",
        "cooldown": "10m",
        "job": "oxherd",
    },
    "annotations": {"summary": "A Redis node is down.", "description": "Nodes: 10.0.0.1:7001."},
}


def lines(firing: Firing, *alerts: dict[str, Any]) -> list[str]:
    return [f"{notice.state} {notice.text}" for notice in firing.notices({"alerts": alerts})]


def test_an_alert_is_one_line_in_columns() -> None:
    assert lines(Firing(), NODE_DOWN) == ["FIRING high      ClusterNodeDown      Nodes: 10.0.0.1:7001."]


def test_an_alert_that_still_fires_is_repeated_until_it_is_resolved() -> None:
    firing = Firing()
    resolved = NODE_DOWN | {"status": "resolved"}
    states = [lines(firing, alert)[0].split()[0] for alert in (NODE_DOWN, NODE_DOWN, resolved, NODE_DOWN)]
    assert states == ["FIRING", "REPEATED", "RESOLVED", "FIRING"]


def test_alerts_of_one_notification_are_distinguished() -> None:
    other = NODE_DOWN | {"fingerprint": "b2", "labels": {"alertname": "Other", "queue": "{mail}"}}
    assert [line.split()[0] for line in lines(Firing(), NODE_DOWN, other)] == ["FIRING", "FIRING"]


def test_without_a_description_the_summary_is_shown() -> None:
    [line] = lines(Firing(), NODE_DOWN | {"annotations": {"summary": "A Redis node is down."}})
    assert line.endswith("A Redis node is down.")


def test_an_alert_without_severity_and_summary_is_shown_too() -> None:
    bare = {"status": "firing", "fingerprint": "c3", "labels": {"alertname": "X"}, "annotations": {}}
    assert lines(Firing(), bare)[0].split() == ["FIRING", "X"]
