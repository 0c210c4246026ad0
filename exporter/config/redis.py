"""The settings of the Redis deployment."""

from __future__ import annotations

from typing import Final

from pydantic import Field, SecretStr

from service.config.model import DAY_SECONDS, Model

_MOST_DATABASES: Final = 1_000_000


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
