"""All checks, in the order in which a person follows them: settings, Redis, queues, Prometheus, scaler."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Final, TypeAlias

from exporter.conditions.finding import REDIS_CLI, as_reached, reached_command
from exporter.doctor.checks import configuration, monitoring, queues, servers
from exporter.doctor.examination import Examination
from exporter.doctor.model import CHECK_STATUSES, Diagnosis, Fix
from exporter.redis.connection.access import PROMPT_OPTION
from exporter.snapshot.redis import Access
from service.outcome import value_or_none

Check: TypeAlias = Callable[[Examination], Iterable[Diagnosis]]

CHECKS: Final[Mapping[str, Check]] = {
    "watched": configuration.check_watched,
    "variables": configuration.check_variables,
    "redis": servers.check_redis,
    "version": servers.check_version,
    "rights": servers.check_rights,
    "eviction": servers.check_eviction,
    "persistence": servers.check_persistence,
    "output-buffers": servers.check_output_buffers,
    "clocks": servers.check_clocks,
    "queues": queues.check_queues,
    "hash-tags": queues.check_hash_tags,
    "hot-shard": queues.check_hot_shard,
    "kept-jobs": queues.check_kept_jobs,
    "event-streams": queues.check_event_streams,
    "scrape": monitoring.check_scrape,
    "rules": monitoring.check_rules,
    "alertmanager": monitoring.check_alertmanager,
    "scaler": monitoring.check_scaler,
}
"""Every check by its name, which is also the anchor of its section in docs/doctor.md."""


def diagnose(examination: Examination) -> tuple[Diagnosis, ...]:
    """What all checks say, the worst first, each status in the order of the checks."""
    read = value_or_none(examination.redis)
    access = (read.state.access if read else None) or Access()
    diagnoses = [_reached(each, access) for check in CHECKS.values() for each in check(examination)]
    return tuple(sorted(diagnoses, key=lambda diagnosis: CHECK_STATUSES.index(diagnosis.status)))


def _reached(diagnosis: Diagnosis, access: Access) -> Diagnosis:
    """With commands that reach the servers as the exporter does: over TLS, as its user."""
    return replace(
        diagnosis,
        effect=as_reached(diagnosis.effect, access) if diagnosis.effect else None,
        fixes=tuple(_fix(fix, access) for fix in diagnosis.fixes),
    )


def _fix(fix: Fix, access: Access) -> Fix:
    if fix.place != "shell" or not any(line.startswith(REDIS_CLI) for line in fix.lines):
        return fix
    options = tuple(option for option in access.options if option != PROMPT_OPTION)
    lines = tuple(reached_command(line, Access(options, access.user)) for line in fix.lines)
    asks = any(f" {PROMPT_OPTION} " in line for line in lines)
    return Fix(fix.place, lines, password=PROMPT_OPTION in access.options and not asks)
