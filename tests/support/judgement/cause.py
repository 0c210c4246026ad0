"""A cause of a condition, and the servers on which it begins and ends."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from lab.bullmq import BullMQ
from lab.cluster import LocalCluster
from lab.redis import RedisServer, start_redis
from lab.sentinel import SentinelSet
from tests.support.alerts.causes import Host


@dataclass
class Servers:
    """What a cause may break. `nodes` are the Redis servers, the exporter's first; `undo` stops all of it.

    `redis` are the settings of how the exporter reaches them, `host` is what it reads of the machine, `kept`
    is for what `begin` hands to `end`, `workers` are those of `jobs`.
    """

    undo: ExitStack
    nodes: list[RedisServer]
    redis: Mapping[str, Any]
    cluster: LocalCluster | None = None
    sentinel: SentinelSet | None = None
    host: Host = field(default_factory=Host)
    kept: ExitStack = field(default_factory=ExitStack)
    workers: list[int] = field(default_factory=list)

    @property
    def node(self) -> RedisServer:
        return self.nodes[0]

    @cached_property
    def jobs(self) -> BullMQ:
        """A real BullMQ, started at first use."""
        if self.cluster is not None:
            return self.undo.enter_context(BullMQ(cluster=self.cluster.addresses))
        return self.undo.enter_context(BullMQ(url=self.node.url))


def single(undo: ExitStack) -> Servers:
    """One server."""
    server = undo.enter_context(start_redis())
    return Servers(undo, [server], {"url": server.url})


@dataclass(frozen=True)
class Cause:
    """One row: `begin` makes the condition true and `end` makes it false, by what really causes it.

    `prepare` runs before the exporter starts. `settings` are added to the exporter's, by section. `alert` is
    False where the notification is not waited for. The name is the test's.
    """

    name: str
    condition: str
    begin: Callable[[Servers], object]
    end: Callable[[Servers], object]
    servers: Callable[[ExitStack], Servers] = single
    prepare: Callable[[Servers], object] = lambda _: None
    settings: Mapping[str, Any] = field(default_factory=dict)
    alert: bool = True
