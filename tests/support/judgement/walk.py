"""Walks all views through one cause: before, while it is there, after. And the alert, where it has one."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final
from unittest import mock

from exporter.condition_table import CONDITION_TABLE
from exporter.config.settings import ExporterSettings
from exporter.run import Exporter
from lab.deadline import wait_until
from lab.receiver import Notification, Receiver
from tests.support.alerts.monitoring import ScaledTimes
from tests.support.judgement.cause import Cause, Servers
from tests.support.judgement.views import KEY, Views

PATIENCE: Final = 30.0
"""Seconds to wait for what is due."""
_CALM: Final = {"process_memory_ratio": 1.0, "process_memory_bytes": 1 << 40, "redis_memory_ratio": 0.9}
"""Thresholds that the machine and the process of the tests do not reach."""


@dataclass(frozen=True, slots=True)
class Alerting:
    """A Prometheus that scrapes `address`, with the shipped rules, and the webhook of its Alertmanager."""

    address: str
    receiver: Receiver
    times: ScaledTimes


def walk(cause: Cause, servers: Servers, alerting: Alerting) -> None:
    """Raises AssertionError or TimeoutError, which names the views that disagree."""
    condition = cause.condition
    alert = _alert(cause, alerting)
    earlier = len(alerting.receiver.notifications)
    cause.prepare(servers)
    with running(cause, servers, alerting.address) as views:
        _wait(views, condition, present=False)
        assert not views.logged(condition)
        cause.begin(servers)
        _wait(views, condition, present=True)
        issue = views.issue(condition)
        assert issue is not None
        _check(views, condition, issue, present=True)
        if alert:
            _wait_for(alerting, alert, earlier, firing=True)
            _check(views, condition, issue, present=True)
        cause.end(servers)
        _wait(views, condition, present=False)
        _check(views, condition, issue, present=False)
        assert views.logged(condition) == ["issue appeared", "issue cleared"], views.logged(condition)
        if alert:
            _wait_for(alerting, alert, earlier, firing=False)


@contextmanager
def running(cause: Cause, servers: Servers, address: str) -> Iterator[Views]:
    """The whole exporter, in process, and its log."""
    settings = ExporterSettings.model_validate(_settings(cause, servers, address))
    logger, records = logging.getLogger("exporter.assess"), _Records()
    level = logger.level
    logger.addHandler(records)
    logger.setLevel(logging.INFO)
    with mock.patch("exporter.collect.HostSource", return_value=servers.host):
        exporter = Exporter(settings)
    exporter.start()
    try:
        with Views.of(f"http://{exporter.address}", records.all) as views:
            yield views
    finally:
        assert exporter.stop()
        logger.setLevel(level)
        logger.removeHandler(records)


class _Records(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.all: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.all.append(record)


def _settings(cause: Cause, servers: Servers, address: str) -> dict[str, Any]:
    """Those of the test, with the shortest intervals, and those of the cause."""
    settings: dict[str, Any] = {
        "listen": address,
        "redis": {"timeout_seconds": 1.0, **servers.redis},
        "bullmq": {"discovery_interval_seconds": 1, "rescan_interval_seconds": 1},
        "api": {"key": KEY},
        "health": {},
    }
    for section, values in cause.settings.items():
        settings[section] = settings.get(section, {}) | values if isinstance(values, dict) else values
    settings["health"] = settings["health"] | {
        "thresholds": _CALM | settings["health"].get("thresholds", {}),
    }
    return settings


def _wait(views: Views, condition: str, *, present: bool) -> None:
    wait_until(
        lambda: views.in_series(condition) is present,
        what=f"{condition} is {'' if present else 'not '}there",
        seconds=PATIENCE,
        every=0.2,
    )


def _check(views: Views, condition: str, issue: dict[str, Any], *, present: bool) -> None:
    """All views at once, without waiting."""
    others = views.disagreements(condition, issue["title"], present=present)
    assert not others, f"{condition} is {'' if present else 'not '}there, but not so in: {others}"
    codes = views.wrong_codes()
    assert not codes, f"exit codes that do not follow from the issues: {codes}"
    if present:
        row = CONDITION_TABLE[condition]
        assert (issue["severity"], issue["source"] in row.sources) == (row.severity, True)


def _alert(cause: Cause, alerting: Alerting) -> str | None:
    """The alert that is waited for: one of the rules that are loaded."""
    alert = CONDITION_TABLE[cause.condition].alert
    return alert if cause.alert and alert in alerting.times.cooldowns else None


def _wait_for(alerting: Alerting, alert: str, earlier: int, *, firing: bool) -> Notification:
    def last() -> Notification | None:
        since = alerting.receiver.notifications[earlier:]
        told = [notification for notification in since if notification.alert == alert]
        return told[-1] if told and told[-1].firing is firing else None

    cooldown = alerting.times.cooldowns[alert]
    told = wait_until(
        last,
        what=f"{alert} is {'firing' if firing else 'resolved'} at the webhook",
        seconds=PATIENCE + cooldown + 600 * alerting.times.factor,
        every=0.1,
    )
    assert told is not None
    return told
