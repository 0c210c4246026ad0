"""The lab's cluster forms, grows, shrinks, and fails over."""

from __future__ import annotations

import pytest

from lab.cluster import LocalCluster

pytestmark = pytest.mark.timeout(120)  # 4 s on an idle machine


def test_every_key_has_an_owner_among_three_masters(redis_cluster: LocalCluster) -> None:
    assert len(redis_cluster.masters()) == len(redis_cluster.replicas()) == 3
    owners = {redis_cluster.owner_of(f"key-{n}").address for n in range(20)}
    assert owners == {master.address for master in redis_cluster.masters()}
    assert redis_cluster.cli("set", "key-1", "value") == "OK"
    assert redis_cluster.owner_of("key-1").cli("get", "key-1") == "value"


def test_nodes_join_leave_and_change_roles(fresh_cluster: LocalCluster) -> None:
    empty = fresh_cluster.add_node()
    assert empty not in fresh_cluster.masters() + fresh_cluster.replicas()
    master = fresh_cluster.masters()[0]
    replica = fresh_cluster.add_node(replica_of=master)
    assert replica in fresh_cluster.replicas_of(master)

    fresh_cluster.fail_over(replica)
    assert replica in fresh_cluster.masters()
    assert master in fresh_cluster.replicas()

    fresh_cluster.remove_node(empty)
    assert len(fresh_cluster.members()) == 7
    fresh_cluster.wait_until_ok()
