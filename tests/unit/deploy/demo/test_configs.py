from __future__ import annotations

from pathlib import Path

import pytest

from deploy.demo.configs import (
    DEPLOY,
    alertmanager_config,
    exporter_config,
    prometheus_config,
    prometheus_flags,
    read,
    rules_config,
    write,
)
from exporter.config.settings import ExporterSettings
from lab.scaled import duration_seconds


def test_the_rules_are_the_shipped_ones_with_their_times_divided() -> None:
    [shipped] = read(DEPLOY / "prometheus" / "rules" / "oxherd.yml")["groups"]
    [faster] = rules_config(30)["groups"]
    assert duration_seconds(faster["interval"]) == max(1.0, duration_seconds(shipped["interval"]) / 30)
    pairs = list(zip(faster["rules"], shipped["rules"], strict=True))
    alerts = [(rule, model) for rule, model in pairs if "alert" in model]
    assert len(alerts) == 8
    for rule, model in alerts:
        for time in ("for", "keep_firing_for"):
            assert duration_seconds(rule[time]) == duration_seconds(model[time]) / 30
        assert rule["labels"] == model["labels"]
        assert rule["annotations"] == model["annotations"]


def test_prometheus_scrapes_only_the_demo() -> None:
    config = prometheus_config(
        exporter_port=1, scaler_port=3, alertmanager_port=2, rules=Path("/demo/rules.yml"), divisor=30
    )
    assert config["rule_files"] == ["/demo/rules.yml"]
    job, scaler = config["scrape_configs"]
    assert scaler["static_configs"] == [{"targets": ["localhost:3"]}]
    assert job["static_configs"] == [{"targets": ["localhost:1"]}]
    assert job["metric_relabel_configs"]
    assert config["alerting"]["alertmanagers"] == [{"static_configs": [{"targets": ["localhost:2"]}]}]


def test_alerts_of_the_demo_survive_a_restart_of_prometheus() -> None:
    [flag] = prometheus_flags(30)
    name, _, grace = flag.partition("=")
    shortest = min(
        duration_seconds(rule["for"]) for rule in rules_config(30)["groups"][0]["rules"] if "alert" in rule
    )
    assert name == "--rules.alert.for-grace-period"
    assert duration_seconds(grace) <= shortest


@pytest.mark.parametrize(("divisor", "interval", "timeout"), [(1, 5, 4), (2, 2.5, 2), (30, 1, 1)])
def test_scrape_times_are_divided_but_at_least_a_second(
    divisor: float, interval: float, timeout: float
) -> None:
    rules = Path("/demo/rules.yml")
    times = prometheus_config(
        exporter_port=1, scaler_port=3, alertmanager_port=2, rules=rules, divisor=divisor
    )["global"]
    assert duration_seconds(times["scrape_interval"]) == interval
    assert duration_seconds(times["scrape_timeout"]) == timeout


@pytest.mark.parametrize(("divisor", "seconds"), [(1, 10), (2, 5), (30, 1)])
def test_the_discovery_interval_is_divided(divisor: float, seconds: float) -> None:
    config = exporter_config(cluster=["127.0.0.1:7001"], divisor=divisor, probes={"shop": "http://a"})
    settings = ExporterSettings.model_validate(config)
    assert settings.bullmq.discovery_interval_seconds == seconds
    assert settings.health.thresholds.no_worker_seconds == 60 / divisor
    assert settings.health.thresholds.no_start_seconds == 600 / divisor


def test_alertmanager_has_the_shipped_routes_and_no_receiver_but_the_webhook() -> None:
    config = alertmanager_config(webhook="http://127.0.0.1:3", divisor=30)
    shipped = read(DEPLOY / "alertmanager" / "alertmanager.yml")
    assert config["inhibit_rules"] == shipped["inhibit_rules"]
    assert duration_seconds(config["route"]["group_interval"]) == 2
    assert {receiver["name"] for receiver in config["receivers"]} == {
        "watchdog",
        "critical",
        "high",
        "medium",
        "other",
    }
    assert all(set(receiver) == {"name", "webhook_configs"} for receiver in config["receivers"])
    assert "global" not in config
    assert all(Path(template).is_file() for template in config["templates"])


def test_a_written_configuration_is_read_back(tmp_path: Path) -> None:
    config = rules_config(30)
    assert read(write(config, tmp_path / "rules.yml")) == config
