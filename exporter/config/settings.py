"""The exporter's settings: one model for environment, file, documentation and JSON Schema."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from pydantic import AfterValidator, Field

from exporter.config.bullmq import BullMQSettings
from exporter.config.health import HealthSettings
from exporter.config.otlp import OtlpSettings
from exporter.config.redis import RedisSettings
from exporter.config.shard import QueueShard, check_shard, parse_shard
from service.api.settings import ApiSettings
from service.config.model import LogSettings, Model
from service.web.settings import WebSettings

IntervalMinutes: TypeAlias = Annotated[float, Field(ge=0.02, le=1440)]
"""Between two assessments, in the settings and in an order: from about a second to a day."""


class HostSettings(Model):
    enabled: bool = Field(True, description="false if node_exporter already monitors the machine")


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
