from __future__ import annotations

import pytest

from exporter.redis.find import SeedsUnreadableError, find_nodes, find_request, find_sentinel_nodes
from exporter.redis.protocol import Reply, ReplyError
from exporter.redis.topology import parse_cluster_nodes
from service.outcome import Failed, Ok, Outcome

NO_CLUSTER = ReplyError("ERR This instance has cluster support disabled")
NODES = b"a 10.0.0.1:7001@17001 myself,master - 0 0 1 connected 0-16383"


def ok(*replies: Reply) -> Outcome[list[Reply]]:
    return Ok(list(replies))


def why(expected: str, replies: Outcome[list[Reply]]) -> Failed:
    with pytest.raises(SeedsUnreadableError) as caught:
        find_nodes("cluster" if expected == "cluster" else "standalone", {"seed:1": replies})
    return caught.value.failures["seed:1"]


def test_one_round_trip() -> None:
    assert find_request().replies == 2


def test_a_url_leads_to_one_server() -> None:
    topology = find_nodes(
        "standalone", {"seed:1": ok(b"redis_mode:standalone\r\nrole:slave\r\n", NO_CLUSTER)}
    )
    assert (topology.mode, [(node.address, node.role) for node in topology.nodes]) == (
        "standalone",
        [("seed:1", "replica")],
    )


@pytest.mark.parametrize(
    "info", [b"redis_mode:cluster\r\n", b"server_mode:cluster\r\n", ReplyError("NOPERM info")]
)
def test_a_url_leads_to_the_cluster_behind_it(info: Reply) -> None:
    topology = find_nodes("standalone", {"seed:1": ok(info, NODES)})
    assert (topology.mode, [node.address for node in topology.nodes]) == ("cluster", ["10.0.0.1:7001"])


def test_any_seed_will_do() -> None:
    replies = {
        "dead:1": Failed("unreachable", "connection refused"),
        "seed:1": ok(b"redis_mode:cluster", NODES),
    }
    assert find_nodes("cluster", replies).nodes[0].address == "10.0.0.1:7001"


@pytest.mark.parametrize(
    ("expected", "replies", "kind", "says"),
    [
        (
            "url",
            ok(b"redis_mode:sentinel", ReplyError("ERR unknown command")),
            "error",
            "REDIS_SENTINELS",
        ),
        ("url", ok(ReplyError("NOAUTH Authentication required."), NO_CLUSTER), "auth", "INFO: NOAUTH"),
        ("url", ok(ReplyError("NOPERM this user"), NO_CLUSTER), "refused", "INFO: NOPERM"),
        ("url", ok(b"redis_mode:cluster", ReplyError("NOPERM no")), "refused", "CLUSTER NODES: NOPERM"),
        ("url", ok(7, NO_CLUSTER), "protocol", "INFO: the reply is not text"),
        ("cluster", ok(b"redis_mode:standalone", NO_CLUSTER), "error", "not a cluster node"),
        (
            "cluster",
            ok(b"redis_mode:cluster", ReplyError("LOADING x")),
            "loading",
            "CLUSTER NODES: LOADING",
        ),
        ("cluster", Failed("timeout", "no answer in time"), "timeout", "no answer in time"),
    ],
)
def test_why_a_seed_leads_nowhere(expected: str, replies: Outcome[list[Reply]], kind: str, says: str) -> None:
    failed = why(expected, replies)
    assert failed.kind == kind
    assert says in failed.message


@pytest.mark.fault
def test_a_cluster_that_names_thousands_of_nodes_leads_to_none_of_them() -> None:
    """Each of them would get threads, connections and the password."""
    lines = "".join(
        f"{number:040x} 10.0.{number // 250}.{number % 250}:6379@16379 master - 0 0 1 connected\n"
        for number in range(10_000)
    )
    failed = why("standalone", ok(b"cluster_enabled:1", lines.encode()))
    assert failed.message == "CLUSTER NODES has more than 500 nodes"
    assert parse_cluster_nodes(lines) == ()


def test_the_error_names_every_seed() -> None:
    with pytest.raises(
        SeedsUnreadableError, match="a:1: connection refused; b:2: no answer in time"
    ) as caught:
        find_nodes(
            "cluster",
            {
                "a:1": Failed("unreachable", "connection refused"),
                "b:2": Failed("timeout", "no answer in time"),
            },
        )
    assert caught.value.kind == "unreachable"


def test_sentinels_that_do_not_know_the_master() -> None:
    unknown = ok(b"id", *[ReplyError("ERR No such master with that name")] * 4)
    with pytest.raises(SeedsUnreadableError, match="s:1: SENTINEL MASTER: ERR No such master"):
        find_sentinel_nodes("mymaster", {"s:1": unknown, "s:2": Failed("unreachable", "connection refused")})
