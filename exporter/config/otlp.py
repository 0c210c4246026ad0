"""Settings of the push: the same series, sent to an OpenTelemetry endpoint. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, NamedTuple, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator

from service.config.model import Model
from service.web.header_values import is_header_value

_HEADER: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")
_OWN_HEADERS: Final = frozenset(
    {"host", "content-length", "content-type", "content-encoding", "transfer-encoding", "connection"}
)
_ATTRIBUTE: Final = re.compile(r"[a-z][a-z0-9_.]{0,99}")
_OWN_ATTRIBUTES: Final = frozenset({"service.name", "service.namespace", "service.instance.id"})
_MOST: Final = 50
_PATH: Final = "/v1/metrics"


class OtlpTlsSettings(Model):
    """TLS to an endpoint whose URL begins with https."""

    ca_file: str | None = Field(None, description="CA bundle of the endpoint; the system's if absent")
    cert_file: str | None = Field(None, description="client certificate")
    key_file: str | None = Field(None, description="client key")
    server_name: str | None = Field(None, description="expected name in the endpoint's certificate (SNI)")
    verify: bool = Field(True, description="verify the endpoint's certificate; false only for tests")

    @model_validator(mode="after")
    def _pair(self) -> Self:
        if (self.cert_file is None) != (self.key_file is None):
            raise ValueError("cert_file and key_file have to be set together")
        return self


class OtlpSettings(Model):
    """The series of /metrics, pushed by OTLP over HTTP in protobuf. Needs the extra oxherd[otlp]. Files are
    read again when they change."""

    endpoint: str | None = Field(
        None,
        pattern=r"^https?://[^@/?#\s]+(/[^@?#\s]*)?$",
        max_length=2000,
        description="http(s) URL that takes metrics, such as http://collector:4318 (then with the path "
        "/v1/metrics) or http://prometheus:9090/api/v1/otlp/v1/metrics; absent: nothing is pushed",
    )
    authorization: SecretStr | None = Field(
        None, description="value of the header Authorization, such as `Bearer` and a token"
    )
    authorization_file: str | None = Field(
        None, description="file with this value, read again when it changes"
    )
    headers: dict[str, str] = Field(
        default_factory=dict,
        max_length=_MOST,
        description="headers of every request that are not secret, such as X-Scope-OrgID",
    )
    header_files: dict[str, str] = Field(
        default_factory=dict, max_length=_MOST, description="header -> file with its value, for secrets"
    )
    interval_seconds: float = Field(60.0, ge=1, le=3600, description="seconds from one push to the next")
    timeout_seconds: float = Field(
        10.0, ge=0.01, le=60, description="time-out in seconds for one request of a push"
    )
    service_name: str = Field(
        "oxherd",
        min_length=1,
        max_length=100,
        description="attribute service.name; Prometheus makes the label `job` of it",
    )
    service_namespace: str | None = Field(
        None,
        min_length=1,
        max_length=100,
        description="attribute service.namespace; with it `job` is service_namespace/service_name",
    )
    instance_id: str | None = Field(
        None,
        min_length=1,
        max_length=200,
        description="attribute service.instance.id, another one for each exporter; Prometheus makes the "
        "label `instance` of it. Absent: the host's name and the port of `listen`",
    )
    attributes: dict[str, str] = Field(
        default_factory=dict,
        max_length=_MOST,
        description="further attributes of the resource, such as deployment.environment.name: production",
    )
    tls: OtlpTlsSettings = OtlpTlsSettings()

    @field_validator("endpoint")
    @classmethod
    def _has_port(cls, endpoint: str | None) -> str | None:
        """The text does not repeat the URL, whose path may be a secret."""
        try:
            fits = endpoint is None or (endpoint.isascii() and urlsplit(endpoint).port != 0)
        except ValueError:
            fits = False
        if not fits:
            raise ValueError("should be http(s)://host:port, with a path if there is one")
        return endpoint

    @field_validator("headers", "header_files")
    @classmethod
    def _are_headers(cls, headers: Mapping[str, str]) -> Mapping[str, str]:
        for name in headers:
            if not _HEADER.fullmatch(name) or name.lower() in _OWN_HEADERS:
                raise ValueError(f"{name!r} cannot be set")
        return headers

    @field_validator("headers")
    @classmethod
    def _are_values(cls, headers: Mapping[str, str]) -> Mapping[str, str]:
        for name, value in headers.items():
            if not is_header_value(value):
                raise ValueError(f"the value of {name} is not valid in a header")
        return headers

    @field_validator("authorization")
    @classmethod
    def _is_value(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not is_header_value(value.get_secret_value()):
            raise ValueError("is not valid in a header")
        return value

    @field_validator("attributes")
    @classmethod
    def _are_attributes(cls, attributes: Mapping[str, str]) -> Mapping[str, str]:
        for name, value in attributes.items():
            if not _ATTRIBUTE.fullmatch(name) or name in _OWN_ATTRIBUTES:
                raise ValueError(f"{name!r} cannot be set")
            if not 0 < len(value) <= 1000:
                raise ValueError(f"the value of {name} should have 1 to 1000 characters")
        return attributes

    @model_validator(mode="after")
    def _each_header_once(self) -> Self:
        names = [name.lower() for name in (*self.headers, *self.header_files)]
        if self.authorization is not None or self.authorization_file is not None:
            names.append("authorization")
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"the header {twice} is set twice")
        return self

    @property
    def url(self) -> str | None:
        """The endpoint with its path."""
        if self.endpoint is None or urlsplit(self.endpoint).path not in ("", "/"):
            return self.endpoint
        return self.endpoint.rstrip("/") + _PATH


def secret_parts(value: str) -> tuple[str, ...]:
    """What of a header's value is a secret: all of it, and the token of `Bearer token`."""
    return (value, value.rpartition(" ")[2])


class OtlpFile(NamedTuple):
    """A file that a setting names; `secret`: others should not read it."""

    setting: str
    path: str
    secret: bool


def otlp_files(settings: OtlpSettings) -> list[OtlpFile]:
    """The files that are set, each by its setting."""
    tls = settings.tls
    files: dict[str, tuple[str | None, bool]] = {
        "otlp.authorization_file": (settings.authorization_file, True),
        **{f"otlp.header_files.{name}": (path, True) for name, path in settings.header_files.items()},
        "otlp.tls.ca_file": (tls.ca_file, False),
        "otlp.tls.cert_file": (tls.cert_file, False),
        "otlp.tls.key_file": (tls.key_file, True),
    }
    return [OtlpFile(setting, path, secret) for setting, (path, secret) in files.items() if path]


def otlp_secret(settings: OtlpSettings) -> str | None:
    """The setting of a secret that is sent to the endpoint; None: there is none."""
    if settings.authorization is not None or settings.authorization_file is not None:
        return "otlp.authorization"
    return next((f"otlp.header_files.{name}" for name in settings.header_files), None)
