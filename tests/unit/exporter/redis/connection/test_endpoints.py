from __future__ import annotations

import pytest

from exporter.redis.connection.endpoints import endpoints, is_name, node_at, prefers_names, same_ip
from exporter.redis.protocol import Reply, ReplyError
from exporter.snapshot.redis import TopologyNode

ADDRESS = "10.0.0.1:7001"
BY_ADDRESS, BY_NAME = ("10.0.0.1", 7001), ("cache-1.svc", 7001)


@pytest.mark.parametrize(
    ("hostname", "by_name", "last", "expected"),
    [
        ("", False, None, [BY_ADDRESS]),
        ("", True, None, [BY_ADDRESS]),
        ("cache-1.svc", False, None, [BY_ADDRESS, BY_NAME]),
        ("cache-1.svc", True, None, [BY_NAME, BY_ADDRESS]),
        ("cache-1.svc", False, BY_NAME, [BY_NAME, BY_ADDRESS]),
        ("cache-1.svc", True, BY_ADDRESS, [BY_ADDRESS, BY_NAME]),
        ("cache-1.svc", True, ("old", 1), [BY_NAME, BY_ADDRESS]),
        ("10.0.0.1", True, None, [BY_ADDRESS]),
    ],
)
def test_the_order(
    hostname: str,
    by_name: bool,  # noqa: FBT001  # a parameter of the table above
    last: tuple[str, int] | None,
    expected: list[tuple[str, int]],
) -> None:
    assert endpoints(ADDRESS, hostname, {}, by_name=by_name, last=last) == expected


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ({ADDRESS: "tunnel:1"}, [("tunnel", 1)]),
        ({"10.0.0.1": "tunnel"}, [("tunnel", 7001)]),
        ({"cache-1.svc": "tunnel:2"}, [("tunnel", 2), BY_ADDRESS]),
        ({"other": "tunnel"}, [BY_NAME, BY_ADDRESS]),
    ],
)
def test_the_map(table: dict[str, str], expected: list[tuple[str, int]]) -> None:
    assert endpoints(ADDRESS, "cache-1.svc", table, by_name=True, last=None) == expected


NODES = (
    TopologyNode("10.0.0.1:7001", "master", "0", hostname="cache-1.svc"),
    TopologyNode("10.0.0.2:7002", "master", "1"),
    TopologyNode("[fd00::3]:7003", "master", "2"),
)


@pytest.mark.parametrize(
    ("endpoint", "expected"),
    [
        ("10.0.0.1:7001", "10.0.0.1:7001"),
        ("cache-1.svc:7001", "10.0.0.1:7001"),
        ("10.0.0.2:7002", "10.0.0.2:7002"),
        ("fd00::3:7003", "[fd00::3]:7003"),
        (":7002", "10.0.0.2:7002"),  # the host is that of the node that answered
        ("?:7002", "10.0.0.2:7002"),
        (":7001", None),
        ("10.0.0.9:7001", None),
        ("10.0.0.1:7002", None),
        ("", None),
    ],
)
def test_a_redirection_leads_only_to_known_nodes(endpoint: str, expected: str | None) -> None:
    assert node_at(endpoint, NODES, seen_from="10.0.0.2:7002") == expected


def shards(*endpoints: bytes) -> Reply:
    nodes: list[list[Reply]] = [
        [[b"id", b"x", b"port", 7001, b"ip", b"10.0.0.1", b"endpoint", endpoint, b"hostname", b"cache-1.svc"]]
        for endpoint in endpoints
    ]
    return [[b"slots", [0, 16383], b"nodes", members] for members in nodes]


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (shards(b"10.0.0.1", b"10.0.0.2"), False),
        (shards(b"10.0.0.2", b"cache-1.svc"), True),
        ([], None),
        (None, None),
        (ReplyError("NOPERM ..."), None),
        (ReplyError("ERR unknown subcommand 'SHARDS'"), None),
    ],
)
def test_the_preferred_endpoint(
    reply: Reply,
    expected: bool | None,  # noqa: FBT001  # a parameter of the table above
) -> None:
    assert prefers_names(reply, NODES) is expected


def test_names_and_addresses() -> None:
    assert [is_name(host) for host in ("10.0.0.1", "fd00::1", "[fd00::1]", "fe80::1%eth0")] == [False] * 4
    assert is_name("cache.svc")
    assert same_ip("::ffff:10.0.0.1", "10.0.0.1")
    assert same_ip("fe80::1%eth0", "fe80::1")
    assert not same_ip("10.0.0.1", "10.0.0.2")
    assert not same_ip("/tmp/socket", "10.0.0.2")
