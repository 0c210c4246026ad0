"""Opt-in alerts made from the exporter's conditions that none of the eight pages.

Why a condition has no alert is said in exporter.condition_table.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final, NamedTuple

from deploy.rules.alerts import issue, redis_answers, while_present
from deploy.rules.rule import Alert, Severity
from deploy.rules.thresholds import AlertThresholds


class ConditionAlert(NamedTuple):
    """`what` is said of the affected, `unit` the template function for their values."""

    name: str
    condition: str
    severity: Severity
    cooldown: str
    for_: str
    summary: str
    what: str
    unit: str = "humanize"
    of: str = "queue"


_VARIABLES: Final = {"scheduler": "queue"}
"""The dashboard's variable where it is not the kind of what is affected."""

CONDITION_ALERTS: Final = (
    ConditionAlert(
        "RedisWritesRefused",
        "redis_writes_refused",
        "critical",
        "5m",
        "1m",
        "Redis refuses writes.",
        "Nodes that refuse writes, so that no job is added or finished",
        unit="",
        of="node",
    ),
    ConditionAlert(
        "RedisSaveFailing",
        "redis_save_failing",
        "high",
        "15m",
        "2m",
        "Redis cannot save its data.",
        "Nodes that cannot write to their disk",
        unit="",
        of="node",
    ),
    ConditionAlert(
        "RedisEvictsKeys",
        "redis_evicts_keys",
        "high",
        "30m",
        "5m",
        "Redis may delete jobs.",
        "Nodes whose maxmemory-policy deletes keys when memory is full",
        unit="",
        of="node",
    ),
    ConditionAlert(
        "RedisClientsHigh",
        "redis_clients_high",
        "high",
        "15m",
        "2m",
        "Redis is short of client connections.",
        "Nodes, and how many of the clients that maxclients allows are connected",
        unit="humanizePercentage",
        of="node",
    ),
    ConditionAlert(
        "RedisConnectionsRejected",
        "redis_connections_rejected",
        "high",
        "15m",
        "30s",
        "Redis rejects connections.",
        "Nodes that rejected connections in the last minutes",
        unit="",
        of="node",
    ),
    ConditionAlert(
        "ReplicationBroken",
        "replication_broken",
        "high",
        "10m",
        "2m",
        "A replica is disconnected from its master.",
        "Replicas that get no writes",
        unit="",
        of="node",
    ),
    ConditionAlert(
        "QueueWaitHigh",
        "queue_wait_high",
        "high",
        "15m",
        "2m",
        "Jobs wait longer than allowed.",
        "Queues, and how long their oldest job has waited",
        unit="humanizeDuration",
    ),
    ConditionAlert(
        "DelayedJobsOverdue",
        "delayed_overdue",
        "high",
        "15m",
        "2m",
        "Delayed jobs are overdue.",
        "Queues with delayed jobs that are due, and for how long",
        unit="humanizeDuration",
    ),
    ConditionAlert(
        "SchedulerLate",
        "scheduler_late",
        "high",
        "15m",
        "2m",
        "A job scheduler is late.",
        "Job schedulers whose next run is in the past",
        unit="humanizeDuration",
        of="scheduler",
    ),
    ConditionAlert(
        "SchedulerWithoutNext",
        "scheduler_without_next",
        "high",
        "15m",
        "2m",
        "A job scheduler has stopped.",
        "Job schedulers that have no next job, and so never run again",
        unit="",
        of="scheduler",
    ),
    ConditionAlert(
        "ActiveJobsWithoutLock",
        "active_without_lock",
        "high",
        "15m",
        "2m",
        "Active jobs have no worker.",
        "Queues with active jobs of which no worker holds the lock, and for how long",
        unit="humanizeDuration",
    ),
    ConditionAlert(
        "JobsStalled",
        "jobs_stalled",
        "medium",
        "15m",
        "30s",
        "Jobs have stalled.",
        "Queues, and how many attempts stalled in the last hour",
    ),
    ConditionAlert(
        "QueueWithoutWorkers",
        "queue_without_workers",
        "medium",
        "30m",
        "10m",
        "A queue has no worker.",
        "Queues without a worker, in which no job waits yet",
        unit="",
    ),
    ConditionAlert(
        "QueueEventsLost",
        "events_lost",
        "medium",
        "15m",
        "30s",
        "Events of a queue were lost.",
        "Queues, and how many of their events were trimmed unread in the last hour, so that their counters "
        "are too low",
    ),
)


def condition_alerts(t: AlertThresholds) -> list[Alert]:
    """One alert for each row; with `per_queue` one for each queue."""
    alerts = []
    for row in CONDITION_ALERTS:
        alert = Alert(
            row.name,
            row.severity,
            row.cooldown,
            for_=row.for_,
            affected=replace(issue(t, row.condition), unit=row.unit, variable=_VARIABLES.get(row.of, row.of)),
            expression=f"({while_present(t, row.condition)}\n)\n{redis_answers(t)}",
            summary=row.summary,
            description=f"{row.what}{{{{ if [worst] }}}}: [affected]{{{{ end }}}}.",
        )
        alerts.append(alert.one_for_each() if t.per_queue and row.of == "queue" else alert)
    return alerts
