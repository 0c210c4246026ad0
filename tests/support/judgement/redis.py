"""Causes of the conditions of Redis."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from contextlib import ExitStack, suppress
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import pytest

from lab.bullmq import BullMQ
from lab.cluster import start_cluster
from lab.deadline import wait_until
from lab.driver import DriverError
from lab.link import SlowLink
from lab.programs import MissingProgramError, find_program
from lab.redis import RedisError, RedisServer, start_redis
from lab.sentinel import start_sentinel_set
from tests.support.judgement.cause import Cause, Servers, World, repeated
from tests.support.judgement.jobs import MANY_FAILURES

_OTHERS: Final = Path(__file__).parents[3] / ".lab" / "servers"
_LIMIT: Final = "client-output-buffer-limit"
_COUNTED: Final = "client_output_buffer_limit_disconnections"
_SOON: Final = {"health": {"thresholds": {"redis_recent_seconds": 2}}}


@cache
def counting_server() -> str | None:
    """A server that counts the clients that it disconnects: the usual one, or one of another version."""
    others = sorted(map(str, _OTHERS.glob("**/*-server")))
    for binary in (os.environ.get("OXHERD_REDIS_SERVER", "redis-server"), *others):
        if os.access(find_program(binary), os.X_OK):
            with start_redis(binary=binary) as server:
                if _COUNTED in server.facts("info", "stats"):
                    return binary
    return None


def _config(name: str, value: str | int) -> Callable[[Servers], object]:
    return lambda servers: servers.node.cli("config", "set", name, value)


def _both(*steps: Callable[[Servers], object]) -> Callable[[Servers], None]:
    def all_of(servers: Servers) -> None:
        for step in steps:
            step(servers)

    return all_of


def _refused_job(servers: Servers) -> None:
    """BullMQ adds a job, and Redis refuses it."""
    with pytest.raises(DriverError):
        servers.jobs.add("mail")


def _break_saves(servers: Servers) -> None:
    """A directory stands where the snapshot has to be written."""
    (servers.node.directory / "dump.rdb" / "x").mkdir(parents=True)
    servers.node.cli("config", "set", "save", "3600 1")
    servers.node.cli("bgsave")
    _wait_for_save(servers, "err")


def _mend_saves(servers: Servers) -> None:
    (servers.node.directory / "dump.rdb" / "x").rmdir()
    (servers.node.directory / "dump.rdb").rmdir()
    servers.node.cli("bgsave")
    _wait_for_save(servers, "ok")


def _limited_file(undo: ExitStack) -> Servers:
    """A server whose files may have 64 KiB, as on a disk that is nearly full."""
    home = Path(undo.enter_context(TemporaryDirectory(prefix="oxherd-limited-")))
    limited = home / "redis-server"
    limited.write_text(
        f"#!/bin/sh\ntrap '' XFSZ\nulimit -f 128\nexec {find_program('redis-server')} \"$@\"\n"
    )
    limited.chmod(0o755)
    server = undo.enter_context(start_redis(binary=str(limited), config=["appendonly yes"]))
    return Servers(undo, [server], {"url": server.url})


def _fill_the_file(servers: Servers) -> None:
    def refused() -> bool:
        try:
            servers.jobs.add("mail", data="x" * 4096)
        except DriverError:
            return True
        return False

    wait_until(refused, what="BullMQ's jobs are refused")


def _wait_for_save(servers: Servers, status: str) -> None:
    wait_until(
        lambda: servers.node.facts("info", "persistence")["rdb_last_bgsave_status"] == status,
        what=f"the snapshot is {status}",
    )


def _many_workers(servers: Servers) -> None:
    """Each worker of BullMQ has connections of its own; the limit leaves room for three more."""
    for number in range(30):
        servers.kept.callback(servers.jobs.stop_worker, servers.jobs.start_worker(f"mail{number}"))
    clients = int(servers.node.facts("info", "clients")["connected_clients"])
    assert clients > 30
    servers.node.cli("config", "set", "maxclients", clients + 3)


def _lower_the_limit(servers: Servers) -> None:
    """Below the clients that there are: who has come stays."""
    address = (servers.node.host, servers.node.port)
    admin = servers.kept.enter_context(socket.create_connection(address))
    admin.sendall(b"config set maxclients 1\r\n")
    assert admin.recv(100) == b"+OK\r\n"
    servers.kept.callback(admin.sendall, b"config set maxclients 10000\r\n")


def _one_more(servers: Servers) -> None:
    with socket.create_connection((servers.node.host, servers.node.port)) as rejected:
        assert rejected.recv(100).startswith(b"-ERR max number of clients")


def _of_a_version_that_counts(undo: ExitStack) -> Servers:
    """A server that counts the clients that it disconnects."""
    binary = counting_server()
    if binary is None:
        raise MissingProgramError("no Redis from 7.4 on and no Valkey from 8 on: make setup")
    server = undo.enter_context(start_redis(binary=binary, config=[f"{_LIMIT} normal 1mb 1mb 1"]))
    return Servers(undo, [server], {"url": server.url})


def _read_nothing(servers: Servers) -> None:
    """A client asks for more than it reads, and is disconnected."""
    servers.node.cli("eval", "redis.call('set', 'big', string.rep('x', 900000))", 0)
    with socket.create_connection((servers.node.host, servers.node.port)) as slow:
        slow.sendall(b"get big\r\n" * 40)
        address = "{}:{}".format(*slow.getsockname())
        wait_until(lambda: address not in servers.node.cli("client", "list"), what="it is disconnected")


def _sentinels(undo: ExitStack) -> Servers:
    """A master and a replica; BullMQ is connected to the master by its address."""
    formed = undo.enter_context(start_sentinel_set(replicas=1, sentinels=1))
    sentinels = {"sentinels": formed.sentinel_addresses, "sentinel_master": formed.name}
    return Servers(undo, formed.servers, sentinels, sentinel=formed)


def _fail_over(servers: Servers) -> None:
    assert servers.sentinel is not None
    before = servers.sentinel.master()
    servers.sentinel.fail_over()

    def follows() -> bool:
        with suppress(RedisError):  # as it changes its role it closes the connections that it has
            return before.facts("info", "replication").get("master_link_status") == "up"
        return False

    wait_until(follows, what="the old master is a replica")


def _replica(undo: ExitStack) -> Servers:
    """The exporter reads a replica, whose master is the second node."""
    master, replica = undo.enter_context(start_redis()), undo.enter_context(start_redis())
    replica.cli("replicaof", master.host, master.port)
    _wait_for_link(replica)
    return Servers(undo, [replica, master], {"url": replica.url})


def _cluster(undo: ExitStack) -> Servers:
    cluster = undo.enter_context(start_cluster(replicas_per_master=0))
    return Servers(undo, cluster.nodes, {"cluster": cluster.addresses}, cluster)


def _add_job(servers: Servers) -> None:
    servers.jobs.add("mail")


def _reader(servers: Servers) -> None:
    servers.jobs.add("mail")
    servers.node.cli("acl", "setuser", "reader", "on", ">secret", "+@all", "&*", "~*")


def _reading(undo: ExitStack) -> Servers:
    """The exporter has a user of its own."""
    server = undo.enter_context(start_redis())
    return Servers(undo, [server], {"url": server.url, "username": "reader", "password": "secret"})


def _rights(*rules: str) -> Callable[[Servers], object]:
    return lambda servers: servers.node.cli("acl", "setuser", "reader", *rules)


_REMOVE_POST: Final = "return redis.call('del', unpack(redis.call('keys', 'bull:post:*')))"


def _of_another_prefix(servers: Servers) -> None:
    other = BullMQ(url=servers.node.url, prefix="shop")
    servers.undo.enter_context(other).add("mail")


def _behind_a_slow_link(undo: ExitStack) -> Servers:
    """A Sentinel's replica that is linked to its master at 2 MB/s, and nobody has noticed."""
    servers = _sentinels(undo)
    master, replica = servers.nodes
    link = undo.enter_context(SlowLink(master.port, bytes_per_second=2e6))
    replica.cli("replicaof", "127.0.0.1", link.port)
    _wait_for_link(replica)
    return servers


def _wait_for_link(replica: RedisServer) -> None:
    wait_until(
        lambda: replica.facts("info", "replication")["master_link_status"] == "up",
        what="the replica is linked",
    )


_TOGETHER: Final = (
    Cause(
        "the snapshot fails and writes go on",
        "redis_save_failing",
        _break_saves,
        _mend_saves,
        prepare=_config("stop-writes-on-bgsave-error", "no"),
    ),
    Cause(
        "a policy that evicts jobs",
        "redis_evicts_keys",
        _both(_config("maxmemory-policy", "allkeys-lru"), _add_job),
        _config("maxmemory-policy", "noeviction"),
        prepare=_config("maxmemory", "1gb"),
    ),
    MANY_FAILURES,
)

_ALONE: Final = (
    Cause(
        "the server is stopped",
        "redis_unreachable",
        lambda servers: servers.node.stop(),
        lambda servers: servers.node.restart(),
    ),
    Cause(
        "a node of a cluster is killed",
        "cluster_node_unhealthy",
        lambda servers: servers.nodes[1].kill(),
        lambda servers: servers.nodes[1].restart(),
        servers=_cluster,
    ),
    Cause(
        "memory is filled",
        "redis_memory_high",
        lambda servers: servers.node.cli("setrange", "filler", 12 << 20, "x"),
        lambda servers: servers.node.cli("del", "filler"),
        prepare=_config("maxmemory", 14 << 20),
    ),
    Cause(
        "the snapshot fails and writes stop (MISCONF)",
        "redis_writes_refused",
        _both(_break_saves, _refused_job),
        _mend_saves,
        prepare=_add_job,
    ),
    Cause(
        "the append-only file cannot grow (MISCONF)",
        "redis_writes_refused",
        _fill_the_file,
        _config("appendonly", "no"),
        servers=_limited_file,
        prepare=_add_job,
        alert=False,
    ),
    Cause(
        "a write over maxmemory (OOM)",
        "redis_writes_refused",
        _both(_config("maxmemory", 1), _refused_job),
        _config("maxmemory", 0),
        prepare=_add_job,
        alert=False,
    ),
    Cause(
        "fewer replicas than a write needs (NOREPLICAS)",
        "redis_writes_refused",
        _both(_config("min-replicas-to-write", 1), _refused_job),
        _config("min-replicas-to-write", 0),
        prepare=_add_job,
        alert=False,
    ),
    Cause(
        "a failover, and the producer stays with the old master (READONLY)",
        "redis_writes_refused",
        _both(_fail_over, _refused_job),
        lambda servers: None,  # it does not try again
        servers=_sentinels,
        prepare=_add_job,
        settings=_SOON,
        alert=False,
    ),
    Cause(
        "jobs in a Redis without persistence",
        "persistence_off",
        _add_job,
        _both(_config("appendonly", "yes"), _add_job),
        settings={"health": {"thresholds": {"redis_unsaved_seconds": 1}}},
    ),
    Cause(
        "the master of a replica is lost",
        "replication_broken",
        lambda servers: servers.nodes[1].kill(),
        lambda servers: servers.nodes[1].restart(),
        servers=_replica,
    ),
    Cause(
        "clients near maxclients",
        "redis_clients_high",
        _many_workers,
        lambda servers: servers.kept.close(),
    ),
    Cause(
        "a client more than maxclients",
        "redis_connections_rejected",
        _both(_lower_the_limit, repeated(_one_more)),
        lambda servers: servers.kept.close(),
        settings=_SOON,
    ),
    Cause(
        "a client that does not read",
        "redis_clients_disconnected",
        repeated(_read_nothing),
        lambda servers: servers.kept.close(),
        servers=_of_a_version_that_counts,
        settings=_SOON,
    ),
    Cause(
        "the keys of a queue are refused",
        "queue_system_down",
        _rights("resetkeys"),
        _rights("~*"),
        servers=_reading,
        prepare=_reader,
        settings={"bullmq": {"queues": ["mail"]}},
    ),
    Cause(
        "the event stream of a queue is refused",
        "events_unreadable",
        _rights("-xread"),
        _rights("+xread"),
        servers=_reading,
        prepare=_reader,
        settings={"bullmq": {"queues": ["mail"]}},
    ),
    Cause(
        "a queue's meta has an odd number",
        "queue_partly_unread",
        lambda servers: servers.node.cli("hset", "bull:mail:meta", "concurrency", "many"),
        lambda servers: servers.node.cli("hdel", "bull:mail:meta", "concurrency"),
        prepare=_add_job,
    ),
    Cause(
        "queues of another prefix are refused",
        "candidates_refused",
        _of_another_prefix,
        _rights("~*"),
        servers=_reading,
        prepare=_both(_reader, _rights("resetkeys", "~bull:*")),
    ),
    Cause(
        "more queues than are watched",
        "queues_left_out",
        lambda servers: servers.jobs.add("post"),
        lambda servers: servers.node.cli("eval", _REMOVE_POST, 0),
        prepare=_add_job,
        settings={"bullmq": {"max_queues": 1}},
    ),
    Cause(
        "a replica with a slow link",
        "replication_lag_high",
        lambda servers: servers.node.cli("eval", "redis.call('set', 'a', string.rep('x', 8e6))", 0),
        lambda servers: None,  # the link carries it in 4 s
        servers=_behind_a_slow_link,
        settings={"health": {"thresholds": {"replication_lag_bytes": 1 << 20}}},
    ),
)

WORLDS: Final = (
    World("a server that neither saves nor keeps", _TOGETHER),
    *map(World.of, _ALONE),
)
