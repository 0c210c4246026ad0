"""Walks all views through causes: before, while they are there, after; and their alerts."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
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
from tests.support.judgement.cause import Cause, Servers, Settings, World
from tests.support.judgement.views import KEY, Views

PATIENCE: Final = 90.0
"""Seconds to wait for what is due."""
_CALM: Final = {"process_memory_ratio": 1.0, "process_memory_bytes": 1 << 40, "redis_memory_ratio": 0.9}
"""Thresholds that the machine and the process of the tests do not reach."""


@dataclass(frozen=True, slots=True)
class Alerting:
    """A Prometheus that scrapes `address`, with the shipped rules, and the webhook of its Alertmanager."""

    address: str
    receiver: Receiver
    times: ScaledTimes


def walk(world: World, servers: Servers, alerting: Alerting) -> None:
    """Raises AssertionError or TimeoutError, which names the views that disagree."""
    causes = world.causes
    earlier = len(alerting.receiver.notifications)
    for cause in causes:
        cause.prepare(servers)
    with running(world.settings(), servers, alerting.address) as views:
        for cause in causes:
            _wait(views, cause.condition, present=False)
            assert not views.logged(cause.condition)
        _wait_for_rates(views, {cause.rates_of for cause in causes if cause.rates_of})
        for cause in causes:
            cause.begin(servers)
        for cause in causes:
            _wait(views, cause.condition, present=True)
        issues = {cause.condition: views.issue(cause.condition) for cause in causes}
        titles = {condition: issue["title"] for condition, issue in issues.items() if issue}
        assert titles.keys() == issues.keys()
        _check(views, titles, present=True)
        for alert in (alerts := _alerts(causes, alerting)):
            _wait_for(alerting, alert, earlier, firing=True)
        if alerts:
            _check(views, titles, present=True)
        for cause in causes:
            cause.end(servers)
        for cause in causes:
            _wait(views, cause.condition, present=False)
        _check(views, titles, present=False)
        for cause in causes:
            events = views.logged(cause.condition)
            assert events == ["issue appeared", "issue cleared"], f"{cause.condition}: {events}"
        for alert in alerts:
            _wait_for(alerting, alert, earlier, firing=False)


@contextmanager
def running(more: Settings, servers: Servers, address: str) -> Iterator[Views]:
    """The whole exporter, in process, with these settings, and its log."""
    settings = ExporterSettings.model_validate(_settings(more, servers, address))
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


def _settings(more: Settings, servers: Servers, address: str) -> dict[str, Any]:
    """Those of the test, with the shortest intervals, and those of the causes."""
    settings: dict[str, Any] = {
        "listen": address,
        "redis": {"timeout_seconds": 1.0, **servers.redis},
        "bullmq": {
            "discovery_interval_seconds": 1,
            "rescan_interval_seconds": 1,
            "schedulers": {"interval_seconds": 1},
        },
        "api": {"key": KEY},
        "health": {},
    }
    for section, values in more.items():
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


def _wait_for_rates(views: Views, queues: set[str]) -> None:
    """Until what comes is of the last hour, and what was before is not."""
    if queues:
        wait_until(
            lambda: queues <= views.queues_with_rates(), what=f"rates of {queues}", seconds=60, every=0.2
        )


def _check(views: Views, titles: Mapping[str, str], *, present: bool) -> None:
    """All views at once, without waiting. `titles` are those of the issues, by condition."""
    there = "there" if present else "not there"
    for condition, title in titles.items():
        others = views.disagreements(condition, title, present=present)
        assert not others, f"{condition} is {there}, but not so in: {others}"
        if present:
            row, issue = CONDITION_TABLE[condition], views.issue(condition)
            assert issue is not None
            assert (issue["severity"], issue["source"] in row.sources) == (row.severity, True)
    codes = views.wrong_codes()
    assert not codes, f"exit codes that do not follow from the issues: {codes}"
    colours = views.wrong_colours()
    assert not colours, f"colours that do not follow from the issues: {colours}"


def _alerts(causes: Iterable[Cause], alerting: Alerting) -> list[str]:
    """The alerts that are waited for, all of which are in the rules that are loaded."""
    alerts = [CONDITION_TABLE[cause.condition].alert for cause in causes if cause.alert]
    named = [alert for alert in alerts if alert]
    assert alerting.times.waits.keys() >= set(named)
    return named


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
