"""One collection: reads every known node once, and derives the topology from their replies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from exporter.redis.deployment import Deployment
from exporter.redis.errors import WRITE_REFUSALS, parse_errors, watched_totals
from exporter.redis.find import SeedsUnreadableError, sentinel_views
from exporter.redis.info import (
    failed_reply,
    mode_of,
    parse_commands,
    parse_info,
    parse_keyspace,
    role_of,
    whole_number,
)
from exporter.redis.protocol import Reply, Request, pack_request
from exporter.redis.sentinel import SentinelView, merge_sentinel_views, sentinel_addresses, sentinel_request
from exporter.redis.topology import mark_unhealthy, merge_cluster_views, parse_cluster_nodes
from exporter.redis.watch import FailoverWatcher
from exporter.snapshot.redis import Keyspace, NodeReading, RedisState, SentinelMaster, Topology, TopologyNode
from service.clock import Deadline
from service.outcome import Failed, Ok, Outcome, UnreadableError

_POOL: Final = "redis"
_NO_REFUSALS: Final = dict.fromkeys(WRITE_REFUSALS, 0)  # INFO lists only errors that happened
_EMPTY: Final = {"db0": Keyspace(0, 0)}  # INFO lists only databases that have keys; db0 always exists
_DISCOVERED_LATE: Final = Failed("timeout", "discovered too late in this collection to be read")


def collect_redis(
    deployment: Deployment, deadline: Deadline, watcher: FailoverWatcher | None = None
) -> RedisState:
    """Never raises for errors of Redis. Until the nodes are discovered, the state is that of the seeds."""
    state = _collect(deployment, deadline)
    state = replace(state, deployment=deployment.identify(state), access=deployment.access)
    return replace(state, failovers=watcher.counts) if watcher else state


def _collect(deployment: Deployment, deadline: Deadline) -> RedisState:
    try:
        topology = deployment.topology(deadline)
    except SeedsUnreadableError as error:
        return _seeds_only(deployment, error.failures)
    except UnreadableError as error:
        return _seeds_only(deployment, dict.fromkeys(deployment.seeds, Failed(error.kind, str(error))))
    state = _read(deployment, topology, deadline)
    if _lost_its_role(topology, state) and not deadline.passed():
        # The name of a single server (a primary endpoint, a Service) may lead to the new master by now.
        for node in state.topology.nodes:
            deployment.renew(node.address)
        state = _read(deployment, state.topology, deadline)
    if _needs_refresh(deployment, state) and not deadline.passed():
        try:
            state = _read(deployment, deployment.refresh(deadline), deadline)
        except UnreadableError:
            return state
    return state


def node_request(*, cluster: bool) -> Request:
    """The request to a node. INFO twice, as Redis 6.2 accepts only one section per call."""
    commands = [("INFO",), ("INFO", "commandstats"), ("SLOWLOG", "LEN")]
    return pack_request([*commands, ("CLUSTER", "INFO"), ("CLUSTER", "NODES")] if cluster else commands)


def unpack_node(replies: Sequence[Reply], took: float = 0.0) -> Outcome[NodeReading]:
    """The replies to `node_request` as a reading; Failed without INFO.

    Parts that a server refuses or does not have are left out.
    """
    general, commands, slowlog, *cluster = replies
    if not isinstance(general, bytes):
        failed = failed_reply("INFO", general)
        return replace(failed, took=took)
    info = parse_info(general)
    cluster_info, cluster_nodes = cluster or (None, None)
    return Ok(
        NodeReading(
            info=info,
            commands=parse_commands(parse_info(commands)) if isinstance(commands, bytes) else {},
            keyspace=(_EMPTY if b"# Keyspace" in general else {}) | parse_keyspace(info),
            cluster_info=parse_info(cluster_info) if isinstance(cluster_info, bytes) else None,
            cluster_lines=parse_cluster_nodes(cluster_nodes) if isinstance(cluster_nodes, bytes) else None,
            slowlog_length=slowlog if isinstance(slowlog, int) else None,
            maxclients=whole_number(info, "maxclients"),
            errors=(_NO_REFUSALS if b"# Errorstats" in general else {}) | parse_errors(info),
        ),
        took,
    )


def _read(deployment: Deployment, topology: Topology, deadline: Deadline) -> RedisState:
    """Read all known nodes; then, once, the nodes that only these replies reported."""
    request = node_request(cluster=topology.mode == "cluster")
    sentinels = dict.fromkeys(deployment.sentinels, sentinel_request(deployment.sentinel_master))
    requests = sentinels | {node.address: request for node in topology.nodes}
    outcomes = deployment.execute(requests, deadline, pool=_POOL)
    views, _ = sentinel_views({address: outcomes[address] for address in sentinels})
    nodes = {node.address: _unpack_outcome(node.address, outcomes, deployment) for node in topology.nodes}
    agreed, sentinel = _merge(deployment, topology, nodes, views)
    new_addresses = [node.address for node in agreed.nodes if node.address not in nodes]
    if new_addresses and not deadline.passed():
        outcomes = deployment.execute(dict.fromkeys(new_addresses, request), deadline, pool=_POOL)
        nodes |= {address: _unpack_outcome(address, outcomes, deployment) for address in outcomes}
        agreed, sentinel = _merge(deployment, topology, nodes, views)
    deployment.update(agreed, sentinel_addresses(views))
    return RedisState(
        agreed, {node.address: nodes.get(node.address, _DISCOVERED_LATE) for node in agreed.nodes}, sentinel
    )


def _merge(
    deployment: Deployment,
    topology: Topology,
    nodes: Mapping[str, Outcome[NodeReading]],
    views: Mapping[str, SentinelView],
) -> tuple[Topology, SentinelMaster | None]:
    """The topology after this collection; the last known one if no node or sentinel replies."""
    match topology.mode:
        case "cluster":
            lines = {
                address: outcome.value.cluster_lines
                for address, outcome in nodes.items()
                if isinstance(outcome, Ok)
            }
            cluster_views = {address: view for address, view in lines.items() if view}
            return (
                merge_cluster_views(cluster_views)
                if cluster_views
                else mark_unhealthy(topology, "no node answers")
            ), None
        case "sentinel":
            if views:
                sentinel, agreed = merge_sentinel_views(deployment.sentinel_master, views)
                return agreed, sentinel
            return mark_unhealthy(topology, "no sentinel answers"), None
        case "standalone":
            return replace(
                topology, nodes=tuple(_standalone_node(node, nodes[node.address]) for node in topology.nodes)
            ), None


def _standalone_node(node: TopologyNode, outcome: Outcome[NodeReading]) -> TopologyNode:
    """A server without a cluster or sentinels is healthy if it replies."""
    if isinstance(outcome, Failed):
        return replace(node, healthy=False, why=outcome.message)
    return replace(node, role=role_of(outcome.value.info), healthy=True, why="")


def _lost_its_role(before: Topology, state: RedisState) -> bool:
    """Whether a single server was a master, and is a replica now."""
    return state.topology.mode == "standalone" and any(
        (old.role, new.role) == ("master", "replica")
        for old, new in zip(before.nodes, state.topology.nodes, strict=True)
    )


def _needs_refresh(deployment: Deployment, state: RedisState) -> bool:
    """Whether to start again from the seeds: no node answers, or the server has become a cluster."""
    if not state.reachable:
        return not set(deployment.seeds) <= state.nodes.keys()
    return state.topology.mode == "standalone" and any(
        mode_of(reading.info) == "cluster" for reading in state.readings().values()
    )


def _unpack_outcome(
    address: str, outcomes: Mapping[str, Outcome[list[Reply]]], deployment: Deployment
) -> Outcome[NodeReading]:
    """One node's reading, with what follows from earlier ones: its clock, its recent errors."""
    outcome = outcomes[address]
    if isinstance(outcome, Failed):
        return outcome
    reading = unpack_node(outcome.value, outcome.took)
    if isinstance(reading, Failed):
        return reading
    info = reading.value.info
    deployment.learn_clock(address, outcome, info)
    run_id = info.text("run_id") or ""
    value = replace(
        reading.value,
        clock_offset=deployment.clock_offset(address),
        recent=deployment.recent(address, run_id, watched_totals(reading.value.errors, info)),
    )
    return replace(reading, value=value)


def _seeds_only(deployment: Deployment, failures: Mapping[str, Failed]) -> RedisState:
    """redis_up 0 must be there for alerts, even before any node has replied."""
    nodes = tuple(
        TopologyNode(address, "unknown", "", healthy=False, why=failed.message)
        for address, failed in sorted(failures.items())
    )
    return RedisState(Topology(deployment.expected_mode, nodes), dict(failures))
