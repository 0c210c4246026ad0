"""The table of conditions: what is wrong, how bad it is, what it costs, and which alert pages it. Pure data.

Score, issues, page, commands, exit codes, API, series, settings and docs/conditions.md are made from it; the
rules that find a condition are exporter.health.RULES, the alerts stand in deploy/rules.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

Severity: TypeAlias = Literal["critical", "high", "medium"]
"""critical: work stands still, somebody is woken; high: it will, or data is at risk, today; medium: soon."""


@dataclass(frozen=True, slots=True)
class HealthCondition:
    """A row. `name` is a label value, `source` the part of the snapshot that has the problem (several: by a
    comma), `points` what it takes from 100 unless the settings say otherwise, `present_when` a clause of the
    docs; `alert` pages it, or none does for the reason `unpaged`."""

    name: str
    source: str
    severity: Severity
    points: float
    present_when: str
    alert: str | None = None
    unpaged: str = ""

    @property
    def sources(self) -> tuple[str, ...]:
        return tuple(self.source.split(", "))


_ROWS: Final = (
    HealthCondition(
        "redis_unreachable",
        "redis",
        "critical",
        30,
        "no Redis node answers",
        "RedisConnectionDown",
    ),
    HealthCondition(
        "queue_system_down",
        "bullmq",
        "critical",
        25,
        "a known queue cannot be read, or no queue could be looked for; a queue under another prefix is "
        "known once a worker of it runs",
        "QueueSystemDown",
    ),
    HealthCondition(
        "cluster_node_unhealthy",
        "redis",
        "high",
        20,
        "a node does not answer or the others see it as failing, or a slot has no owner; not where no node "
        "answers",
        "ClusterNodeDown",
    ),
    HealthCondition(
        "host_memory_low",
        "host",
        "high",
        20,
        "less than 10 % of the host's memory is available; in a container, of its limit where that is lower",
        "SystemMemoryLow",
    ),
    HealthCondition(
        "events_lost",
        "bullmq",
        "medium",
        5,
        "events of a queue were trimmed unread in the last hour: its counters are too low",
        "QueueEventsLost",
    ),
    HealthCondition(
        "events_unreadable",
        "bullmq",
        "medium",
        5,
        "the event stream of a queue is there and cannot be read: the queue has no counters",
        unpaged="the counts are there; a right or a key has to be mended, in working hours",
    ),
    HealthCondition(
        "state_not_written",
        "bullmq",
        "medium",
        5,
        "the last write of `bullmq.state_file` failed: a restart takes counters back to the one before",
        unpaged="all figures are right until the exporter is restarted; mend the disk in working hours",
    ),
    HealthCondition(
        "queue_partly_unread",
        "bullmq",
        "medium",
        5,
        "a queue is read but for a part of it: an odd number in `meta`, a key of another type, a refused "
        "command",
        unpaged="the rest of the queue is watched; a right or a key has to be mended, in working hours",
    ),
    HealthCondition(
        "candidates_refused",
        "bullmq",
        "medium",
        5,
        "keys under another prefix may be queues, and the exporter's user may not read them",
        unpaged="they may be another tenant's, who does not want them read",
    ),
    HealthCondition(
        "queues_left_out",
        "bullmq",
        "medium",
        15,
        "there are more queues than `bullmq.max_queues`, or one with a prefix and name of over 512 bytes: "
        "the rest of them is not watched",
        unpaged="the others are watched; whether more are meant to be is decided in working hours",
    ),
    HealthCondition(
        "redis_memory_high",
        "redis",
        "medium",
        15,
        "a node uses over 80 % of its `maxmemory`, or of its host's memory where none is set",
        "HighMemoryUsage",
    ),
    HealthCondition(
        "redis_writes_refused",
        "redis",
        "critical",
        35,
        "a node refuses writes (MISCONF, OOM, NOREPLICAS, READONLY): it did in the last 30 seconds, or in "
        "the last 5 minutes if that went on for a minute, and nothing shows that it is over; or its state "
        "says that it refuses each one",
        "RedisWritesRefused",
    ),
    HealthCondition(
        "redis_save_failing",
        "redis",
        "high",
        15,
        "a node could not save its data to disk; once it refuses writes for it, that is "
        "`redis_writes_refused` instead",
        "RedisSaveFailing",
    ),
    HealthCondition(
        "persistence_off",
        "redis",
        "medium",
        5,
        "a shard that holds queues has had changes unsaved for over 2 hours, and no append-only file, on its "
        "master and on every replica: jobs are gone after a restart; not where a node of it is not read",
        unpaged="jobs run all the same; whether they may get lost in a restart is decided in working hours",
    ),
    HealthCondition(
        "redis_evicts_keys",
        "redis",
        "high",
        15,
        "a node has a `maxmemory` with a policy that deletes keys, and there are queues: jobs would get lost",
        "RedisEvictsKeys",
    ),
    HealthCondition(
        "replication_broken",
        "redis",
        "high",
        15,
        "a replica has no link to its master; not while it receives its first copy",
        "ReplicationBroken",
    ),
    HealthCondition(
        "replication_lag_high",
        "redis",
        "medium",
        10,
        "a replica with a link to its master lacks over 64 MiB of what the master wrote: a failover would "
        "lose it",
        unpaged="it is in the score; once Redis cuts the link for it, ReplicationBroken pages",
    ),
    HealthCondition(
        "redis_connections_rejected",
        "redis",
        "high",
        15,
        "a node rejected connections in the last 5 minutes: it had as many clients as its `maxclients` "
        "allows, or it is in protected mode",
        "RedisConnectionsRejected",
    ),
    HealthCondition(
        "redis_clients_high",
        "redis",
        "high",
        15,
        "a node has over 90 % of the clients that its `maxclients` allows, and has not rejected any",
        "RedisClientsHigh",
    ),
    HealthCondition(
        "redis_clients_disconnected",
        "redis",
        "medium",
        5,
        "a node disconnected clients or replicas in the last 5 minutes that read too slowly "
        "(`client-output-buffer-limit`); from Redis 7.4 and Valkey 8 on",
        unpaged="clients connect again by themselves; a replica that cannot is ReplicationBroken",
    ),
    HealthCondition(
        "clock_offset_high",
        "redis",
        "medium",
        5,
        "the clocks of a node and of the exporter are over 5 seconds apart; ages are by the node's clock",
        unpaged="jobs run all the same; the ages that people read are wrong",
    ),
    HealthCondition(
        "host_load_high",
        "host",
        "medium",
        15,
        "the 1-minute load is over 2 for each core of the machine",
        "HighSystemLoad",
    ),
    HealthCondition(
        "process_memory_high",
        "process",
        "medium",
        15,
        "the exporter uses over 90 % of its memory limit, or of 1 GiB where none is set",
        unpaged="if it ends for it, OxherdExporterDown pages",
    ),
    HealthCondition(
        "queue_standing_still",
        "bullmq",
        "critical",
        35,
        "jobs could be taken and nothing takes them: no worker is known for 60 seconds, or none was started "
        "for 10 minutes, or for an hour they wait, none ends and one is active for over 10 times what 99 % "
        "need; waiting, prioritized and overdue delayed jobs count; not where the queue is paused, its rate "
        "limit or global concurrency is reached, or BullMQ Pro groups its jobs; active jobs without a lock "
        "keep no worker busy",
        "QueueSystemDown",
    ),
    HealthCondition(
        "queue_wait_high",
        "bullmq",
        "high",
        15,
        "the oldest job of a queue waits for longer than `wait_seconds`, which no queue has by default",
        "QueueWaitHigh",
    ),
    HealthCondition(
        "delayed_overdue",
        "bullmq",
        "high",
        15,
        "a delayed job is due for over 60 seconds while others are started or workers are idle; not where "
        "the queue stands still, is paused or rate-limited",
        "DelayedJobsOverdue",
    ),
    HealthCondition(
        "active_without_lock",
        "bullmq",
        "high",
        15,
        "an active job has no lock for over 60 seconds: no worker has it, and none gives it back; not where "
        "the queue stands still",
        "ActiveJobsWithoutLock",
    ),
    HealthCondition(
        "active_too_long",
        "bullmq",
        "medium",
        5,
        "a job is active for over 5 minutes, and for over 10 times what 99 % of its queue's jobs needed",
        unpaged="one job may be long on purpose; `bullmq_queue_longest_active_seconds` is there for a rule",
    ),
    HealthCondition(
        "jobs_stalled",
        "bullmq",
        "medium",
        5,
        "over 1 job of a queue stalled in the last hour",
        "JobsStalled",
    ),
    HealthCondition(
        "failures_rising",
        "bullmq",
        "medium",
        10,
        "over 25 % of the jobs of a queue, or of all queues, that ended in the last hour have failed; at "
        "least 20 must have ended; or none of a queue completed, and 20 attempts were retried or failed",
        unpaged="HighFailedJobs pages many failures, QueueFailureBudgetBurn those over an objective",
    ),
    HealthCondition(
        "paused_long",
        "bullmq",
        "medium",
        5,
        "a queue with jobs is paused for over a day, or has a global concurrency of 0",
        unpaged="somebody paused it; look in working hours whether it was forgotten",
    ),
    HealthCondition(
        "waiting_children_long",
        "bullmq",
        "medium",
        5,
        "a job waits for its children for over a day, as it does for ever after a child failed, unless that "
        "child's options say otherwise",
        unpaged="a flow may be long on purpose; look in working hours whether a child of it failed",
    ),
    HealthCondition(
        "queue_without_workers",
        "bullmq",
        "medium",
        5,
        "a queue has no worker for 10 minutes, and no job waits for one",
        "QueueWithoutWorkers",
    ),
    HealthCondition(
        "no_queue_found",
        "bullmq",
        "medium",
        15,
        "the search has ended and no queue was found",
        unpaged="a new deployment has no queue yet",
    ),
    HealthCondition(
        "failed_jobs_high",
        "bullmq",
        "medium",
        10,
        "over 50 jobs of all queues failed in the last hour",
        "HighFailedJobs",
    ),
    HealthCondition(
        "scheduler_late",
        "bullmq",
        "high",
        15,
        "a job scheduler or repeatable job should have run over 60 seconds ago, or has not run for two of "
        "its own intervals; not while its queue stands still or is paused, and at a rate limit or a global "
        "concurrency only once it is late by a whole interval",
        "SchedulerLate",
    ),
    HealthCondition(
        "scheduler_without_next",
        "bullmq",
        "high",
        15,
        "the job for the next run of a scheduler has not been there for 30 seconds, although neither its "
        "limit nor its end date is reached: it will never run again",
        "SchedulerWithoutNext",
    ),
    HealthCondition(
        "scheduler_duplicate",
        "bullmq",
        "medium",
        5,
        "two schedulers of a queue add jobs of the same name with the same data by the same schedule; "
        "repeatable jobs with the same name, data and id also by different ones, as a changed cron leaves "
        "the old one",
        unpaged="jobs run, more often than they are meant to",
    ),
    HealthCondition(
        "probe_failing",
        "probes",
        "medium",
        10,
        "an [endpoint of your own](probes.md) fails its probe",
        unpaged="how bad that is only the endpoint's owner knows; `oxherd_probe_success` is there for a rule",
    ),
    HealthCondition(
        "otlp_push_failing",
        "process",
        "medium",
        5,
        "the last two [pushes by OTLP](otlp.md) or more failed, or points of them were rejected",
        unpaged="what does not arrive is seen [at the other end](otlp.md#alerts); all figures here are right",
    ),
    HealthCondition(
        "source_unreadable",
        "host, process",
        "medium",
        5,
        "the host or the exporter's own process cannot be read",
        "OxherdCollectFailing",
    ),
)

CONDITION_TABLE: Final[Mapping[str, HealthCondition]] = {row.name: row for row in _ROWS}
"""Every condition by its name."""
