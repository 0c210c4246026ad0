"""A real Prometheus and a real Alertmanager with the shipped configuration and scaled times."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, Final

import yaml

from deploy.rules.alerts import oxherd
from deploy.rules.extra import oxherd_extra
from deploy.rules.thresholds import AlertThresholds
from lab.alertmanager import Alertmanager, start_alertmanager
from lab.prometheus import Prometheus, start_prometheus
from lab.receiver import Receiver
from lab.scaled import duration_seconds, scale, scale_duration, with_webhook

DEPLOY: Final = Path(__file__).parents[3] / "deploy"
SHIPPED_GRACE: Final = "30s"
"""The --rules.alert.for-grace-period of docs/alerts.md."""
DEFAULT_GRACE: Final = "10m"
RESEND_DELAY: Final = "1m"
"""Prometheus' default: it sends each alert again after it, and Alertmanager ends one after four of them."""
LATENCY: Final = 1.0
"""Seconds by which a busy machine may delay a notification."""


@dataclass(frozen=True, slots=True)
class ScaledTimes:
    """The shipped times, scaled, in seconds. Prometheus scrapes and evaluates at most once a second here.

    `waits` are the alerts' `for`; with `extra` the opt-in rules are loaded too.
    """

    factor: float
    scrape: float
    evaluation: float
    group_interval: float
    cooldowns: Mapping[str, float]
    waits: Mapping[str, float]
    extra: bool = False

    @property
    def max_end_delay(self) -> float:
        """How much later than `keep_firing_for` the resolved notification may be: a scrape, an evaluation,
        another evaluation when the time is over, and a group interval."""
        return self.scrape + 2 * self.evaluation + self.group_interval + LATENCY


def scaled_times(factor: float, *, extra: bool = False) -> ScaledTimes:
    """The times of the shipped files, multiplied by the factor."""
    prometheus, routes = _read("prometheus/prometheus.yml"), _read("alertmanager/alertmanager.yml")
    [rules] = _read("prometheus/rules/oxherd.yml")["groups"]
    groups = [rules, *(_read("prometheus/rules/oxherd-extra.yml")["groups"] if extra else ())]
    alerts = [rule for group in groups for rule in group["rules"] if "alert" in rule]
    return ScaledTimes(
        factor=factor,
        scrape=max(1.0, duration_seconds(prometheus["global"]["scrape_interval"]) * factor),
        evaluation=max(1.0, duration_seconds(rules["interval"]) * factor),
        group_interval=duration_seconds(routes["route"]["group_interval"]) * factor,
        cooldowns={
            rule["alert"]: duration_seconds(rule["labels"]["cooldown"]) * factor
            for rule in alerts
            if "cooldown" in rule["labels"]
        },
        waits={
            rule["alert"]: max(1.0, duration_seconds(rule["for"]) * factor)
            for rule in alerts
            if "for" in rule
        },
        extra=extra,
    )


def rules_of(job: str, factor: float, shortest_range: float = 2.0, *, extra: bool = False) -> dict[str, Any]:
    """The eight rules for one scrape job, with scaled times; with `extra` those that are opt-in too."""
    shipped = AlertThresholds.read(DEPLOY / "prometheus" / "rules" / "thresholds.yml")
    thresholds = shipped.model_copy(update={"job": job})
    texts = [oxherd(thresholds), *([oxherd_extra(thresholds)] if extra else [])]
    rules = {"groups": [group for text in texts for group in yaml.safe_load(text)["groups"]]}
    # Two scrapes are enough for the short ranges, which are of the kind of max_over_time.
    scaled: dict[str, Any] = scale(rules, factor, shortest_range=shortest_range)
    return scaled


@contextmanager
def monitoring(
    targets: Mapping[str, str],
    times: ScaledTimes,
    receiver: Receiver,
    home: Path,
    *,
    shortest_range: float = 2.0,
) -> Iterator[Prometheus]:
    """Both servers, with a scrape job for each target (job -> host:port) and `receiver` as the webhook."""
    with (
        alertmanager_for(times, receiver, home) as alertmanager,
        prometheus_for(
            {job: [target] for job, target in targets.items()},
            times,
            alertmanager,
            home,
            shortest_range=shortest_range,
        ) as server,
    ):
        yield server


@contextmanager
def alertmanager_for(times: ScaledTimes, receiver: Receiver, home: Path) -> Iterator[Alertmanager]:
    """An Alertmanager with the shipped routes and `receiver` as the webhook."""
    routes = with_webhook(_read("alertmanager/alertmanager.yml"), receiver.url)
    (home / "alertmanager.yml").write_text(yaml.safe_dump(scale(routes, times.factor)))
    (home / "oxherd.tmpl").write_text((DEPLOY / "alertmanager" / "oxherd.tmpl").read_text())
    with start_alertmanager(home / "alertmanager.yml") as server:
        yield server


@contextmanager
def prometheus_for(
    targets: Mapping[str, Sequence[str]],
    times: ScaledTimes,
    alertmanager: Alertmanager,
    home: Path,
    *,
    grace: str = SHIPPED_GRACE,
    shortest_range: float = 2.0,
    **external_labels: str,
) -> Iterator[Prometheus]:
    """A Prometheus with the eight rules for each scrape job and with scaled flags; `grace` is the least `for`
    of an alert that survives a restart, `shortest_range` the seconds of the shortest range."""
    home = Path(mkdtemp(dir=home))
    for job in targets:
        rules = rules_of(job, times.factor, shortest_range, extra=times.extra)
        (home / f"rules-{job}.yml").write_text(yaml.safe_dump(rules))
    config = _scraping(targets, times, alertmanager.address)
    config["global"]["external_labels"] = external_labels
    (home / "prometheus.yml").write_text(yaml.safe_dump(config))
    flags = [
        f"--rules.alert.for-grace-period={scale_duration(grace, times.factor)}",
        f"--rules.alert.resend-delay={scale_duration(RESEND_DELAY, times.factor)}",
    ]
    with start_prometheus(home / "prometheus.yml", flags=flags) as server:
        yield server


def _scraping(targets: Mapping[str, Sequence[str]], times: ScaledTimes, alertmanager: str) -> dict[str, Any]:
    """The shipped configuration with one scrape job for each set of targets."""
    config = _read("prometheus/prometheus.yml")
    [shipped] = config["scrape_configs"]
    interval = f"{round(times.scrape * 1000)}ms"
    return config | {
        "global": {"scrape_interval": interval, "scrape_timeout": interval},
        "rule_files": ["rules-*.yml"],
        "alerting": config["alerting"]
        | {"alertmanagers": [{"static_configs": [{"targets": [alertmanager]}]}]},
        "scrape_configs": [
            copy.deepcopy(shipped) | {"job_name": job, "static_configs": [{"targets": list(addresses)}]}
            for job, addresses in targets.items()
        ],
    }


def _read(path: str) -> dict[str, Any]:
    read: dict[str, Any] = yaml.safe_load((DEPLOY / path).read_text())
    return read
