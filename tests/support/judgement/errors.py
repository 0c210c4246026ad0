"""Causes for which Redis cannot be read, and what the command that is recommended shows or mends."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from lab.cluster import start_cluster
from lab.deadline import wait_until
from lab.programs import find_program
from lab.redis import RedisServer, launch_redis, start_redis
from lab.sentinel import start_sentinel_set
from lab.tls import Certificates, make_certificates

PASSWORD: Final = "secret"


@dataclass(frozen=True)
class Situation:
    """The settings with which the exporter meets the error, at its start or after `begin`; `password` is the
    administrator's."""

    redis: Mapping[str, Any]
    bullmq: Mapping[str, Any] = field(default_factory=dict)
    password: str | None = None
    begin: Callable[[], object] = lambda: None


@dataclass(frozen=True)
class Trouble:
    """`says` is in the recommendation. Each command in it is run as it is printed: `shows` is a regular
    expression for what they print in all, and with `mends` the condition has to end by them."""

    name: str
    condition: str
    make: Callable[[ExitStack], Situation]
    says: str
    shows: str = ""
    mends: bool = False


def _reader(undo: ExitStack, *rules: str) -> RedisServer:
    server = undo.enter_context(start_redis())
    server.cli("acl", "setuser", "reader", "on", f">{PASSWORD}", "+@all", "&*", *rules)
    return server


def _as_reader(server: RedisServer, **bullmq: object) -> Situation:
    return Situation({"url": f"redis://reader:{PASSWORD}@{server.address}"}, bullmq)


def _info_refused(undo: ExitStack) -> Situation:
    return _as_reader(_reader(undo, "~*", "-info"))


def _cluster_nodes_refused(undo: ExitStack) -> Situation:
    cluster = undo.enter_context(start_cluster(masters=3, replicas_per_master=0))
    for node in cluster.nodes:
        node.cli("acl", "setuser", "reader", "on", f">{PASSWORD}", "+@all", "~*", "&*")
    cluster.nodes[0].cli("acl", "setuser", "reader", "-cluster|nodes")
    reader = {"username": "reader", "password": PASSWORD}
    return Situation({"cluster": [cluster.nodes[0].address], **reader})


def _keys_refused(undo: ExitStack) -> Situation:
    return _as_reader(_reader(undo, "~other:*"), queues=["mail"], prefixes=["bull"])


def _script_runs(undo: ExitStack) -> Situation:
    server = undo.enter_context(start_redis(config=["lua-time-limit 100"]))
    address = ("-h", server.host, "-p", str(server.port))
    command = [find_program("redis-cli"), *address, "eval", "while true do end", "0"]
    script = undo.enter_context(
        subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    )
    undo.callback(script.kill)
    return Situation({"url": server.url})


def _loads(undo: ExitStack) -> Situation:
    """A server that needs at least a minute for its file."""
    home = Path(undo.enter_context(TemporaryDirectory(prefix="oxherd-loading-")))
    with start_redis(directory=home) as filled:
        filled.cli("eval", "for i = 1, 30000 do redis.call('set', 'key:' .. i, 'x') end", 0)
        filled.cli("save")
    server = undo.enter_context(
        launch_redis(
            directory=home, config=["key-load-delay 2000", "loading-process-events-interval-bytes 1024"]
        )
    )
    wait_until(lambda: _accepts(server), what="it listens")
    return Situation({"url": server.url}, {"queues": ["mail"]})


def _accepts(server: RedisServer) -> bool:
    try:
        socket.create_connection((server.host, server.port)).close()
    except OSError:
        return False
    return True


def _master_lost(undo: ExitStack) -> Situation:
    replica = undo.enter_context(start_redis(config=["replica-serve-stale-data no"]))
    replica.cli("replicaof", "127.0.0.1", 1)
    return Situation({"url": replica.url}, {"queues": ["mail"]})


def _other_types(undo: ExitStack) -> Situation:
    server = undo.enter_context(start_redis())
    for key in ("wait", "active"):
        server.cli("set", f"bull:mail:{key}", "x")
    return Situation({"url": server.url}, {"queues": ["mail"]})


def _other_master(undo: ExitStack) -> Situation:
    formed = undo.enter_context(start_sentinel_set(replicas=1, sentinels=1, name="shop"))
    return Situation({"sentinels": formed.sentinel_addresses, "sentinel_master": "mymaster"})


def _slots_lost(undo: ExitStack) -> Situation:
    cluster = undo.enter_context(start_cluster(replicas_per_master=0))
    for node in cluster.nodes:
        node.cli("cluster", "delslots", 0)
    return Situation({"cluster": cluster.addresses})


def _full(undo: ExitStack) -> Situation:
    server = undo.enter_context(start_redis())
    server.cli("config", "set", "maxclients", 5)
    for _ in range(5):
        undo.enter_context(socket.create_connection((server.host, server.port)))
    return Situation({"url": server.url})


def _password_changes(undo: ExitStack) -> Situation:
    server = undo.enter_context(start_redis(password="old"))
    return Situation({"url": server.url}, password=PASSWORD, begin=lambda: _set_password(server))


def _password_comes(undo: ExitStack) -> Situation:
    server = undo.enter_context(start_redis())
    return Situation({"url": server.url}, password=PASSWORD, begin=lambda: _set_password(server))


def _set_password(server: RedisServer) -> None:
    server.cli("config", "set", "requirepass", PASSWORD)
    server.password = PASSWORD
    server.cli("client", "kill", "type", "normal")


def _tls_server(undo: ExitStack) -> tuple[Certificates, RedisServer]:
    certificates = make_certificates(Path(undo.enter_context(TemporaryDirectory(prefix="oxherd-tls-"))))
    return certificates, undo.enter_context(start_redis(tls=certificates))


def _tls_settings(server: RedisServer, certificates: Certificates) -> dict[str, Any]:
    files = {
        "ca_file": str(certificates.ca),
        "cert_file": str(certificates.client_certificate),
        "key_file": str(certificates.client_key),
    }
    return {"url": server.url, "tls": files}


def _other_authority(undo: ExitStack) -> Situation:
    """The server gets certificates of another authority, and nobody tells the exporter."""
    certificates, server = _tls_server(undo)
    other = make_certificates(Path(undo.enter_context(TemporaryDirectory(prefix="oxherd-tls-"))))
    return Situation(_tls_settings(server, certificates), begin=lambda: _serve_again(undo, server, other))


def _other_name(undo: ExitStack) -> Situation:
    """All certificates are made again in their place, the server's with another name."""
    certificates, server = _tls_server(undo)

    def begin() -> None:
        make_certificates(certificates.ca.parent, names="DNS:cache.example")
        _serve_again(undo, server, certificates)

    return Situation(_tls_settings(server, certificates), begin=begin)


def _serve_again(undo: ExitStack, server: RedisServer, certificates: Certificates) -> None:
    server.stop()
    undo.enter_context(launch_redis(port=server.port, tls=certificates))
    wait_until(lambda: _accepts(server), what="it listens")


def _plain_to_tls(undo: ExitStack) -> Situation:
    return Situation({"url": f"redis://{_tls_server(undo)[1].address}"})


def _tls_to_plain(undo: ExitStack) -> Situation:
    return Situation({"url": f"rediss://{undo.enter_context(start_redis()).address}"})


def _hangs(undo: ExitStack) -> Situation:
    server = undo.enter_context(start_redis())
    server.suspend()
    return Situation({"url": server.url})


TROUBLES: Final = (
    Trouble("INFO is refused", "redis_unreachable", _info_refused, "user reader the right +info", mends=True),
    Trouble(
        "CLUSTER NODES is refused",
        "redis_unreachable",
        _cluster_nodes_refused,
        "the right +cluster|nodes",
        mends=True,
    ),
    Trouble("keys are refused", "queue_system_down", _keys_refused, "user reader read the keys", mends=True),
    Trouble("BUSY", "redis_unreachable", _script_runs, "A script blocks Redis", mends=True),
    Trouble("LOADING", "queue_system_down", _loads, "reads its data from disk", "loading:1"),
    Trouble("MASTERDOWN", "queue_system_down", _master_lost, "stale data", "master_link_status:down"),
    Trouble("WRONGTYPE", "queue_system_down", _other_types, "A key of another application", "^string$"),
    Trouble("no such master", "redis_unreachable", _other_master, "REDIS_SENTINEL_MASTER", "^shop$"),
    Trouble(
        "slots without an owner (CLUSTERDOWN)",
        "cluster_node_unhealthy",
        _slots_lost,
        "give the slots to others",
        "Not all 16384 slots are covered",
        mends=True,
    ),
    Trouble("max clients", "redis_unreachable", _full, "lets nobody in", "ESTAB"),
    Trouble("NOAUTH", "redis_unreachable", _password_comes, "Set REDIS_PASSWORD", "PONG"),
    Trouble("WRONGPASS", "redis_unreachable", _password_changes, "Set REDIS_PASSWORD", "PONG"),
    Trouble("an unknown authority", "redis_unreachable", _other_authority, "REDIS_TLS_CA_FILE", "issuer"),
    Trouble(
        "a certificate for another name",
        "redis_unreachable",
        _other_name,
        "REDIS_TLS_SERVER_NAME",
        "DNS:cache.example",
    ),
    Trouble("no TLS to a TLS port", "redis_unreachable", _plain_to_tls, "begins with rediss://", "subject"),
    Trouble("TLS to a plain port", "redis_unreachable", _tls_to_plain, "else with redis://", "^$"),
    Trouble(
        "a name that is not known",
        "redis_unreachable",
        lambda undo: Situation({"url": "redis://cache.invalid:6379"}),
        "The name cache.invalid",
        "^$",
    ),
    Trouble(
        "connection refused",
        "redis_unreachable",
        lambda undo: Situation({"url": "redis://127.0.0.1:1"}),
        "Nothing listens",
        "^(?!.*LISTEN).*$",
    ),
    Trouble("no answer", "redis_unreachable", _hangs, "does not answer", "^$"),
)
