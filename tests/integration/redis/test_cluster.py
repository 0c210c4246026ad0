"""A real 3+3 cluster: nodes that hang, die, change role, come and go; addresses that only it can use."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from exporter.redis.deployment import Deployment
from exporter.redis.protocol import pack_request
from exporter.snapshot.redis import RedisState, TopologyNode
from lab.cluster import LocalCluster, start_cluster
from lab.deadline import wait_until
from lab.redis import RedisServer
from service.clock import Deadline
from service.outcome import Failed, Ok
from tests.support.deployments import Connect, collect

pytestmark = pytest.mark.timeout(120)  # 4 s alone, of a failover

FIRST_SLOTS = ["0", "10922", "5461"]


def node_of(state: RedisState, server: RedisServer) -> TopologyNode:
    return next(node for node in state.topology.nodes if node.address == server.address)


def until(deployment: Deployment, condition: Callable[[RedisState], bool], what: str) -> RedisState:
    """Collect until it is so."""

    def collect_until() -> RedisState | None:
        state = collect(deployment)
        return state if condition(state) else None

    state = wait_until(collect_until, what=what, seconds=60, every=0.1)
    assert state is not None
    return state


def take_over(replica: RedisServer) -> None:
    """Make it the master at once. A vote is refused within two node time-outs of the shard's last one."""
    replica.cli("cluster", "failover", "takeover")


def unread(state: RedisState) -> dict[str, str]:
    return {address: outcome.kind for address, outcome in state.nodes.items() if isinstance(outcome, Failed)}


def test_one_seed_leads_to_all_six(cluster: LocalCluster, connect: Connect) -> None:
    state = collect(connect(cluster=[cluster.replicas()[-1].address]))
    assert state.topology.mode == "cluster"
    assert (
        list(state.readings()) == [node.address for node in state.topology.nodes] == sorted(cluster.addresses)
    )
    assert state.topology.slots_covered() == 16384
    assert sorted(node.shard for node in state.topology.masters()) == FIRST_SLOTS
    for master in cluster.masters():
        for replica in cluster.replicas_of(master):
            member = node_of(state, replica)
            assert (member.role, member.master, member.healthy) == ("replica", master.address, True)
            assert member.shard == node_of(state, master).shard
    for reading in state.readings().values():
        assert reading.cluster_info is not None
        assert reading.cluster_info.text("cluster_state") == "ok"


def test_a_url_of_any_node_will_do(cluster: LocalCluster, connect: Connect) -> None:
    states = [collect(connect(url=node.url)) for node in cluster.nodes]
    assert {state.topology.mode for state in states} == {"cluster"}
    assert len({state.topology for state in states}) == 1


def test_a_dead_seed_is_passed_over(cluster: LocalCluster, connect: Connect) -> None:
    deployment = connect(cluster=["127.0.0.1:1", cluster.addresses[0]])
    assert len(collect(deployment).readings()) == 6


def test_a_node_that_hangs_costs_only_itself(cluster: LocalCluster, connect: Connect) -> None:
    deployment = connect(cluster=cluster.addresses, timeout_seconds=0.5)
    collect(deployment)
    cluster.nodes[1].suspend()
    state = collect(deployment)
    assert unread(state) == {cluster.nodes[1].address: "timeout"}
    fresh = collect(connect(cluster=[cluster.addresses[1], cluster.addresses[0]], timeout_seconds=0.5))
    assert unread(fresh) == {cluster.nodes[1].address: "timeout"}


def test_half_of_the_nodes_hang(cluster: LocalCluster, connect: Connect) -> None:
    deployment = connect(cluster=cluster.addresses, timeout_seconds=0.5)
    collect(deployment)
    hung = cluster.nodes[:3]
    for node in hung:
        node.suspend()
    state = collect(deployment)
    assert unread(state) == {node.address: "timeout" for node in hung}
    assert len(state.topology.nodes) == 6
    assert state.topology.slots_covered() == 16384
    state = until(deployment, lambda state: not node_of(state, hung[0]).healthy, "the others see it")
    assert {node_of(state, node).healthy for node in cluster.nodes[3:]} == {True}
    for node in hung:
        node.resume()
    until(deployment, lambda state: not unread(state), "all answer again")


def test_a_dead_master_stays_listed_and_its_replica_takes_over(
    cluster: LocalCluster, connect: Connect
) -> None:
    deployment = connect(cluster=cluster.addresses)
    before = collect(deployment)
    master = cluster.masters()[0]
    replica = cluster.replicas_of(master)[0]
    shard = node_of(before, master).shard
    master.kill()
    at_once = collect(deployment)
    assert unread(at_once) == {master.address: "unreachable"}
    after = until(
        deployment, lambda state: node_of(state, replica).role == "master", "the replica is promoted"
    )
    assert node_of(after, replica).shard == shard
    assert node_of(after, replica).config_epoch > node_of(before, master).config_epoch
    old = node_of(after, master)
    assert (old.shard, old.slots, old.healthy) == ("", (), False)
    assert old.why.startswith("failed, reported by ")
    assert isinstance(after.nodes[master.address], Failed)
    assert after.topology.slots_covered() == 16384
    master.restart()
    back = until(
        deployment, lambda state: node_of(state, master).role == "replica", "it is back as a replica"
    )
    assert node_of(back, master).shard == shard


def test_a_manual_failover_is_followed(cluster: LocalCluster, connect: Connect) -> None:
    deployment = connect(cluster=cluster.addresses)
    collect(deployment)
    master = cluster.masters()[-1]
    replica = cluster.replicas_of(master)[0]
    take_over(replica)
    state = until(deployment, lambda state: node_of(state, master).role == "replica", "the roles are swapped")
    assert node_of(state, replica).role == "master"
    assert node_of(state, master).master == replica.address


def test_a_node_joins_and_leaves(cluster: LocalCluster, connect: Connect) -> None:
    deployment = connect(cluster=[cluster.addresses[0]])
    assert len(collect(deployment).nodes) == 6
    joined = cluster.add_node()
    state = collect(deployment)
    assert len(state.readings()) == 7
    member = node_of(state, joined)
    assert (member.role, member.shard, member.slots, member.healthy) == ("master", "", (), True)
    cluster.remove_node(joined)
    assert list(collect(deployment).nodes) == sorted(cluster.addresses)


def test_a_refresh_finds_the_new_owner_of_slots(cluster: LocalCluster, connect: Connect) -> None:
    deployment = connect(cluster=cluster.addresses)
    deadline = Deadline.after(20)
    before = deployment.topology(deadline)
    master = cluster.masters()[0]
    replica = cluster.replicas_of(master)[0]
    take_over(replica)
    assert deployment.topology(deadline) is before
    wait_until(
        lambda: (
            replica.address in {node.address for node in deployment.refresh(deadline).masters() if node.slots}
        ),
        what="the seeds know the new master",
    )
    requests = dict.fromkeys(cluster.addresses, pack_request([("PING",)]))
    assert all(
        isinstance(outcome, Ok) and outcome.value == [b"PONG"]
        for outcome in deployment.execute(requests, deadline, pool="bullmq").values()
    )


def test_addresses_that_only_the_cluster_can_use(connect: Connect) -> None:
    """The nodes announce ports that nobody listens on, as behind a NAT."""
    with start_cluster(replicas_per_master=0) as behind:
        announced = {}
        for number, node in enumerate(behind.nodes, start=1):
            announced[f"127.0.0.1:{number}"] = node.address
            node.cli("config", "set", "cluster-announce-port", number)
            node.cli("config", "rewrite")
            node.restart()  # 6.2 announces another port only from its start on
        wait_until(
            lambda: all(
                {member.address for member in behind.members(node)} == set(announced) for node in behind.nodes
            ),
            what="all nodes know the announced ports",
            seconds=60,
        )
        seed = behind.nodes[0].address
        lost = collect(connect(cluster=[seed]))
        assert unread(lost) == dict.fromkeys(announced, "unreachable")
        state = collect(connect(cluster=[seed], address_map=announced))
        assert list(state.readings()) == sorted(announced)
        assert state.topology.slots_covered() == 16384


def test_a_server_without_a_cluster_among_cluster_seeds(connect: Connect) -> None:
    from lab.redis import start_redis

    with start_redis() as alone:
        (failed,) = collect(connect(cluster=[alone.address])).nodes.values()
    assert failed == Failed("error", "is not a cluster node: set only REDIS_URL", failed.took)


@pytest.mark.fault
def test_a_whole_cluster_that_dies_and_comes_back(connect: Connect) -> None:
    with start_cluster(replicas_per_master=0) as mortal:
        deployment = connect(cluster=mortal.addresses)
        collect(deployment)
        for node in mortal.nodes:
            node.kill()
        state = collect(deployment)
        assert unread(state) == dict.fromkeys(sorted(mortal.addresses), "unreachable")
        assert {node.why for node in state.topology.nodes} == {"no node answers"}
        for node in mortal.nodes:
            node.restart()
        assert len(collect(deployment).readings()) == 3
