from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from exporter.bullmq import discover
from exporter.bullmq.search import census, rounds
from exporter.bullmq.streams import follow, read_round, reader
from exporter.config.redis import RedisSettings
from exporter.redis import deployment as redis_deployment
from exporter.redis.deployment import Deployment
from tests.support.event_streams import Streams
from tests.support.key_servers import CACHE, HALVES, Clock, DeploymentOf, Keys, share_slots
from tests.support.redis_servers import World


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    servers = World()
    monkeypatch.setattr(redis_deployment, "open_connection", servers.open_connection)
    return servers


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock of discovery and of the follower."""
    clock = Clock()
    monkeypatch.setattr(discover, "monotonic", clock)
    monkeypatch.setattr(rounds, "monotonic", clock)
    for module in (follow, reader, read_round, census):
        monkeypatch.setattr(module, "monotonic", clock)
    return clock


@pytest.fixture
def connect() -> Iterator[DeploymentOf]:
    with ExitStack() as undo:

        def open_deployment(**settings: object) -> Deployment:
            deployment = Deployment(RedisSettings.model_validate(settings))
            undo.callback(deployment.close)
            return deployment

        yield open_deployment


@pytest.fixture
def cache(world: World) -> Keys:
    """One server at cache:6379."""
    keys = Keys()
    world.servers[CACHE] = keys
    return keys


@pytest.fixture
def halves(world: World) -> dict[str, Keys]:
    """A cluster of two masters."""
    servers = {address: Keys() for address in HALVES}
    world.servers.update(servers)
    share_slots(servers, HALVES)
    return servers


@pytest.fixture
def server(world: World) -> Streams:
    """One server at cache:6379, with event streams."""
    world.servers[CACHE] = streams = Streams()
    return streams
