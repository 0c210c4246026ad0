from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.assessment import Assessment
from exporter.health import Health
from exporter.metrics.redis import FAMILIES
from exporter.redis.clocks import server_time
from exporter.redis.collect import unpack_node
from exporter.snapshot.redis import NodeReading, RedisState, Topology, TopologyNode
from exporter.snapshot.whole import Snapshot
from service.outcome import Failed, Ok, Outcome

FIXTURES = Path(__file__).parents[3] / "fixtures"
VERSIONS = sorted(path.parent.name for path in FIXTURES.glob("redis-*/info.txt"))
REPLICAS_ONLY = {"redis_master_link_up", "redis_master_last_io_seconds_ago", "redis_slave_repl_offset"}


def recorded(version: str, info: str = "info.txt") -> NodeReading:
    texts = [(FIXTURES / version / name).read_bytes() for name in (info, "commandstats.txt")]
    read = unpack_node([*texts, 3])
    assert isinstance(read, Ok)
    assert server_time(read.value.info) is not None
    return replace(read.value, clock_offset=0.0)  # it follows from when the exchange was


def reading(info: str) -> NodeReading:
    read = unpack_node([info.encode(), b"", None])
    assert isinstance(read, Ok)
    return read.value


def series(**nodes: Outcome[NodeReading] | NodeReading) -> dict[str, dict[tuple[str, ...], float]]:
    """Every sample of every family, by the family's name and the labels' values."""
    outcomes = {name: Ok(node) if isinstance(node, NodeReading) else node for name, node in nodes.items()}
    topology = Topology("standalone", tuple(TopologyNode(name, "master", "") for name in outcomes))
    assessment = Assessment(Snapshot(0, Ok(RedisState(topology, outcomes))), Health(100, "healthy", ()))
    by_family = {}
    for family in FAMILIES:
        samples = list(family.read(assessment))
        assert all(len(labels) == len(family.labels) for labels, _ in samples)
        by_family[family.name] = dict(samples)
        assert len(by_family[family.name]) == len(samples), f"{family.name} has the same labels twice"
    return by_family


@pytest.mark.parametrize("version", VERSIONS)
def test_every_version_fills_every_family(version: str) -> None:
    by_family = series(m=recorded(version), r=recorded(version, "info-replica.txt"))
    for name, samples in by_family.items():
        expected = {"r"} if name in REPLICAS_ONLY else {"m", "r"}
        assert {labels[0] for labels in samples} == expected, name


def test_values() -> None:
    by_family = series(
        m=reading(
            "redis_version:7.0.15\r\nredis_mode:cluster\r\nos:Linux\r\ntcp_port:7001\r\nrun_id:abc\r\nrole:master\r\n"
            "maxmemory_policy:noeviction\r\nused_memory:1024\r\nmaxmemory:0\r\nmem_fragmentation_ratio:1.25\r\n"
            "total_commands_processed:17\r\naof_last_write_status:err\r\nrdb_last_save_time:1700000000\r\n"
            "# Keyspace\r\ndb3:keys=5,expires=2,avg_ttl=0\r\n"
        )
    )
    assert by_family["redis_up"] == {("m",): 1}
    assert by_family["redis_instance_info"] == {
        ("m", "master", "7.0.15", "", "cluster", "Linux", "noeviction", "7001", "abc"): 1
    }
    assert by_family["redis_memory_used_bytes"] == {("m",): 1024}
    assert by_family["redis_memory_max_bytes"] == {("m",): 0}
    assert by_family["redis_mem_fragmentation_ratio"] == {("m",): 1.25}
    assert by_family["redis_commands_processed_total"] == {("m",): 17}
    assert by_family["redis_aof_last_write_status"] == {("m",): 0}
    assert by_family["redis_rdb_last_save_timestamp_seconds"] == {("m",): 1_700_000_000}
    assert by_family["redis_db_keys"] == {("m", "db0"): 0, ("m", "db3"): 5}
    assert by_family["redis_db_keys_expiring"] == {("m", "db0"): 0, ("m", "db3"): 2}
    assert by_family["redis_uptime_in_seconds"] == {}


def test_a_replica_and_its_master() -> None:
    up = (
        "role:slave\r\nmaster_host:10.0.0.1\r\nmaster_port:7001\r\n"
        "slave_repl_offset:90\r\nmaster_repl_offset:90\r\n"
    )
    linked = f"{up}master_link_status:up\r\nmaster_last_io_seconds_ago:2\r\n"
    broken = f"{up}master_link_status:down\r\nmaster_last_io_seconds_ago:-1\r\n"
    by_family = series(
        r=reading(linked), s=reading(broken), m=reading("role:master\r\nmaster_repl_offset:95\r\n")
    )
    assert by_family["redis_master_link_up"] == {("r", "10.0.0.1", "7001"): 1, ("s", "10.0.0.1", "7001"): 0}
    assert by_family["redis_master_last_io_seconds_ago"] == {("r", "10.0.0.1", "7001"): 2}
    assert by_family["redis_slave_repl_offset"] == {
        ("r", "10.0.0.1", "7001"): 90,
        ("s", "10.0.0.1", "7001"): 90,
    }
    assert by_family["redis_master_repl_offset"] == {("r",): 90, ("s",): 90, ("m",): 95}


def test_valkey_reports_its_mode_in_another_field() -> None:
    (labels,) = series(m=recorded("redis-valkey-8.1"))["redis_instance_info"]
    assert labels[1:5] == ("master", "7.2.4", "8.1.8", "cluster")


def test_a_node_that_does_not_answer_has_redis_up_and_nothing_else() -> None:
    by_family = series(a=recorded("redis-7.0"), b=Failed("timeout", "no answer in time"))
    assert by_family["redis_up"] == {("a",): 1, ("b",): 0}
    assert all(
        ("b" not in {labels[0] for labels in samples})
        for name, samples in by_family.items()
        if name != "redis_up"
    )


@pytest.mark.parametrize("redis", [None, Failed("error", "no")])
def test_without_a_deployment_there_are_no_series(redis: Failed | None) -> None:
    assessment = Assessment(Snapshot(0, redis), Health(100, "healthy", ()))
    assert [list(family.read(assessment)) for family in FAMILIES] == [[] for _ in FAMILIES]


def test_what_a_server_lacks_is_left_out() -> None:
    bare = replace(reading(""), slowlog_length=None)
    by_family = series(m=bare)
    assert {name for name, samples in by_family.items() if samples} == {"redis_up"}


@given(st.dictionaries(st.sampled_from(["used_memory", "maxmemory", "role", "maxclients"]), st.text()))
def test_odd_fields_give_no_odd_numbers(fields: dict[str, str]) -> None:
    by_family = series(m=reading("\r\n".join(f"{name}:{value}" for name, value in fields.items())))
    for samples in by_family.values():
        assert all(0 <= number < float("inf") for number in samples.values())
