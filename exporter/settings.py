"""The exporter's settings: one model for environment, file, documentation and JSON Schema."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, SecretStr


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class TlsSettings(_Model):
    """TLS towards Redis. `rediss://` in REDIS_URL switches it on too."""

    enabled: bool = False
    ca_file: str | None = Field(None, description="CA bundle that signed the servers; the system's if absent")
    cert_file: str | None = Field(None, description="client certificate")
    key_file: str | None = Field(None, description="client key")
    server_name: str | None = Field(None, description="name to expect in the servers' certificates (SNI)")
    verify: bool = Field(True, description="check the servers' certificates; false only for a trial")


class RedisSettings(_Model):
    """One deployment: a URL, or cluster seeds, or sentinels. Any reachable node leads to all."""

    url: SecretStr | None = Field(None, description="redis:// or rediss:// host:port of any node")
    cluster: tuple[str, ...] = Field((), description="host:port of some cluster nodes")
    sentinels: tuple[str, ...] = Field((), description="host:port of the sentinels")
    sentinel_master: str = Field("mymaster", description="the name the sentinels know the master by")
    sentinel_username: str | None = None
    sentinel_password: SecretStr | None = None
    username: str | None = None
    password: SecretStr | None = None
    database: int = Field(0, ge=0, description="database number, standalone and Sentinel only")
    tls: TlsSettings = TlsSettings()
    address_map: dict[str, str] = Field(
        default_factory=dict, description="announced host:port or host -> the one to connect to (NAT)"
    )
    timeout_seconds: float = Field(
        2.0, gt=0, le=60, description="longest wait for one node in one collection"
    )


class QueueSettings(_Model):
    """What Redis does not know of the queues whose name matches `match`; the first match counts."""

    match: str = Field(description="glob on the queue's name")
    capacity_per_worker: float | None = Field(None, gt=0)
    worker_concurrency: int | None = Field(None, ge=1, description="jobs that one worker runs at once")


class BullMQSettings(_Model):
    prefixes: tuple[str, ...] = Field(("bull",), min_length=1, description="key prefixes to look under")
    queues: tuple[str, ...] = Field(
        (), description="names or glob patterns; plain names are known at once, patterns filter what is found"
    )
    scan: bool = Field(True, description="look for queues by a paced SCAN, in the background")
    scan_calls_per_second: float = Field(20.0, gt=0, le=1000)
    discovery_interval_seconds: float = Field(10.0, ge=1, description="between two looks at CLIENT LIST")
    rescan_interval_seconds: float = Field(60.0, ge=1, description="between the ends and starts of two SCANs")
    capacity_per_worker: float = Field(
        10.0, gt=0, description="jobs that count as full load of one worker (S1)"
    )
    settings: tuple[QueueSettings, ...] = ()


class HostSettings(_Model):
    enabled: bool = Field(True, description="false where node_exporter already watches the machine")


class Thresholds(_Model):
    """When a measurement becomes an issue."""

    redis_memory_ratio: float = Field(0.8, gt=0, le=1, description="used / maxmemory, or / the host's memory")
    failed_jobs: int = Field(50, ge=0, description="failed jobs of all queues")
    host_memory_available_ratio: float = Field(0.1, ge=0, le=1)
    host_load_per_core: float = Field(2.0, gt=0)
    process_memory_ratio: float = Field(0.9, gt=0, le=1, description="resident / the limit it lives under")
    process_memory_bytes: int = Field(1 << 30, gt=0, description="the limit where the system sets none")


Points: TypeAlias = Annotated[float, Field(ge=0, le=100)]


class Penalties(_Model):
    """Points that an issue takes from 100."""

    redis_unreachable: Points = 30
    cluster_node_unhealthy: Points = 20
    redis_memory_high: Points = 15
    queue_system_down: Points = 25
    failed_jobs_high: Points = 10
    host_memory_low: Points = 20
    host_load_high: Points = 15
    process_memory_high: Points = 15
    source_unreadable: Points = 5


class HealthSettings(_Model):
    thresholds: Thresholds = Thresholds()
    penalties: Penalties = Penalties()


class MonitoringSettings(_Model):
    enabled: bool = Field(True, description="false: no collection at all, and every answer says so")
    interval_minutes: float = Field(5.0, gt=0, description="how often the state is assessed and logged")


class LogSettings(_Model):
    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["logfmt", "json"] = "logfmt"


class Settings(_Model):
    """Everything. Each field can be set in the file; the environment has names for some (see ENV)."""

    listen: str = Field("0.0.0.0:9877", description="host:port to serve on; [::1]:9877 for IPv6")
    redis: RedisSettings = RedisSettings()
    bullmq: BullMQSettings = BullMQSettings()
    host: HostSettings = HostSettings()
    health: HealthSettings = HealthSettings()
    monitoring: MonitoringSettings = MonitoringSettings()
    log: LogSettings = LogSettings()
