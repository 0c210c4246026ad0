"""The configuration that the demo's servers get: the shipped files with addresses of its own, and faster."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import yaml

from exporter.settings import BullMQSettings
from lab.scaled import duration_seconds, scale, with_webhook

DEPLOY: Final = Path(__file__).parents[1]


def exporter_config(
    *,
    cluster: Sequence[str],
    divisor: float,
    probes: Mapping[str, str],
    neighbours: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """This cluster, and workers that go are missed as much sooner, up to within a second."""
    return {
        "redis": {"cluster": list(cluster)},
        "api": dict(neighbours or {}),
        "probes": [{"name": name, "url": url, "interval_seconds": 1} for name, url in probes.items()],
        "bullmq": {
            "discovery_interval_seconds": sooner(BullMQSettings().discovery_interval_seconds, divisor)
        },
    }


def scaler_config(*, nodes: Sequence[str], prometheus_port: int) -> dict[str, Any]:
    """The bursty queue's workers: quick to follow, so that it can be watched."""
    worker = Path(__file__).parent / "worker.mjs"
    target = {
        "name": "newsletter",
        "queues": ["{newsletter}"],
        "min_workers": 1,
        "max_workers": 6,
        "worker_concurrency": 4,
        "wait_slo_seconds": 10,
        "hold_seconds": 8,
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
    """The shipped file, scraping as much more often, up to every second."""
    config = read(DEPLOY / "prometheus" / "prometheus.yml")
    times = {name: sooner(duration_seconds(time), divisor) for name, time in config["global"].items()}
    config["global"] = {name: f"{seconds * 1000:.0f}ms" for name, seconds in times.items()}
    config["rule_files"] = [str(rules)]
    [alertmanager] = config["alerting"]["alertmanagers"]
    alertmanager["static_configs"] = [{"targets": [f"localhost:{alertmanager_port}"]}]
    [job] = config["scrape_configs"]
    job["static_configs"] = [{"targets": [f"localhost:{exporter_port}"]}]
    scaler = {"job_name": "oxherd-scaler", "static_configs": [{"targets": [f"localhost:{scaler_port}"]}]}
    config["scrape_configs"].append(scaler)
    return config


def alertmanager_config(*, webhook: str, divisor: float) -> dict[str, Any]:
    """The shipped routes with their times divided, every receiver being the webhook at this URL."""
    config = with_webhook(read(DEPLOY / "alertmanager" / "alertmanager.yml"), webhook)
    config["route"] = scale(config["route"], 1 / divisor)
    config["templates"] = [str(DEPLOY / "alertmanager" / name) for name in config["templates"]]
    return config


def sooner(seconds: float, divisor: float) -> float:
    """Divided, but not below the second in which little can be seen to change."""
    return max(1.0, seconds / divisor)


def read(path: Path) -> dict[str, Any]:
    """A shipped YAML file, for us alone to change."""
    document: dict[str, Any] = yaml.safe_load(path.read_text())
    return document


def write(config: Mapping[str, Any], path: Path) -> Path:
    """Write it where a server reads it."""
    path.write_text(yaml.safe_dump(dict(config), sort_keys=False))
    return path
