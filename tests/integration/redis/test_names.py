"""Host names: those that a cluster announces, and names that lead to another server after some time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from exporter.redis.deployment import Deployment
from lab.cluster import start_cluster
from lab.deadline import wait_until
from lab.ports import free_port
from lab.redis import RedisServer, launch_redis
from service.outcome import Ok
from tests.support.deployments import Connect, collect
from tests.support.forwarder import Forwarder
from tests.support.resolver import Resolver

NAME = "cache.example"
NOWHERE = "192.0.2.1"  # reserved for documentation: nobody answers there


@pytest.fixture
def resolver(monkeypatch: pytest.MonkeyPatch) -> Resolver:
    return Resolver.install(monkeypatch)


@pytest.mark.usefixtures("redis_from_7")
@pytest.mark.parametrize("preferred", ["hostname", "ip"])
def test_nodes_whose_address_does_not_answer_are_reached_by_their_name(
    connect: Connect, resolver: Resolver, preferred: str
) -> None:
    names = ["cluster-announce-hostname localhost", f"cluster-preferred-endpoint-type {preferred}"]
    with start_cluster(replicas_per_master=0, config=names) as cluster:
        resolver.hosts["127.0.0.1"] = NOWHERE
        seeds = [f"localhost:{node.port}" for node in cluster.nodes]
        deployment = connect(cluster=seeds, timeout_seconds=4)
        state = collect(deployment)
        assert [type(outcome) for outcome in state.nodes.values()] == [Ok] * 3
        assert sorted(state.nodes) == sorted(cluster.addresses)  # the label stays the announced address
        assert ("127.0.0.1" in resolver.asked) is (preferred == "ip")
        resolver.asked.clear()
        for address in state.nodes:
            deployment.renew(address)
        assert collect(deployment).reachable
        assert set(resolver.asked) == {"localhost"}  # what answered last is tried first


@pytest.mark.usefixtures("redis_from_7")
def test_without_the_right_to_see_what_is_preferred_the_name_is_second(
    connect: Connect, resolver: Resolver
) -> None:
    names = ["cluster-announce-hostname localhost", "cluster-preferred-endpoint-type hostname"]
    with start_cluster(replicas_per_master=0, config=names) as cluster:
        for node in cluster.nodes:
            node.cli("acl", "setuser", "reader", "on", ">secret", "+@all", "-cluster|shards")
        resolver.hosts["127.0.0.1"] = NOWHERE
        seeds = [f"localhost:{node.port}" for node in cluster.nodes]
        deployment = connect(cluster=seeds, timeout_seconds=4, username="reader", password="secret")
        assert len(collect(deployment).readings()) == 3
        assert "127.0.0.1" in resolver.asked


@pytest.mark.usefixtures("redis_from_7")
def test_a_name_that_is_only_announced_is_not_needed(connect: Connect, resolver: Resolver) -> None:
    with start_cluster(replicas_per_master=0, config=["cluster-announce-hostname nobody.example"]) as cluster:
        resolver.hosts["nobody.example"] = None
        state = collect(connect(cluster=cluster.addresses))
        assert len(state.readings()) == 3
        assert "nobody.example" not in resolver.asked


@pytest.mark.usefixtures("redis_from_7")
def test_the_map_comes_before_the_name(connect: Connect, resolver: Resolver) -> None:
    names = ["cluster-announce-hostname nobody.example", "cluster-preferred-endpoint-type hostname"]
    with start_cluster(replicas_per_master=0, config=names) as cluster:
        resolver.hosts["nobody.example"] = resolver.hosts["127.0.0.1"] = None
        seeds = [f"localhost:{node.port}" for node in cluster.nodes]
        state = collect(connect(cluster=seeds, address_map={"127.0.0.1": "localhost"}))
        assert len(state.readings()) == 3
        assert "nobody.example" not in resolver.asked


@pytest.fixture
def pair() -> Iterator[tuple[RedisServer, RedisServer]]:
    """A master and its replica, with one port and two addresses."""
    port = free_port()
    with ExitStack() as undo:
        servers = []
        for host in ("127.0.0.1", "127.0.0.2"):
            server = undo.enter_context(launch_redis(port=port, config=[f"bind {host}"]))
            server.host = host
            server.wait()
            servers.append(server)
        master, replica = servers
        replica.cli("replicaof", master.host, port)
        wait_until(lambda: link(replica) == "up", what="the replica is linked")
        yield master, replica


def link(server: RedisServer) -> str | None:
    return server.facts("info", "replication").get("master_link_status")


def read_from(deployment: Deployment) -> str:
    """The run id of the server that is read under the name."""
    (reading,) = collect(deployment).readings().values()
    return reading.info.fields["run_id"]


def run_id(server: RedisServer) -> str:
    return server.facts("info", "server")["run_id"]


def test_a_master_that_becomes_a_replica_is_left_for_what_its_name_leads_to_now(
    pair: tuple[RedisServer, RedisServer], connect: Connect, resolver: Resolver
) -> None:
    old, new = pair
    resolver.hosts[NAME] = old.host
    deployment = connect(url=f"redis://{NAME}:{old.port}", resolve_interval_seconds=3600)
    assert read_from(deployment) == run_id(old)
    resolver.hosts[NAME] = new.host
    assert read_from(deployment) == run_id(old)  # a connection that works is not dropped for nothing
    new.cli("replicaof", "no", "one")
    old.cli("replicaof", new.host, new.port)
    assert read_from(deployment) == run_id(new)
    assert [node.role for node in collect(deployment).topology.nodes] == ["master"]


def test_a_name_that_leads_elsewhere_is_followed_although_the_old_server_stays_a_master(
    pair: tuple[RedisServer, RedisServer], connect: Connect, resolver: Resolver
) -> None:
    old, new = pair
    new.cli("replicaof", "no", "one")
    resolver.hosts[NAME] = old.host
    deployment = connect(url=f"redis://{NAME}:{old.port}", resolve_interval_seconds=1)
    assert read_from(deployment) == run_id(old)
    resolver.hosts[NAME] = new.host
    wait_until(lambda: read_from(deployment) == run_id(new), what="the new server is read")


def test_a_resolver_that_fails_costs_no_connection(
    pair: tuple[RedisServer, RedisServer], connect: Connect, resolver: Resolver
) -> None:
    server, _ = pair
    resolver.hosts[NAME] = server.host
    deployment = connect(url=f"redis://{NAME}:{server.port}", resolve_interval_seconds=1)
    assert read_from(deployment) == run_id(server)
    resolver.hosts[NAME] = None
    expected = run_id(server)
    before = connections(server)

    def asked_again() -> bool:
        assert read_from(deployment) == expected
        return resolver.asked.count(NAME) >= 3

    wait_until(asked_again, what="the name was looked up twice more")
    assert connections(server) == before + 1  # that of redis-cli


def connections(server: RedisServer) -> int:
    return int(server.facts("info", "stats")["total_connections_received"])


def test_another_server_behind_the_same_address_is_found(
    pair: tuple[RedisServer, RedisServer], connect: Connect
) -> None:
    old, new = pair
    new.cli("replicaof", "no", "one")
    with Forwarder((old.host, old.port)) as service:
        deployment = connect(url=f"redis://{service.address}", reconnect_interval_seconds=1)
        assert read_from(deployment) == run_id(old)
        service.target = (new.host, new.port)
        assert read_from(deployment) == run_id(old)
        wait_until(lambda: read_from(deployment) == run_id(new), what="the new server is read")


def test_a_connection_that_cannot_be_replaced_stays(
    pair: tuple[RedisServer, RedisServer], connect: Connect
) -> None:
    server, _ = pair
    with Forwarder((server.host, server.port)) as service:
        deployment = connect(url=f"redis://{service.address}", reconnect_interval_seconds=1)
        assert read_from(deployment) == run_id(server)
        server.cli("config", "set", "requirepass", "new")  # asked only of new connections
        server.password = "new"

        def tried_twice() -> bool:
            assert read_from(deployment) == run_id(server)
            return service.accepted >= 3

        wait_until(tried_twice, what="two more connections were tried")
