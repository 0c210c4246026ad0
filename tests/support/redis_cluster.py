"""Operations and checks on the nodes of a cluster."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import redis

from lab.cluster import LocalCluster
from lab.redis import RedisServer


def move_slot(
    cluster: LocalCluster, slot: int, source: RedisServer, target: RedisServer, *, seconds: float = 0.0
) -> None:
    """Move a slot as redis-cli --cluster reshard does, in some ms, or with its first keys gone for `seconds`.

    Over connections that are there: ioredis gives a command up after 16 tries of 100 ms, and a few processes
    of redis-cli take that long on a busy machine.
    """
    with _connected(source) as at_source, _connected(target) as at_target:
        source_id, target_id = at_source("CLUSTER", "MYID"), at_target("CLUSTER", "MYID")
        at_target("CLUSTER", "SETSLOT", slot, "IMPORTING", source_id)
        at_source("CLUSTER", "SETSLOT", slot, "MIGRATING", target_id)
        while keys := at_source("CLUSTER", "GETKEYSINSLOT", slot, 100):
            at_source("MIGRATE", target.host, target.port, "", 0, 5000, "KEYS", *keys)
            time.sleep(seconds)
            seconds = 0.0
        for node in (at_target, at_source):
            node("CLUSTER", "SETSLOT", slot, "NODE", target_id)


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


@contextmanager
def _connected(node: RedisServer) -> Iterator[Callable[..., Any]]:
    with redis.Redis(host=node.host, port=node.port, socket_timeout=10) as client:
        client.ping()
        yield client.execute_command


def _finish_move(slot: int, source: RedisServer, target: RedisServer) -> None:
    while keys := source.cli("cluster", "getkeysinslot", slot, 100).splitlines():
        source.cli("migrate", target.host, target.port, "", 0, 5000, "keys", *keys)
    target_id = target.cli("cluster", "myid")
    for node in (target, source):
        node.cli("cluster", "setslot", slot, "node", target_id)
