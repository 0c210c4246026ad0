from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.redis.protocol import Reply, ReplyError
from exporter.redis.sentinel import (
    SentinelView,
    merge_sentinel_views,
    parse_sentinel,
    sentinel_addresses,
    sentinel_request,
)
from service.outcome import Failed

FIXTURES = Path(__file__).parents[3] / "fixtures" / "redis-sentinel-7.0"


def replies(value: Any) -> Reply:
    """A recorded reply as hiredis would give it."""
    if isinstance(value, list):
        return [replies(reply) for reply in value]
    return value.encode() if isinstance(value, str) else value


def recorded(name: str) -> dict[str, SentinelView]:
    rows = json.loads((FIXTURES / name).read_text())
    views = {address: parse_sentinel([replies(reply) for reply in row]) for address, row in rows.items()}
    return {address: view for address, view in views.items() if isinstance(view, SentinelView)}


def peer(address: str, flags: str, epoch: int = 0, runid: str = "") -> list[Reply]:
    host, _, port = address.rpartition(":")
    words = ["ip", host, "port", port, "flags", flags, "config-epoch", str(epoch), "runid", runid or address]
    return [word.encode() for word in words]


def view(
    who: str, master: str, *replicas: str, epoch: int = 0, flags: str = "master", quorum: Reply = b"OK"
) -> SentinelView:
    rows: list[Reply] = [peer(replica, "slave") for replica in replicas]
    others: list[Reply] = [peer(f"s{n}:1", "sentinel", runid=f"id{n}") for n in (1, 2, 3) if f"id{n}" != who]
    view = parse_sentinel([who.encode(), peer(master, flags, epoch), rows, others, quorum])
    assert isinstance(view, SentinelView)
    return view


def test_one_request_asks_for_all() -> None:
    request = sentinel_request("mymaster")
    assert request.replies == 5
    assert b"$8\r\nCKQUORUM\r\n$8\r\nmymaster\r\n" in request.packed


def test_a_real_set() -> None:
    master, topology = merge_sentinel_views("mymaster", recorded("before.json"))
    assert (master.address, master.status_ok, master.quorum_ok) == ("127.0.0.1:17501", True, True)
    assert (master.sentinels, master.replicas, master.config_epoch) == (3, 2, 0)
    assert [(node.address, node.role, node.master, node.healthy) for node in topology.nodes] == [
        ("127.0.0.1:17501", "master", None, True),
        ("127.0.0.1:17502", "replica", "127.0.0.1:17501", True),
        ("127.0.0.1:17503", "replica", "127.0.0.1:17501", True),
    ]
    assert {node.shard for node in topology.nodes} == {"mymaster"}


def test_a_real_set_after_its_master_and_a_sentinel_were_killed() -> None:
    views = recorded("after-failover.json")
    master, topology = merge_sentinel_views("mymaster", views)
    assert (master.address, master.status_ok, master.quorum_ok) == ("127.0.0.1:17502", True, True)
    assert (master.sentinels, master.config_epoch) == (3, 1)
    dead = topology.nodes[0]
    assert (dead.address, dead.role, dead.master, dead.healthy) == (
        "127.0.0.1:17501",
        "replica",
        "127.0.0.1:17502",
        False,
    )
    assert dead.why == "disconnected,s_down, reported by 2 of 2 sentinels"
    assert sentinel_addresses(views) == {f"127.0.0.1:{port}" for port in (17511, 17512, 17513)}


def test_in_the_middle_of_a_failover_the_majority_counts_and_at_a_tie_the_epoch() -> None:
    old, new = view("id1", "a:1", "b:1"), view("id2", "b:1", "a:1", epoch=1)
    assert merge_sentinel_views("m", {"s1:1": old, "s2:1": new})[0].address == "b:1"
    third = view("id3", "a:1", "b:1")
    assert merge_sentinel_views("m", {"s1:1": old, "s2:1": new, "s3:1": third})[0].address == "a:1"


def test_one_sentinel_under_two_addresses_has_one_vote() -> None:
    old, new = view("id1", "a:1"), view("id2", "b:1", epoch=1)
    views = {"s1:1": old, "localhost:1": old, "s2:1": new}
    assert merge_sentinel_views("m", views)[0].address == "b:1"
    assert len(sentinel_addresses(views)) == 3


def test_the_master_is_down_when_half_say_so() -> None:
    views = {"s1:1": view("id1", "a:1"), "s2:1": view("id2", "a:1", flags="master,s_down")}
    master, topology = merge_sentinel_views("m", views)
    assert not master.status_ok
    assert topology.nodes[0].why == "s_down, reported by 1 of 2 sentinels"


@pytest.mark.parametrize(
    ("replies", "expected"),
    [
        ([b"OK 3 usable"], True),
        ([ReplyError("NOQUORUM 1 usable")], False),
        ([ReplyError("NOPERM no")], None),
        ([b"OK", ReplyError("NOQUORUM")], False),
        ([b"OK", b"OK", ReplyError("NOQUORUM")], True),
        ([b"OK", ReplyError("NOPERM")], True),
    ],
)
def test_quorum(replies: list[Reply], expected: bool | None) -> None:  # noqa: FBT001
    views = {f"s{n}:1": view(f"id{n}", "a:1", quorum=reply) for n, reply in enumerate(replies)}
    assert merge_sentinel_views("m", views)[0].quorum_ok is expected


def test_a_replica_that_one_of_three_lists_is_none() -> None:
    views = {"1": view("id1", "a:1", "b:1"), "2": view("id2", "a:1"), "3": view("id3", "a:1")}
    assert [node.address for node in merge_sentinel_views("m", views)[1].nodes] == ["a:1"]


def test_no_views() -> None:
    with pytest.raises(ValueError, match="no sentinel"):
        merge_sentinel_views("m", {})


def test_why_there_is_no_view() -> None:
    unknown = parse_sentinel(
        [b"id", ReplyError("ERR No such master with that name"), *[ReplyError("ERR")] * 3]
    )
    assert unknown == Failed("error", "SENTINEL MASTER: ERR No such master with that name")
    odd = parse_sentinel([b"id", [b"ip"], [], [], b"OK"])
    assert odd == Failed("error", "the reply to SENTINEL MASTER has no address")


_REPLY: st.SearchStrategy[Reply] = st.recursive(
    st.one_of(
        st.none(),
        st.integers(),
        st.binary(),
        st.sampled_from([b"ip", b"port", b"1", b"flags"]),
        st.just(ReplyError("ERR x")),
    ),
    lambda inner: st.lists(inner, max_size=6),
    max_leaves=20,
)


@given(st.lists(_REPLY, min_size=5, max_size=5))
def test_no_reply_raises(replies: list[Reply]) -> None:
    view = parse_sentinel(replies)
    if isinstance(view, SentinelView):
        merge_sentinel_views("m", {"s:1": view})
