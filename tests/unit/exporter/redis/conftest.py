from __future__ import annotations

import pytest

from exporter.redis import deployment
from tests.support.redis_servers import World


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    servers = World()
    monkeypatch.setattr(deployment, "open_connection", servers.open_connection)
    return servers
