"""A look at the start: a Redis that is there and refuses us means a wrong setting; waiting mends nothing."""

from __future__ import annotations

from typing import Final

from exporter.redis.collect import collect_redis
from exporter.redis.deployment import Deployment
from exporter.snapshot import RedisState
from service.clock import Deadline
from service.outcome import Failed

_FATAL: Final = ("auth", "protocol", "tls")
_CHECK_SECONDS: Final = 10.0


class PreflightError(Exception):
    """Redis is there, but not with these settings: waiting will not help."""

    def __init__(self, address: str, failed: Failed) -> None:
        super().__init__(f"{address}: {failed.message}")
        self.address = address
        self.kind = failed.kind
        self.message = failed.message


def check_access(deployment: Deployment) -> RedisState:
    """One look at Redis. Raises PreflightError when nothing can be read and a setting is why."""
    state = collect_redis(deployment, Deadline.after(_CHECK_SECONDS))
    for address, outcome in state.nodes.items():
        if not state.reachable and isinstance(outcome, Failed) and outcome.kind in _FATAL:
            raise PreflightError(address, outcome)
    return state
