"""Settings of the scaler's metrics: the Prometheus servers, and the PromQL for the figures of the queues."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator

from service.web.header_values import is_header_value

_LABEL: Final = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_HEADER: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_OWN_PARAMETERS: Final = frozenset({"query", "time", "start", "end", "step"})
_OWN_HEADERS: Final = frozenset({"host", "content-length", "content-type", "transfer-encoding", "connection"})


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, hide_input_in_errors=True)


class PrometheusTlsSettings(_Model):
    """TLS to the servers whose URL begins with https."""

    ca_file: str | None = Field(None, description="CA bundle of the servers; the system's if absent")
    cert_file: str | None = Field(None, description="client certificate")
    key_file: str | None = Field(None, description="client key")
    server_name: str | None = Field(None, description="expected name in the servers' certificates (SNI)")
    verify: bool = Field(True, description="verify the servers' certificates; false only for tests")

    @model_validator(mode="after")
    def _pair(self) -> Self:
        if (self.cert_file is None) != (self.key_file is None):
            raise ValueError("cert_file and key_file have to be set together")
        return self


class PrometheusSettings(_Model):
    """The Prometheus servers, or servers with the same API, that the scaler queries. Files are read again in
    each step, so that their content may change."""

    urls: tuple[str, ...] = Field(
        ("http://localhost:9090",),
        min_length=1,
        description="http(s)://host:port, with the path before /api/v1 if there is one; of several, the "
        "first that has what is asked is queried",
    )
    parameters: dict[str, str] = Field(
        default_factory=dict,
        description="parameters of every request, in quotes, such as deny_partial_response: '1' "
        "(VictoriaMetrics) or partial_response: 'false' (Thanos)",
    )
    timeout_seconds: float = Field(5.0, ge=0.01, le=60, description="time-out of the answer of one server")
    username: str | None = Field(None, description="user of basic authentication")
    password: SecretStr | None = Field(None, description="password of basic authentication")
    password_file: str | None = Field(None, description="file with the password, instead of password")
    bearer_token: SecretStr | None = Field(None, description="token of bearer authentication")
    bearer_token_file: str | None = Field(None, description="file with the token, instead of bearer_token")
    headers: dict[str, SecretStr] = Field(
        default_factory=dict, description="headers of every request, such as X-Scope-OrgID"
    )
    header_files: dict[str, str] = Field(
        default_factory=dict, description="headers of every request, each with the file of its value"
    )
    tls: PrometheusTlsSettings = PrometheusTlsSettings()
    matchers: dict[str, str] = Field(
        default_factory=dict,
        description="labels and values that every series has to have, such as cluster: eu",
    )
    replica_labels: tuple[str, ...] = Field(
        (
            *("instance", "pod", "pod_name", "container", "container_id", "endpoint", "node", "host"),
            *("prometheus", "prometheus_replica", "replica"),
        ),
        description="labels that distinguish exporters of the same Redis: of several with the same queue, "
        "one counts; a difference in any other label makes two queues, and then neither counts",
    )

    @field_validator("urls")
    @classmethod
    def _are_urls(cls, urls: tuple[str, ...]) -> tuple[str, ...]:
        for url in urls:
            _check_url(url)
        return tuple(url.rstrip("/") for url in urls)

    @field_validator("headers", "header_files")
    @classmethod
    def _are_headers(cls, headers: Mapping[str, object]) -> Mapping[str, object]:
        for name, value in headers.items():
            if not _HEADER.fullmatch(name) or name.lower() in _OWN_HEADERS:
                raise ValueError(f"{name!r} cannot be set")
            if isinstance(value, SecretStr) and not is_header_value(value.get_secret_value()):
                raise ValueError(f"the value of {name} is not valid in a header")
        return headers

    @field_validator("parameters")
    @classmethod
    def _are_parameters(cls, parameters: dict[str, str]) -> dict[str, str]:
        for name in parameters:
            if name in _OWN_PARAMETERS or not name:
                raise ValueError(f"{name!r} cannot be set")
        return parameters

    @field_validator("matchers")
    @classmethod
    def _are_labels(cls, matchers: dict[str, str]) -> dict[str, str]:
        for name in matchers:
            if not _LABEL.fullmatch(name):
                raise ValueError(f"{name!r} is not a label name")
        return matchers

    @model_validator(mode="after")
    def _one_authentication(self) -> Self:
        _one_of(password=self.password, password_file=self.password_file)
        _one_of(bearer_token=self.bearer_token, bearer_token_file=self.bearer_token_file)
        password = self.password is not None or self.password_file is not None
        if password != (self.username is not None):
            raise ValueError("username and password (or password_file) have to be set together")
        header = [name for name in (*self.headers, *self.header_files) if name.lower() == "authorization"]
        _one_of(
            username=self.username,
            bearer_token=self.bearer_token or self.bearer_token_file,
            **{"a header Authorization": header or None},
        )
        twice = {name.lower() for name in self.headers} & {name.lower() for name in self.header_files}
        if twice:
            raise ValueError(f"{min(twice)} is in headers and in header_files")
        return self


class QuerySettings(_Model):
    """PromQL for the figures of all queues, if they do not come from Oxherd's exporter.

    Each is an expression with one series per queue. In it, `{selector}` stands for the matchers of the queues
    and of `prometheus.matchers`, and `{matchers}` for the latter alone. Labels other than those of the queue
    and the prefix have to be the same in all expressions, or removed by aggregation.

    Another exporter that has waiting and active jobs, and no prefix:

        waiting: sum without (state) (bullmq_job_count{state=~"waiting|prioritized|paused",{selector}})
        active: sum without (state) (bullmq_job_count{state="active",{selector}})
        timestamp: max without (state) (timestamp(bullmq_job_count{state="active",{selector}}))

    The lengths of lists, as redis_exporter reports them for the keys that it is configured to check:

        waiting: sum without (key) (label_replace(redis_key_size{key=~"bull:.+:(wait|paused|prioritized)",
          {matchers}}, "queue", "$1", "key", "bull:(.+):.+"))
        active: sum without (key) (label_replace(redis_key_size{key=~"bull:.+:active",{matchers}},
          "queue", "$1", "key", "bull:(.+):.+"))
        timestamp: min without (key) (label_replace(timestamp(redis_key_size{key=~"bull:.+:active",
          {matchers}}), "queue", "$1", "key", "bull:(.+):.+"))

    An empty list has to have a series too: without one it is missing, not 0.
    """

    queue_label: str = Field("queue", description="label with the queue's name")
    prefix_label: str | None = Field("prefix", description="label with its prefix; null: there is none")
    default_prefix: str = Field("bull", description="prefix of queues whose series have no such label")
    waiting: str | None = Field(
        None, description="jobs that can be taken now, including those of a paused queue"
    )
    active: str | None = Field(None, description="jobs that are being processed")
    timestamp: str | None = Field(
        None,
        description="unix time of the sample; if absent timestamp() of waiting, which is the time of the "
        "scrape only for a plain selector: for anything else it is the time of the query",
    )
    completed: str | None = Field(None, description="counter: jobs that completed")
    failed: str | None = Field(None, description="counter: jobs that failed after all attempts")
    added: str | None = Field(None, description="counter: jobs that were added")
    duration_sum: str | None = Field(None, description="counter: seconds that attempts took")
    duration_count: str | None = Field(None, description="counter: attempts that ended")
    oldest_waiting: str | None = Field(None, description="waiting time of the oldest waiting job in seconds")
    due: str | None = Field(None, description="delayed jobs that fall due within a minute")
    busy_seconds: str | None = Field(
        None, description="counter: slot-seconds busy, the number of active jobs integrated over time"
    )
    held: str | None = Field(None, description="those of the waiting jobs that a pause holds back")
    limit_seconds: str | None = Field(
        None, description="seconds until a rate limit lets jobs start again; absent without a limit"
    )
    concurrency_limit: str | None = Field(
        None, description="jobs that all workers together may run at once; absent without a limit"
    )
    stalled: str | None = Field(
        None, description="counter: attempts that lost their lock, whose worker may still run them"
    )

    @field_validator("queue_label", "prefix_label")
    @classmethod
    def _is_label(cls, name: str | None) -> str | None:
        if name is not None and not _LABEL.fullmatch(name):
            raise ValueError("is not a label name")
        return name

    @model_validator(mode="after")
    def _all_or_nothing(self) -> Self:
        given = [name for name in MEASURES if getattr(self, name) is not None]
        if given and (self.waiting is None or self.active is None):
            raise ValueError(
                f"{given[0]} needs waiting and active: all figures have to come from one exporter"
            )
        return self

    @property
    def is_default(self) -> bool:
        """Whether Oxherd's own series are queried."""
        return self.waiting is None


MEASURES: Final = (
    *("waiting", "active", "timestamp", "completed", "failed", "added"),
    *("duration_sum", "duration_count", "oldest_waiting", "due", "busy_seconds", "held", "limit_seconds"),
    *("concurrency_limit", "stalled"),
)
"""The fields of QuerySettings that hold PromQL."""

MOST_QUERIES: Final = 10
"""Maximum number of queries in a step: one for each different QuerySettings."""


def _check_url(url: str) -> None:
    """Raises ValueError, whose text does not contain the URL: it may have a password."""
    try:
        parts = urlsplit(url)
        fits = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        plain = not (parts.query or parts.fragment) and url.isascii() and url.isprintable() and " " not in url
        user, query = "@" in parts.netloc, bool(parts.query)
    except ValueError:
        fits = plain = user = query = False
    if user:
        raise ValueError("a URL must not contain a user or password: set username and password instead")
    if query:
        raise ValueError("a URL must not contain parameters: set prometheus.parameters instead")
    if not (fits and plain):
        raise ValueError("has to be http://host:port or https://host:port, optionally with a path")


def _one_of(**given: object) -> None:
    names = [name for name, value in given.items() if value is not None]
    if len(names) > 1:
        raise ValueError(f"{names[0]} and {names[1]} are both set: keep one of them")
