from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.page import status_page
from exporter.peers.model import Peers, PeerStatus
from exporter.peers.poller import firing_alerts
from exporter.peers.scaler_report import MAX_TARGETS, ScalerReport, scaler_report
from exporter.views import About, status_view
from service.json_text import read_json
from tests.support.any_json import ANY_JSON, STEERING, damaged
from tests.support.assessments import healthy_assessment
from tests.support.public_interface import FIXTURES

VIEW = status_view(healthy_assessment(), About("1.2.3", monitoring=True))
STATUS = json.loads((FIXTURES / "scaler-status.json").read_text())
ALERTS = {
    "status": "success",
    "data": {
        "alerts": [
            {
                "labels": {"alertname": "A", "severity": "critical", "cooldown": "5m"},
                "annotations": {"summary": "s"},
                "state": "firing",
                "activeAt": "2026-01-02T03:04:05.6Z",
            }
        ]
    },
}


def page(scaler: Any = None, alerts: Any = None) -> str:
    status = None if scaler is None else PeerStatus(1.0, scaler, "")
    return status_page(
        VIEW, peers=Peers(status, None if alerts is None else PeerStatus(1.0, alerts, "")), now=1000.0
    )


def test_a_status_of_this_version_has_nothing_odd() -> None:
    report = scaler_report(STATUS)
    assert (report.odd, report.left_out) == ((), 0)
    [target] = report.targets
    assert (target.name, target.current, target.desired) == ("mail", 2, 5)
    assert target.override == "b: a"
    assert "of another version" not in page(report)


@pytest.mark.fault
def test_a_target_without_a_name_is_named_and_the_others_are_shown() -> None:
    targets = [{"name": "mail", "current": 2}, {"current": 3}, 5, {"name": "pdf", "current": "many"}]
    report = scaler_report({"targets": targets, "enabled": "yes"})
    assert [target.name for target in report.targets] == ["mail", "pdf"]
    assert report.odd == ("enabled", "targets[1].name", "targets[2]", "targets[3].current")
    text = page(report)
    assert "not as expected: enabled, targets[1].name, targets[2], targets[3].current" in text
    assert "2 targets are not shown" in text
    assert ">pdf<" in text


@pytest.mark.fault
def test_of_a_million_targets_a_thousand_are_shown() -> None:
    report = scaler_report({"targets": [{"name": "x"}] * 1_000_000})
    assert (len(report.targets), report.left_out) == (MAX_TARGETS, 1_000_000 - MAX_TARGETS)
    assert len(page(report)) < 1_000_000


@pytest.mark.fault
@pytest.mark.slow
@given(
    st.one_of(damaged(STATUS), st.dictionaries(st.text(max_size=10), ANY_JSON), damaged({"targets": [{}]}))
)
def test_whatever_a_scaler_answers_there_is_a_page(view: Any) -> None:
    try:
        view = read_json(json.dumps(view).encode())
    except ValueError:
        return  # half a surrogate pair: refused as a whole
    if isinstance(view, dict):
        report = scaler_report(view)
        assert isinstance(report, ScalerReport)
        text = page(report)
        text.encode()
        assert [sign for sign in STEERING if sign in text and sign != "\n"] == []


@pytest.mark.fault
@pytest.mark.slow
@given(st.one_of(damaged(ALERTS), ANY_JSON))
def test_whatever_prometheus_answers_there_is_a_page(response: Any) -> None:
    try:
        alerts = firing_alerts(read_json(json.dumps(response).encode()))
    except ValueError:
        return  # the page says that this is not Prometheus
    text = page(alerts=alerts)
    text.encode()
    assert [sign for sign in STEERING if sign in text and sign != "\n"] == []
