"""Conditions of a node's clients: too many, rejected, disconnected."""

from __future__ import annotations

from collections.abc import Callable

from exporter.conditions.finding import Finding, and_more_nodes, first_few, redis_cli, worst_first
from exporter.config.health import HealthSettings
from exporter.redis.errors import DISCONNECTED, REJECTED
from exporter.snapshot.redis import NodeReading
from exporter.snapshot.whole import Snapshot
from service.i18n import Message
from service.outcome import value_or_none
from service.units import duration


def redis_clients_high(snapshot: Snapshot, settings: HealthSettings) -> Finding | None:
    """A node that soon refuses connections, of workers and of the exporter; not one that does."""
    state = value_or_none(snapshot.redis)
    limit = settings.thresholds.redis_clients_ratio
    shares: dict[str, tuple[float, int]] = {}
    for address, reading in state.readings().items() if state else ():
        connected = reading.info.number("connected_clients")
        if _recent(reading, REJECTED, settings):
            continue
        if connected is not None and reading.maxclients and connected > limit * reading.maxclients:
            shares[address] = (connected, reading.maxclients)
    if not shares:
        return None
    address = max(shares, key=lambda node: shares[node][0] / shares[node][1])
    connected, allowed = shares[address]
    measured = Message(
        "issue.redis_clients_high.measured", node=address, clients=int(connected), limit=allowed
    )
    measured = and_more_nodes(measured, len(shares) - 1)
    return Finding(
        "redis",
        Message("issue.redis_clients_high.title"),
        measured,
        Message("issue.redis_clients_high.threshold", ratio=f"{limit:.0%}"),
        Message("issue.redis_clients_high.recommendation", command=f"{redis_cli(address)} client list"),
        worst_first({node: clients / most for node, (clients, most) in shares.items()}),
    )


def redis_connections_rejected(snapshot: Snapshot, settings: HealthSettings) -> Finding | None:
    """A node that turned clients away: workers, producers, or the exporter."""
    return _of_counts(
        snapshot,
        settings,
        REJECTED,
        title=Message("issue.redis_connections_rejected.title"),
        each=lambda node, count: Message("issue.redis_connections_rejected.node", node=node, count=count),
        threshold=lambda time: Message("issue.redis_connections_rejected.threshold", seconds=time),
        advise=lambda node: Message(
            "issue.redis_connections_rejected.recommendation",
            node=node,
            clients=f"{redis_cli(node)} client list",
            command=f"{redis_cli(node)} config get maxclients",
        ),
    )


def redis_clients_disconnected(snapshot: Snapshot, settings: HealthSettings) -> Finding | None:
    """A node that cut off clients whose replies piled up in its memory."""
    return _of_counts(
        snapshot,
        settings,
        DISCONNECTED,
        title=Message("issue.redis_clients_disconnected.title"),
        each=lambda node, count: Message("issue.redis_clients_disconnected.node", node=node, count=count),
        threshold=lambda time: Message("issue.redis_clients_disconnected.threshold", seconds=time),
        advise=lambda node: Message(
            "issue.redis_clients_disconnected.recommendation",
            node=node,
            command=f"{redis_cli(node)} config get client-output-buffer-limit",
        ),
    )


def _of_counts(
    snapshot: Snapshot,
    settings: HealthSettings,
    field: str,
    *,
    title: Message,
    each: Callable[[str, int], Message],
    threshold: Callable[[str], Message],
    advise: Callable[[str], Message],
) -> Finding | None:
    """A condition that is there while a field of INFO grew in the last minutes, most at the node of which the
    advice is."""
    counts = _counts(snapshot, field, settings)
    if not counts:
        return None
    return Finding(
        "redis",
        title,
        Message("issue.text", text=first_few([each(node, int(count)) for node, count in counts.items()])),
        threshold(duration(settings.thresholds.redis_recent_seconds)),
        advise(next(iter(counts))),
        worst_first(counts),
    )


def _counts(snapshot: Snapshot, field: str, settings: HealthSettings) -> dict[str, float]:
    """By how much a field of INFO grew in the last minutes, for each node where it did, the most first."""
    state = value_or_none(snapshot.redis)
    grown = {
        address: float(reading.recent[field].growth)
        for address, reading in (sorted(state.readings().items()) if state else ())
        if _recent(reading, field, settings)
    }
    return dict(sorted(grown.items(), key=lambda pair: -pair[1]))


def _recent(reading: NodeReading, field: str, settings: HealthSettings) -> bool:
    recent = reading.recent.get(field)
    return recent is not None and recent.ago <= settings.thresholds.redis_recent_seconds
