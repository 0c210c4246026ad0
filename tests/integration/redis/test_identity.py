"""The identity of real deployments: one for all exporters of each, over failovers and restarts."""

from __future__ import annotations

import pytest

from lab.cluster import LocalCluster
from lab.deadline import wait_until
from lab.redis import RedisServer, start_redis
from lab.sentinel import SentinelSet
from tests.support.deployments import Connect, collect

pytestmark = pytest.mark.timeout(120)


def test_a_cluster_has_one_identity_over_a_failover_a_restart_and_an_outage(
    cluster: LocalCluster, connect: Connect
) -> None:
    first, second = connect(cluster=cluster.addresses[:1]), connect(cluster=cluster.addresses[-1:])
    before = collect(first).deployment
    assert before is not None
    assert collect(second).deployment == before
    cluster.fail_over(cluster.replicas()[0])
    cluster.nodes[0].restart()
    cluster.wait_until_ok(seconds=30)
    assert collect(first).deployment == collect(second).deployment == before
    assert collect(connect(cluster=cluster.addresses[1:2])).deployment == before
    for node in cluster.nodes:
        node.suspend()
    assert collect(first).deployment == before


def test_a_sentinel_set_has_one_identity_however_it_is_reached(
    fresh_sentinel_set: SentinelSet, connect: Connect
) -> None:
    servers = fresh_sentinel_set
    watched = connect(sentinels=servers.sentinel_addresses)
    before = collect(watched).deployment
    assert before is not None
    for server in (servers.master(), *servers.replicas()):
        assert collect(connect(url=server.url)).deployment == before
    servers.fail_over()
    direct = connect(url=servers.master().url)
    wait_until(
        lambda: collect(watched).deployment == collect(direct).deployment,
        what="the same identity again",
        seconds=30,
        every=0.2,
    )


def test_two_servers_two_databases_and_a_name_are_other_deployments(
    redis_server: RedisServer, connect: Connect
) -> None:
    with start_redis() as other:
        other.wait()
        identities = [
            collect(connect(url=redis_server.url)).deployment,
            collect(connect(url=redis_server.url, database=1)).deployment,
            collect(connect(url=other.url)).deployment,
            collect(connect(url=redis_server.url, name="orders")).deployment,
        ]
    assert len(set(identities) - {None}) == 4
    assert identities[3] == "orders"
    assert collect(connect(url=redis_server.url)).deployment == identities[0]
