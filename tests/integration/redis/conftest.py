from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from exporter.redis.collect import collect_redis
from exporter.redis.deployment import Deployment
from exporter.settings import RedisSettings
from exporter.snapshot import RedisState
from lab.cluster import RedisCluster, start_cluster
from service.clock import Deadline

Connect = Callable[..., Deployment]


@pytest.fixture(scope="module")
def shared() -> Iterator[RedisCluster]:
    """A cluster of the module's own, which its tests may break."""
    with start_cluster() as started:
        yield started


@pytest.fixture
def cluster(shared: RedisCluster) -> Iterator[RedisCluster]:
    """The module's cluster, with all its nodes running and well again after each test."""
    yield shared
    for node in shared.nodes:
        if node.process.suspended:
            node.resume()
        elif not node.process.is_running():
            node.restart()
    shared.wait_until_ok(seconds=30)


@pytest.fixture
def connect() -> Iterator[Connect]:
    """A deployment of these settings, closed at the end of the test."""
    with ExitStack() as undo:

        def open_deployment(**settings: object) -> Deployment:
            deployment = Deployment(RedisSettings.model_validate(settings))
            undo.callback(deployment.close)
            return deployment

        yield open_deployment


def collect(deployment: Deployment, seconds: float = 20) -> RedisState:
    """One collection, which must not need all its time, whatever hangs."""
    deadline = Deadline.after(seconds)
    state = collect_redis(deployment, deadline)
    assert not deadline.passed()
    return state
