"""A cause of a condition, the servers on which it begins and ends, and those that it shares with others."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeAlias

from lab.bullmq import BullMQ
from lab.cluster import LocalCluster
from lab.redis import RedisServer, start_redis
from lab.sentinel import SentinelSet
from tests.support.alerts.causes import Host


@dataclass
class Servers:
    """What a cause may break. `nodes` are the Redis servers, the exporter's first; `undo` stops all of it.

    `redis` are the settings of how the exporter reaches them, `host` is what it reads of the machine, `kept`
    is for what `begin` hands to `end`, `workers` are those of `jobs`, by queue.
    """

    undo: ExitStack
    nodes: list[RedisServer]
    redis: Mapping[str, Any]
    cluster: LocalCluster | None = None
    sentinel: SentinelSet | None = None
    host: Host = field(default_factory=Host)
    kept: ExitStack = field(default_factory=ExitStack)
    workers: dict[str, list[int]] = field(default_factory=dict)
    _kept_by: dict[str, ExitStack] = field(default_factory=dict)

    @property
    def node(self) -> RedisServer:
        return self.nodes[0]

    @cached_property
    def jobs(self) -> BullMQ:
        """A real BullMQ, started at first use."""
        if self.cluster is not None:
            return self.undo.enter_context(BullMQ(cluster=self.cluster.addresses))
        return self.undo.enter_context(BullMQ(url=self.node.url))

    def kept_by(self, name: str) -> ExitStack:
        """As `kept`, of one cause among others."""
        if name not in self._kept_by:
            self._kept_by[name] = self.undo.enter_context(ExitStack())
        return self._kept_by[name]

    def start_worker(self, queue: str, **options: Any) -> None:
        """Of `jobs`; `options` as there."""
        self.workers.setdefault(queue, []).append(self.jobs.start_worker(queue, **options))

    def stop_workers(self, queue: str) -> None:
        """All of the queue's that were started here."""
        for worker in self.workers.pop(queue, []):
            self.jobs.stop_worker(worker)


def single(undo: ExitStack) -> Servers:
    """One server."""
    server = undo.enter_context(start_redis())
    return Servers(undo, [server], {"url": server.url})


def repeated(act: Callable[[Servers], object]) -> Callable[[Servers], None]:
    """Again and again, as of a client that tries again, until `kept` is closed."""

    def begin(servers: Servers) -> None:
        ended = threading.Event()

        def repeat() -> None:
            while not ended.wait(0.3):
                act(servers)

        act(servers)
        thread = threading.Thread(target=repeat, daemon=True)
        thread.start()
        servers.kept.callback(thread.join)
        servers.kept.callback(ended.set)

    return begin


Settings: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True)
class Cause:
    """One row: `begin` makes the condition true and `end` makes it false, by what really causes it.

    `prepare` runs before the exporter starts, which has to know the rates of `rates_of` before `begin`.
    `settings` are added to the exporter's, by section. `alert` is False where the notification is not waited
    for. The name is the test's.
    """

    name: str
    condition: str
    begin: Callable[[Servers], object]
    end: Callable[[Servers], object]
    servers: Callable[[ExitStack], Servers] = single
    prepare: Callable[[Servers], object] = lambda _: None
    settings: Settings | Callable[[], Settings] = field(default_factory=dict)
    rates_of: str | None = None
    alert: bool = True


@dataclass(frozen=True)
class World:
    """Causes that are there at the same time, on the same servers, without one hiding another."""

    name: str
    causes: tuple[Cause, ...]

    @classmethod
    def of(cls, cause: Cause) -> World:
        """For it alone."""
        return cls(cause.name, (cause,))

    @property
    def servers(self) -> Callable[[ExitStack], Servers]:
        """Those of all its causes."""
        [servers] = {cause.servers for cause in self.causes}
        return servers

    def settings(self) -> dict[str, Any]:
        """Of all its causes; raises ValueError where two differ."""
        merged: dict[str, Any] = {}
        for cause in self.causes:
            _merge(merged, cause.settings() if callable(cause.settings) else cause.settings)
        return merged


def _merge(merged: dict[str, Any], more: Settings) -> None:
    for name, value in more.items():
        if isinstance(value, Mapping):
            _merge(merged.setdefault(name, {}), value)
        elif isinstance(value, list) and name in merged:
            merged[name] = merged[name] + value
        elif merged.setdefault(name, value) != value:
            raise ValueError(f"{name} is {merged[name]} and {value}")
