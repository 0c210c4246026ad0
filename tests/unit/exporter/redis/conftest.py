from __future__ import annotations

import pytest

from exporter.redis import deployment as nodes
from tests.support.redis_servers import World


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    made = World()
    monkeypatch.setattr(nodes, "open_connection", made.open_connection)
    return made
