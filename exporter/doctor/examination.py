"""All that was read for one look, as plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from exporter.bullmq.keys import is_selected
from exporter.config.settings import ExporterSettings
from exporter.doctor.rights import MissingRight
from exporter.snapshot.queues import QueueId
from exporter.snapshot.redis import NodeReading, RedisState
from service.config.load import Loaded
from service.config.variables import Notice
from service.outcome import Outcome, value_or_none


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """Some of a server's configuration; `values` lacks what it refused, and then `why` says so."""

    values: Mapping[str, str]
    why: str = ""


@dataclass(frozen=True, slots=True)
class KeptJobs:
    """A queue's jobs that are kept: how many completed and failed, and the bytes of one by the sample (None:
    not sampled, or refused)."""

    completed: int
    failed: int
    job_bytes: float | None = None

    @property
    def count(self) -> int:
        return self.completed + self.failed


@dataclass(frozen=True, slots=True)
class EventStream:
    """A queue's event stream: its entries, to how many BullMQ trims it (None: not set), and the seconds from
    its first entry to its last (None: not read)."""

    length: int
    max_length: int | None = None
    seconds: float | None = None


@dataclass(frozen=True)
class RedisLook:
    """The deployment, and the queues in it under any prefix.

    `user` is the one that was logged in; `refused` are the queues that it may not read, `untagged` those of
    which BullMQ could only write `meta` to a cluster. `searched`: the whole of Redis was.
    """

    state: RedisState
    user: str = "default"
    configs: Mapping[str, ServerConfig] = field(default_factory=dict)
    missing: Mapping[str, tuple[MissingRight, ...]] = field(default_factory=dict)
    queues: tuple[QueueId, ...] = ()
    refused: tuple[QueueId, ...] = ()
    untagged: tuple[QueueId, ...] = ()
    searched: bool = True
    kept: Mapping[QueueId, KeptJobs] = field(default_factory=dict)
    streams: Mapping[QueueId, EventStream] = field(default_factory=dict)

    @property
    def found(self) -> tuple[QueueId, ...]:
        """All queues, also those that the user may not read."""
        return tuple(sorted({*self.queues, *self.refused}))

    @property
    def masters(self) -> dict[str, NodeReading]:
        """The masters that answered, by address; else all that did (a replica that is watched alone)."""
        readings = self.state.readings()
        masters = {node.address for node in self.state.topology.masters()}
        return {node: readings[node] for node in sorted(readings) if node in masters or not masters}


@dataclass(frozen=True, slots=True)
class ScrapedExporter:
    """An exporter whose series Prometheus has, and the deployment that it reads."""

    job: str
    instance: str
    deployment: str


@dataclass(frozen=True, slots=True)
class ScrapeTarget:
    """A target of Prometheus. `interval` is in seconds (None: not told), `age` those since the last scrape
    (None: none yet), `error` is Prometheus' own text."""

    job: str
    instance: str
    up: bool
    error: str = ""
    interval: float | None = None
    age: float | None = None


@dataclass(frozen=True, slots=True)
class LoadedAlert:
    """An alert rule that Prometheus has loaded; `error` is that of its last evaluation."""

    name: str
    expression: str
    error: str = ""


@dataclass(frozen=True, slots=True)
class AlertmanagerLook:
    """An Alertmanager of Prometheus: whether it answers from here (None: not tried), and how many
    notifications Prometheus sent and failed to send (None: not told)."""

    url: str
    answers: bool | None = None
    sent: float | None = None
    errors: float | None = None


@dataclass(frozen=True, slots=True)
class PrometheusLook:
    exporters: tuple[ScrapedExporter, ...] = ()
    targets: tuple[ScrapeTarget, ...] = ()
    alerts: tuple[LoadedAlert, ...] = ()
    alertmanagers: tuple[AlertmanagerLook, ...] = ()


@dataclass(frozen=True, slots=True)
class ScalerTarget:
    """A target of the scaler: its queues as they are set, and why it has no figures of them ("": it has)."""

    name: str
    prefix: str
    queues: tuple[str, ...]
    missing: str = ""


@dataclass(frozen=True)
class Examination:
    """The settings, and what was read. A part is None without its URL, and Failed if it could not be read.

    `variables` are the names of the variables that are set: the values may be secret.
    """

    loaded: Loaded[ExporterSettings]
    notices: tuple[Notice, ...] = ()
    variables: frozenset[str] = frozenset()
    redis: Outcome[RedisLook] | None = None
    prometheus: Outcome[PrometheusLook] | None = None
    scaler: Outcome[tuple[ScalerTarget, ...]] | None = None

    @property
    def settings(self) -> ExporterSettings:
        return self.loaded.model

    @property
    def look(self) -> RedisLook | None:
        """Redis, where any node of it could be read."""
        look = value_or_none(self.redis)
        return look if look is not None and look.state.reachable else None

    @cached_property
    def watched_queues(self) -> tuple[QueueId, ...]:
        """The queues that these settings watch."""
        bullmq = self.settings.bullmq
        return tuple(
            queue
            for queue in (self.look.found if self.look else ())
            if (not bullmq.prefixes or queue.prefix in bullmq.prefixes) and is_selected(queue, bullmq.queues)
        )
