from __future__ import annotations

import threading
from typing import Any

import pytest

from exporter.assessment import Assessment
from exporter.config.health import HealthSettings
from exporter.config.redis import RedisSettings
from exporter.health import assess
from exporter.metrics.render import Renderer
from exporter.redis.collect import collect_redis, node_request, unpack_node
from exporter.redis.deployment import Deployment
from exporter.redis.protocol import Reply, ReplyError
from exporter.snapshot.queues import BullMQState, QueueId
from exporter.snapshot.redis import CommandStat, Keyspace, NodeReading, RedisState
from exporter.snapshot.whole import Snapshot
from exporter.views import About, status_view
from service.catalogs import ENGLISH
from service.clock import Deadline
from service.outcome import Failed, Ok, UnreadableError
from tests.support.redis_servers import Server, World, answering

STANDALONE = "redis_mode:standalone\r\nrole:master\r\nmaxclients:10000\r\n# Keyspace\r\n"
SLOTS_OF_MASTERS = {"10.0.0.1:7001": "0-8191", "10.0.0.2:7001": "8192-16383"}


def settings(**changed: object) -> RedisSettings:
    return RedisSettings.model_validate(changed)


def collect(deployment: Deployment) -> RedisState:
    return collect_redis(deployment, Deadline.after(5))


def node_of(own: str, known: list[str]) -> Server:
    """A cluster node that sees all of `known` well: those with slots as masters, others as replicas."""
    lines = []
    for address in known:
        role = "master" if address in SLOTS_OF_MASTERS else "slave"
        master = "-" if address in SLOTS_OF_MASTERS else next(iter(SLOTS_OF_MASTERS))
        flags = f"myself,{role}" if address == own else role
        lines.append(
            f"{address} {address}@17001 {flags} {master} 0 0 1 connected {SLOTS_OF_MASTERS.get(address, '')}"
        )
    info = f"redis_mode:cluster\r\nrole:{'master' if own in SLOTS_OF_MASTERS else 'slave'}\r\n# Keyspace\r\n"
    return answering(info, cluster_nodes="\n".join(lines).encode(), cluster_info=b"cluster_state:ok\r\n")


def cluster(world: World, *addresses: str) -> None:
    for address in addresses:
        world.servers[address] = node_of(address, list(addresses))


def addresses(state: RedisState) -> list[str]:
    assert [node.address for node in state.topology.nodes] == list(state.nodes)
    return list(state.nodes)


def test_one_server(world: World) -> None:
    world.servers["cache:6379"] = answering(STANDALONE, slowlog_len=3)
    deployment = Deployment(settings(url="redis://me:p%40ss@cache/2"))
    state = collect(deployment)
    assert state.topology.mode == "standalone"
    (node,) = state.topology.nodes
    assert (node.address, node.role, node.shard, node.healthy) == ("cache:6379", "master", "", True)
    reading = state.readings()["cache:6379"]
    assert (reading.slowlog_length, reading.maxclients) == (3, 10000)
    assert (reading.commands, reading.keyspace) == ({"get": CommandStat(2, 4e-6)}, {"db0": Keyspace(0, 0)})
    assert (reading.cluster_info, reading.cluster_lines) == (None, None)
    options = world.options["cache:6379"]
    assert (options.username, options.password, options.database) == ("me", "p@ss", 2)
    deployment.close()


def test_the_urls_password_counts_before_the_settings(world: World) -> None:
    for url, expected in (("redis://cache", "set"), ("redis://:url@cache", "url")):
        deployment = Deployment(settings(url=url, password="set", username="user"))
        collect(deployment)
        assert (world.options["cache:6379"].username, world.options["cache:6379"].password) == (
            "user",
            expected,
        )
        deployment.close()


def test_until_something_answers_the_seeds_stand_for_the_deployment(world: World) -> None:
    deployment = Deployment(settings(cluster=["a", "b:7001"]))
    state = collect(deployment)
    assert {
        address: outcome.message for address, outcome in state.nodes.items() if isinstance(outcome, Failed)
    } == {
        "a:6379": "connection refused",
        "b:7001": "connection refused",
    }
    assert not state.reachable
    assert {(node.role, node.healthy, node.why) for node in state.topology.nodes} == {
        ("unknown", False, "connection refused")
    }
    cluster(world, "10.0.0.1:7001", "10.0.0.2:7001")
    world.servers["b:7001"] = world.servers["10.0.0.1:7001"]
    assert addresses(collect(deployment)) == ["10.0.0.1:7001", "10.0.0.2:7001"]
    deployment.close()


def test_a_server_that_is_down_stays_listed_and_comes_back(world: World) -> None:
    world.servers["cache:6379"] = answering(STANDALONE)
    deployment = Deployment(settings(url="redis://cache"))
    collect(deployment)
    server = world.servers.pop("cache:6379")
    state = collect(deployment)
    assert isinstance(state.nodes["cache:6379"], Failed)
    assert [(node.role, node.healthy) for node in state.topology.nodes] == [("master", False)]
    world.servers["cache:6379"] = server
    assert collect(deployment).reachable
    deployment.close()


def test_a_url_of_any_node_leads_to_the_whole_cluster(world: World) -> None:
    cluster(world, "10.0.0.1:7001", "10.0.0.2:7001", "10.0.0.3:7001")
    deployment = Deployment(settings(url="redis://10.0.0.3:7001"))
    state = collect(deployment)
    assert state.topology.mode == "cluster"
    assert [(node.address, node.role, node.shard) for node in state.topology.nodes] == [
        ("10.0.0.1:7001", "master", "0"),
        ("10.0.0.2:7001", "master", "8192"),
        ("10.0.0.3:7001", "replica", "0"),
    ]
    assert len(state.readings()) == 3
    assert all(reading.cluster_info and reading.cluster_lines for reading in state.readings().values())
    deployment.close()


def test_a_node_that_joins_is_read_in_the_same_collection(world: World) -> None:
    cluster(world, "10.0.0.1:7001", "10.0.0.2:7001")
    deployment = Deployment(settings(cluster=["10.0.0.1:7001"]))
    collect(deployment)
    cluster(world, "10.0.0.1:7001", "10.0.0.2:7001", "10.0.0.3:7001")
    assert len(collect(deployment).readings()) == 3
    deployment.close()


def test_a_node_that_leaves_is_removed_with_its_thread(world: World) -> None:
    cluster(world, "10.0.0.1:7001", "10.0.0.2:7001", "10.0.0.3:7001")
    deployment = Deployment(settings(cluster=["10.0.0.1:7001"]))
    collect(deployment)
    thread = next(
        candidate for candidate in threading.enumerate() if candidate.name == "redis redis 10.0.0.3:7001"
    )
    cluster(world, "10.0.0.1:7001", "10.0.0.2:7001")
    assert addresses(collect(deployment)) == ["10.0.0.1:7001", "10.0.0.2:7001"]
    thread.join(5)
    assert not thread.is_alive()
    deployment.close()


def test_the_live_half_reports_all_nodes_and_the_dead_half_stays_listed(world: World) -> None:
    cluster(world, "10.0.0.1:7001", "10.0.0.2:7001", "10.0.0.3:7001")
    deployment = Deployment(settings(cluster=["10.0.0.1:7001"]))
    collect(deployment)
    del world.servers["10.0.0.1:7001"], world.servers["10.0.0.2:7001"]
    state = collect(deployment)
    assert len(addresses(state)) == 3
    assert list(state.readings()) == ["10.0.0.3:7001"]
    assert state.topology.slots_covered() == 16384
    deployment.close()


def test_when_no_node_answers_the_seeds_lead_to_the_new_nodes(world: World) -> None:
    cluster(world, "10.0.0.1:7001", "10.0.0.2:7001")
    world.servers["seed:6379"] = world.servers["10.0.0.1:7001"]
    deployment = Deployment(settings(cluster=["seed"]))
    collect(deployment)
    world.servers.clear()
    state = collect(deployment)
    assert {(node.healthy, node.why) for node in state.topology.nodes} == {(False, "no node answers")}
    cluster(world, "10.0.9.1:7001")
    world.servers["seed:6379"] = world.servers["10.0.9.1:7001"]
    assert addresses(collect(deployment)) == ["10.0.9.1:7001"]
    deployment.close()


def test_a_server_that_became_a_cluster(world: World) -> None:
    world.servers["10.0.0.1:7001"] = answering(STANDALONE)
    deployment = Deployment(settings(url="redis://10.0.0.1:7001"))
    collect(deployment)
    cluster(world, "10.0.0.1:7001", "10.0.0.2:7001")
    assert addresses(collect(deployment)) == ["10.0.0.1:7001", "10.0.0.2:7001"]
    deployment.close()


@pytest.mark.parametrize(
    "table",
    [
        {"10.0.0.1:7001": "host-a:1", "10.0.0.2:7001": "host-b:2"},
        {"10.0.0.1": "host-a:1", "10.0.0.2": "host-b:2"},
        {"10.0.0.1:7001": "host-a:1", "10.0.0.2": "host-b:2"},
    ],
)
def test_announced_addresses_are_the_names_and_the_map_gives_the_targets(
    world: World, table: dict[str, str]
) -> None:
    known = ["10.0.0.1:7001", "10.0.0.2:7001"]
    world.servers = {"host-a:1": node_of(known[0], known), "host-b:2": node_of(known[1], known)}
    deployment = Deployment(settings(cluster=["host-a:1"], address_map=table))
    state = collect(deployment)
    assert list(state.readings()) == known
    deployment.close()


def test_a_map_of_hosts_keeps_the_port(world: World) -> None:
    cluster(world, "10.0.0.1:7001", "10.0.0.2:7001")
    world.servers = {where.replace("10.0.0.", "host-"): server for where, server in world.servers.items()}
    table = {"10.0.0.1": "host-1", "10.0.0.2": "host-2"}
    deployment = Deployment(settings(cluster=["host-1:7001"], address_map=table))
    assert len(collect(deployment).readings()) == 2
    deployment.close()


def test_certificates_are_expected_to_name_the_announced_hosts(world: World) -> None:
    view = (
        b"a 10.0.0.1:7001@17001,cache-1.example myself,master - 0 0 1 connected 0-8191\n"
        b"b 10.0.0.2:7001@17001 master - 0 0 2 connected 8192-16383"
    )
    for where in ("seed:6379", "10.0.0.1:7001", "10.0.0.2:7001"):
        world.servers[where] = answering("redis_mode:cluster\r\n", cluster_nodes=view)
    for name, expected in ((None, ["cache-1.example", None, None]), ("all.example", ["all.example"] * 3)):
        deployment = Deployment(settings(url="rediss://seed", tls={"server_name": name}))
        collect(deployment)
        server_names = [
            world.options[where].server_name for where in ("10.0.0.1:7001", "10.0.0.2:7001", "seed:6379")
        ]
        assert server_names == expected
        assert all(options.tls for options in world.options.values())
        deployment.close()


def sentinel(who: str, master: str, *replicas: str, epoch: int = 0) -> Server:
    def peer(address: str, flags: str) -> Reply:
        host, _, port = address.rpartition(":")
        words = ["ip", host, "port", port, "flags", flags, "config-epoch", str(epoch), "runid", address]
        return [word.encode() for word in words]

    others = [address for address in ("s1:26379", "s2:26379", "s3:26379") if address != who]
    return answering(
        "redis_mode:sentinel\r\n",
        sentinel_myid=who.encode(),
        sentinel_master_mymaster=peer(master, "master"),
        sentinel_replicas_mymaster=[peer(replica, "slave") for replica in replicas],
        sentinel_sentinels_mymaster=[peer(other, "sentinel") for other in others],
        sentinel_ckquorum_mymaster=b"OK 3 usable Sentinels",
    )


def sentinels(world: World, master: str, *replicas: str, epoch: int = 0) -> None:
    for who in ("s1:26379", "s2:26379", "s3:26379"):
        world.servers[who] = sentinel(who, master, *replicas, epoch=epoch)
    for address in (master, *replicas):
        world.servers[address] = answering(
            f"redis_mode:standalone\r\nrole:{'master' if address == master else 'slave'}"
        )


def test_one_sentinel_leads_to_the_others_and_to_the_nodes(world: World) -> None:
    sentinels(world, "a:1", "b:1")
    deployment = Deployment(
        settings(sentinels=["s1"], password="data", sentinel_username="w", sentinel_password="watch")
    )
    collect(deployment)
    state = collect(deployment)
    assert [(node.address, node.role, node.master) for node in state.topology.nodes] == [
        ("a:1", "master", None),
        ("b:1", "replica", "a:1"),
    ]
    assert state.sentinel is not None
    assert (state.sentinel.address, state.sentinel.sentinels, state.sentinel.quorum_ok) == ("a:1", 3, True)
    assert {where: (options.username, options.password) for where, options in world.options.items()} == {
        "a:1": (None, "data"),
        "b:1": (None, "data"),
        "s1:26379": ("w", "watch"),
        "s2:26379": ("w", "watch"),
        "s3:26379": ("w", "watch"),
    }
    assert deployment.sentinels == {"s1:26379", "s2:26379", "s3:26379"}
    deployment.close()


def test_a_failover_is_followed_and_a_new_replica_is_read_immediately(world: World) -> None:
    sentinels(world, "a:1", "b:1")
    deployment = Deployment(settings(sentinels=["s1", "s2"]))
    collect(deployment)
    sentinels(world, "b:1", "a:1", "c:1", epoch=1)
    state = collect(deployment)
    assert state.sentinel is not None
    assert (state.sentinel.address, state.sentinel.config_epoch) == ("b:1", 1)
    assert [(node.address, node.role) for node in state.topology.nodes] == [
        ("a:1", "replica"),
        ("b:1", "master"),
        ("c:1", "replica"),
    ]
    assert len(state.readings()) == 3
    deployment.close()


def test_without_sentinels_the_nodes_are_still_read(world: World) -> None:
    sentinels(world, "a:1", "b:1")
    deployment = Deployment(settings(sentinels=["s1"]))
    collect(deployment)
    for who in ("s1:26379", "s2:26379", "s3:26379"):
        del world.servers[who]
    state = collect(deployment)
    assert state.sentinel is None
    assert len(state.readings()) == 2
    assert {node.why for node in state.topology.nodes} == {"no sentinel answers"}
    deployment.close()


def test_sentinels_that_never_answered_stand_for_the_set(world: World) -> None:
    deployment = Deployment(settings(sentinels=["s1", "s2"]))
    state = collect(deployment)
    assert (state.topology.mode, list(state.nodes)) == ("sentinel", ["s1:26379", "s2:26379"])
    assert not state.reachable
    deployment.close()


def test_a_url_of_a_sentinel_reports_which_settings_to_use(world: World) -> None:
    world.servers["s1:26379"] = answering("redis_mode:sentinel\r\n")
    deployment = Deployment(settings(url="redis://s1:26379"))
    failed = collect(deployment).nodes["s1:26379"]
    assert isinstance(failed, Failed)
    assert "REDIS_SENTINELS" in failed.message
    with pytest.raises(UnreadableError, match="REDIS_SENTINEL_MASTER"):
        deployment.topology(Deadline.after(5))
    deployment.close()


def test_concurrent_refreshes_share_one_run(world: World) -> None:
    entered, go_on = threading.Event(), threading.Event()
    plain = answering(STANDALONE)

    def slow(command: tuple[str, ...]) -> Reply:
        entered.set()
        go_on.wait(5)
        return plain(command)

    world.servers["cache:6379"] = slow
    deployment = Deployment(settings(url="redis://cache", timeout_seconds=5))
    results = []
    look = threading.Thread(target=lambda: results.append(deployment.refresh(Deadline.after(5))))
    look.start()
    assert entered.wait(5)
    with pytest.raises(UnreadableError, match="node discovery is still running"):
        deployment.refresh(Deadline.after(0))
    hurried = collect_redis(deployment, Deadline.after(0)).nodes["cache:6379"]
    assert isinstance(hurried, Failed)
    assert hurried.kind == "timeout"
    go_on.set()
    look.join(5)
    assert [topology.mode for topology in results] == ["standalone"]
    assert len(world.commands) == 2
    deployment.close()


def test_a_closed_deployment_fails_and_does_not_raise(world: World) -> None:
    deployment = Deployment(settings(url="redis://cache"))
    deployment.close()
    outcomes = deployment.execute(
        {"cache:6379": node_request(cluster=False)}, Deadline.after(5), pool="redis"
    )
    assert isinstance(outcomes["cache:6379"], Failed)


@pytest.mark.parametrize(
    "wrong", [{"url": "redis://:s3kret/x@cache"}, {"cluster": ["me:s3kret@a:1"]}, {"sentinels": ["a:x"]}]
)
def test_an_invalid_address_is_reported_immediately_and_safely(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError) as caught:
        Deployment(settings(**wrong))
    assert "s3kret" not in str(caught.value)


def test_what_a_server_refuses_is_left_out() -> None:
    no = ReplyError("NOPERM this user has no permissions")
    read = unpack_node([b"redis_version:6.2.0\r\n", no, no, no, no], 0.5)
    assert isinstance(read, Ok)
    assert (read.value.commands, read.value.keyspace, read.took) == ({}, {}, 0.5)
    assert (read.value.slowlog_length, read.value.maxclients, read.value.cluster_info) == (None, None, None)
    assert read.value.cluster_lines is None


def test_without_info_there_is_no_reading() -> None:
    failed = unpack_node([ReplyError("LOADING Redis is loading"), b"", 0], 0.5)
    assert failed == Failed("loading", "INFO: LOADING Redis is loading", 0.5)


def test_a_node_that_loads_its_data_is_read_as_far_as_it_answers() -> None:
    loading = ReplyError("LOADING Redis is loading the dataset in memory")
    read = unpack_node([b"loading:1\r\n", b"", loading, loading, loading])
    assert isinstance(read, Ok)
    assert isinstance(read.value, NodeReading)
    assert read.value.info.number("loading") == 1


def test_a_name_that_takes_all_the_time_gives_way_to_the_address(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A resolver that hangs: the name is the preferred endpoint, and the address is tried first next time."""
    view = b"a 10.0.0.1:7001@17001,cache-1.example myself,master - 0 0 1 connected 0-16383\n"
    shards: Reply = [[b"slots", [0, 16383], b"nodes", [[b"id", b"a", b"endpoint", b"cache-1.example"]]]]
    world.servers["seed:6379"] = answering(
        "redis_mode:cluster\r\n", cluster_nodes=view, cluster_shards=shards
    )
    tried: list[str] = []
    usual = world.open_connection

    def open_connection(host: str, *rest: Any) -> Any:
        tried.append(host)
        return usual(host, *rest)

    monkeypatch.setattr("exporter.redis.deployment.open_connection", open_connection)
    deployment = Deployment(settings(cluster=["seed"]))
    assert collect(deployment).readings() == {}
    world.servers["10.0.0.1:7001"] = world.servers["seed:6379"]
    tried.clear()
    assert list(collect(deployment).readings()) == ["10.0.0.1:7001"]
    assert tried == ["10.0.0.1"]
    deployment.close()


HOSTILE = [
    "",
    "\x00\xff",
    "redis_mode",
    "redis_mode:standalone\r\nserver_time_usec:" + "9" * 20,
    "redis_mode:standalone\r\nerrorstat_OOM:count=" + "9" * 20,
    "redis_mode:standalone\r\nerrorstat_:\r\nerrorstat_OOM:count=nan",
    "role:slave\r\nmaster_link_status:\r\nmaster_link_down_since_seconds:nan\r\nmaster_host:\r\n",
    "maxmemory:inf\r\nmaxmemory_policy:\r\nused_memory:-1\r\nmaxclients:0\r\nconnected_clients:nan\r\n",
    "min_slaves_good_slaves:nan\r\nrole:master\r\nrdb_last_bgsave_status:\r\naof_last_write_status:\r\n",
    "evicted_keys:nan\r\nmaxmemory:1\r\nmaxmemory_policy:allkeys-lru\r\n",
    "used_memory:inf\r\nmaxmemory:1\r\n",
    "used_memory:1e400\r\ntotal_system_memory:1\r\nconnected_clients:inf\r\nmaxclients:1\r\n",
]


@pytest.mark.parametrize("info", HOSTILE)
def test_odd_info_of_one_node_costs_only_that_node(world: World, info: str) -> None:
    addresses = list(SLOTS_OF_MASTERS)
    cluster(world, *addresses)
    deployment = Deployment(settings(cluster=addresses))
    collect(deployment)
    view = world.servers[addresses[1]](("CLUSTER", "NODES"))
    world.servers[addresses[1]] = answering(info, cluster_nodes=view, cluster_info=b"x\r\n")
    for _ in range(2):
        state = collect(deployment)
        assert addresses[0] in state.readings()
        snapshot = Snapshot(1.0, Ok(state), Ok(BullMQState((), {QueueId("bull", "x"): Failed("x", "x")})))
        health = assess(snapshot, HealthSettings())
        assert all(ENGLISH.render(issue.measured) for issue in health.issues)
        assert Renderer().text(Assessment(snapshot, health))
        assert status_view(Assessment(snapshot, health), About("1", monitoring=True))["redis"]
    deployment.close()
