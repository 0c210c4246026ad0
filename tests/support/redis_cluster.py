"""Operations and checks on the nodes of a cluster."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from lab.cluster import LocalCluster
from lab.redis import RedisServer


def move_slot(cluster: LocalCluster, slot: int, source: RedisServer, target: RedisServer) -> None:
    """Move a slot as redis-cli --cluster reshard does."""
    source_id, target_id = source.cli("cluster", "myid"), target.cli("cluster", "myid")
    target.cli("cluster", "setslot", slot, "importing", source_id)
    source.cli("cluster", "setslot", slot, "migrating", target_id)
    _finish_move(slot, source, target)


@contextmanager
def half_moved(slot: int, source: RedisServer, target: RedisServer, *keys: str) -> Iterator[None]:
    """A slot on its way from source to target, with only these keys moved so far; at the end all of it is."""
    source_id, target_id = source.cli("cluster", "myid"), target.cli("cluster", "myid")
    target.cli("cluster", "setslot", slot, "importing", source_id)
    source.cli("cluster", "setslot", slot, "migrating", target_id)
    source.cli("migrate", target.host, target.port, "", 0, 5000, "keys", *keys)
    try:
        yield
    finally:
        _finish_move(slot, source, target)


def in_step(master: RedisServer, replica: RedisServer) -> bool:
    offset = master.facts("info", "replication")["master_repl_offset"]
    return offset == replica.facts("info", "replication")["slave_repl_offset"]


def _finish_move(slot: int, source: RedisServer, target: RedisServer) -> None:
    while keys := source.cli("cluster", "getkeysinslot", slot, 100).splitlines():
        source.cli("migrate", target.host, target.port, "", 0, 5000, "keys", *keys)
    target_id = target.cli("cluster", "myid")
    for node in (target, source):
        node.cli("cluster", "setslot", slot, "node", target_id)
