from __future__ import annotations

from typing import Literal

import pytest

from exporter.assessment import Assessment
from exporter.health import Health
from exporter.metrics.cluster import FAMILIES
from exporter.redis.collect import unpack_node
from exporter.snapshot.redis import NodeReading, RedisState, SentinelMaster, Topology, TopologyNode
from exporter.snapshot.whole import Snapshot
from service.outcome import Failed, Ok, Outcome

INFO = (
    b"cluster_state:ok\r\ncluster_slots_assigned:16384\r\ncluster_slots_ok:10923\r\ncluster_slots_pfail:5461\r\n"
    b"cluster_slots_fail:0\r\ncluster_known_nodes:6\r\ncluster_size:3\r\ncluster_current_epoch:7\r\n"
)
DOWN: Failed = Failed("timeout", "no answer in time")
MASTER = TopologyNode("m:1", "master", "0", slots=((0, 16000),))
REPLICA = TopologyNode("r:1", "replica", "0", "m:1", healthy=False, why="failed")
LOST = TopologyNode("x:1", "master", "")
SENTINEL = SentinelMaster(
    "mymaster", "m:1", status_ok=True, quorum_ok=False, sentinels=3, replicas=1, config_epoch=1
)


def node(info: str = "", cluster_info: bytes = INFO) -> NodeReading:
    read = unpack_node([info.encode(), b"", 0, cluster_info, b""])
    assert isinstance(read, Ok)
    return read.value


def series(
    mode: Literal["standalone", "sentinel", "cluster"],
    sentinel: SentinelMaster | None = None,
    **nodes: Outcome[NodeReading] | NodeReading,
) -> dict[str, dict[tuple[str, ...], float]]:
    outcomes = {
        f"{name}:1": Ok(node) if isinstance(node, NodeReading) else node for name, node in nodes.items()
    }
    members = tuple(node for node in (MASTER, REPLICA, LOST) if node.address in outcomes)
    state = RedisState(Topology(mode, members), outcomes, sentinel)
    assessment = Assessment(Snapshot(0, Ok(state)), Health(100, "healthy", ()))
    return {family.name: dict(family.read(assessment)) for family in FAMILIES}


def test_each_nodes_own_view() -> None:
    values = series(
        "cluster", m=node(), r=node(cluster_info=INFO.replace(b"state:ok", b"state:fail")), x=DOWN
    )
    assert values["redis_cluster_state"] == {("m:1",): 1, ("r:1",): 0}
    assert values["redis_cluster_slots_assigned"] == {("m:1",): 16384, ("r:1",): 16384}
    assert values["redis_cluster_slots_ok"][("m:1",)] == 10923
    assert values["redis_cluster_slots_pfail"][("m:1",)] == 5461
    assert values["redis_cluster_slots_fail"][("m:1",)] == 0
    assert values["redis_cluster_known_nodes"][("m:1",)] == 6
    assert values["redis_cluster_size"][("m:1",)] == 3
    assert values["redis_cluster_current_epoch"][("m:1",)] == 7


def test_what_the_nodes_agree_on() -> None:
    values = series("cluster", m=node(), r=DOWN, x=DOWN)
    assert values["redis_cluster_node_healthy"] == {
        ("m:1", "master", "0"): 1,
        ("r:1", "replica", "0"): 0,
        ("x:1", "master", ""): 1,
    }
    assert values["redis_cluster_node_role"] == {
        ("m:1", "master"): 1,
        ("r:1", "replica"): 1,
        ("x:1", "master"): 1,
    }
    assert values["redis_cluster_slots_covered"] == {(): 16001}


def test_nobody_is_left_to_say_how_the_nodes_are() -> None:
    values = series("cluster", m=DOWN, r=DOWN)
    assert not any(values.values())


@pytest.mark.parametrize(("written", "received", "lag"), [(100, 60, 40), (100, 100, 0), (100, 130, 0)])
def test_replication_lag(written: int, received: int, lag: int) -> None:
    master, replica = node(f"master_repl_offset:{written}"), node(f"slave_repl_offset:{received}")
    values = series("cluster", m=master, r=replica)
    assert values["redis_cluster_replication_lag_bytes"] == {("r:1", "m:1"): lag}


def test_lag_needs_both_ends() -> None:
    replica = node("slave_repl_offset:60")
    assert series("cluster", m=DOWN, r=replica)["redis_cluster_replication_lag_bytes"] == {}
    assert series("cluster", m=node(), r=replica)["redis_cluster_replication_lag_bytes"] == {}


def test_a_sentinel_set() -> None:
    values = series(
        "sentinel", SENTINEL, m=node("master_repl_offset:9", b""), r=node("slave_repl_offset:4", b"")
    )
    assert values["redis_sentinel_master_status"] == {("mymaster", "m:1"): 1}
    assert values["redis_sentinel_quorum_ok"] == {("mymaster",): 0}
    assert values["redis_cluster_node_healthy"][("m:1", "master", "0")] == 1
    assert values["redis_cluster_replication_lag_bytes"] == {("r:1", "m:1"): 5}
    assert values["redis_cluster_slots_covered"] == {}
    assert values["redis_cluster_state"] == {}


def test_without_a_sentinel_nothing_is_said_of_it_nor_by_it() -> None:
    values = series("sentinel", None, m=node("", b""))
    assert not any(values.values())


def test_one_server_has_nobody_to_agree_with() -> None:
    assert not any(series("standalone", m=node("role:master", b"")).values())


def test_no_deployment() -> None:
    assessment = Assessment(Snapshot(0, None), Health(100, "healthy", ()))
    assert [list(family.read(assessment)) for family in FAMILIES] == [[] for _ in FAMILIES]


def test_failovers_are_told_whether_or_not_a_node_answers() -> None:
    state = RedisState(Topology("cluster", (MASTER,)), {"m:1": DOWN}, failovers={"0": 2, "5461": 0})
    assessment = Assessment(Snapshot(0, Ok(state)), Health(100, "healthy", ()))
    family = next(family for family in FAMILIES if family.name == "redis_cluster_failovers_total")
    assert dict(family.read(assessment)) == {("0",): 2, ("5461",): 0}
    assert series("cluster", m=node())[family.name] == {}
