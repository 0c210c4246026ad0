"""Every alert reaches its severity's receiver and is repeated after its own cooldown."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab.alertmanager import amtool
from lab.scaled import duration_seconds

CONFIG = Path(__file__).parents[2] / "deploy" / "alertmanager" / "alertmanager.yml"
ROUTE: dict[str, Any] = yaml.safe_load(CONFIG.read_text())["route"]
INHIBITIONS: list[dict[str, Any]] = yaml.safe_load(CONFIG.read_text())["inhibit_rules"]
RULES: dict[str, dict[str, Any]] = {
    rule["alert"]: rule
    for file in sorted((CONFIG.parents[1] / "prometheus" / "rules").glob("oxherd*.yml"))
    for group in yaml.safe_load(file.read_text())["groups"]
    for rule in group["rules"]
    if "alert" in rule
}
ALERTS_OF_THE_RULES = set(RULES)

ALERTS = {
    "RedisConnectionDown": ("critical", "5m"),
    "ClusterNodeDown": ("high", "10m"),
    "HighMemoryUsage": ("medium", "15m"),
    "QueueSystemDown": ("critical", "5m"),
    "HighFailedJobs": ("medium", "30m"),
    "SystemMemoryLow": ("high", "15m"),
    "HighSystemLoad": ("medium", "20m"),
    "HealthScoreCritical": ("critical", "10m"),
}
OTHERS = [
    ("critical", "30m", "critical"),
    ("info", "15m", "other"),
    ("warning", "", "other"),
    ("high", "", "high"),
    ("medium", "7m", "medium"),
]


def receiver_of(**labels: str) -> str:
    labels_given = [f"{name}={value}" for name, value in labels.items() if value]
    done = amtool("config", "routes", "test", f"--config.file={CONFIG}", *labels_given)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def matches(route: dict[str, Any], labels: dict[str, str]) -> bool:
    for matcher in route["matchers"]:
        match = re.fullmatch(r'(\w+) (!?=) "?([^"]*)"?', matcher)
        assert match, f"a kind of matcher that this test does not know: {matcher}"
        name, operator, value = match.groups()
        if (labels.get(name, "") == value) != (operator == "="):
            return False
    return True


def repeat_of(labels: dict[str, str]) -> float:
    """Seconds between repeats by the deepest route that matches."""
    route, repeat = ROUTE, ROUTE["repeat_interval"]
    while child_route := next((child for child in route.get("routes", []) if matches(child, labels)), None):
        route, repeat = child_route, child_route.get("repeat_interval", repeat)
    return duration_seconds(repeat)


def test_amtool_accepts_the_file_and_its_templates() -> None:
    done = amtool("check-config", str(CONFIG))
    assert done.returncode == 0, done.stderr
    assert "1 templates" in done.stdout


@pytest.mark.parametrize("alert", ALERTS)
def test_an_alert_notifies_its_severity_and_repeats_after_its_cooldown(alert: str) -> None:
    severity, cooldown = ALERTS[alert]
    labels = {"alertname": alert, "severity": severity, "cooldown": cooldown}
    assert receiver_of(**labels) == severity
    assert repeat_of(labels) == duration_seconds(cooldown) - duration_seconds(ROUTE["group_interval"]) / 2


@pytest.mark.parametrize(("severity", "cooldown", "receiver"), OTHERS)
def test_other_alerts_have_a_receiver_too(severity: str, cooldown: str, receiver: str) -> None:
    assert receiver_of(alertname="Other", severity=severity, cooldown=cooldown) == receiver


def test_no_repeat_is_a_multiple_of_the_group_interval() -> None:
    tick = duration_seconds(ROUTE["group_interval"])
    repeats = [ROUTE, *(leaf for route in ROUTE["routes"] for leaf in route.get("routes", [route]))]
    assert all(duration_seconds(route["repeat_interval"]) % tick == tick / 2 for route in repeats)


def test_an_inhibition_requires_the_same_job_and_never_inhibits_its_source() -> None:
    for rule in INHIBITIONS:
        [source], [target] = (pattern_of(rule[side]) for side in ("source_matchers", "target_matchers"))
        names = ALERTS_OF_THE_RULES
        inhibiting = {name for name in names if re.fullmatch(source, name)}
        inhibited = {name for name in names if re.fullmatch(target, name)}
        assert inhibiting, source
        assert inhibited, target
        assert not inhibiting & inhibited
        assert rule["equal"] == ["job"]


def pattern_of(matchers: list[str]) -> list[str]:
    return [matcher.partition("=")[2].strip('~ "') for matcher in matchers]


def test_a_redis_that_is_down_inhibits_every_alert_on_what_is_in_it() -> None:
    rules = [rule for rule in INHIBITIONS if rule["source_matchers"] == ["alertname = RedisConnectionDown"]]
    patterns = [pattern for rule in rules for pattern in pattern_of(rule["target_matchers"])]
    left = {name for name in ALERTS_OF_THE_RULES if not any(re.fullmatch(one, name) for one in patterns)}
    assert left == {
        "RedisConnectionDown",
        "SystemMemoryLow",
        "HighSystemLoad",
        "FailoverHappened",
        *(name for name in ALERTS_OF_THE_RULES if name.startswith("Oxherd")),
    }


def test_the_watchdog_has_its_own_receiver_and_comes_every_five_minutes() -> None:
    labels = {"alertname": "OxherdWatchdog", "severity": "none", "job": "oxherd"}
    assert receiver_of(**labels) == "watchdog"
    assert repeat_of(labels) == 270


@pytest.mark.parametrize("alert", sorted(RULES))
def test_every_alert_of_the_rules_has_a_route_of_its_severity_and_cooldown(alert: str) -> None:
    labels = {"alertname": alert} | RULES[alert]["labels"]
    if alert != "OxherdWatchdog":
        assert receiver_of(**labels) == labels["severity"]
        cooldown, tick = duration_seconds(labels["cooldown"]), duration_seconds(ROUTE["group_interval"])
        assert repeat_of(labels) == cooldown - tick / 2
