"""Conditions of Redis: nodes, slots, memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from exporter.conditions.advice import SILENCE, Context, first_advice
from exporter.conditions.finding import (
    Finding,
    and_more_nodes,
    each_once,
    first_few,
    redis_cli,
    worst_first,
)
from exporter.config.health import HealthSettings
from exporter.snapshot.redis import CLUSTER_SLOTS, NodeReading, RedisState
from exporter.snapshot.whole import Snapshot
from service.i18n import Message
from service.outcome import Failed, Ok, Outcome, value_or_none
from service.units import duration, size


def redis_unreachable(snapshot: Snapshot, _: HealthSettings) -> Finding | None:
    outcome = snapshot.redis
    if outcome is None or (isinstance(outcome, Ok) and outcome.value.reachable):
        return None
    if isinstance(outcome, Failed):
        measured = Message("issue.text", text=outcome.message)
    else:
        failures = [f"{address}: {_why(node)}" for address, node in outcome.value.nodes.items()]
        measured = Message(
            "issue.redis_unreachable.measured", count=len(failures), failures=first_few(failures)
        )
    known = sorted(outcome.value.nodes) if isinstance(outcome, Ok) else []
    command = f"{redis_cli(known[0] if known else 'HOST:PORT')} ping"
    unreachable = Message("issue.redis_unreachable.recommendation", command=command)
    return Finding(
        "redis",
        Message("issue.redis_unreachable.title"),
        measured,
        Message("issue.redis_unreachable.threshold"),
        first_advice(_failures(outcome)) or first_advice(_failures(outcome), SILENCE) or unreachable,
        each_once(known),
    )


def cluster_node_unhealthy(snapshot: Snapshot, _: HealthSettings) -> Finding | None:
    """A node that others report as failed, or that does not answer.

    If no node answers, that is `redis_unreachable` instead.
    """
    state = value_or_none(snapshot.redis)
    if state is None or not state.reachable:
        return None
    unhealthy: list[tuple[str, str | Message]] = []
    for node in state.topology.nodes:
        outcome = state.nodes.get(node.address)
        if isinstance(outcome, Failed):
            unhealthy.append((node.address, f"{node.address}: {outcome.message}"))
        elif not node.healthy and node.why:
            unhealthy.append((node.address, f"{node.address}: {node.why}"))
        elif not node.healthy:
            failure = Message("issue.cluster_node_unhealthy.node", node=node.address)
            unhealthy.append((node.address, failure))
    missing = CLUSTER_SLOTS - state.topology.slots_covered() if state.topology.mode == "cluster" else 0
    if not unhealthy and missing <= 0:
        return None
    failures: list[str | Message] = []
    if missing > 0:
        failures.append(Message("issue.slots_without_owner.measured", slots=missing, total=CLUSTER_SLOTS))
    failures += [failure for _, failure in unhealthy]
    witness = min(state.readings())
    silent = {address: out for address, out in state.nodes.items() if isinstance(out, Failed)}
    if unhealthy:
        query = "cluster nodes" if state.topology.mode == "cluster" else "info replication"
        title = Message("issue.cluster_node_unhealthy.title")
        recommendation = first_advice(_contexts(state, silent)) or Message(
            "issue.cluster_node_unhealthy.recommendation",
            node=unhealthy[0][0],
            command=f"{redis_cli(witness)} {query}",
        )
    else:
        title = Message("issue.slots_without_owner.title")
        recommendation = Message(
            "issue.slots_without_owner.recommendation",
            command=f"redis-cli --cluster check {witness}",
            fix=f"redis-cli --cluster fix {witness}",
        )
    return Finding(
        "redis",
        title,
        Message("issue.text", text=first_few(failures)),
        Message("issue.cluster_node_unhealthy.threshold", count=len(state.topology.nodes)),
        recommendation,
        each_once([node for node, _ in unhealthy]),
    )


def redis_memory_high(snapshot: Snapshot, settings: HealthSettings) -> Finding | None:
    state = value_or_none(snapshot.redis)
    if state is None:
        return None
    limit = settings.thresholds.redis_memory_ratio
    fills = [(address, fill) for address, reading in state.readings().items() if (fill := _fill(reading))]
    high = sorted((pair for pair in fills if pair[1].ratio > limit), key=lambda pair: -pair[1].ratio)
    if not high:
        return None
    address, fill = high[0]
    ratio, used, total = f"{fill.ratio:.0%}", size(fill.used), size(fill.size)
    if fill.of_maxmemory:
        measured = Message(
            "issue.redis_memory_high.measured", node=address, ratio=ratio, used=used, size=total
        )
    else:
        measured = Message(
            "issue.redis_memory_high.measured_host", node=address, ratio=ratio, used=used, size=total
        )
    measured = and_more_nodes(measured, len(high) - 1)
    return Finding(
        "redis",
        Message("issue.redis_memory_high.title"),
        measured,
        Message("issue.redis_memory_high.threshold", ratio=f"{limit:.0%}"),
        Message("issue.redis_memory_high.recommendation", command=f"{redis_cli(address)} --bigkeys"),
        worst_first({node: fill.ratio for node, fill in high}),
    )


def clock_offset_high(snapshot: Snapshot, settings: HealthSettings) -> Finding | None:
    """Ages are by the servers' clocks: a clock that is off makes them wrong for producers and people."""
    state = value_or_none(snapshot.redis)
    limit = settings.thresholds.clock_offset_seconds
    offsets = {
        address: reading.clock_offset
        for address, reading in (state.readings().items() if state else ())
        if reading.clock_offset is not None and abs(reading.clock_offset) > limit
    }
    if not offsets:
        return None
    address = max(offsets, key=lambda node: abs(offsets[node]))
    ahead = offsets[address]
    if ahead > 0:
        measured = Message("issue.clock_offset_high.ahead", node=address, offset=duration(ahead))
    else:
        measured = Message("issue.clock_offset_high.behind", node=address, offset=duration(-ahead))
    measured = and_more_nodes(measured, len(offsets) - 1)
    return Finding(
        "redis",
        Message("issue.clock_offset_high.title"),
        measured,
        Message("issue.clock_offset_high.threshold", limit=duration(limit)),
        Message("issue.clock_offset_high.recommendation", command="timedatectl", node=address),
        worst_first({node: abs(offset) for node, offset in offsets.items()}),
    )


class _Fill(NamedTuple):
    """Used and size in bytes; the size is maxmemory or, without it, the memory of the host."""

    ratio: float
    used: float
    size: float
    of_maxmemory: bool


def _fill(reading: NodeReading) -> _Fill | None:
    used = reading.info.number("used_memory")
    maxmemory = reading.info.number("maxmemory")
    total = maxmemory or reading.info.number("total_system_memory")
    if used is None or not total:
        return None
    return _Fill(used / total, used, total, bool(maxmemory))


def _failures(outcome: Outcome[RedisState]) -> list[Context]:
    if isinstance(outcome, Failed):
        return [Context(outcome.kind, outcome.message, "HOST:PORT")]
    return _contexts(outcome.value, outcome.value.nodes)


def _contexts(state: RedisState, nodes: Mapping[str, Outcome[NodeReading]]) -> list[Context]:
    """The failures among these nodes. Where sentinels are set and no node is known, the nodes are they."""
    sentinels = state.topology.mode == "sentinel" and not state.topology.masters()
    return [
        Context(failed.kind, failed.message, address, sentinel=sentinels)
        for address, failed in sorted(nodes.items())
        if isinstance(failed, Failed)
    ]


def _why(outcome: Outcome[NodeReading]) -> str:
    return outcome.message if isinstance(outcome, Failed) else "answers"
