"""What servers say of themselves: INFO, their views of the deployment, their clients; and addresses."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import Any, Final

from exporter.address import is_socket, parse_url, server_at, split_address
from exporter.bullmq.clients import bytes_per_client, client_names, count_workers
from exporter.bullmq.keys import candidate_of, is_tagged, slot_of, worker_queues
from exporter.redis.clocks import parse_time, server_time
from exporter.redis.collect import unpack_node
from exporter.redis.connection.endpoints import is_name, node_at, prefers_names, same_ip
from exporter.redis.errors import RecentCounts, watched_totals
from exporter.redis.failovers import FailoverState, observe
from exporter.redis.info import mode_of, role_of, whole_number
from exporter.redis.sentinel import SentinelView, merge_sentinel_views, parse_sentinel
from exporter.redis.topology import merge_cluster_views, parse_cluster_nodes
from exporter.snapshot.queues import QueueId
from exporter.snapshot.redis import RedisState, Topology, TopologyNode
from exporter.snapshot.whole import Snapshot
from service.outcome import Ok
from tests.fuzz.inputs import REPLIES, TEXT
from tests.fuzz.search import FIXTURES, REFUSED, Target
from tests.fuzz.shown import show

_ADDRESS: Final = "127.0.0.1:7001"
_NODES: Final = (FIXTURES / "redis-7.2" / "cluster-nodes.txt").read_bytes()
_VIEW: Final = parse_cluster_nodes(_NODES)
_BEFORE: Final = observe(FailoverState(), merge_cluster_views({_ADDRESS: _VIEW}))[0]
_NAMED: Final = [replace(node, hostname="cache-1") for node in merge_cluster_views({_ADDRESS: _VIEW}).nodes]
_SINGLE: Final = Topology("standalone", (TopologyNode(_ADDRESS, "master", "0", slots=((0, 16383),)),))


def _info(raw: bytes) -> None:
    reading = unpack_node([raw, raw, 5, raw, _NODES])
    assert isinstance(reading, Ok)
    info = reading.value.info
    mode_of(info), role_of(info), server_time(info), whole_number(info, "maxclients")
    recent = RecentCounts()
    for at in (0.0, 100.0):
        recent.observe(_ADDRESS, info.text("run_id") or "", watched_totals(reading.value.errors, info), at)
    show(Snapshot(1000.0, redis=Ok(RedisState(_SINGLE, {_ADDRESS: reading}), 0.01)))


def _cluster_nodes(raw: bytes) -> None:
    view = parse_cluster_nodes(raw)
    topology = merge_cluster_views(
        {_ADDRESS: view, "127.0.0.1:7002": _VIEW} if len(view) % 2 else {_ADDRESS: view}
    )
    observe(_BEFORE, topology)
    info = unpack_node([b"redis_version:7.2.4\r\n", b"", 0, b"cluster_state:ok\r\n", raw])
    show(Snapshot(1000.0, redis=Ok(RedisState(topology, dict.fromkeys([_ADDRESS], info)), 0.01)))


def _cluster_shards(replies: list[Any]) -> object:
    """The reply, and what a redirection names."""
    preferred = [prefers_names(reply, _NAMED) for reply in replies]
    for reply in replies:
        if isinstance(reply, bytes):
            text = reply.decode("utf-8", "surrogateescape")
            node_at(text, _NAMED, seen_from=_ADDRESS)
            is_name(text), same_ip(text, "10.0.0.1")
    return None if any(choice is not None for choice in preferred) else REFUSED


def _sentinel(replies: list[Any]) -> object:
    if len(replies) != 5:  # there are as many replies as commands, or none
        return REFUSED
    view = parse_sentinel(replies)
    if isinstance(view, SentinelView):
        sentinel, topology = merge_sentinel_views("mymaster", {"127.0.0.1:26379": view})
        observe(FailoverState(), topology)
        show(Snapshot(1000.0, redis=Ok(RedisState(topology, {}, sentinel), 0.01)))
        return None
    return REFUSED


def _clients(raw: bytes) -> None:
    names = client_names(raw, 1)
    bytes_per_client(raw)
    known = {QueueId("bull", "mail")}
    count_workers([names, names], lambda name: worker_queues(name, ()), known, cluster=True)
    count_workers([names, names], lambda name: worker_queues(name, ("bull", "b")), known)
    for name in names.connections:
        slot_of(name)
        queue = candidate_of(f"{name}:meta", ())
        assert queue is None or is_tagged(queue) in (True, False)


def _url(raw: bytes) -> object:
    text, taken = raw.decode("utf-8", "surrogateescape"), REFUSED
    for read in (parse_url, split_address, lambda host: server_at(host, 6379)):
        with suppress(ValueError):
            read(text)
            taken = None
    is_socket(text)
    return taken


def _time(replies: list[Any]) -> object:
    return REFUSED if parse_time(replies[0] if replies else None) is None else None


TARGETS_OF_REDIS: Final = (
    Target("info", TEXT, _info, seeds=("redis-*/info.txt", "redis-*/commandstats.txt")),
    Target(
        "cluster_nodes",
        TEXT,
        _cluster_nodes,
        seeds=("redis-*/cluster-nodes.txt",),
        words=(b"myself", b"fail?", b"noaddr", b"[93-<-id]", b"0-16383", b"16384", b"@", b",?", b"slave"),
    ),
    Target(
        "cluster_shards",
        REPLIES,
        _cluster_shards,
        words=(b"endpoint", b"hostname", b"nodes", b"slots", b"cache-1", b"::ffff:10.0.0.1", b"?:7001"),
    ),
    Target("sentinel", REPLIES, _sentinel),
    Target("clients", TEXT, _clients, words=(b" name=bull:", b" db=", b" cmd=bzpopmin", b":w:", b":qe")),
    Target("url", TEXT, _url, words=(b"redis://", b"unix://", b"?db=", b"%2F", b"%zz", b"[::1]")),
    Target("time", REPLIES, _time),
)
