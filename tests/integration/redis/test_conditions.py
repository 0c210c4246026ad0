"""Redis that answers and is in trouble: refused writes, eviction, broken replication, too many clients."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from exporter.derived import replication_lags
from exporter.metrics.families import FAMILIES
from exporter.redis.deployment import Deployment
from exporter.summaries import node_state
from exporter.views import About, status_view
from lab.cluster import start_cluster
from lab.deadline import wait_until
from lab.programs import find_program
from lab.redis import RedisError, RedisServer, start_redis
from lab.sentinel import start_sentinel_set
from tests.support.conditions import assessment_of, issues_of
from tests.support.deployments import Connect, collect


def series(deployment: Deployment, name: str) -> dict[tuple[str, ...], float]:
    (family,) = (family for family in FAMILIES if family.name == name)
    return {labels: float(str(value)) for labels, value in family.read(assessment_of(deployment))}


def refused(server: RedisServer, *command: str) -> bool:
    try:
        server.cli(*command)
    except RedisError:
        return True
    return False


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with start_redis() as started:
        yield started


def test_a_snapshot_that_fails_stops_all_writes(server: RedisServer, connect: Connect) -> None:
    deployment = connect(url=server.url)
    assert issues_of(deployment) == {}
    (server.directory / "dump.rdb" / "x").mkdir(parents=True)
    server.cli("config", "set", "save", "1 1")
    server.cli("bgsave")
    wait_until(lambda: refused(server, "set", "a", "1"), what="writes are refused")
    found = issues_of(deployment)
    assert list(found) == ["redis_writes_refused"]
    assert (
        f"{server.address}: MISCONF 1 | No job can be added or finished until"
        in found["redis_writes_refused"]
    )
    assert series(deployment, "redis_rdb_last_bgsave_status") == {(server.address,): 0}
    assert series(deployment, "redis_errors_total")[server.address, "MISCONF"] == 1
    started_meanwhile = connect(url=server.url)
    assert list(issues_of(started_meanwhile)) == ["redis_save_failing"]  # nothing was refused while it looked
    (server.directory / "dump.rdb" / "x").rmdir()
    (server.directory / "dump.rdb").rmdir()
    server.cli("bgsave")
    wait_until(lambda: not refused(server, "set", "a", "1"), what="writes succeed")
    assert issues_of(deployment) == issues_of(started_meanwhile) == {}
    assert series(deployment, "redis_rdb_last_bgsave_status") == {(server.address,): 1}


def test_writes_that_need_a_replica(server: RedisServer, connect: Connect) -> None:
    deployment = connect(url=server.url)
    assert issues_of(deployment) == {}
    server.cli("config", "set", "min-replicas-to-write", 1)
    assert "NOREPLICAS | " in issues_of(deployment)["redis_writes_refused"]  # before anybody writes
    assert refused(server, "set", "a", "1")
    assert "NOREPLICAS 1 | " in issues_of(deployment)["redis_writes_refused"]


@pytest.mark.fault
def test_writes_over_maxmemory(server: RedisServer, connect: Connect) -> None:
    deployment = connect(url=server.url)
    issues_of(deployment)
    server.cli("config", "set", "maxmemory", 1)
    assert refused(server, "set", "a", "1")
    assert "OOM 1 | No job can be added until" in issues_of(deployment)["redis_writes_refused"]


def test_a_policy_that_evicts(server: RedisServer, connect: Connect) -> None:
    deployment = connect(url=server.url)
    server.cli("config", "set", "maxmemory-policy", "allkeys-lru")
    assert issues_of(deployment) == {}  # without a limit nothing is evicted
    server.cli("config", "set", "maxmemory", "1gb")
    measured = "maxmemory 1.0 GiB, maxmemory-policy allkeys-lru, 0 keys deleted"
    assert measured in issues_of(deployment)["redis_evicts_keys"]


def test_clients_near_the_limit(server: RedisServer, connect: Connect) -> None:
    deployment = connect(url=server.url)
    assert issues_of(deployment) == {}
    server.cli("config", "set", "maxclients", 10)
    with ExitStack() as undo:
        for _ in range(9):
            undo.enter_context(socket.create_connection((server.host, server.port)))
        wait_until(lambda: "redis_clients_high" in issues_of(deployment), what="the issue is there")
        assert "10 clients of 10 (maxclients)" in issues_of(deployment)["redis_clients_high"]


def test_a_connection_that_is_rejected(server: RedisServer, connect: Connect) -> None:
    deployment = connect(url=server.url)
    assert issues_of(deployment) == {}
    server.cli("config", "set", "maxclients", 5)
    with ExitStack() as undo:
        for _ in range(5):
            undo.enter_context(socket.create_connection((server.host, server.port)))
        wait_until(lambda: "redis_connections_rejected" in issues_of(deployment), what="the issue is there")
        found = issues_of(deployment)
        assert "client list; let each process share" in found["redis_connections_rejected"]
        assert "redis_clients_high" not in found


def test_a_client_that_reads_too_slowly(connect: Connect) -> None:
    """Servers that do not count them (before Redis 7.4 and Valkey 8) have no such issue."""
    with start_redis(config=["client-output-buffer-limit normal 1mb 1mb 1"]) as server:
        deployment = connect(url=server.url)
        assert issues_of(deployment) == {}
        server.cli("eval", "redis.call('set', 'big', string.rep('x', 900000))", 0)
        with socket.create_connection((server.host, server.port)) as slow:
            slow.sendall(b"get big\r\n" * 40)
            address = "{}:{}".format(*slow.getsockname())
            wait_until(lambda: address not in server.cli("client", "list"), what="it is disconnected")
        counted = "client_output_buffer_limit_disconnections" in server.facts("info", "stats")
        assert list(issues_of(deployment)) == (["redis_clients_disconnected"] if counted else [])


def test_replicas_that_have_lost_their_masters(connect: Connect) -> None:
    with start_cluster() as cluster:
        deployment = connect(cluster=cluster.addresses, password="p")
        for node in cluster.nodes:
            node.cli("config", "set", "masterauth", "p")
            node.cli("config", "set", "requirepass", "p")
            node.password = "p"
        assert issues_of(deployment) == {}
        replicas = cluster.replicas()
        assert len(replication_lags(collect(deployment))) == 3
        for node in cluster.nodes:
            node.cli("config", "set", "masterauth", "wrong")
        for node in cluster.nodes:
            node.cli("client", "kill", "type", "replica")
        down = {node.address for node in replicas}
        wait_until(
            lambda: (
                {
                    address
                    for address, reading in collect(deployment).readings().items()
                    if reading.info.text("master_link_status") == "down"
                }
                == down
            ),
            what="all replicas have lost their masters",
        )
        found = issues_of(deployment)
        assert list(found) == ["replication_broken"]
        assert all(f"{address} has " in found["replication_broken"] for address in down)
        assert "masterauth" in found["replication_broken"]
        assert series(deployment, "redis_cluster_replication_lag_bytes") == {}
        view = status_view(assessment_of(deployment), About("1", monitoring=True))
        reasons = {node["address"]: node["why"] for node in view["redis"]["nodes"]}
        assert {address for address, why in reasons.items() if why == "no link to its master"} == down
        assert {node_state(node) for node in view["redis"]["nodes"] if node["why"]} == {"unhealthy"}
        for node in cluster.nodes:
            node.cli("config", "set", "masterauth", "p")
        wait_until(lambda: issues_of(deployment) == {}, what="the replicas are linked again", seconds=20)
        assert len(series(deployment, "redis_cluster_replication_lag_bytes")) == 3


def test_writes_to_a_replica(server: RedisServer, connect: Connect) -> None:
    with start_redis() as replica:
        replica.cli("replicaof", server.host, server.port)
        deployment = connect(url=replica.url)
        wait_until(lambda: issues_of(deployment) == {}, what="the replica is linked")
        assert refused(replica, "set", "a", "1")
        assert "READONLY 1 | Producers or workers write to" in issues_of(deployment)["redis_writes_refused"]


def test_codes_that_scripts_make_up_are_counted_together(server: RedisServer, connect: Connect) -> None:
    deployment = connect(url=server.url)
    for number in range(20):
        refused(server, "eval", f"return redis.error_reply('MINE{number} x')", "0")
    counts = series(deployment, "redis_errors_total")
    assert counts[server.address, "other"] == 20
    assert not any(code.startswith("MINE") for _, code in counts)


def test_an_append_only_file_that_cannot_grow(connect: Connect, tmp_path: Path) -> None:
    limited = tmp_path / "limited-redis-server"
    limited.write_text(f"#!/bin/sh\ntrap '' XFSZ\nulimit -f 8\nexec {find_program('redis-server')} \"$@\"\n")
    limited.chmod(0o755)
    with start_redis(binary=str(limited), config=["appendonly yes"]) as server:
        deployment = connect(url=server.url)
        assert issues_of(deployment) == {}
        wait_until(lambda: refused(server, "set", "a", "x" * 4096), what="writes are refused")
        started_meanwhile = connect(url=server.url)
        for one in (deployment, started_meanwhile):
            assert "MISCONF" in issues_of(one)["redis_writes_refused"]
        assert series(deployment, "redis_aof_last_write_status") == {(server.address,): 0}
        server.cli("config", "set", "appendonly", "no")
        assert not refused(server, "set", "a", "x")
        assert issues_of(deployment) == issues_of(started_meanwhile) == {}


def test_a_replica_of_a_sentinels_master_without_its_link(connect: Connect) -> None:
    with start_sentinel_set(replicas=1, sentinels=1) as formed:
        master, replica = formed.servers
        deployment = connect(sentinels=formed.sentinel_addresses, sentinel_master=formed.name)
        wait_until(lambda: issues_of(deployment) == {}, what="the Sentinel is connected to both")
        master.cli("config", "set", "requirepass", "p")
        master.password = "p"
        replica.cli("config", "set", "masterauth", "wrong")
        master.cli("client", "kill", "type", "replica")
        settings = {"sentinels": formed.sentinel_addresses, "sentinel_master": formed.name, "password": "p"}
        replica.cli("config", "set", "requirepass", "p")
        wait_until(lambda: "replication_broken" in issues_of(connect(**settings)), what="the issue is there")
