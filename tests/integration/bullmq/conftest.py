from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from exporter.config.bullmq import BullMQSettings
from exporter.config.redis import RedisSettings
from lab.bullmq import VERSIONS, BullMQ
from lab.cluster import LocalCluster
from lab.driver import Driver
from lab.pybullmq import PyBullMQ
from lab.redis import RedisServer, start_redis
from tests.support.bullmq import Watch, WatchOf
from tests.support.schedulers import LIBRARIES, Made


@pytest.fixture
def watch() -> Iterator[WatchOf]:
    """`watch(server_or_cluster, prefixes=[...], ...)`; other settings of Redis in `redis`."""
    with ExitStack() as undo:

        def open_monitor(
            server_or_cluster: RedisServer | LocalCluster,
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
            undo.callback(monitor.close)
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


@pytest.fixture(scope="module", params=LIBRARIES)
def made(request: pytest.FixtureRequest, server: RedisServer) -> Iterator[Made]:
    with LIBRARIES[request.param](server.url) as driver:
        yield request.param, driver


@pytest.fixture
def workers(made: Made) -> Iterator[Callable[..., int]]:
    """Starts workers that are stopped at the end of the test."""
    with ExitStack() as undo:

        def start(queue: str, **behaviour: Any) -> int:
            worker = made[1].start_worker(queue, behaviour=behaviour)
            undo.callback(made[1].stop_worker, worker, force=True)
            return worker

        yield start
