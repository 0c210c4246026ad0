"""All checks, in the order in which a person follows them: settings, Redis, queues, Prometheus, scaler."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final, TypeAlias

from exporter.doctor.checks import configuration, monitoring, queues, servers
from exporter.doctor.examination import Examination
from exporter.doctor.model import CHECK_STATUSES, Diagnosis

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
    diagnoses = [diagnosis for check in CHECKS.values() for diagnosis in check(examination)]
    return tuple(sorted(diagnoses, key=lambda diagnosis: CHECK_STATUSES.index(diagnosis.status)))
