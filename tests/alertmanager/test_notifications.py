"""A real Alertmanager with the shipped routes, with scaled times, and a real webhook."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import yaml

from lab.alertmanager import Alertmanager, amtool, start_alertmanager
from lab.deadline import wait_until
from lab.receiver import Receiver
from lab.scaled import scale, with_webhook
from tests.support.any_json import STEERING

pytestmark = pytest.mark.timeout(120)  # 10 s on an idle machine, of cooldowns

SHIPPED = Path(__file__).parents[2] / "deploy" / "alertmanager"
FACTOR = 1 / 100
COOLDOWN = 3.0
"""Seconds of a cooldown of 5 minutes."""


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as server:
        yield server


@pytest.fixture
def alertmanager(receiver: Receiver, tmp_path: Path) -> Iterator[Alertmanager]:
    config = with_webhook(yaml.safe_load((SHIPPED / "alertmanager.yml").read_text()), receiver.url)
    config["route"] = scale(config["route"], FACTOR)
    (tmp_path / "alertmanager.yml").write_text(yaml.safe_dump(config))
    (tmp_path / "oxherd.tmpl").write_text((SHIPPED / "oxherd.tmpl").read_text())
    with start_alertmanager(tmp_path / "alertmanager.yml") as server:
        yield server


def post(server: Alertmanager, *alerts: str, ends: str | None = None, **labels: str) -> None:
    bodies = [
        {"labels": {"alertname": alert, "job": "oxherd", **labels}} | ({"endsAt": ends} if ends else {})
        for alert in alerts
    ]
    httpx.post(f"{server.url}/api/v2/alerts", json=bodies, trust_env=False).raise_for_status()


def test_a_firing_alert_notifies_once_per_cooldown_and_is_resolved_once(
    alertmanager: Alertmanager, receiver: Receiver
) -> None:
    alert = "RedisConnectionDown"
    post(alertmanager, alert, severity="critical", cooldown="5m")
    wait_until(lambda: len(receiver.of(alert)) == 4, what="four notifications", seconds=60)
    post(alertmanager, alert, severity="critical", cooldown="5m", ends="2020-01-01T00:00:00Z")
    wait_until(lambda: not receiver.of(alert)[-1].firing, what="the alert is resolved")
    *firing, _ = receiver.of(alert)
    assert {notification.path for notification in firing} == {"/critical"}
    gaps = [later.at - earlier.at for earlier, later in itertools.pairwise(firing)]
    assert all(abs(gap - COOLDOWN) < 0.5 for gap in gaps), gaps


def test_alerts_that_a_lost_redis_causes_are_inhibited(
    alertmanager: Alertmanager, receiver: Receiver
) -> None:
    followers = ("ClusterNodeDown", "HighMemoryUsage", "QueueSystemDown", "HealthScoreCritical")
    post(alertmanager, "RedisConnectionDown", *followers, severity="critical", cooldown="5m")
    post(alertmanager, "QueueSystemDown", severity="critical", cooldown="5m", job="another")
    post(alertmanager, "HighSystemLoad", severity="medium", cooldown="20m")
    wait_until(lambda: len(receiver.of("RedisConnectionDown")) == 2, what="two rounds", seconds=60)
    alerts = {(notification.alert, notification.job) for notification in receiver.notifications}
    assert alerts == {
        ("RedisConnectionDown", "oxherd"),
        ("QueueSystemDown", "another"),
        ("HighSystemLoad", "oxherd"),
    }


ANNOTATIONS = {"summary": "A node is down.", "description": "10.0.0.1:7001", "runbook_url": "http://r/"}
LABELS = {"alertname": "ClusterNodeDown", "severity": "high"}


def render(
    template: str,
    status: str,
    tmp_path: Path,
    annotations: dict[str, str] = ANNOTATIONS,
    labels: dict[str, str] = LABELS,
) -> str:
    data = {
        "status": status,
        "commonLabels": labels,
        "commonAnnotations": annotations,
        "alerts": [{"status": status, "annotations": annotations}],
    }
    (tmp_path / "data.json").write_text(json.dumps(data))
    done = amtool(
        "template",
        "render",
        f"--template.glob={SHIPPED / '*.tmpl'}",
        f'--template.text={{{{ template "{template}" . }}}}',
        f"--template.data={tmp_path / 'data.json'}",
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_notification_fits_on_a_phone(tmp_path: Path) -> None:
    for kind in ("oxherd", "oxherd.slack"):
        assert render(f"{kind}.title", "firing", tmp_path) == "[high] ClusterNodeDown: A node is down."
        assert render(f"{kind}.title", "resolved", tmp_path) == "[resolved] ClusterNodeDown: A node is down."
        assert render(f"{kind}.text", "firing", tmp_path).splitlines() == [
            "10.0.0.1:7001",
            "Runbook: http://r/",
        ]
    assert render("oxherd.color", "firing", tmp_path) == "danger"
    assert render("oxherd.color", "resolved", tmp_path) == "good"


HOSTILE = "<!channel> <http://evil.example|click> <@U1> & {{ .Status }} \u202egnp.exe\u2066\x9b2J"


@pytest.mark.fault
def test_a_name_in_an_alert_calls_nobody_in_slack_and_hides_no_link(tmp_path: Path) -> None:
    annotations = dict.fromkeys(("summary", "description", "runbook_url", "dashboard_url"), HOSTILE)
    labels = dict.fromkeys(("alertname", "severity"), HOSTILE)
    escaped = (
        "&lt;!channel&gt; &lt;http://evil.example|click&gt; &lt;@U1&gt; &amp; {{ .Status }} ?gnp.exe??2J"
    )
    title = render("oxherd.slack.title", "firing", tmp_path, annotations, labels)
    assert title == f"[{escaped}] {escaped}: {escaped}"
    text = render("oxherd.slack.text", "firing", tmp_path, annotations, labels)
    assert text.splitlines() == [escaped, f"Runbook: {escaped}", f"Dashboard: {escaped}"]


@pytest.mark.fault
def test_no_name_in_an_alert_turns_the_direction_of_a_notification(tmp_path: Path) -> None:
    hostile = HOSTILE + "".join(STEERING)
    annotations = dict.fromkeys(("summary", "description", "runbook_url", "dashboard_url"), hostile)
    labels = dict.fromkeys(("alertname", "severity"), hostile)
    for part in ("title", "text"):
        shown = render(f"oxherd.{part}", "firing", tmp_path, annotations, labels)
        assert [sign for sign in STEERING if sign in shown] in ([], ["\t", "\n"])
        assert "<!channel>" in shown


@pytest.mark.fault
def test_slack_gets_escaped_texts_only() -> None:
    config = yaml.safe_load((SHIPPED / "alertmanager.yml").read_text())
    settings = [slack for receiver in config["receivers"] for slack in receiver.get("slack_configs", ())]
    assert settings
    for slack in settings:
        texts = [slack[name] for name in ("title", "text", "fallback", "pretext", "footer") if name in slack]
        assert all('template "oxherd.slack.' in text for text in texts)
