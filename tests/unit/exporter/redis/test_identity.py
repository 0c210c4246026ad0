"""What exporters of one deployment have in common, from what each of them reads."""

from __future__ import annotations

from exporter.redis.identity import deployment_identity
from exporter.snapshot.redis import Info, NodeReading, RedisState, Topology, TopologyNode
from service.outcome import Failed, Ok, Outcome

GONE = Failed("timeout", "no answer in time")


def reading(replication: str) -> Ok[NodeReading]:
    return Ok(NodeReading(Info({"master_replid": replication, "run_id": replication[::-1]})))


def cluster(*ids: str) -> RedisState:
    nodes = tuple(TopologyNode(f"10.0.0.{n}:6379", "master", "0", node_id=one) for n, one in enumerate(ids))
    return RedisState(Topology("cluster", nodes), {node.address: GONE for node in nodes})


def servers(master: Outcome[NodeReading], replica: Outcome[NodeReading] = GONE) -> RedisState:
    nodes = TopologyNode("a:6379", "master", "0"), TopologyNode("b:6379", "replica", "0")
    return RedisState(Topology("sentinel", nodes), {"a:6379": master, "b:6379": replica})


def test_a_cluster_is_known_by_one_of_its_nodes_even_if_none_answers() -> None:
    assert deployment_identity(cluster("bbb", "aaa", "ccc"), 0) == "aaa"
    assert deployment_identity(cluster("ccc", "aaa", "ddd"), 0) == "aaa"


def test_a_master_and_its_replicas_have_the_same_identity() -> None:
    assert deployment_identity(servers(reading("f00"), reading("f00")), 0) == "f00"
    assert deployment_identity(servers(GONE, reading("f00")), 0) == "f00"
    assert deployment_identity(servers(reading("f00"), reading("0ld")), 0) == "f00"


def test_another_database_is_another_deployment() -> None:
    assert deployment_identity(servers(reading("f00")), 2) == "f00/2"


def test_what_no_node_reports_is_not_known() -> None:
    assert deployment_identity(servers(GONE), 0) is None
    assert deployment_identity(servers(Ok(NodeReading(Info({})))), 0) is None
    assert deployment_identity(servers(reading("0" * 40)), 0) is None
    assert deployment_identity(cluster(), 0) is None
