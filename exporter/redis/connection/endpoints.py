"""Where to connect for a node: by its announced address, by its announced name, or as the map says. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from ipaddress import ip_address
from itertools import pairwise
from typing import TypeAlias

from exporter.address import split_address
from exporter.redis.info import decode_text
from exporter.redis.protocol import Reply
from exporter.snapshot.redis import TopologyNode

Endpoint: TypeAlias = tuple[str, int]
"""Host and port."""


def endpoints(
    address: str, hostname: str, address_map: Mapping[str, str], *, by_name: bool, last: Endpoint | None
) -> list[Endpoint]:
    """Where to connect for an announced address, the most promising first.

    An entry of the map for the address, or for its host, is the only one. Else the name is first where it is
    the cluster's preferred endpoint, and second where it is only announced; `last` is where the last
    connection succeeded.
    """
    host, port = split_address(address)
    mapped = address_map.get(address) or address_map.get(host)
    if mapped:
        return [split_address(mapped, port)]
    named = address_map.get(hostname, hostname)
    hosts: list[Endpoint] = [(host, port)]
    if hostname and hostname != host:
        hosts.insert(
            0 if by_name else 1, split_address(named, port) if named != hostname else (hostname, port)
        )
    return sorted(hosts, key=lambda endpoint: endpoint != last)


def node_at(endpoint: str, nodes: Iterable[TopologyNode], *, seen_from: str) -> str | None:
    """The address of the known node that a redirection names: by address or host name, or without a host (the
    server does not know its endpoint: the host is that of the node that answered)."""
    host, _, port = endpoint.rpartition(":")
    own = split_address(seen_from)[0]
    for node in nodes:
        node_host, node_port = split_address(node.address)
        if str(node_port) == port and host.strip("[]") in (node_host, node.hostname or node_host):
            return node.address
        if not host.strip("?") and (node_host, str(node_port)) == (own, port):
            return node.address
    return None


def prefers_names(reply: Reply, nodes: Iterable[TopologyNode]) -> bool | None:
    """Whether CLUSTER SHARDS gives host names as endpoints; None if the reply does not show it."""
    names = {node.hostname for node in nodes if node.hostname}
    found = set(_values(reply, b"endpoint"))
    return bool(found & names) if found else None


def is_name(host: str) -> bool:
    """Whether it must be resolved: neither an IPv4 nor an IPv6 address."""
    try:
        ip_address(host.strip("[]").partition("%")[0])
    except ValueError:
        return True
    return False


def same_ip(first: str, second: str) -> bool:
    """Whether two addresses as the system writes them are one: `::ffff:10.0.0.1` is 10.0.0.1."""
    try:
        return _plain(first) == _plain(second)
    except ValueError:
        return first == second


def _plain(text: str) -> object:
    address = ip_address(text.partition("%")[0])
    return getattr(address, "ipv4_mapped", None) or address


def _values(reply: Reply, name: bytes) -> list[str]:
    """The values after `name` in nested lists of names and values."""
    if not isinstance(reply, list):
        return []
    pairs = pairwise(reply)
    found = [decode_text(second) for first, second in pairs if first == name and isinstance(second, bytes)]
    return found + [value for item in reply for value in _values(item, name)]
