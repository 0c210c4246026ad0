"""What is recommended when real servers refuse, each in its way."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from exporter.bullmq.collect import BullMQSource
from exporter.bullmq.discover import Discovery
from exporter.config.bullmq import BullMQSettings
from exporter.redis.deployment import Deployment
from exporter.snapshot.queues import BullMQState
from lab.cluster import start_cluster
from lab.deadline import wait_until
from lab.programs import find_program
from lab.redis import RedisServer, start_redis
from lab.sentinel import start_sentinel_set
from lab.tls import make_certificates
from service.clock import Deadline
from tests.support.conditions import issues_of
from tests.support.deployments import Connect, collect


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with start_redis() as started:
        yield started


def unreachable(deployment: Deployment) -> str:
    return issues_of(deployment)["redis_unreachable"]


def queues(deployment: Deployment, *names: str) -> BullMQState:
    settings = BullMQSettings(queues=names)
    discovery = Discovery(deployment, settings)
    return BullMQSource(deployment, discovery, settings).collect(Deadline.after(10))


def test_a_right_that_is_missing(server: RedisServer, connect: Connect) -> None:
    server.cli("acl", "setuser", "reader", "on", ">secret", "~*", "+@all", "-info")
    deployment = connect(url=server.url, username="reader", password="secret")
    text = unreachable(deployment)
    cli = f"redis-cli --askpass -h {server.host} -p {server.port}"
    assert f"user reader the right +info, as an administrator: {cli} acl setuser reader +info;" in text
    assert "deploy/redis/exporter.acl" in text


def test_keys_that_are_not_readable(server: RedisServer, connect: Connect) -> None:
    server.cli("acl", "setuser", "reader", "on", ">secret", "~other:*", "+@all")
    deployment = connect(url=server.url, username="reader", password="secret")
    text = issues_of(deployment, queues(deployment, "mail"))["queue_system_down"]
    assert "acl setuser reader '%R~bull:*';" in text
    assert "BULLMQ_PREFIXES" in text


@pytest.mark.parametrize("password", [None, "wrong"])
def test_a_password_that_is_missing_or_wrong(connect: Connect, password: str | None) -> None:
    with start_redis(password="right") as server:
        deployment = connect(url=f"redis://{server.address}", password=password)
        text = unreachable(deployment)
        assert "Set REDIS_PASSWORD or REDIS_PASSWORD_FILE" in text
        assert "right" not in text


def test_a_password_that_is_not_required(server: RedisServer, connect: Connect) -> None:
    assert "remove REDIS_PASSWORD" in unreachable(connect(url=server.url, password="secret"))


def test_a_script_that_blocks(connect: Connect) -> None:
    with start_redis(config=["lua-time-limit 100"]) as server:
        program = find_program("redis-cli")
        address = ("-h", server.host, "-p", str(server.port))
        script = "while true do end"
        blocking = subprocess.Popen([program, *address, "eval", script, "0"], stderr=subprocess.DEVNULL)
        try:
            deployment = connect(url=server.url)
            wait_until(lambda: "redis_unreachable" in issues_of(deployment), what="it is busy")
            text = unreachable(deployment)
            assert (
                f"End it: redis-cli -h {server.host} -p {server.port} script kill, or FUNCTION KILL" in text
            )
            server.cli("script", "kill")
            wait_until(lambda: issues_of(deployment) == {}, what="it answers again")
        finally:
            blocking.kill()
            blocking.wait()


def test_too_many_clients(server: RedisServer, connect: Connect) -> None:
    server.cli("config", "set", "maxclients", 5)
    with ExitStack() as undo:
        for _ in range(5):
            undo.enter_context(socket.create_connection((server.host, server.port)))
        text = unreachable(connect(url=server.url))
        assert f"who holds the connections: ss -tn sport = :{server.port};" in text


def test_a_replica_without_its_master(connect: Connect) -> None:
    with start_redis() as replica:
        replica.cli("config", "set", "replica-serve-stale-data", "no")
        replica.cli("replicaof", "127.0.0.1", 1)
        deployment = connect(url=replica.url)
        found = issues_of(deployment, queues(deployment, "mail"))
        assert "serve stale data: see redis-cli" in found["queue_system_down"]
        assert "has no link to its master 127.0.0.1:1" in found["replication_broken"]


def test_a_key_of_another_type(server: RedisServer, connect: Connect) -> None:
    for key in ("wait", "active"):
        server.cli("set", f"bull:mail:{key}", "x")
    deployment = connect(url=server.url)
    text = issues_of(deployment, queues(deployment, "mail"))["queue_system_down"]
    assert "-c type bull:mail:wait" in text
    assert "BULLMQ_QUEUES" in text


def test_slots_that_nobody_serves(connect: Connect) -> None:
    with start_cluster(replicas_per_master=0) as cluster:
        deployment = connect(cluster=cluster.addresses)
        assert issues_of(deployment) == {}
        for node in cluster.nodes:
            node.cli("cluster", "delslots", 0)
        wait_until(
            lambda: all(node.facts("cluster", "info")["cluster_state"] == "fail" for node in cluster.nodes),
            what="the cluster has failed",
        )
        found = issues_of(deployment, queues(deployment, "{mail}"))
        assert "CLUSTERDOWN" in found["queue_system_down"]
        assert "redis-cli --cluster check" in found["cluster_node_unhealthy"]


def test_the_name_of_the_sentinels_master(connect: Connect) -> None:
    with start_sentinel_set(replicas=1, sentinels=1) as formed:
        addresses = [sentinel.address for sentinel in formed.sentinels]
        text = unreachable(connect(sentinels=addresses, sentinel_master="nobody"))
        assert f"No such master with that name (it monitors: {formed.name})" in text
        assert "Set REDIS_SENTINEL_MASTER to the name of a master" in text
        text = unreachable(connect(url=f"redis://{addresses[0]}"))
        assert "set REDIS_SENTINELS to the Sentinels' addresses" in text


def test_the_password_of_the_sentinels(connect: Connect) -> None:
    with start_sentinel_set(replicas=1, sentinels=1, sentinel_password="secret") as formed:
        addresses = [sentinel.address for sentinel in formed.sentinels]
        text = unreachable(connect(sentinels=addresses, sentinel_master=formed.name))
        assert "Set REDIS_SENTINEL_PASSWORD" in text


def test_one_node_that_refuses_beside_others_that_answer(connect: Connect) -> None:
    with start_cluster(replicas_per_master=0) as cluster:
        deployment = connect(cluster=cluster.addresses)
        refusing = cluster.nodes[1]
        refusing.cli("acl", "setuser", "default", "-info")
        assert "acl setuser default +info" in issues_of(deployment)["cluster_node_unhealthy"]
        assert len(collect(deployment).readings()) == 2


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"ca_file": None}, "Set REDIS_TLS_CA_FILE"),
        ({"server_name": "cache.example"}, "set REDIS_TLS_SERVER_NAME"),
        ({"cert_file": None, "key_file": None}, "set REDIS_TLS_CERT_FILE and REDIS_TLS_KEY_FILE"),
        ({"cert_file": "/nowhere"}, "Correct this file: tls.cert_file /nowhere"),
    ],
)
def test_tls(connect: Connect, tmp_path: Path, changed: dict[str, str | None], expected: str) -> None:
    certificates = make_certificates(tmp_path)
    files = {
        "ca_file": str(certificates.ca),
        "cert_file": str(certificates.client_certificate),
        "key_file": str(certificates.client_key),
    }
    with start_redis(tls=certificates) as server:
        assert expected in unreachable(connect(url=server.url, tls=files | changed))
        if not changed.get("cert_file", "x"):
            assert "rediss://" in unreachable(connect(url=f"redis://{server.address}"))


def test_a_name_that_nobody_knows(connect: Connect) -> None:
    assert "getent hosts cache.invalid" in unreachable(connect(url="redis://cache.invalid:6379"))


def test_a_database_that_does_not_exist(server: RedisServer, connect: Connect) -> None:
    assert "does not have this database" in unreachable(connect(url=f"{server.url}/99"))


def test_a_server_that_is_down(connect: Connect) -> None:
    assert "Nothing listens at 127.0.0.1:1:" in unreachable(connect(url="redis://127.0.0.1:1"))
