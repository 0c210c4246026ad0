"""The requests and responses of the monitoring actions, one model each. Units: bytes, seconds, and ratios
from 0 to 1; null: unknown."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import Field

from exporter.config.settings import IntervalMinutes
from exporter.jobs.views import MOST_REASONS
from exporter.views import MOST_SCHEDULERS
from service.api.envelope import Camel, CommandBody

Moment: TypeAlias = Annotated[float, Field(description="unix seconds")]


class Affected(Camel):
    subject: str = Field(description="a queue, a scheduler of one, a node, an endpoint")
    value: float = Field(description="in the unit of what was measured")
    prefix: str | None = Field(description="of the queue; null where it is not of a queue")
    queue: str | None


class Issue(Camel):
    name: str
    source: str
    title: str
    penalty: float = Field(description="points subtracted from the score")
    severity: Literal["critical", "high", "medium"]
    affected: list[Affected] = Field(description="the worst first; none where it is the whole source")
    measured: str
    threshold: str
    recommendation: str


class NotKnownYet(Camel):
    name: str
    known_in_seconds: float = Field(description="at the latest")


class Source(Camel):
    name: str
    state: Literal["ok", "partial", "failed", "off"]
    why: str
    seconds: float | None = Field(description="duration of the read")


class Probe(Camel):
    name: str
    known: bool = Field(description="false: not probed recently; the other fields are null")
    well: bool | None = None
    failure: str | None = None
    why: str | None = None
    status: int | None = None
    seconds: float | None = Field(None, description="response time of the last probe")
    average_seconds: float | None = Field(None, description="response time since the start")
    error_rate: float | None = Field(None, description="share of the probes since the start that failed")
    at: float | None = None
    certificate_expires: float | None = None


class Shard(Camel):
    """The part of the queues that this exporter has, where several divide them."""

    number: int = Field(description="from 1")
    shards: int = Field(description="into how many the queues are divided")


class HealthCheck(Camel):
    """`health_check`"""

    shard: Shard | None = Field(description="null where the exporter has all queues")
    score: float = Field(ge=0, le=100)
    status: Literal["healthy", "warning", "critical"]
    issues: list[Issue]
    not_known_yet: list[NotKnownYet] = Field(
        description="conditions that may be there: they may have begun before the exporter"
    )
    sources: list[Source]
    probes: list[Probe] | None
    taken_at: Moment


class Filesystem(Camel):
    mountpoint: str
    total_bytes: float
    available_bytes: float


class Disk(Camel):
    """Totals since boot."""

    device: str
    read_bytes: int
    written_bytes: int
    io_time_seconds: float | None


class Network(Camel):
    """Totals since boot."""

    device: str
    received_bytes: int
    transmitted_bytes: int
    receive_errors: int
    transmit_errors: int


class DiskRates(Camel):
    device: str
    read_bytes_per_second: float
    written_bytes_per_second: float
    busy: float | None = Field(description="share of the time, 0 to 1")


class NetworkRates(Camel):
    device: str
    received_bytes_per_second: float
    transmitted_bytes_per_second: float
    errors_per_second: float


class HostRates(Camel):
    seconds: float = Field(description="what the rates cover: up to a minute, or since the last reading")
    cpu: dict[str, float] = Field(description="share of all CPUs' time by mode: user, system, idle, ...")
    disks: list[DiskRates]
    networks: list[NetworkRates]


class Host(Camel):
    load: list[float] = Field(description="of 1, 5 and 15 minutes, of the whole machine")
    cpu_usage: float | None = Field(
        description="share of all CPUs' time, without idle and iowait; null at the first collection"
    )
    rates: HostRates | None = Field(description="null at the first collection")
    uptime_seconds: float
    memory_used_bytes: int
    disks: list[Disk]
    networks: list[Network]
    cpu_count: float = Field(description="cores that may be used, with fractions")
    machine_cores: int
    memory_total_bytes: int
    memory_available_bytes: int
    swap_used_bytes: int | None
    boot_time: Moment
    filesystems: list[Filesystem]
    cgroup_limited: bool


class Process(Camel):
    resident_bytes: int
    limit_bytes: int | None


class SystemMetrics(Camel):
    """`system_metrics`"""

    host: Host | None
    process: Process | None
    taken_at: Moment


class Links(Camel):
    """Links of a node to the other nodes that it knows."""

    up: int
    known: int


class Node(Camel):
    address: str
    role: str
    shard: str | None
    master: str | None
    up: bool
    healthy: bool
    why: str | None
    replication_lag_bytes: float | None
    master_link_up: bool | None = Field(description="null for a master")
    master_last_io_seconds: float | None
    connected_replicas: float | None
    slots: int | None = Field(description="null outside a cluster")
    cluster_state: str | None = Field(description="ok or fail, as this node sees it")
    cluster_links: Links | None = Field(description="null outside a cluster")
    uptime_seconds: float | None
    version: str | None


class Sentinel(Camel):
    master: str
    address: str | None
    status_ok: bool | None
    quorum_ok: bool | None
    sentinels: int | None
    replicas: int | None


class RedisCluster(Camel):
    """`redis_cluster`"""

    mode: str
    reachable: bool
    slots_covered: int | None
    sentinel: Sentinel | None
    failovers: dict[str, float] = Field(description="by shard or master, since the exporter's start")
    nodes: list[Node]
    taken_at: Moment


class NodeFigures(Camel):
    address: str
    role: str
    up: bool
    memory_used_bytes: float | None
    memory_max_bytes: float | None = Field(description="0: no limit")
    memory_peak_bytes: float | None
    memory_rss_bytes: float | None
    fragmentation_ratio: float | None = Field(description="resident / allocated memory")
    connected_clients: float | None
    blocked_clients: float | None = Field(description="in a blocking command, such as idle workers")
    max_clients: int | None
    rejected_connections: float | None
    operations_per_second: float | None
    commands_processed: float | None = Field(description="since the server's start, as all totals")
    keyspace_hits: float | None
    keyspace_misses: float | None
    hit_ratio: float | None
    keys: int | None = Field(description="of all databases")
    evicted_keys: float | None
    expired_keys: float | None
    input_bytes: float | None
    output_bytes: float | None
    input_bytes_per_second: float | None
    output_bytes_per_second: float | None


class RedisPerformance(Camel):
    """`redis_performance`"""

    nodes: list[NodeFigures]
    taken_at: Moment


class QueueRates(Camel):
    seconds: float = Field(description="length of the window")
    completed_per_minute: float | None = Field(description="null while events of the window are missing")
    failed_per_minute: float | None = Field(description="as completedPerMinute")
    error_rate: float | None = Field(description="as completedPerMinute, and null if no job ended")
    wait_average: float | None = Field(description="seconds")
    processing_average: float | None = Field(description="seconds")
    wait_p50: float | None = Field(description="seconds")
    wait_p95: float | None = Field(description="seconds")
    processing_p50: float | None = Field(description="seconds")
    processing_p95: float | None = Field(description="seconds")
    failed_last_hour: int
    lost_last_hour: int


class JobScheduler(Camel):
    id: str
    name: str = Field(description="of its jobs")
    every: float | None = Field(description="seconds between two runs; null: by `pattern`")
    pattern: str | None = Field(description="cron; null: by `every`")
    timezone: str | None
    next_run: Moment
    last_run: float | None = Field(description="unix seconds; null: not yet, or not known")
    lateness: float | None = Field(
        description="seconds since the next run was due, also in a paused queue; null: none is to come"
    )
    issue: Literal["scheduler_late", "scheduler_without_next"] | None = Field(
        description="the condition that it has, as `health_check` says; null: it is not late"
    )
    job: Literal["pending", "active", "gone", "over", "unknown"] = Field(
        description="of the next run; over: its limit or end date is reached"
    )
    iterations: int | None = Field(description="jobs that were added")
    limit: int | None = Field(description="of iterations")
    ends_at: float | None = Field(description="unix seconds")


class JobSchedulers(Camel):
    """Job schedulers and repeatable jobs of a queue."""

    count: int
    unread: int = Field(description="how many of them are not read")
    schedulers: list[JobScheduler] = Field(
        description=f"at most {MOST_SCHEDULERS}: those with an issue first, then those due for longest"
    )


class FailedReason(Camel):
    reason: str = Field(description="without what differs from job to job, and without secrets")
    jobs: int = Field(description="that failed for it since it is known")
    first: Moment
    last: Moment
    job: str = Field(description="id of the job that failed last for it")


class JobName(Camel):
    """Jobs of one name since the exporter first knew it; durations are of all of them, in seconds."""

    name: str = Field(
        description="with `#` for numbers and `<id>` for ids; `other`: all that have no place of their own; "
        "`unknown`: added before the exporter followed the queue"
    )
    added: int
    completed: int
    failed: int = Field(description="permanently")
    retried: int = Field(description="attempts after which the job is retried")
    wait_average: float | None
    wait_p95: float | None
    processing_average: float | None = Field(description="of an attempt, whatever its outcome")
    processing_p95: float | None
    processing_seconds: float = Field(description="of all attempts together")
    processing_share: float | None = Field(description="of the time that all attempts of the queue took")


class Queue(Camel):
    prefix: str
    name: str
    library: Literal["bullmq", "bull"]
    waiting: int | None
    active: int | None
    delayed: int | None
    prioritized: int | None
    waiting_children: int | None
    completed: int | None
    failed: int | None
    paused: bool | None
    failed_last_hour: int | None
    workers: int | None
    workers_unknown: str = Field(description="why `workers` is null")
    odd: list[str] = Field(description="parts that could not be read, which are null")
    oldest_waiting: float | None = Field(description="seconds that the oldest waiting job has waited")
    longest_active: float | None = Field(description="seconds that the longest running job has run")
    load_factor: float | None = Field(description="prioritized jobs included")
    worker_concurrency: float | None = Field(description="jobs that a worker runs at once, as set")
    measured_concurrency: float | None = Field(
        description="at least so many, as seen in the last hour while jobs waited"
    )
    worker_utilization: float | None = Field(
        description="active / (workers x their concurrency as set, else as measured)"
    )
    rates: QueueRates | None = Field(description="from the event stream; null if it is not followed")
    failed_reasons: list[FailedReason] | None = Field(
        description=f"why jobs failed: at most {MOST_REASONS}, the most frequent first; null: not counted"
    )
    job_names: list[JobName] | None = Field(
        description="those first that took most time; null: not counted by name"
    )
    job_schedulers: JobSchedulers | None = Field(description="null: it has none, or they are not read yet")


class Unread(Camel):
    prefix: str
    name: str
    why: str


class NamedQueue(Camel):
    prefix: str
    name: str


class LeftOutQueues(Camel):
    reason: Literal["max_queues", "name_length"] = Field(
        description="there are more than bullmq.max_queues, or prefix and name have over 512 bytes"
    )
    count: int
    at_least: bool = Field(description="true: there are more than are counted")
    first: list[NamedQueue] = Field(description="at most 5 of them; long names are cut")


class QueueSearch(Camel):
    prefixes: list[str] = Field(description="those that the search is narrowed to; empty: any prefix")
    keys: int | None = Field(description="keys that the last search went through")
    ended_at: float | None = Field(description="unix seconds when it ended; null: none has ended yet")
    passed_over: list[Unread] = Field(description="candidates that are not queues, at most 100, and why")
    refused: list[Unread] = Field(description="candidates that Redis does not let the exporter read")
    most_queues: int | None = Field(
        None, description="bullmq.max_queues: how many queues are watched at most"
    )
    left_out: list[LeftOutQueues] = Field(
        default_factory=list, description="queues that are there and not watched; empty: none"
    )


class Totals(Camel):
    waiting: int = Field(description="prioritized jobs included")
    active: int
    delayed: int
    completed: int
    failed: int


class QueueMetrics(Camel):
    """`queue_metrics`"""

    shard: Shard | None = Field(description="null where the exporter has all queues")
    up: bool
    discovered: bool = Field(description="false: the first search for queues has not ended yet")
    problems: list[str]
    unread: list[Unread]
    search: QueueSearch
    totals: Totals
    queues: list[Queue]
    taken_at: Moment


class Thread(Camel):
    name: str
    alive: bool
    age_seconds: float
    restarts: int


class MonitoringStatus(Camel):
    """`monitoring_status`; also the response to `start_monitoring` and `stop_monitoring`."""

    enabled: bool
    interval_minutes: float
    origin: Literal["settings", "api"] = Field(description="what set it last")
    since: Moment = Field(description="unix seconds when it was set, or when the process started")
    uptime_seconds: float
    version: str
    scaler: bool = Field(description="whether SCALER_URL is set")
    background: list[Thread]


class ScoreNow(Camel):
    score: float
    status: str
    issues: int


class RedisNow(Camel):
    mode: str
    reachable: bool
    nodes: int
    nodes_up: int


class QueuesNow(Camel):
    up: bool
    queues: int
    waiting: int = Field(description="prioritized jobs included")
    active: int
    failed: int


class Overall(Camel):
    """Without an action: the overall status."""

    version: str
    shard: Shard | None = Field(description="null where the exporter has all queues")
    uptime_seconds: float
    monitoring: bool
    health: ScoreNow | None
    redis: RedisNow | None
    queues: QueuesNow | None
    taken_at: float | None


class Collected(Camel):
    """`collect_metrics`"""

    score: float
    status: str
    summary: str = Field(description="the state as one sentence")
    taken_at: Moment


# --- bodies ----------------------------------------------------------------------------------------------


class StartMonitoring(CommandBody):
    """Enable monitoring, optionally with another interval."""

    action: Literal["start_monitoring"]
    interval_minutes: IntervalMinutes | None = Field(None, description="minutes between assessments")


class StopMonitoring(CommandBody):
    """Disable monitoring until it is started again; /metrics reports that."""

    action: Literal["stop_monitoring"]


class CollectMetrics(CommandBody):
    """Collect and assess once, now."""

    action: Literal["collect_metrics"]


class Forwarded(CommandBody):
    """Forwarded unchanged to the scaler, whose own OpenAPI description has its fields."""

    action: Literal[
        "start_autoscaling",
        "stop_autoscaling",
        "manual_scale",
        "automatic_scale",
        "pause_scaling",
        "update_scaling_config",
        "reset_scaling_config",
    ]
    model_config = CommandBody.model_config | {"extra": "allow"}


AnyData: TypeAlias = dict[str, Any]
"""The response of the scaler."""
