"""Rules and routes with scaled times; nothing else is changed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from lab.scaled import duration_seconds, scale, scale_duration, with_webhook

DEPLOY = Path(__file__).parents[3] / "deploy"


def scaled_expression(expression: str, factor: float = 0.1, **floors: float) -> str:
    rule: dict[str, str] = scale({"expr": expression}, factor, **floors)
    return rule["expr"]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("15s", 15), ("4m30s", 270), ("1h", 3600), ("250ms", 0.25), ("1d", 86400), ("2w", 1209600), ("0s", 0)],
)
def test_a_duration_in_seconds(text: str, seconds: float) -> None:
    assert duration_seconds(text) == seconds


@pytest.mark.parametrize("text", ["", "5", "m", "5 m", "-5m", "1.5h", "5min"])
def test_a_text_that_is_not_a_duration_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match="not a duration"):
        duration_seconds(text)


def test_a_duration_is_scaled_to_the_millisecond() -> None:
    assert scale_duration("4m30s", 1 / 100) == "2700ms"
    assert scale_duration("1s", 1 / 3) == "333ms"
    assert scale_duration("1s", 1e-9) == "1ms"
    assert scale_duration("1s", 0.1, shortest=1.0) == "1000ms"
    assert scale_duration("0s", 0.1, shortest=1.0) == "0s"


def test_a_rule_waits_a_fraction_and_never_less_than_an_evaluation() -> None:
    group = {
        "interval": "15s",
        "rules": [
            {"alert": "Slow", "expr": "up == 0", "for": "10m", "keep_firing_for": "20m"},
            {"alert": "Quick", "expr": "up == 0", "for": "30s"},
            {"alert": "AtOnce", "expr": "up == 0", "for": "0s"},
        ],
    }
    scaled = scale({"groups": [group]}, 1 / 60)["groups"][0]
    assert scaled["interval"] == "1000ms"
    slow, quick, at_once = scaled["rules"]
    assert (slow["for"], slow["keep_firing_for"]) == ("10000ms", "20000ms")
    assert quick["for"] == "1000ms"
    assert at_once["for"] == "0s"


def test_labels_and_annotations_are_unchanged() -> None:
    rule = {
        "alert": "A",
        "expr": "up == 0",
        "labels": {"cooldown": "5m", "for": "5m", "interval": "5m"},
        "annotations": {"description": "for 10 minutes [5m] offset 5m"},
    }
    assert scale(rule, 0.1) == rule


@pytest.mark.parametrize(
    ("expression", "scaled"),
    [
        ("rate(a[10m])", "rate(a[60000ms])"),
        ("a offset 10m", "a offset 60000ms"),
        ("a offset -10m", "a offset -60000ms"),
        ("rate(a[10m] offset 1h30m)", "rate(a[60000ms] offset 540000ms)"),
        ("max_over_time(rate(a[5m])[1h:1m])", "max_over_time(rate(a[30000ms])[360000ms:6000ms])"),
        ("max_over_time(a[1h:])", "max_over_time(a[360000ms:])"),
        ("max_over_time(a[ 1h : 1m ])", "max_over_time(a[360000ms:6000ms])"),
        ("rate(a[10m]) == 0 and a offset 10m", "rate(a[60000ms]) == 0 and a offset 60000ms"),
        ("a > 600 and b == 5", "a > 600 and b == 5"),
        ('a{queue="[10m]", why="x offset 10m"} > 1', 'a{queue="[10m]", why="x offset 10m"} > 1'),
        (r'a{queue="\"[10m]"} offset 10m', r'a{queue="\"[10m]"} offset 60000ms'),
        ("a{queue='offset 10m'} > b{queue=`[10m]`}", "a{queue='offset 10m'} > b{queue=`[10m]`}"),
    ],
)
def test_times_in_an_expression(expression: str, scaled: str) -> None:
    assert scaled_expression(expression) == scaled


def test_ranges_still_contain_two_scrapes() -> None:
    assert scaled_expression("rate(a[1m]) and a offset 1m", 0.01) == "rate(a[4000ms]) and a offset 4000ms"
    assert scaled_expression("max_over_time(a[1h:15s])", 0.01) == "max_over_time(a[36000ms:1000ms])"
    assert scaled_expression("rate(a[1m:15s])", 0.01, shortest_range=2, shortest_wait=0.5) == (
        "rate(a[2000ms:500ms])"
    )


def test_routes_keep_their_order_and_their_matchers() -> None:
    route: dict[str, Any] = {
        "receiver": "other",
        "group_by": ["..."],
        "group_wait": "10s",
        "group_interval": "1m",
        "repeat_interval": "239m30s",
        "routes": [{"matchers": ["cooldown = 5m"], "repeat_interval": "4m30s"}],
    }
    assert scale(route, 1 / 100) == route | {
        "group_wait": "100ms",
        "group_interval": "600ms",
        "repeat_interval": "143700ms",
        "routes": [{"matchers": ["cooldown = 5m"], "repeat_interval": "2700ms"}],
    }


def test_the_input_is_not_changed() -> None:
    rules = yaml.safe_load((DEPLOY / "prometheus" / "rules" / "oxherd.yml").read_text())
    before = yaml.safe_dump(rules)
    scale(rules, 0.01)
    assert yaml.safe_dump(rules) == before


def test_every_time_of_the_shipped_rules_is_scaled() -> None:
    text = (DEPLOY / "prometheus" / "rules" / "oxherd.yml").read_text()
    for rule in scale(yaml.safe_load(text), 0.1)["groups"][0]["rules"]:
        times = [rule[name] for name in ("for", "keep_firing_for") if "alert" in rule]
        assert all(time.endswith("ms") for time in times)
        assert not [word for word in ("10m", "1h") if word in rule["expr"]]


def test_a_webhook_replaces_every_receiver() -> None:
    config = {
        "global": {"smtp_auth_password_file": "/secrets/smtp"},
        "route": {"receiver": "high"},
        "receivers": [{"name": "high", "slack_configs": [{}]}, {"name": "other"}],
    }
    changed = with_webhook(config, "http://127.0.0.1:9")
    assert changed == {
        "route": {"receiver": "high"},
        "receivers": [
            {
                "name": name,
                "webhook_configs": [{"url": f"http://127.0.0.1:9/{name}", "send_resolved": True}],
            }
            for name in ("high", "other")
        ],
    }
    assert "global" in config
