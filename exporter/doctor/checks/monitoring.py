"""Checks of Prometheus and of the scaler: does what is measured here arrive."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from fnmatch import fnmatchcase
from shlex import quote
from typing import Final

from exporter.bullmq.keys import is_pattern
from exporter.conditions.finding import first_few
from exporter.doctor.checks.configuration import set_variable
from exporter.doctor.examination import (
    AlertmanagerLook,
    Examination,
    PrometheusLook,
    ScalerTarget,
    ScrapedExporter,
    ScrapeTarget,
)
from exporter.doctor.model import Diagnosis, Fix
from service.i18n import Message
from service.outcome import Failed
from service.units import duration
from service.web.address import local_url

SHIPPED_ALERTS: Final = (
    "RedisConnectionDown",
    "ClusterNodeDown",
    "HighMemoryUsage",
    "QueueSystemDown",
    "HighFailedJobs",
    "SystemMemoryLow",
    "HighSystemLoad",
    "HealthScoreCritical",
)
"""Alerts of deploy/prometheus/rules/oxherd.yml, without which nobody is notified."""

_SLOW_SCRAPE: Final = 60.0  # seconds: alerts of `for: 30s` and the scaler need newer figures
_JOB: Final = re.compile(r'\bjob="([^"]+)"')


def check_scrape(examination: Examination) -> Iterator[Diagnosis]:
    """Whether Prometheus scrapes an exporter of this deployment, how often, and when it last did."""
    look = _prometheus(examination)
    if look is None:
        yield from _without_prometheus(examination, "scrape")
        return
    if look.exporters and (examination.look is None or examination.look.state.deployment is None):
        yield Diagnosis("scrape", "unchecked", Message("doctor.scrape.unknown"))
        return
    ours = _exporters(examination, look)
    targets = _targets(look, ours)
    looked = targets if ours else _candidates(examination, look)
    failing = [target for target in looked if not target.up]
    if failing and not (ours and len(failing) < len(looked)):
        target = failing[0]
        yield Diagnosis(
            "scrape",
            "wrong",
            Message(
                "doctor.scrape.failing", instance=target.instance, job=target.job, error=target.error or "?"
            ),
            Message("doctor.scrape.effect"),
            (Fix("shell", (f"curl -sS {quote(f'http://{target.instance}/healthz')}",)),),
        )
    elif not ours:
        yield Diagnosis(
            "scrape",
            "wrong",
            Message("doctor.scrape.none", targets=len(look.targets)),
            Message("doctor.scrape.effect"),
            (Fix("prometheus", _scrape_lines(examination)),),
        )
    else:
        yield from _scraped(ours, targets)


def check_rules(examination: Examination) -> Iterator[Diagnosis]:
    """Whether the shipped alert rules are loaded, and select the job under which the exporter is scraped."""
    look = _prometheus(examination)
    if look is None:
        yield from _without_prometheus(examination, "rules")
        return
    loaded = {alert.name: alert for alert in look.alerts if alert.name in SHIPPED_ALERTS}
    absent = [name for name in SHIPPED_ALERTS if name not in loaded]
    if absent:
        yield Diagnosis(
            "rules",
            "wrong",
            Message("doctor.rules.absent", alerts=first_few(absent), count=len(absent)),
            Message("doctor.rules.effect"),
            (
                Fix(
                    "prometheus",
                    ("rule_files:", "  - rules/oxherd.yml  # deploy/prometheus/rules/oxherd.yml"),
                ),
            ),
        )
        return
    broken = [alert for alert in loaded.values() if alert.error]
    if broken:
        yield Diagnosis(
            "rules",
            "wrong",
            Message("doctor.rules.broken", alert=broken[0].name, error=broken[0].error),
            Message("doctor.rules.effect"),
        )
    jobs = {exporter.job for exporter in _exporters(examination, look)}
    selected = {job for alert in loaded.values() for job in _JOB.findall(alert.expression)}
    if jobs and selected and not jobs & selected:
        yield Diagnosis(
            "rules",
            "wrong",
            Message(
                "doctor.rules.job", selected=", ".join(sorted(selected)), scraped=", ".join(sorted(jobs))
            ),
            Message("doctor.rules.job_effect"),
            (Fix("prometheus", ("scrape_configs:", f"  - job_name: {min(selected)}")),),
        )
    elif not broken:
        yield Diagnosis("rules", "good", Message("doctor.rules.good", count=len(loaded)))


def check_alertmanager(examination: Examination) -> Iterator[Diagnosis]:
    """Whether Prometheus has an Alertmanager, and its notifications arrive there."""
    look = _prometheus(examination)
    if look is None:
        yield from _without_prometheus(examination, "alertmanager")
        return
    if not look.alertmanagers:
        lines = (
            "alerting:",
            "  alertmanagers:",
            "    - static_configs:",
            "        - targets: [localhost:9093]",
        )
        yield Diagnosis(
            "alertmanager",
            "wrong",
            Message("doctor.alertmanager.none"),
            Message("doctor.alertmanager.effect"),
            (Fix("prometheus", lines),),
        )
        return
    unreached = [manager for manager in look.alertmanagers if _is_unreached(manager)]
    for manager in unreached:
        yield Diagnosis(
            "alertmanager",
            "warning" if len(unreached) < len(look.alertmanagers) else "wrong",
            Message("doctor.alertmanager.unreached", url=manager.url),
            Message("doctor.alertmanager.effect"),
            (Fix("shell", (f"curl -sS {quote(f'{manager.url}/-/ready')}",)),),
        )
    if not unreached:
        urls = ", ".join(manager.url for manager in look.alertmanagers)
        yield Diagnosis("alertmanager", "good", Message("doctor.alertmanager.good", urls=urls))


def check_scaler(examination: Examination) -> Iterator[Diagnosis]:
    """Whether each queue that a target of the scaler names is there, and the scaler has its figures."""
    outcome = examination.scaler
    if outcome is None:
        yield Diagnosis(
            "scaler",
            "unchecked",
            Message("doctor.scaler.no_url"),
            None,
            (set_variable("SCALER_URL", "http://localhost:9878"),),
        )
        return
    if isinstance(outcome, Failed):
        yield Diagnosis(
            "scaler",
            "wrong",
            Message("doctor.scaler.unread", reason=outcome.message),
            Message("doctor.scaler.unread_effect"),
            (Fix("shell", ("scaling status",)),),
        )
        return
    results = [result for target in outcome.value for result in _of_target(target, examination)]
    yield from results
    if not results:
        yield Diagnosis("scaler", "good", Message("doctor.scaler.good", count=len(outcome.value)))


# --- Prometheus ------------------------------------------------------------------------------------------


def _prometheus(examination: Examination) -> PrometheusLook | None:
    outcome = examination.prometheus
    return None if outcome is None or isinstance(outcome, Failed) else outcome.value


def _without_prometheus(examination: Examination, check: str) -> Iterator[Diagnosis]:
    """Prometheus is named once, with the first of its checks; the others are not checked."""
    outcome = examination.prometheus
    if isinstance(outcome, Failed):
        if check == "scrape":
            yield Diagnosis(
                check,
                "wrong",
                Message("doctor.scrape.unread", reason=outcome.message),
                Message("doctor.scrape.unread_effect"),
                (Fix("shell", (f"curl -sS {quote(f'{examination.settings.api.prometheus_url}/-/ready')}",)),),
            )
        else:
            yield Diagnosis(check, "unchecked", Message("doctor.prometheus.silent"))
    elif check == "scrape":
        yield Diagnosis(
            check,
            "warning",
            Message("doctor.scrape.no_url"),
            Message("doctor.scrape.no_url_effect"),
            (set_variable("PROMETHEUS_URL", "http://localhost:9090"),),
        )
    else:
        yield Diagnosis(check, "unchecked", Message("doctor.prometheus.no_url"))


def _exporters(examination: Examination, look: PrometheusLook) -> list[ScrapedExporter]:
    """Those that read this deployment; where it is not known, all of them."""
    deployment = examination.look.state.deployment if examination.look else None
    ours = [one for one in look.exporters if deployment is None or one.deployment == deployment]
    current = {(target.job, target.instance) for target in look.targets}
    scraped = [one for one in ours if (one.job, one.instance) in current]
    return scraped or ours  # a job that was renamed has series for a while


def _targets(look: PrometheusLook, exporters: Sequence[ScrapedExporter]) -> list[ScrapeTarget]:
    wanted = {(exporter.job, exporter.instance) for exporter in exporters}
    return [target for target in look.targets if (target.job, target.instance) in wanted]


def _candidates(examination: Examination, look: PrometheusLook) -> list[ScrapeTarget]:
    """Targets that look like an exporter of these settings: by their port, or by the job of the rules."""
    port = ":" + examination.settings.listen.rpartition(":")[2]
    return [target for target in look.targets if target.instance.endswith(port) or target.job == "oxherd"]


def _scraped(ours: Sequence[ScrapedExporter], targets: Sequence[ScrapeTarget]) -> Iterator[Diagnosis]:
    names = ", ".join(exporter.instance for exporter in ours)
    slow = [target for target in targets if target.interval is not None and target.interval > _SLOW_SCRAPE]
    if slow:
        yield Diagnosis(
            "scrape",
            "warning",
            Message("doctor.scrape.slow", instance=slow[0].instance, interval=duration(slow[0].interval)),
            Message("doctor.scrape.slow_effect"),
            (Fix("prometheus", ("global:", "  scrape_interval: 5s", "  scrape_timeout: 4s")),),
        )
        return
    ages = [target.age for target in targets if target.age is not None]
    intervals = [target.interval for target in targets if target.interval is not None]
    if ages and intervals:
        yield Diagnosis(
            "scrape",
            "good",
            Message(
                "doctor.scrape.good",
                instances=names,
                interval=duration(max(intervals)),
                age=duration(min(ages)),
            ),
        )
    else:
        yield Diagnosis("scrape", "good", Message("doctor.scrape.seen", instances=names))


def _scrape_lines(examination: Examination) -> tuple[str, ...]:
    address = local_url(examination.settings.listen).removeprefix("http://")
    return (
        "scrape_configs:",
        "  - job_name: oxherd",
        "    static_configs:",
        f"      - targets: [{json.dumps(address) if '[' in address else address}]",
    )


def _is_unreached(manager: AlertmanagerLook) -> bool:
    """Nothing that was sent has arrived, or it was never needed yet and does not answer from here."""
    if manager.sent:
        return manager.errors is not None and manager.errors >= manager.sent
    return manager.answers is False


# --- the scaler ------------------------------------------------------------------------------------------


def _of_target(target: ScalerTarget, examination: Examination) -> Iterator[Diagnosis]:
    look = examination.look
    names = sorted({queue.name for queue in look.queues if queue.prefix == target.prefix}) if look else []
    unseen = [queue for queue in target.queues if not _is_seen(queue, names)] if look else []
    if unseen:
        near = [_near(queue, names) for queue in unseen]
        queues = [better or queue for queue, better in zip(unseen, near, strict=True)]
        kept = [queue for queue in target.queues if queue not in unseen]
        yield Diagnosis(
            "scaler",
            "wrong",
            Message(
                "doctor.scaler.unseen", target=target.name, queues=first_few(unseen), prefix=target.prefix
            ),
            Message("doctor.scaler.unseen_effect"),
            (Fix("scaler", (f"    queues: {json.dumps([*kept, *queues], ensure_ascii=False)}",)),)
            if any(near)
            else (),
        )
    elif target.missing:
        yield Diagnosis(
            "scaler",
            "wrong",
            Message("doctor.scaler.missing", target=target.name, reason=target.missing),
            Message("doctor.scaler.unseen_effect"),
            (Fix("shell", (f"scaling explain {quote(target.name)}",)),),
        )


def _is_seen(queue: str, names: Sequence[str]) -> bool:
    if queue in names:
        return True
    return is_pattern(queue) and any(fnmatchcase(name, queue) for name in names)


def _near(queue: str, names: Sequence[str]) -> str | None:
    """The queue that was probably meant: with its hash tag, or in other letters."""
    tagged = "{" + queue + "}"
    return tagged if tagged in names else next(iter(get_close_matches(queue, names, n=1, cutoff=0.75)), None)
