"""Checks the connection at the start: a Redis that answers but refuses access means a wrong setting."""

from __future__ import annotations

from typing import Final

from exporter.redis.collect import collect_redis
from exporter.redis.deployment import Deployment
from exporter.snapshot.redis import RedisState
from service.clock import Deadline
from service.outcome import Failed

_FATAL: Final = ("auth", "protocol", "tls")
_CHECK_SECONDS: Final = 10.0


class PreflightError(Exception):
    """Redis answers, but refuses these settings: a retry does not help."""

    def __init__(self, address: str, failed: Failed) -> None:
        super().__init__(f"{address}: {failed.message}")
        self.address = address
        self.kind = failed.kind
        self.message = failed.message


def check_redis_access(deployment: Deployment) -> RedisState:
    """Collect once. Raises PreflightError when no node can be read and a setting is the reason."""
    state = collect_redis(deployment, Deadline.after(_CHECK_SECONDS))
    for address, outcome in state.nodes.items():
        if not state.reachable and isinstance(outcome, Failed) and outcome.kind in _FATAL:
            raise PreflightError(address, outcome)
    return state
