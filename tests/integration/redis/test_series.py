"""Every series of the Redis, cluster and Sentinel families, from real servers."""

from __future__ import annotations

import pytest

from exporter.assessment import Assessment
from exporter.health import Health
from exporter.metrics import cluster as cluster_series
from exporter.metrics import redis as redis_series
from exporter.snapshot.redis import RedisState
from exporter.snapshot.whole import Snapshot
from lab.cluster import LocalCluster
from lab.redis import RedisServer
from lab.sentinel import SentinelSet
from service.outcome import Ok
from tests.support.deployments import Connect, collect

REPLICAS_ONLY = {
    "redis_master_link_up",
    "redis_master_last_io_seconds_ago",
    "redis_slave_repl_offset",
    "redis_cluster_replication_lag_bytes",
}
SENTINEL_ONLY = {"redis_sentinel_master_status", "redis_sentinel_quorum_ok"}
AGREED = {"redis_cluster_node_healthy", "redis_cluster_node_role", "redis_cluster_replication_lag_bytes"}


def series(state: RedisState) -> dict[str, dict[tuple[str, ...], float]]:
    assessment = Assessment(Snapshot(0, Ok(state)), Health(100, "healthy", ()))
    families = redis_series.FAMILIES + cluster_series.FAMILIES
    return {family.name: dict(family.read(assessment)) for family in families}


def test_a_cluster(redis_cluster: LocalCluster, connect: Connect) -> None:
    families = series(collect(connect(cluster=redis_cluster.addresses)))
    replicas = {node.address for node in redis_cluster.replicas()}
    everyone = set(redis_cluster.addresses)
    for name, samples in families.items():
        if name in SENTINEL_ONLY or name == "redis_cluster_failovers_total":  # one collection watches nothing
            assert samples == {}, name
        elif name == "redis_cluster_slots_covered":
            assert samples == {(): 16384}
        else:
            assert {labels[0] for labels in samples} == (replicas if name in REPLICAS_ONLY else everyone), (
                name
            )
    assert set(families["redis_up"].values()) == set(families["redis_cluster_state"].values()) == {1}
    assert sum(families["redis_connected_slaves"].values()) == 3
    # Behind by what is written in the moment between the two answers, at most.
    assert all(lag < 10_000 for lag in families["redis_cluster_replication_lag_bytes"].values())


def test_a_sentinel_set(sentinel_set: SentinelSet, connect: Connect) -> None:
    settings = {"sentinels": sentinel_set.sentinel_addresses, "sentinel_master": sentinel_set.name}
    families = series(collect(connect(**settings, password=sentinel_set.password)))
    master = sentinel_set.master().address
    assert families["redis_sentinel_master_status"] == {(sentinel_set.name, master): 1}
    assert families["redis_sentinel_quorum_ok"] == {(sentinel_set.name,): 1}
    assert families["redis_cluster_node_healthy"][master, "master", sentinel_set.name] == 1
    assert len(families["redis_cluster_replication_lag_bytes"]) == 2
    assert families["redis_cluster_state"] == families["redis_cluster_slots_covered"] == {}


@pytest.mark.parametrize("alive", [True, False])
def test_one_server(fresh_redis: RedisServer, connect: Connect, alive: bool) -> None:  # noqa: FBT001
    deployment = connect(url=fresh_redis.url)
    if not alive:
        fresh_redis.stop()
    families = {name: samples for name, samples in series(collect(deployment)).items() if samples}
    assert families["redis_up"] == {(fresh_redis.address,): float(alive)}
    assert families.keys() & (AGREED | SENTINEL_ONLY) == set()
    assert len(families) > 25 if alive else list(families) == ["redis_up"]
