from __future__ import annotations

from typing import Any

import pytest

from exporter.peers.poller import firing_alerts


@pytest.mark.parametrize(
    "response",
    [
        None,
        [],
        {},
        {"data": None},
        {"data": []},
        {"data": {"alerts": None}},
        {"data": {"alerts": [1]}},
        {"data": {"alerts": [{"labels": ["x"]}]}},
        {"data": {"alerts": [{"labels": {}, "annotations": "x"}]}},
    ],
)
def test_what_is_not_of_prometheus(response: Any) -> None:
    with pytest.raises(ValueError, match="no alerts"):
        firing_alerts(response)


def test_only_firing_alerts_of_our_rules() -> None:
    labels = {"alertname": "A", "severity": "critical", "cooldown": "5m"}
    alerts = [
        {"state": "firing", "labels": labels, "annotations": None, "activeAt": "2026-01-02T03:04:05.6Z"},
        {"state": "pending", "labels": labels},
        {"state": "firing", "labels": {"alertname": "Other"}},
        {},
    ]
    assert firing_alerts({"data": {"alerts": alerts}}) == [
        {"name": "A", "severity": "critical", "summary": "", "since": "2026-01-02 03:04:05"}
    ]
