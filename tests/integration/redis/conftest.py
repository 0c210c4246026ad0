from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from exporter.config.redis import RedisSettings
from exporter.redis.deployment import Deployment
from lab.cluster import LocalCluster, start_cluster
from tests.support.deployments import Connect


@pytest.fixture(scope="module")
def shared() -> Iterator[LocalCluster]:
    """A cluster of the module's own, which its tests may break."""
    with start_cluster() as started:
        yield started


@pytest.fixture
def cluster(shared: LocalCluster) -> Iterator[LocalCluster]:
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
