"""The causes of conditions of Redis and of the host."""

from __future__ import annotations

from pathlib import Path
from shutil import rmtree
from socket import create_connection
from typing import Final

from bench.score.cause import Act, Cause
from bench.score.world import BUSY, FAILING, LIMIT_BYTES, World
from lab.redis import RedisServer

_CLIENTS: Final = 400
_ROOM: Final = 30  # for the cluster's own connections, and for redis-cli


def _all_nodes(act: str) -> Act:
    def each(world: World) -> None:
        for node in world.cluster.nodes:
            getattr(node, act)()

    return each


def _configure(*setting: str) -> Act:
    def each(world: World) -> None:
        for node in world.cluster.nodes:
            node.cli("config", "set", *setting)

    return each


def _kill_bystander(world: World) -> None:
    world.bystander().kill()


def _restart_dead(world: World) -> None:
    for node in world.cluster.nodes:
        if not node.answers:
            node.restart()
    world.cluster.wait_until_ok(seconds=40)


def _fill(world: World) -> None:
    world.bystander().cli("setrange", _filler(world), int(0.9 * LIMIT_BYTES), "x")


def _drain(world: World) -> None:
    world.bystander().cli("del", _filler(world))


def _filler(world: World) -> str:
    """A key of the bystander's."""
    bystander = world.bystander().address
    keys = (f"filler:{{{number}}}" for number in range(1000))
    return next(key for key in keys if world.cluster.owner_of(key).address == bystander)


def _dump(node: RedisServer) -> Path:
    return Path(node.cli("config", "get", "dir").splitlines()[-1]) / "dump.rdb"


def _cannot_save(world: World) -> None:
    node = world.cluster.masters()[0]
    node.cli("config", "set", "stop-writes-on-bgsave-error", "no")
    _dump(node).unlink(missing_ok=True)
    (_dump(node) / "a-file").mkdir(parents=True)
    node.cli("bgsave")


def _can_save(world: World) -> None:
    node = world.cluster.masters()[0]
    rmtree(_dump(node))
    node.cli("bgsave")


def _unlink(world: World) -> None:
    replica = world.cluster.replicas()[0]
    replica.cli("config", "set", "masterauth", "which-the-master-does-not-know")
    replica.cli("client", "kill", "type", "master")


def _link(world: World) -> None:
    for replica in world.cluster.replicas():
        replica.cli("config", "set", "masterauth", "")
    world.cluster.wait_until_ok(seconds=40)


def _fill_clients(world: World) -> None:
    node = world.bystander()
    world.sockets += [create_connection(("127.0.0.1", node.port)) for _ in range(_CLIENTS)]
    node.cli("config", "set", "maxclients", _CLIENTS + _ROOM)


def _empty_clients(world: World) -> None:
    for node in world.cluster.nodes:
        node.cli("config", "set", "maxclients", 10_000)
    while world.sockets:
        world.sockets.pop().close()


def _odd_key(world: World) -> None:
    node = world.cluster.owner_of(f"bull:{FAILING}:meta")
    node.cli("set", f"bull:{FAILING}:prioritized", "odd")


def _right_key(world: World) -> None:
    world.cluster.cli("del", f"bull:{FAILING}:prioritized")


def _fail_over(world: World) -> None:
    world.cluster.fail_over(world.cluster.replicas()[0])


def _write_without_saving(world: World) -> None:
    for node in world.cluster.nodes:
        node.cli("config", "set", "save", "")
    world.bullmq.add_bulk(BUSY, 100)


def _save(world: World) -> None:
    for node in world.cluster.nodes:
        node.cli("bgsave")


SERVER_CAUSES: Final = (
    Cause("a master killed", "cluster_node_unhealthy", _kill_bystander, _restart_dead),
    Cause("every node killed", "redis_unreachable", _all_nodes("kill"), _restart_dead),
    Cause("a node's memory filled", "redis_memory_high", _fill, _drain, 30),
    Cause(
        "no replica of those that a write needs",
        "redis_writes_refused",
        _configure("min-replicas-to-write", "5"),
        _configure("min-replicas-to-write", "0"),
    ),
    Cause("a snapshot that cannot be saved", "redis_save_failing", _cannot_save, _can_save),
    Cause(
        "a policy that evicts",
        "redis_evicts_keys",
        _configure("maxmemory-policy", "allkeys-lru"),
        _configure("maxmemory-policy", "noeviction"),
    ),
    Cause("a replica that its master refuses", "replication_broken", _unlink, _link),
    Cause("clients as many as maxclients", "redis_clients_high", _fill_clients, _empty_clients),
    Cause("a queue's key of another type", "queue_partly_unread", _odd_key, _right_key),
    Cause(
        "5 % of the host's memory available (pretended)",
        "host_memory_low",
        lambda world: world.pretend(available=0.05),
        lambda world: world.pretend(),
        30,
    ),
    Cause(
        "a load of 3 for each core (pretended)",
        "host_load_high",
        lambda world: world.pretend(load_per_core=3.0),
        lambda world: world.pretend(),
        45,
    ),
    Cause(
        "a clock 30 s ahead (pretended)",
        "clock_offset_high",
        lambda world: world.pretend(clock=30.0),
        lambda world: world.pretend(),
        30,
    ),
    Cause("a manual failover", None, _fail_over, lambda _: None, alert="FailoverHappened"),
    Cause(
        "no save, and no append-only file",
        "persistence_off",
        _write_without_saving,
        _save,
        80,
        settings={"health": {"thresholds": {"redis_unsaved_seconds": 60}}},
    ),
)
