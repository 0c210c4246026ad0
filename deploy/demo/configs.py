"""The configuration of the demo's servers: the shipped files with its addresses and shorter times."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import yaml

from exporter.config.bullmq import BullMQSettings
from exporter.config.health import Thresholds
from lab.scaled import duration_seconds, scale, with_webhook

DEPLOY: Final = Path(__file__).parents[1]


def exporter_config(
    *,
    cluster: Sequence[str],
    divisor: float,
    probes: Mapping[str, str],
    peers: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """This cluster, with times that are divided too, but at least a second."""
    return {
        "redis": {"cluster": list(cluster)},
        "api": dict(peers or {}),
        "probes": [{"name": name, "url": url, "interval_seconds": 1} for name, url in probes.items()],
        "bullmq": {
            "discovery_interval_seconds": divided_seconds(
                BullMQSettings().discovery_interval_seconds, divisor
            )
        },
        "health": {
            "thresholds": {
                name: divided_seconds(getattr(Thresholds(), name), divisor)
                for name in ("no_worker_seconds", "no_start_seconds")
            }
        },
    }


def scaler_config(*, nodes: Sequence[str], prometheus_port: int) -> dict[str, Any]:
    """The workers of the bursty queue, with short intervals so that scaling can be observed."""
    worker = Path(__file__).parent / "worker.mjs"
    target = {
        "name": "newsletter",
        "queues": ["{newsletter}"],
        "min_workers": 1,
        "max_workers": 6,
        "worker_concurrency": 4,
        "wait_slo_seconds": 10,
        "start_cost_seconds": 4,
        "processes": {
            "command": ["node", str(worker)],
            "environment": {"DEMO_NODES": ",".join(nodes)},
            "grace_seconds": 6,
        },
    }
    return {
        "interval_seconds": 1,
        "prometheus": {"urls": [f"http://localhost:{prometheus_port}"]},
        "targets": [target],
    }


def rules_config(divisor: float) -> dict[str, Any]:
    """The eight shipped rules with their times divided."""
    rules: dict[str, Any] = scale(read(DEPLOY / "prometheus" / "rules" / "oxherd.yml"), 1 / divisor)
    return rules


def prometheus_config(
    *, exporter_port: int, scaler_port: int, alertmanager_port: int, rules: Path, divisor: float
) -> dict[str, Any]:
    """The shipped file with its intervals divided, but at least a second."""
    config = read(DEPLOY / "prometheus" / "prometheus.yml")
    times = {
        name: divided_seconds(duration_seconds(time), divisor) for name, time in config["global"].items()
    }
    config["global"] = {name: f"{seconds * 1000:.0f}ms" for name, seconds in times.items()}
    config["rule_files"] = [str(rules)]
    [alertmanager] = config["alerting"]["alertmanagers"]
    alertmanager["static_configs"] = [{"targets": [f"localhost:{alertmanager_port}"]}]
    [job] = config["scrape_configs"]
    job["static_configs"] = [{"targets": [f"localhost:{exporter_port}"]}]
    scaler = {"job_name": "oxherd-scaler", "static_configs": [{"targets": [f"localhost:{scaler_port}"]}]}
    config["scrape_configs"].append(scaler)
    return config


def prometheus_flags(divisor: float) -> list[str]:
    """Alerts that fire survive a restart: docs/alerts.md."""
    return [f"--rules.alert.for-grace-period={30_000 / divisor:.0f}ms"]


def alertmanager_config(*, webhook: str, divisor: float) -> dict[str, Any]:
    """The shipped routes with their times divided, and the webhook at this URL as every receiver."""
    config = with_webhook(read(DEPLOY / "alertmanager" / "alertmanager.yml"), webhook)
    config["route"] = scale(config["route"], 1 / divisor)
    config["templates"] = [str(DEPLOY / "alertmanager" / name) for name in config["templates"]]
    return config


def divided_seconds(seconds: float, divisor: float) -> float:
    """The seconds divided, at least 1."""
    return max(1.0, seconds / divisor)


def read(path: Path) -> dict[str, Any]:
    """The content of a shipped YAML file; the caller may change it."""
    document: dict[str, Any] = yaml.safe_load(path.read_text())
    return document


def write(config: Mapping[str, Any], path: Path) -> Path:
    """Write a configuration as YAML; the path."""
    path.write_text(yaml.safe_dump(dict(config), sort_keys=False))
    return path
