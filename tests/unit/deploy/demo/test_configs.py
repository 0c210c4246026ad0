from __future__ import annotations

from pathlib import Path

from deploy.demo.configs import DEPLOY, alertmanager_config, prometheus_config, read, rules_config, write
from lab.scaled import seconds_of


def test_the_rules_are_the_shipped_ones_with_their_times_divided() -> None:
    [shipped] = read(DEPLOY / "prometheus" / "rules" / "oxherd.yml")["groups"]
    [faster] = rules_config(30)["groups"]
    assert seconds_of(faster["interval"]) == seconds_of(shipped["interval"]) / 30
    assert len(faster["rules"]) == 8
    for rule, model in zip(faster["rules"], shipped["rules"], strict=True):
        for time in ("for", "keep_firing_for"):
            assert seconds_of(rule[time]) == seconds_of(model[time]) / 30
        assert rule["labels"] == model["labels"]
        assert rule["annotations"] == model["annotations"]


def test_prometheus_looks_for_the_demo_and_for_nothing_else() -> None:
    config = prometheus_config(exporter_port=1, alertmanager_port=2, rules=Path("/demo/rules.yml"))
    assert config["rule_files"] == ["/demo/rules.yml"]
    [job] = config["scrape_configs"]
    assert job["static_configs"] == [{"targets": ["localhost:1"]}]
    assert job["metric_relabel_configs"]
    assert config["alerting"] == {"alertmanagers": [{"static_configs": [{"targets": ["localhost:2"]}]}]}


def test_alertmanager_has_the_shipped_routes_and_no_receiver_but_the_webhook() -> None:
    config = alertmanager_config(webhook="http://127.0.0.1:3", divisor=30)
    shipped = read(DEPLOY / "alertmanager" / "alertmanager.yml")
    assert config["inhibit_rules"] == shipped["inhibit_rules"]
    assert seconds_of(config["route"]["group_interval"]) == 2
    assert {receiver["name"] for receiver in config["receivers"]} == {"critical", "high", "medium", "other"}
    assert all(set(receiver) == {"name", "webhook_configs"} for receiver in config["receivers"])
    assert "global" not in config
    assert all(Path(template).is_file() for template in config["templates"])


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    config = rules_config(30)
    assert read(write(config, tmp_path / "rules.yml")) == config
