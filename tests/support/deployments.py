"""Collections from real deployments."""

from __future__ import annotations

from collections.abc import Callable

from exporter.redis.collect import collect_redis
from exporter.redis.deployment import Deployment
from exporter.snapshot.redis import RedisState
from service.clock import Deadline

Connect = Callable[..., Deployment]


def collect(deployment: Deployment, seconds: float = 20) -> RedisState:
    """One collection; it must end before its deadline, even if a node hangs."""
    deadline = Deadline.after(seconds)
    state = collect_redis(deployment, deadline)
    assert not deadline.passed()
    return state
