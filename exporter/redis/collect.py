"""One collection: every known node asked once, and the topology that follows from what they answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from exporter.redis.deployment import Deployment
from exporter.redis.find import SeedsUnreadableError, sentinel_views
from exporter.redis.info import (
    failed_reply,
    mode_of,
    parse_commands,
    parse_info,
    parse_keyspace,
    role_of,
    whole,
)
from exporter.redis.protocol import Reply, Request, request
from exporter.redis.sentinel import SentinelView, agree_sentinels, sentinel_addresses, sentinel_request
from exporter.redis.topology import agree, parse_cluster_nodes, unseen
from exporter.redis.watch import FailoverWatcher
from exporter.snapshot import Keyspace, NodeReading, RedisState, SentinelMaster, Topology, TopologyNode
from service.clock import Deadline
from service.outcome import Failed, Ok, Outcome, UnreadableError

_POOL: Final = "redis"
_EMPTY: Final = {"db0": Keyspace(0, 0)}  # INFO lists databases that have keys; this one is always there
_TOO_LATE: Final = Failed("timeout", "found too late in this collection to be asked")


def collect_redis(
    deployment: Deployment, deadline: Deadline, watch: FailoverWatcher | None = None
) -> RedisState:
    """Never raises for what Redis does. Until the deployment has been found, its seeds stand for it."""
    state = _collect(deployment, deadline)
    return replace(state, failovers=watch.counts) if watch else state


def _collect(deployment: Deployment, deadline: Deadline) -> RedisState:
    try:
        topology = deployment.topology(deadline)
    except SeedsUnreadableError as error:
        return _seeds_only(deployment, error.failures)
    except UnreadableError as error:
        return _seeds_only(deployment, dict.fromkeys(deployment.seeds, Failed(error.kind, str(error))))
    state = _read(deployment, topology, deadline)
    if _lost(deployment, state) and not deadline.passed():
        try:
            state = _read(deployment, deployment.refresh(deadline), deadline)
        except UnreadableError:
            return state
    return state


def node_request(*, cluster: bool) -> Request:
    """All that is asked of a node. INFO twice, as 6.2 takes one section a time."""
    commands = [("INFO",), ("INFO", "commandstats"), ("SLOWLOG", "LEN")]
    return request([*commands, ("CLUSTER", "INFO"), ("CLUSTER", "NODES")] if cluster else commands)


def unpack_node(replies: Sequence[Reply], took: float = 0.0) -> Outcome[NodeReading]:
    """The replies to `node_request` as a reading, which without INFO is none.

    What a server refuses or lacks is left out.
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
            maxclients=whole(info, "maxclients"),
        ),
        took,
    )


def _read(deployment: Deployment, topology: Topology, deadline: Deadline) -> RedisState:
    """Ask all known nodes; then, once, those that only their answers told of."""
    each = node_request(cluster=topology.mode == "cluster")
    watch = dict.fromkeys(deployment.sentinels, sentinel_request(deployment.sentinel_master))
    answers = deployment.ask(watch | {node.address: each for node in topology.nodes}, deadline, pool=_POOL)
    views, _ = sentinel_views({address: answers[address] for address in watch})
    nodes = {node.address: _unpacked(answers[node.address]) for node in topology.nodes}
    agreed, sentinel = _agreed(deployment, topology, nodes, views)
    news = [node.address for node in agreed.nodes if node.address not in nodes]
    if news and not deadline.passed():
        answers = deployment.ask(dict.fromkeys(news, each), deadline, pool=_POOL)
        nodes |= {address: _unpacked(answer) for address, answer in answers.items()}
        agreed, sentinel = _agreed(deployment, topology, nodes, views)
    deployment.adopt(agreed, sentinel_addresses(views))
    return RedisState(
        agreed, {node.address: nodes.get(node.address, _TOO_LATE) for node in agreed.nodes}, sentinel
    )


def _agreed(
    deployment: Deployment,
    topology: Topology,
    nodes: Mapping[str, Outcome[NodeReading]],
    views: Mapping[str, SentinelView],
) -> tuple[Topology, SentinelMaster | None]:
    """The topology after this collection; the last known one where nobody is left to say."""
    match topology.mode:
        case "cluster":
            lines = {
                address: out.value.cluster_lines for address, out in nodes.items() if isinstance(out, Ok)
            }
            seen = {address: view for address, view in lines.items() if view}
            return (agree(seen) if seen else unseen(topology, "no node answers")), None
        case "sentinel":
            if views:
                sentinel, agreed = agree_sentinels(deployment.sentinel_master, views)
                return agreed, sentinel
            return unseen(topology, "no sentinel answers"), None
        case "standalone":
            return replace(
                topology, nodes=tuple(_alone(node, nodes[node.address]) for node in topology.nodes)
            ), None


def _alone(node: TopologyNode, outcome: Outcome[NodeReading]) -> TopologyNode:
    """A server that nobody else watches is as healthy as it answers."""
    if isinstance(outcome, Failed):
        return replace(node, healthy=False, why=outcome.message)
    return replace(node, role=role_of(outcome.value.info), healthy=True, why="")


def _lost(deployment: Deployment, state: RedisState) -> bool:
    """Whether to ask the seeds again: all nodes are gone, or the server has become a cluster."""
    if not state.reachable:
        return not set(deployment.seeds) <= state.nodes.keys()
    return state.topology.mode == "standalone" and any(
        mode_of(reading.info) == "cluster" for reading in state.readings().values()
    )


def _unpacked(answer: Outcome[list[Reply]]) -> Outcome[NodeReading]:
    return unpack_node(answer.value, answer.took) if isinstance(answer, Ok) else answer


def _seeds_only(deployment: Deployment, failures: Mapping[str, Failed]) -> RedisState:
    """redis_up 0 must be there to be alerted on, even before anything has ever answered."""
    nodes = tuple(
        TopologyNode(address, "unknown", "", healthy=False, why=failed.message)
        for address, failed in sorted(failures.items())
    )
    return RedisState(Topology(deployment.expected, nodes), dict(failures))
