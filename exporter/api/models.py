"""The requests and responses of the monitoring actions, one model each. Units: bytes, seconds, and ratios
from 0 to 1; null: unknown."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import Field

from service.api.envelope import Camel, CommandBody

Moment: TypeAlias = Annotated[float, Field(description="unix seconds")]


class Issue(Camel):
    name: str
    source: str
    title: str
    penalty: float = Field(description="points subtracted from the score")
    measured: str
    threshold: str
    recommendation: str


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
    at: float | None = None
    certificate_expires: float | None = None


class HealthCheck(Camel):
    """`health_check`"""

    score: float = Field(ge=0, le=100)
    status: Literal["healthy", "warning", "critical"]
    issues: list[Issue]
    sources: list[Source]
    probes: list[Probe] | None
    taken_at: Moment


class Filesystem(Camel):
    mountpoint: str
    total_bytes: float
    available_bytes: float


class Host(Camel):
    load: list[float] = Field(description="of 1, 5 and 15 minutes, of the whole machine")
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


class Node(Camel):
    address: str
    role: str
    shard: str | None
    master: str | None
    up: bool
    healthy: bool
    why: str | None
    replication_lag_bytes: float | None
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
    connected_clients: float | None
    operations_per_second: float | None
    keyspace_hits: float | None
    keyspace_misses: float | None
    hit_ratio: float | None
    evicted_keys: float | None


class RedisPerformance(Camel):
    """`redis_performance`"""

    nodes: list[NodeFigures]
    taken_at: Moment


class QueueRates(Camel):
    seconds: float = Field(description="length of the window")
    completed_per_minute: float | None = Field(description="null while events of the window are missing")
    failed_per_minute: float | None = Field(description="as completedPerMinute")
    error_rate: float | None = Field(description="as completedPerMinute, and null if no job ended")
    wait_p50: float | None = Field(description="seconds")
    wait_p95: float | None = Field(description="seconds")
    processing_p50: float | None = Field(description="seconds")
    processing_p95: float | None = Field(description="seconds")
    failed_last_hour: int
    lost_last_hour: int


class Queue(Camel):
    prefix: str
    name: str
    waiting: int
    active: int
    delayed: int
    prioritized: int
    waiting_children: int
    completed: int
    failed: int
    paused: bool
    failed_last_hour: int
    workers: int | None
    oldest_waiting: float | None = Field(description="seconds that the oldest waiting job has waited")
    longest_active: float | None = Field(description="seconds that the longest running job has run")
    load_factor: float | None = Field(description="prioritized jobs included")
    worker_utilization: float | None
    rates: QueueRates | None = Field(description="from the event stream; null if it is not followed")


class Unread(Camel):
    prefix: str
    name: str
    why: str


class Totals(Camel):
    waiting: int = Field(description="prioritized jobs included")
    active: int
    delayed: int
    completed: int
    failed: int


class QueueMetrics(Camel):
    """`queue_metrics`"""

    up: bool
    discovered: bool = Field(description="false: the first search for queues has not ended yet")
    problems: list[str]
    unread: list[Unread]
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
    interval_minutes: float | None = Field(None, gt=0, le=1440, description="minutes between assessments")


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
