"""The exporter's settings: one model for environment, file, documentation and JSON Schema."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Annotated, Any, Final, Literal, TypeAlias

from pydantic import AfterValidator, Field, SecretStr, create_model
from pydantic.fields import FieldInfo

from exporter.condition_table import CONDITION_TABLE
from exporter.config.memory import MemorySettings
from exporter.config.otlp import OtlpSettings
from exporter.config.shard import QueueShard, check_shard, parse_shard
from service.api.settings import ApiSettings
from service.config.model import (
    MOST_JOBS_AT_ONCE,
    MOST_JOBS_COUNTED,
    MOST_TIMES,
    YEAR_SECONDS,
    LogSettings,
    Model,
)
from service.web.settings import WebSettings

DAY_SECONDS: Final = 86_400
MOST_JOB_NAMES: Final = 100
"""With series of their own, of a queue."""
_MOST_BYTES: Final = 1 << 50
_MOST_DATABASES: Final = 1_000_000

IntervalMinutes: TypeAlias = Annotated[float, Field(ge=0.02, le=1440)]
"""Between two assessments, in the settings and in an order: from about a second to a day."""


class TlsSettings(Model):
    """TLS to Redis. `rediss://` in REDIS_URL enables it too."""

    enabled: bool = Field(False, description="use TLS to every node; a rediss:// URL enables it too")
    ca_file: str | None = Field(
        None, description="CA bundle for the servers' certificates; the system's if absent"
    )
    cert_file: str | None = Field(None, description="client certificate")
    key_file: str | None = Field(None, description="client key")
    server_name: str | None = Field(None, description="name expected in the servers' certificates (SNI)")
    verify: bool = Field(True, description="verify the servers' certificates; false only for a test")


class RedisSettings(Model):
    """One deployment: a URL, or cluster seeds, or sentinels. Any reachable node leads to all others."""

    name: str | None = Field(
        None,
        min_length=1,
        max_length=100,
        description="name of the deployment, the same at all of its exporters; absent: an id of its nodes",
    )
    url: SecretStr | None = Field(
        None,
        description="redis:// or rediss:// host:port of any node, or unix:///path/of/socket; /1 or ?db=1 at "
        "its end is the database",
    )
    host: str | None = Field(
        None,
        description="host or host:port of any node, or the path of a unix socket; read where neither url nor "
        "cluster nor sentinels are set",
    )
    port: int | None = Field(None, ge=1, le=65535, description="port of `host`; 6379 if absent")
    url_file: str | None = Field(
        None, description="file with the URL; its user and password are read again when the file changes"
    )
    cluster: tuple[str, ...] = Field((), description="host:port of some cluster nodes")
    sentinels: tuple[str, ...] = Field((), description="host:port of the sentinels")
    sentinel_master: str = Field("mymaster", description="name of the master in the sentinels")
    sentinel_username: str | None = Field(None, description="user for the sentinels, if they require one")
    sentinel_password: SecretStr | None = Field(None, description="password for the sentinels")
    sentinel_password_file: str | None = Field(
        None, description="file with the password for the sentinels, read again when it changes"
    )
    username: str | None = Field(None, description="user for the nodes; the default user if absent")
    password: SecretStr | None = Field(None, description="password for the nodes")
    password_file: str | None = Field(
        None, description="file with the password for the nodes, read again when it changes"
    )
    database: int = Field(
        0,
        ge=0,
        le=_MOST_DATABASES,
        description="database number, standalone and Sentinel only; one in the URL counts first",
    )
    tls: TlsSettings = TlsSettings()
    address_map: dict[str, str] = Field(
        default_factory=dict,
        description="announced host:port or host -> host:port or host to connect to (NAT)",
    )
    timeout_seconds: float = Field(
        2.0,
        ge=0.01,
        le=60,
        description="time-out in seconds for one request to a node; a collection of many queues has several",
    )
    resolve_interval_seconds: float = Field(
        60.0,
        ge=1,
        le=DAY_SECONDS,
        description="seconds between two look-ups of the host names that connections were made to: a "
        "connection to a server that its name does not lead to any more is replaced",
    )
    reconnect_interval_seconds: float = Field(
        300.0,
        ge=1,
        le=DAY_SECONDS,
        description="seconds after which a connection is made again, as behind the address of a Service or a "
        "load balancer there may be another server; if that fails, the old connection stays",
    )
    background_ratio: float | None = Field(
        None,
        gt=0,
        le=1,
        description="share of a core of each node that the exporter may use between collections, to find "
        "queues, follow their events, read schedulers and measure memory; above it this slows down, up to "
        "ten times. Not limited by default: of a busy node, and of one far away, more is measured than is "
        "used",
    )


class QueueSettings(Model):
    """Facts that Redis does not have about the queues whose name matches `match`; the first match counts."""

    match: str = Field(description="glob pattern for the queue's name")
    capacity_per_worker: float | None = Field(
        None,
        gt=0,
        le=MOST_JOBS_AT_ONCE,
        description="jobs that count as the full load of one worker of these queues; if absent "
        "bullmq.capacity_per_worker where that is set, else worker_concurrency, or 10",
    )
    worker_concurrency: int | None = Field(
        None, ge=1, le=MOST_JOBS_AT_ONCE, description="jobs that one worker processes at the same time"
    )
    job_names: int | None = Field(
        None, ge=0, le=MOST_JOB_NAMES, description="as bullmq.job_names, for these queues"
    )


class SchedulerSettings(Model):
    """Job schedulers and repeatable jobs, which are read in the background."""

    enabled: bool = Field(True, description="read when they run next, and whether the job for it is there")
    interval_seconds: float = Field(
        10.0,
        ge=1,
        le=300,
        description="seconds between two reads; longer where a read takes over a twentieth of it",
    )
    per_queue: int = Field(
        1000, ge=1, le=10_000, description="schedulers of a queue that are read: those that run next"
    )
    series_per_queue: int = Field(
        100,
        ge=0,
        le=1000,
        description="schedulers of a queue with series of their own, by their ids; of a queue with more than "
        "`per_queue` none have",
    )
    changed_repeatables: bool = Field(
        True,
        description="two repeatable jobs of one name, id and data with different schedules are duplicates, "
        "as a changed cron leaves the old one; false where both are meant",
    )


LONGEST_NAME: Final = 512
"""Bytes of a queue's prefix and name together. A longer name is left out whole: one that is cut in a label
would be another queue's to the scaler, the API and whoever looks for it in Redis."""


class BullMQSettings(Model):
    prefixes: tuple[str, ...] = Field(
        (), description="key prefixes of the queues; absent: queues are found under any prefix"
    )
    queues: tuple[str, ...] = Field(
        (),
        description="names or glob patterns; names are known immediately, patterns filter the discovered "
        "queues",
    )
    max_queues: int = Field(
        12_000,
        ge=1,
        le=1_000_000,
        description="queues that are watched at most: those that `queues` names, then those that were found "
        "first; the rest is counted and told. The default fits 512 MB of memory; of several shards each has "
        "its own",
    )
    scan: bool = Field(True, description="discover queues by a rate-limited SCAN in the background")
    scan_calls_per_second: float = Field(
        20.0,
        ge=0.1,
        le=1000,
        description="SCAN calls per second in all, 1,000 keys each: about 0.6 ms of Redis' time per call; "
        "the first search makes ten times as many on each master",
    )
    discovery_interval_seconds: float = Field(
        10.0, ge=1, le=3600, description="seconds between two reads of CLIENT LIST"
    )
    rescan_interval_seconds: float = Field(
        60.0,
        ge=1,
        le=DAY_SECONDS,
        description="seconds from the end of one SCAN to the start of the next",
    )
    events: bool = Field(
        True, description="follow the queues' event streams: exact counters, wait and processing times"
    )
    state_file: str | None = Field(
        None,
        description="file for the read positions of the streams: counters then continue after a restart; "
        "absent: they begin at 0",
    )
    event_buckets: tuple[Annotated[float, Field(gt=0, le=YEAR_SECONDS)], ...] = Field(
        (0.005, 0.025, 0.1, 0.25, 1.0, 2.5, 10.0, 60.0, 300.0),
        min_length=1,
        max_length=50,
        description="upper bounds of the wait and processing histograms, in seconds, ascending",
    )
    histograms: Literal["classic", "native", "both"] = Field(
        "classic",
        description="form of the wait and processing histograms where Prometheus asks for protobuf: classic "
        "buckets as in text; native ones, which are one series a histogram and need no bounds; or both. Text "
        "always has classic ones",
    )
    failed_reasons: int = Field(
        10,
        ge=0,
        le=50,
        description="reasons for which jobs of a queue fail that have a series of their own, without what "
        "differs from job to job and what may be a secret; all others count as one; 0: none is looked at",
    )
    max_failed_reasons: int = Field(
        500, ge=1, le=10_000, description="such series of all queues together: those that came first"
    )
    job_names: int = Field(
        20,
        ge=0,
        le=MOST_JOB_NAMES,
        description="names of jobs of a queue that have series of their own, without ids and numbers; all "
        "others count as one; 0: none is looked at",
    )
    max_job_names: int = Field(
        500, ge=1, le=10_000, description="such names of all queues together: those that came first"
    )
    capacity_per_worker: float = Field(
        10.0, gt=0, le=MOST_JOBS_AT_ONCE, description="jobs that count as the full load of one worker"
    )
    schedulers: SchedulerSettings = SchedulerSettings()
    memory: MemorySettings = MemorySettings()
    settings: tuple[QueueSettings, ...] = Field((), description="settings for some of the queues")

    def job_names_of(self, queue: str) -> int:
        """How many names of jobs of this queue may have series of their own."""
        rule = next((rule for rule in self.settings if fnmatchcase(queue, rule.match)), None)
        return self.job_names if rule is None or rule.job_names is None else rule.job_names


class HostSettings(Model):
    enabled: bool = Field(True, description="false if node_exporter already monitors the machine")


class WorkThresholds(Model):
    """Thresholds of the conditions of work, each for one queue."""

    no_worker_seconds: float = Field(
        60.0,
        gt=0,
        le=YEAR_SECONDS,
        description="seconds for which jobs could be taken while no worker is known",
    )
    no_start_seconds: float = Field(
        600.0,
        gt=0,
        le=YEAR_SECONDS,
        description="seconds for which jobs could be taken, and none is active or was started",
    )
    wait_seconds: float | None = Field(
        None, gt=0, le=YEAR_SECONDS, description="seconds that the oldest job may wait; absent: any time"
    )
    delayed_overdue_seconds: float = Field(
        60.0,
        gt=0,
        le=YEAR_SECONDS,
        description="seconds for which a delayed job may be due while others are started",
    )
    no_lock_seconds: float = Field(
        60.0,
        gt=0,
        le=YEAR_SECONDS,
        description="seconds for which an active job may have no lock: the workers' lockDuration and "
        "stalledInterval together",
    )
    active_ratio: float = Field(
        10.0,
        ge=1,
        le=MOST_TIMES,
        description="time for which a job is active / the time that 99 % of the queue's jobs need",
    )
    active_seconds: float = Field(
        300.0,
        gt=0,
        le=YEAR_SECONDS,
        description="seconds for which any job may be active, whatever the others need",
    )
    stalled_jobs: int = Field(
        1, ge=0, le=MOST_JOBS_COUNTED, description="jobs of a queue that stalled in the last hour"
    )
    failed_ratio: float = Field(
        0.25, gt=0, le=1, description="failed / ended jobs of the last hour; also of all queues together"
    )
    failed_ratio_jobs: int = Field(
        20,
        ge=1,
        le=MOST_JOBS_COUNTED,
        description="ended jobs of the last hour, below which failed_ratio does not count",
    )
    paused_seconds: float = Field(
        86_400.0, gt=0, le=YEAR_SECONDS, description="seconds for which a queue with jobs may be paused"
    )
    waiting_children_seconds: float = Field(
        86_400.0, gt=0, le=YEAR_SECONDS, description="seconds for which a job may wait for its children"
    )
    without_workers_seconds: float = Field(
        600.0, gt=0, le=YEAR_SECONDS, description="seconds for which a queue without jobs may have no worker"
    )
    scheduler_late_seconds: float = Field(
        60.0, gt=0, le=YEAR_SECONDS, description="seconds after its next run at which a job scheduler is late"
    )
    scheduler_missing_seconds: float = Field(
        30.0,
        ge=0,
        le=YEAR_SECONDS,
        description="seconds for which the job of a scheduler's next run has been missing",
    )


def _has_closed_sets(pattern: str) -> str:
    """A glob pattern. Raises ValueError for a [ without its ], which would only match itself."""
    rest = pattern
    while "[" in rest:
        rest = rest.partition("[")[2]
        # A ] that comes first is a member of the set, also after the ! of a negation.
        members = rest.removeprefix("!")
        end = members.find("]", 1)
        if end < 0:
            raise ValueError("a [ has no ]: write [[] for the character")
        rest = members[end + 1 :]
    return pattern


_OF_QUEUES: Final[dict[str, Any]] = {
    "match": (
        Annotated[str, AfterValidator(_has_closed_sets)],
        Field(min_length=1, description="glob pattern for the queue's name; the first match counts"),
    ),
    "excluded": (
        bool,
        Field(
            False,
            description="true: no condition of work concerns these queues, as where no worker is meant to be",
        ),
    ),
} | {
    name: (field.annotation | None, FieldInfo.merge_field_infos(field, default=None))  # type: ignore[operator]
    for name, field in WorkThresholds.model_fields.items()
}


class QueueHealth(create_model("QueueThresholds", __base__=Model, **_OF_QUEUES)):  # type: ignore[misc]
    """Thresholds of the queues whose name matches `match`; what is absent is as in `health.thresholds`."""


def _are_different(queues: tuple[QueueHealth, ...]) -> tuple[QueueHealth, ...]:
    """Raises ValueError for a pattern that is there before: only the first would count."""
    patterns = [queue.match for queue in queues]
    twice = next((pattern for pattern in patterns if patterns.count(pattern) > 1), None)
    if twice is not None:
        raise ValueError(f"the pattern {twice!r} is there twice; only the first would count")
    return queues


class Thresholds(WorkThresholds):
    """Thresholds at which a measurement becomes an issue."""

    redis_memory_ratio: float = Field(0.8, gt=0, le=1, description="used / maxmemory, or / the host's memory")
    redis_clients_ratio: float = Field(0.9, gt=0, le=1, description="connected clients / maxclients")
    redis_recent_seconds: float = Field(
        300.0,
        gt=0,
        le=300,
        description="seconds for which refused writes that went on for a minute, rejected connections and "
        "disconnected clients count after they were last seen",
    )
    redis_unsaved_seconds: float = Field(
        7200.0,
        gt=0,
        le=YEAR_SECONDS,
        description="seconds since the last save of a shard without an append-only file",
    )
    replication_lag_bytes: int = Field(
        64 << 20,
        gt=0,
        le=_MOST_BYTES,
        description="bytes that a linked replica lacks; the default is the soft limit of Redis for a replica",
    )
    clock_offset_seconds: float = Field(
        5.0,
        gt=0,
        le=YEAR_SECONDS,
        description="seconds between the clocks of a Redis node and of the exporter",
    )
    failed_jobs: int = Field(
        50, ge=0, le=MOST_JOBS_COUNTED, description="jobs of all queues that failed in the last hour"
    )
    host_memory_available_ratio: float = Field(
        0.1, ge=0, le=1, description="available / total memory, below which the host is low on memory"
    )
    host_load_per_core: float = Field(
        2.0, gt=0, le=MOST_TIMES, description="1-minute load per core of the machine"
    )
    process_memory_ratio: float = Field(
        0.9, gt=0, le=1, description="resident memory of the exporter / its memory limit"
    )
    process_memory_bytes: int = Field(
        1 << 30, gt=0, le=_MOST_BYTES, description="memory limit in bytes, if the system sets none"
    )


Points: TypeAlias = Annotated[float, Field(ge=0, le=100)]


_POINTS: Final[dict[str, Any]] = {
    row.name: (Points, Field(row.points, description=row.present_when)) for row in CONDITION_TABLE.values()
}


class Penalties(create_model("Points", __base__=Model, **_POINTS)):  # type: ignore[misc]
    """Points that an issue subtracts from 100, by the name of its condition in the table."""


class HealthSettings(Model):
    thresholds: Thresholds = Thresholds()
    penalties: Penalties = Penalties()
    queues: Annotated[tuple[QueueHealth, ...], AfterValidator(_are_different)] = Field(
        (), description="other thresholds for some of the queues, or none"
    )


class ProbeSettings(Model):
    """One of your own endpoints, which is probed at an interval."""

    name: str = Field(
        pattern=r"^[A-Za-z0-9_.-]{1,63}$", description="name of the probe in series and commands"
    )
    url: str = Field(
        pattern=r"^((http|https)://[^@/?#\s]+([/?]\S*)?|tcp://[^@/?#\s]+:\d+)$",
        description="http://, https:// or tcp://host:port, without user and password",
    )
    method: Literal["GET", "HEAD", "POST", "OPTIONS"] = Field("GET", description="HTTP method")
    expect_status: tuple[str, ...] = Field(
        ("2xx",), min_length=1, description="accepted status codes or classes, such as 204 or 2xx"
    )
    expect_body: str | None = Field(
        None, description="regular expression (RE2) that must match in the first MiB of the body"
    )
    timeout_seconds: float = Field(
        5.0, ge=0.01, le=60, description="time-out in seconds, from name resolution to the last byte"
    )
    interval_seconds: float = Field(30.0, ge=1, le=3600, description="seconds from one probe to the next")
    headers: dict[str, str] = Field(default_factory=dict, description="request headers that are not secret")
    header_files: dict[str, str] = Field(
        default_factory=dict, description="header -> file with its value, for secrets"
    )
    follow_redirects: Literal["no", "same_host", "any"] = Field(
        "same_host",
        description="which redirects are followed; headers are not sent to another host, port or scheme",
    )
    ca_file: str | None = Field(
        None, description="CA bundle for the endpoint's certificate; the system's if absent"
    )
    verify: bool = Field(True, description="verify the certificate; false only for a test")


class ExporterApiSettings(ApiSettings):
    scaler_url: str | None = Field(
        None, pattern=r"^https?://[^@/?#\s]+/?$", description="http(s)://host:port of the scaler"
    )
    prometheus_url: str | None = Field(
        None,
        pattern=r"^https?://[^@?#\s]+$",
        description="http(s) URL of the Prometheus whose alerts the page shows",
    )
    scaler_timeout_seconds: float = Field(
        5.0, ge=0.01, le=60, description="time-out in seconds for requests forwarded to the scaler"
    )


class MonitoringSettings(Model):
    enabled: bool = Field(True, description="false: no collection, and every response reports it")
    interval_minutes: IntervalMinutes = Field(
        5.0, description="minutes between two assessments of the state, which are logged"
    )


class ExporterSettings(Model, title="Settings"):
    """All settings. Each can be set in the file; some have a variable too (see EXPORTER_VARIABLES)."""

    listen: str = Field("0.0.0.0:9877", description="host:port to listen on; [::1]:9877 for IPv6")
    shard: Annotated[str, AfterValidator(check_shard)] = Field(
        "1/1",
        description="the part of the queues that this exporter watches, where several divide them: 2/5 is "
        "the second of five. Redis, the host and the endpoints are read by the first",
    )
    shard_urls: tuple[str, ...] = Field(
        (),
        description="http(s)://host:port of all shards in their order: the page links to them, and the "
        "commands show the queues of all",
    )
    redis: RedisSettings = RedisSettings()
    bullmq: BullMQSettings = BullMQSettings()
    host: HostSettings = HostSettings()
    probes: tuple[ProbeSettings, ...] = Field((), description="your own endpoints to probe")
    health: HealthSettings = HealthSettings()
    monitoring: MonitoringSettings = MonitoringSettings()
    web: WebSettings = WebSettings()
    web_config_file: str | None = Field(
        None, description="TLS and users for HTTP, in the web configuration format of Prometheus exporters"
    )
    api: ExporterApiSettings = ExporterApiSettings()
    otlp: OtlpSettings = OtlpSettings()
    log: LogSettings = LogSettings()

    @property
    def queue_shard(self) -> QueueShard:
        """`shard` as numbers."""
        return parse_shard(self.shard)
