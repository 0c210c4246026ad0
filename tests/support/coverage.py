"""Every figure of the user's document, and where each interface shows it.

docs/coverage.md is written from it (tests/support/coverage_page.py); a test reads every cell from a real
exporter and a real scaler.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Row:
    """`series` by name; `api` as "action path" with [] for each item of a list; `page` as "table: title" of a
    column or row, or "part: words" of a text; `command` as "command: title" or "command: words". `why` says
    why an interface has none."""

    id: str
    figure: str
    series: tuple[str, ...] = ()
    api: tuple[str, ...] = ()
    page: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    why: str = ""


def _node(figure: str, series: tuple[str, ...], field: str, page: str, command: str, row: str = "M1") -> Row:
    action = "redis_performance" if row == "M1" else "redis_cluster"
    return Row(row, figure, series, (f"{action} nodes[].{field}",), (page,), (f"monitor redis: {command}",))


def _jobs(state: str, title: str, column: str, field: str = "") -> Row:
    return Row(
        "M3",
        f"jobs {state}",
        (f'bullmq_job_count{{state="{state}"}}',),
        (f"queue_metrics queues[].{field or state}",),
        (f"queues: {title}",),
        (f"monitor queues: {column}",),
    )


def _rate(figure: str, series: tuple[str, ...], fields: tuple[str, ...], page: str, column: str) -> Row:
    return Row(
        "M3",
        figure,
        series,
        tuple(f"queue_metrics queues[].rates.{field}" for field in fields),
        (f"queues: {page}",),
        (f"monitor queues: {column}",),
    )


def _host(figure: str, series: tuple[str, ...], fields: tuple[str, ...], title: str, name: str) -> Row:
    return Row(
        "M4",
        figure,
        series,
        tuple(f"system_metrics host.{field}" for field in fields),
        (f"host: {title}",),
        (f"monitor status: {name}",),
    )


_POLICY: Final = "scaling_status targets[].settings."
_ONE_LINE: Final = "The page and the commands show whether it is so, not the setting."

FIGURES: Final[tuple[Row, ...]] = (
    Row(
        "M1",
        "connection status",
        ("redis_up",),
        ("redis_performance nodes[].up", "redis_cluster reachable"),
        ("redis: State",),
        ("monitor redis: state",),
    ),
    _node("memory used", ("redis_memory_used_bytes",), "memoryUsedBytes", "redis: Memory", "memory"),
    _node("memory max", ("redis_memory_max_bytes",), "memoryMaxBytes", "performance: Max", "max"),
    _node("memory peak", ("redis_memory_used_peak_bytes",), "memoryPeakBytes", "performance: Peak", "peak"),
    _node(
        "memory rss", ("redis_memory_used_rss_bytes",), "memoryRssBytes", "performance: Resident", "resident"
    ),
    _node(
        "memory fragmentation",
        ("redis_mem_fragmentation_ratio",),
        "fragmentationRatio",
        "performance: Fragm.",
        "fragm.",
    ),
    _node("clients connected", ("redis_connected_clients",), "connectedClients", "redis: Clients", "clients"),
    _node("clients blocked", ("redis_blocked_clients",), "blockedClients", "performance: Blocked", "blocked"),
    _node(
        "commands per second",
        ("redis_commands_processed_total",),
        "operationsPerSecond",
        "redis: Commands/s",
        "ops/s",
    ),
    Row(
        "M1",
        "keyspace hits and misses (hit rate)",
        ("redis_keyspace_hits_total", "redis_keyspace_misses_total"),
        tuple(
            f"redis_performance nodes[].{field}" for field in ("keyspaceHits", "keyspaceMisses", "hitRatio")
        ),
        ("redis: Hit rate",),
        ("monitor redis: hits",),
    ),
    _node("keys", ("redis_db_keys",), "keys", "performance: Keys", "keys"),
    _node("evictions", ("redis_evicted_keys_total",), "evictedKeys", "performance: Evicted", "evicted"),
    _node("expirations", ("redis_expired_keys_total",), "expiredKeys", "performance: Expired", "expired"),
    _node("bytes in", ("redis_net_input_bytes_total",), "inputBytesPerSecond", "performance: In", "in"),
    _node("bytes out", ("redis_net_output_bytes_total",), "outputBytesPerSecond", "performance: Out", "out"),
    _node("node health", ("redis_cluster_node_healthy",), "healthy", "redis: State", "state", "M2"),
    _node("role", ("redis_cluster_node_role",), "role", "redis: Role", "role", "M2"),
    Row(
        "M2",
        "master of a replica",
        ("redis_cluster_replication_lag_bytes",),
        ("redis_cluster nodes[].master", "redis_cluster nodes[].shard"),
        ("part redis: ↳",),
        ("monitor redis: shard",),
    ),
    Row(
        "M2",
        "slots covered",
        ("redis_cluster_slots_covered", "redis_cluster_slots_assigned"),
        ("redis_cluster slotsCovered", "redis_cluster nodes[].slots"),
        ("part redis: slots covered", "performance: Slots"),
        ("monitor redis: slots covered",),
    ),
    Row(
        "M2",
        "links",
        ("redis_master_link_up", "redis_cluster_known_nodes"),
        ("redis_cluster nodes[].clusterLinks.up", "redis_cluster nodes[].masterLinkUp"),
        ("performance: Links",),
        ("monitor redis: links",),
    ),
    _node(
        "replication lag",
        ("redis_cluster_replication_lag_bytes",),
        "replicationLagBytes",
        "redis: Lag",
        "lag",
        "M2",
    ),
    Row(
        "M2",
        "failovers",
        ("redis_cluster_failovers_total",),
        ("redis_cluster failovers.*",),
        ("part redis: failovers",),
        ("monitor redis: failovers",),
    ),
    _jobs("waiting", "Waiting", "waiting"),
    _jobs("active", "Active", "active"),
    _jobs("delayed", "Delayed", "delayed"),
    _jobs("prioritized", "Prioritized", "prioritized"),
    _jobs("waiting-children", "Children", "children", "waitingChildren"),
    _jobs("completed", "Completed", "completed"),
    _jobs("failed", "Failed", "failed"),
    Row(
        "M3",
        "paused",
        ("bullmq_queue_paused",),
        ("queue_metrics queues[].paused",),
        ("part queues: paused",),
        ("monitor queues: (paused)",),
    ),
    Row(
        "M3",
        "workers",
        ("bullmq_queue_workers",),
        ("queue_metrics queues[].workers",),
        ("queues: Workers",),
        ("monitor queues: workers",),
    ),
    _rate(
        "throughput",
        ("bullmq_job_completed_total", "bullmq_job_failed_total"),
        ("completedPerMinute", "failedPerMinute"),
        "Done/min",
        "done/min",
    ),
    _rate("error rate", ("bullmq_job_failed_total",), ("errorRate",), "Errors", "errors"),
    _rate(
        "wait time, average",
        ("bullmq_job_wait_seconds_sum", "bullmq_job_wait_seconds_count"),
        ("waitAverage",),
        "Wait, avg",
        "wait avg",
    ),
    _rate("wait time, p95", ("bullmq_job_wait_seconds_bucket",), ("waitP95",), "Wait, p95", "wait p95"),
    _rate(
        "processing time, average",
        ("bullmq_job_processing_seconds_sum", "bullmq_job_processing_seconds_count"),
        ("processingAverage",),
        "Run, avg",
        "run avg",
    ),
    _rate(
        "processing time, p95",
        ("bullmq_job_processing_seconds_bucket",),
        ("processingP95",),
        "Run, p95",
        "run p95",
    ),
    _host("CPU", ("host_cpu_seconds_total",), ("cpuUsage", "rates.cpu.user"), "CPU", "CPU"),
    _host("load", ("host_load1", "host_load5", "host_load15"), ("load[]", "machineCores"), "Load", "load"),
    _host(
        "memory",
        ("host_memory_total_bytes", "host_memory_available_bytes", "host_memory_used_bytes"),
        ("memoryTotalBytes", "memoryAvailableBytes", "memoryUsedBytes"),
        "Memory",
        "memory",
    ),
    _host(
        "disk space",
        ("host_filesystem_size_bytes", "host_filesystem_avail_bytes"),
        ("filesystems[].totalBytes", "filesystems[].availableBytes"),
        "Space /",
        "space /",
    ),
    _host(
        "disk I/O",
        ("host_disk_read_bytes_total", "host_disk_written_bytes_total", "host_disk_io_time_seconds_total"),
        (
            "disks[].readBytes",
            "rates.disks[].readBytesPerSecond",
            "rates.disks[].writtenBytesPerSecond",
            "rates.disks[].busy",
        ),
        "Disk",
        "disk",
    ),
    _host(
        "network",
        ("host_network_receive_bytes_total", "host_network_transmit_bytes_total"),
        (
            "networks[].receivedBytes",
            "rates.networks[].receivedBytesPerSecond",
            "rates.networks[].transmittedBytesPerSecond",
        ),
        "Network",
        "network",
    ),
    _host("uptime", ("host_boot_time_seconds",), ("uptimeSeconds", "bootTime"), "Uptime", "uptime"),
    Row(
        "M4",
        "the process itself",
        ("process_resident_memory_bytes",),
        ("system_metrics process.residentBytes",),
        ("part sources: process",),
        ("monitor status: process",),
    ),
    Row(
        "M5",
        "response time of your endpoints",
        ("oxherd_probe_duration_seconds_sum",),
        ("health_check probes[].seconds", "health_check probes[].averageSeconds"),
        ("probes: Response",),
        ("monitor status: response",),
    ),
    Row(
        "M5",
        "availability of your endpoints",
        ("oxherd_probe_success",),
        ("health_check probes[].well",),
        ("probes: State",),
        ("monitor status: endpoint",),
    ),
    Row(
        "M5",
        "error rate of your endpoints",
        ("oxherd_probe_failures_total",),
        ("health_check probes[].errorRate",),
        ("probes: Errors",),
        ("monitor status: errors",),
    ),
    Row(
        "M5",
        "Redis and queue probes",
        ("oxherd_collect_success", "oxherd_collect_duration_seconds", "bullmq_up"),
        ("health_check sources[].state", "health_check sources[].seconds", "queue_metrics up"),
        ("sources: Took",),
        ("monitor status: took",),
    ),
    Row(
        "M6",
        "health score and its band",
        ("oxherd_health_score", "oxherd_health_status"),
        ("health_check score", "health_check status"),
        ("part state: of 100",),
        ("monitor health: warning",),
    ),
    Row(
        "M6",
        "issues with recommendations",
        ("oxherd_health_penalty", "oxherd_issue"),
        (
            "health_check issues[].title",
            "health_check issues[].recommendation",
            "health_check issues[].penalty",
        ),
        ("part state: threshold",),
        ("monitor health: threshold",),
    ),
    Row(
        "M7",
        "interval and switch of monitoring",
        ("oxherd_monitoring_enabled",),
        ("monitoring_status enabled", "monitoring_status intervalMinutes"),
        why=_ONE_LINE,
    ),
    Row(
        "S1",
        "load factor of a queue",
        ("bullmq_queue_load_factor",),
        ("queue_metrics queues[].loadFactor",),
        ("queues: Load",),
        ("monitor queues: load",),
    ),
    Row(
        "S1",
        "load factor of a target",
        ("oxherd_scaler_load_factor",),
        ("scaling_metrics targets[].loadFactor",),
        ("scaling: Load",),
        ("scaling status: load",),
    ),
    Row(
        "S2",
        "policy",
        ("oxherd_scaler_min_replicas", "oxherd_scaler_max_replicas"),
        (
            *(_POLICY + key for key in ("minWorkers", "maxWorkers", "targetWaitingJobs", "scaleUpThreshold")),
            *(_POLICY + key for key in ("scaleDownThreshold", "cooldownSeconds", "enabled")),
        ),
        (),
        ("scaling status: bounds",),
        why="The page shows what a policy decides.",
    ),
    Row(
        "S3",
        "decision",
        ("oxherd_scaler_desired_replicas", "oxherd_scaler_current_replicas"),
        ("scaling_status targets[].desired", "scaling_status targets[].sentence"),
        ("scaling: Desired", "scaling: Reason"),
        ("scaling status: workers", "scaling status: last decision"),
    ),
    Row(
        "S4",
        "manual scaling",
        ("oxherd_scaler_override_replicas",),
        ("scaling_status targets[].override.workers", "scaling_status targets[].override.reason"),
        ("part scaling: override",),
        ("scaling status: a launch",),
    ),
    Row(
        "S5",
        "worker utilization",
        ("bullmq_queue_worker_utilization", "bullmq_queue_worker_concurrency"),
        ("queue_metrics queues[].workerUtilization", "scaling_metrics targets[].workerUtilization"),
        ("queues: Utilization", "scaling: Utilization"),
        ("monitor queues: util", "scaling status: util"),
    ),
    Row(
        "S5",
        "throughput, jobs per minute",
        ("bullmq_job_completed_total", "bullmq_job_failed_total"),
        (
            "queue_metrics queues[].rates.completedPerMinute",
            "scaling_metrics targets[].activity.jobsPerMinute",
        ),
        ("queues: Done/min", "scaling: Done/min"),
        ("monitor queues: done/min", "scaling status: jobs/min"),
    ),
    Row(
        "S5",
        "response time, average processing time",
        ("bullmq_job_processing_seconds_sum", "bullmq_job_processing_seconds_count"),
        (
            "queue_metrics queues[].rates.processingAverage",
            "scaling_metrics targets[].activity.processingSeconds",
        ),
        ("queues: Run, avg", "scaling: Run, avg"),
        ("monitor queues: run avg", "scaling status: run avg"),
    ),
    Row(
        "S6",
        "interval and switch of scaling",
        ("oxherd_scaler_enabled",),
        ("scaling_status enabled", "scaling_status intervalSeconds"),
        why=_ONE_LINE,
    ),
)

COMMANDS: Final[Mapping[str, tuple[str, ...]]] = {
    "monitor": ("start", "status", "health", "redis", "queues"),
    "scaling": ("start", "status", "manual"),
}
QUERIES: Final = (
    *("health_check", "system_metrics", "redis_cluster", "redis_performance", "queue_metrics"),
    *("scaling_status", "scaling_metrics", "monitoring_status"),
)
ACTIONS: Final = (
    *("start_monitoring", "stop_monitoring", "start_autoscaling", "stop_autoscaling", "manual_scale"),
    *("update_scaling_config", "collect_metrics"),
)
VARIABLES: Final = (
    *("ENABLE_SYSTEM_MONITORING", "ENABLE_AUTO_SCALING", "CRON_API_KEY", "MONITORING_INTERVAL_MINUTES"),
    *("SCALING_INTERVAL_MINUTES", "REDIS_USE_CLUSTER", "REDIS_CLUSTER_HOST_n", "REDIS_CLUSTER_PORT_n"),
    "REDIS_PASSWORD",
)
