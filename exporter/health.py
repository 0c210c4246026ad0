"""From a snapshot to its health: the score, and the issues with measured value, threshold, recommendation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Literal, TypeAlias

from exporter.condition_table import CONDITION_TABLE, Severity
from exporter.conditions import flows, host, jobs, queues, schedulers, work
from exporter.conditions.finding import Affected, Finding, Rule, as_reached
from exporter.conditions.not_known_yet import not_known_yet
from exporter.conditions.redis import clients, data, nodes
from exporter.config.health import HealthSettings
from exporter.snapshot.redis import Access
from exporter.snapshot.whole import Snapshot
from service.i18n import Message
from service.outcome import value_or_none

Status: TypeAlias = Literal["healthy", "warning", "critical"]

HEALTHY: Final = 90.0
WARNING: Final = 70.0


@dataclass(frozen=True, slots=True)
class Issue:
    """One problem. `name` is a label value (snake_case), `source` the part of the snapshot that has the
    problem, `penalty` the points that are subtracted from the score, `affected` are its nodes, queues or
    endpoints, the worst first."""

    name: str
    source: str
    penalty: float
    severity: Severity
    title: Message
    measured: Message
    threshold: Message
    recommendation: Message
    affected: Sequence[Affected] = ()


@dataclass(frozen=True, slots=True)
class Health:
    """The score from 0 to 100, its status, and the issues, the highest penalty first. `open`: the names of
    those that may be there or not, as what is known began too recently, and in how many seconds it is known
    at the latest."""

    score: float
    status: Status
    issues: tuple[Issue, ...]
    open: Mapping[str, float] = field(default_factory=dict)


def assess(snapshot: Snapshot, settings: HealthSettings) -> Health:
    """Apply every rule. A part that failed causes an issue, a part that is switched off does not."""
    redis_state = value_or_none(snapshot.redis)
    access = (redis_state.access if redis_state else None) or Access()
    issues = []
    for name, rule in RULES.items():
        finding = rule(snapshot, settings)
        if finding is not None:
            issues.append(_issue(name, finding, settings, access))
    there = {issue.name for issue in issues}
    return replace(of_issues(issues), open=not_known_yet(snapshot, settings, there))


def of_issues(issues: list[Issue]) -> Health:
    """The health with these issues: the score is 100 minus all penalties, and at least 0."""
    score = max(0.0, 100.0 - sum(issue.penalty for issue in issues))
    return Health(score, status_of(score), tuple(sorted(issues, key=lambda issue: -issue.penalty)))


def status_of(score: float) -> Status:
    """healthy from 90, warning from 70, critical below."""
    if score >= HEALTHY:
        return "healthy"
    return "warning" if score >= WARNING else "critical"


def _issue(name: str, finding: Finding, settings: HealthSettings, access: Access) -> Issue:
    penalty: float = getattr(settings.penalties, name)
    return Issue(
        name,
        finding.source,
        penalty,
        CONDITION_TABLE[name].severity,
        finding.title,
        finding.measured,
        finding.threshold,
        as_reached(finding.recommendation, access),
        finding.affected,
    )


RULES: Final[Mapping[str, Rule]] = {
    "redis_unreachable": nodes.redis_unreachable,
    "queue_system_down": queues.queue_system_down,
    "cluster_node_unhealthy": nodes.cluster_node_unhealthy,
    "host_memory_low": host.host_memory_low,
    "events_lost": queues.events_lost,
    "events_unreadable": queues.events_unreadable,
    "state_not_written": queues.state_not_written,
    "queue_partly_unread": queues.queue_partly_unread,
    "candidates_refused": queues.candidates_refused,
    "queues_left_out": queues.queues_left_out,
    "redis_memory_high": nodes.redis_memory_high,
    "redis_writes_refused": data.redis_writes_refused,
    "redis_save_failing": data.redis_save_failing,
    "persistence_off": data.persistence_off,
    "redis_evicts_keys": data.redis_evicts_keys,
    "replication_broken": data.replication_broken,
    "replication_lag_high": data.replication_lag_high,
    "redis_connections_rejected": clients.redis_connections_rejected,
    "redis_clients_high": clients.redis_clients_high,
    "redis_clients_disconnected": clients.redis_clients_disconnected,
    "clock_offset_high": nodes.clock_offset_high,
    "host_load_high": host.host_load_high,
    "process_memory_high": host.process_memory_high,
    "queue_standing_still": work.queue_standing_still,
    "queue_wait_high": work.queue_wait_high,
    "delayed_overdue": work.delayed_overdue,
    "active_without_lock": jobs.active_without_lock,
    "active_too_long": jobs.active_too_long,
    "jobs_stalled": jobs.jobs_stalled,
    "failures_rising": jobs.failures_rising,
    "paused_long": work.paused_long,
    "waiting_children_long": flows.waiting_children_long,
    "queue_without_workers": work.queue_without_workers,
    "no_queue_found": work.no_queue_found,
    "failed_jobs_high": queues.failed_jobs_high,
    "scheduler_late": schedulers.scheduler_late,
    "scheduler_without_next": schedulers.scheduler_without_next,
    "scheduler_duplicate": schedulers.scheduler_duplicate,
    "probe_failing": host.probe_failing,
    "otlp_push_failing": host.otlp_push_failing,
    "source_unreadable": host.source_unreadable,
}
"""The rule of every condition of the table, by its name."""
