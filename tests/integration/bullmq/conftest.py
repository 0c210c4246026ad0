from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from exporter.bullmq.collect import BullMQSource
from exporter.bullmq.discover import Discovery
from exporter.bullmq.follow import Follower
from exporter.redis.deployment import Deployment
from exporter.settings import BullMQSettings, RedisSettings
from exporter.snapshot import BullMQState, Events, QueueId, QueueState
from lab.bullmq import VERSIONS, BullMQ
from lab.cluster import RedisCluster
from lab.driver import Driver
from lab.pybullmq import PyBullMQ
from lab.redis import RedisServer, start_redis
from service.clock import Deadline


class Watch:
    """The exporter's reading of one deployment's queues: discovery and collection, without its threads."""

    def __init__(self, redis: RedisSettings, bullmq: BullMQSettings) -> None:
        self.deployment = Deployment(redis)
        self.discovery = Discovery(self.deployment, bullmq)
        self.follower = Follower(self.deployment, bullmq)
        self.source = BullMQSource(self.deployment, self.discovery, bullmq, self.follower)

    def look(self, seconds: float = 20) -> BullMQState:
        """Look for queues and workers, then collect."""
        self.discovery.discover_once(Deadline.after(seconds))
        return self.collect(seconds)

    def collect(self, seconds: float = 20) -> BullMQState:
        return self.source.collect(Deadline.after(seconds))

    def follow(self) -> float:
        """One round of the follower, over the queues that are known."""
        return self.follower.step(self.discovery.known().queues)

    def events(self, name: str, prefix: str = "bull") -> Events:
        """Read one queue's stream to its end, as far as it goes now."""
        while self.follow() == 0.0:
            pass
        return self.follower.events()[QueueId(prefix, name)]

    def queue(self, name: str, prefix: str = "bull") -> QueueState:
        """One queue, after a look at everything."""
        return of(self.look(), name, prefix)


WatchOf = Callable[..., Watch]


@pytest.fixture
def watch() -> Iterator[WatchOf]:
    """`watch(server_or_cluster, prefixes=[...], ...)`; other settings of Redis in `redis`."""
    with ExitStack() as undo:

        def open_monitor(
            server_or_cluster: RedisServer | RedisCluster,
            redis: dict[str, object] | None = None,
            **bullmq: object,
        ) -> Watch:
            if isinstance(server_or_cluster, RedisServer):
                address: dict[str, object] = {"url": server_or_cluster.url}
            else:
                address = {"cluster": server_or_cluster.addresses}
            monitor = Watch(
                RedisSettings.model_validate(address | (redis or {})), BullMQSettings.model_validate(bullmq)
            )
            undo.callback(monitor.deployment.close)
            return monitor

        yield open_monitor


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    """A server that has only the queues of one module's tests."""
    with start_redis() as started:
        started.wait()
        yield started


@pytest.fixture(scope="module", params=[*VERSIONS, "python"], ids=lambda version: f"bullmq-{version}")
def library(request: pytest.FixtureRequest, server: RedisServer) -> Iterator[Driver]:
    """Each BullMQ library, side by side on one server."""
    if request.param == "python":
        library: Driver = PyBullMQ(url=server.url)
    else:
        library = BullMQ(request.param, url=server.url)
    with library as driver:
        yield driver


def names(state: BullMQState) -> list[tuple[str, str]]:
    """Every known queue, as (prefix, name)."""
    return sorted(
        [(queue.id.prefix, queue.id.name) for queue in state.queues]
        + [(key.prefix, key.name) for key in state.unread]
    )


def of(state: BullMQState, name: str, prefix: str = "bull") -> QueueState:
    queues = {queue.id: queue for queue in state.queues}
    return queues[QueueId(prefix, name)]


def theirs(counts: dict[str, int]) -> dict[str, int]:
    """getJobCounts() in the states of bullmq_job_count."""
    states = ("active", "delayed", "prioritized", "waiting-children", "completed", "failed")
    waiting = counts.get("waiting", 0) + counts.get("wait", 0) + counts.get("paused", 0)
    return {"waiting": waiting} | {state: counts.get(state, 0) for state in states}


def ours(queue: QueueState) -> dict[str, int]:
    return {
        "waiting": queue.waiting,
        "active": queue.active,
        "delayed": queue.delayed,
        "prioritized": queue.prioritized,
        "waiting-children": queue.waiting_children,
        "completed": queue.completed,
        "failed": queue.failed,
    }
