"""A snapshot and what health makes of it: all that a view is a function of. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from exporter.health import Health
from exporter.snapshot.queues import BullMQState
from exporter.snapshot.redis import RedisState
from exporter.snapshot.whole import Snapshot
from service.outcome import Failed, Outcome


@dataclass(frozen=True)
class Assessment:
    """One collection, judged."""

    snapshot: Snapshot
    health: Health


def succeeded(outcome: Outcome[object]) -> bool:
    """Whether a source gave all that it is for: of Redis at least one node, of BullMQ every known queue."""
    if isinstance(outcome, Failed):
        return False
    match outcome.value:
        case RedisState() as state:
            return state.reachable
        case BullMQState() as state:
            return state.up
    return True
