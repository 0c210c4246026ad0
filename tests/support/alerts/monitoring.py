"""A real Prometheus and a real Alertmanager with everything that is shipped, in a fraction of its time."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from deploy.rules.alerts import oxherd
from deploy.rules.thresholds import AlertThresholds
from lab.alertmanager import start_alertmanager
from lab.prometheus import Prometheus, start_prometheus
from lab.receiver import Receiver
from lab.scaled import duration_seconds, scale, with_webhook

DEPLOY: Final = Path(__file__).parents[3] / "deploy"
LATENCY: Final = 0.5
"""Seconds that a loaded machine may be late by, beside what the intervals explain."""


@dataclass(frozen=True, slots=True)
class Pace:
    """The shipped times, scaled; seconds. Prometheus cannot scrape or evaluate more than once a second."""

    factor: float
    scrape: float
    evaluation: float
    tick: float
    cooldowns: Mapping[str, float]

    @property
    def grain(self) -> float:
        """How much later than `keep_firing_for` an end may be told: a scrape sees it, an evaluation, another
        when the time is over, then the group's turn."""
        return self.scrape + 2 * self.evaluation + self.tick + LATENCY


def pace(factor: float) -> Pace:
    """The times of the shipped files times the factor."""
    prometheus, routes = _read("prometheus/prometheus.yml"), _read("alertmanager/alertmanager.yml")
    [rules] = _read("prometheus/rules/oxherd.yml")["groups"]
    return Pace(
        factor=factor,
        scrape=max(1.0, duration_seconds(prometheus["global"]["scrape_interval"]) * factor),
        evaluation=max(1.0, duration_seconds(rules["interval"]) * factor),
        tick=duration_seconds(routes["route"]["group_interval"]) * factor,
        cooldowns={
            rule["alert"]: duration_seconds(rule["labels"]["cooldown"]) * factor for rule in rules["rules"]
        },
    )


def rules_of(job: str, factor: float) -> dict[str, Any]:
    """The eight for one scrape job, scaled."""
    shipped = AlertThresholds.read(DEPLOY / "prometheus" / "rules" / "thresholds.yml")
    scaled: dict[str, Any] = scale(yaml.safe_load(oxherd(shipped.model_copy(update={"job": job}))), factor)
    return scaled


@contextmanager
def watching(targets: Mapping[str, str], at: Pace, receiver: Receiver, home: Path) -> Iterator[Prometheus]:
    """Both servers, with a scrape job for each target (job -> host:port), told to `receiver`."""
    routes = with_webhook(_read("alertmanager/alertmanager.yml"), receiver.url)
    (home / "alertmanager.yml").write_text(yaml.safe_dump(scale(routes, at.factor)))
    (home / "oxherd.tmpl").write_text((DEPLOY / "alertmanager" / "oxherd.tmpl").read_text())
    with start_alertmanager(home / "alertmanager.yml") as alertmanager:
        for job in targets:
            (home / f"rules-{job}.yml").write_text(yaml.safe_dump(rules_of(job, at.factor)))
        (home / "prometheus.yml").write_text(yaml.safe_dump(_scraping(targets, at, alertmanager.address)))
        with start_prometheus(home / "prometheus.yml") as prometheus:
            yield prometheus


def _scraping(targets: Mapping[str, str], at: Pace, alertmanager: str) -> dict[str, Any]:
    """The shipped configuration, its job once for each target."""
    config = _read("prometheus/prometheus.yml")
    [shipped] = config["scrape_configs"]
    interval = f"{round(at.scrape * 1000)}ms"
    return config | {
        "global": {"scrape_interval": interval, "scrape_timeout": interval},
        "rule_files": ["rules-*.yml"],
        "alerting": {"alertmanagers": [{"static_configs": [{"targets": [alertmanager]}]}]},
        "scrape_configs": [
            copy.deepcopy(shipped) | {"job_name": job, "static_configs": [{"targets": [address]}]}
            for job, address in targets.items()
        ],
    }


def _read(path: str) -> dict[str, Any]:
    read: dict[str, Any] = yaml.safe_load((DEPLOY / path).read_text())
    return read
