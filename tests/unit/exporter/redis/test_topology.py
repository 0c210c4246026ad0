from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.redis.topology import ClusterView, mark_unhealthy, merge_cluster_views, parse_cluster_nodes
from exporter.snapshot.redis import Topology

FIXTURES = Path(__file__).parents[3] / "fixtures"
VERSIONS = sorted(path.parent.name for path in FIXTURES.glob("redis-*/cluster-nodes.txt"))

# Three masters and a replica of the first, as node `who` sees them.
LINES = {
    "a": "a 10.0.0.1:7001@17001 {} - 0 1 1 connected 0-5460",
    "b": "b 10.0.0.2:7001@17001 {} - 0 1 2 connected 5461-10922",
    "c": "c 10.0.0.3:7001@17001 {} - 0 1 3 connected 10923-16383",
    "d": "d 10.0.0.4:7001@17001 {} a 0 1 1 connected",
}
ROLES = {"a": "master", "b": "master", "c": "master", "d": "slave"}


def seen_by(who: str, **changed: str) -> str:
    """The view of `who`; a node's line may be replaced, or left out by an empty one."""
    lines = []
    for name, line in LINES.items():
        flags = f"myself,{ROLES[name]}" if name == who else ROLES[name]
        lines.append(changed.get(name, line.format(flags)))
    return "\n".join([*filter(None, lines), changed.get("extra", "")])


def agreed(**views: str) -> Topology:
    where = {name: line.split()[1].partition("@")[0] for name, line in LINES.items()}
    return merge_cluster_views({where[who]: parse_cluster_nodes(text) for who, text in views.items()})


def row(topology: Topology, name: str) -> tuple[str, str, str | None, bool]:
    node = next(node for node in topology.nodes if node.node_id == name)
    return node.role, node.shard, node.master, node.healthy


@pytest.mark.parametrize("version", VERSIONS)
def test_every_version(version: str) -> None:
    view = parse_cluster_nodes((FIXTURES / version / "cluster-nodes.txt").read_bytes())
    own = next(line for line in view if "myself" in line.flags)
    topology = merge_cluster_views({own.address: view})
    assert [node.shard for node in topology.masters()] == ["0", "5461", "10923"]
    assert sorted(node.shard for node in topology.nodes if node.role == "replica") == ["0", "10923", "5461"]
    assert all(node.healthy for node in topology.nodes)
    assert topology.slots_covered() == 16384
    first = topology.masters()[0]
    assert first.hostname == ("" if version == "redis-6.2" else f"node-{first.address[-5:]}.example")


@pytest.mark.parametrize(
    ("endpoint", "address", "hostname"),
    [
        ("10.0.0.1:7001@17001", "10.0.0.1:7001", None),
        ("10.0.0.1:7001", "10.0.0.1:7001", None),
        ("10.0.0.1:7001@17001,cache-1", "10.0.0.1:7001", "cache-1"),
        ("10.0.0.1:7001@17001,", "10.0.0.1:7001", None),
        ("10.0.0.1:7001@17001,?", "10.0.0.1:7001", None),
        ("10.0.0.1:7001@17001,,tls-port=0,shard-id=x", "10.0.0.1:7001", None),
        ("fe80::1:7001@17001", "[fe80::1]:7001", None),
        (":7001@17001", ":7001", None),
        (":7001@17001,cache-1", "cache-1:7001", "cache-1"),
        ("?:7001@17001,cache-1", "cache-1:7001", "cache-1"),
    ],
)
def test_endpoints(endpoint: str, address: str, hostname: str | None) -> None:
    (line,) = parse_cluster_nodes(f"a {endpoint} myself,master - 0 0 1 connected 0")
    assert (line.address, line.hostname) == (address, hostname)


def test_slots_on_the_move_are_still_their_owners() -> None:
    (line,) = parse_cluster_nodes(
        "a h:1@2 myself,master - 0 0 1 connected 0-5 7 [93->-b] [77-<-c] 9-x 99999 5-2"
    )
    assert line.slots == ((0, 5), (7, 7))


@pytest.mark.parametrize("flags", ["handshake", "master,noaddr", "slave,fail,noaddr"])
def test_who_shakes_hands_or_has_no_address_is_no_node(flags: str) -> None:
    assert parse_cluster_nodes(f"a :0@0 {flags} - 0 0 0 disconnected") == ()


def test_all_healthy() -> None:
    topology = agreed(**{who: seen_by(who) for who in LINES})
    assert [node.address for node in topology.nodes] == [f"10.0.0.{n}:7001" for n in (1, 2, 3, 4)]
    assert row(topology, "a") == ("master", "0", None, True)
    assert row(topology, "b") == ("master", "5461", None, True)
    assert row(topology, "d") == ("replica", "0", "10.0.0.1:7001", True)
    assert topology.slots_covered() == 16384


def test_one_view_is_enough() -> None:
    assert agreed(d=seen_by("d")) == agreed(**{who: seen_by(who) for who in LINES})


def test_a_node_is_ill_when_half_of_the_others_say_so() -> None:
    doubt = LINES["c"].format("master,fail?")
    two_of_four = agreed(a=seen_by("a", c=doubt), b=seen_by("b"), c=seen_by("c"), d=seen_by("d"))
    assert row(two_of_four, "c") == ("master", "10923", None, True)
    two = agreed(a=seen_by("a", c=doubt), b=seen_by("b", c=doubt), c=seen_by("c"), d=seen_by("d"))
    assert row(two, "c")[3] is False
    assert two.nodes[2].why == "suspected to have failed, reported by 2 of 3 nodes"


def test_a_broken_link_counts_before_any_flag() -> None:
    cut = LINES["c"].format("master").replace("connected", "disconnected")
    topology = agreed(a=seen_by("a", c=cut), b=seen_by("b", c=cut))
    assert topology.nodes[2].why == "disconnected, reported by 2 of 2 nodes"
    assert not topology.nodes[2].healthy


def test_a_failed_node_stays_as_long_as_it_is_listed() -> None:
    dead = LINES["c"].format("master,fail").replace("connected", "disconnected")
    topology = agreed(**{who: seen_by(who, c=dead) for who in "abd"})
    assert row(topology, "c") == ("master", "10923", None, False)
    assert topology.nodes[2].why == "failed, reported by 3 of 3 nodes"


def test_a_forgotten_node_is_removed_although_it_lists_itself() -> None:
    topology = agreed(a=seen_by("a", c=""), b=seen_by("b", c=""), c=seen_by("c"), d=seen_by("d", c=""))
    assert [node.node_id for node in topology.nodes] == ["a", "b", "d"]
    assert topology.slots_covered() == 10923


def test_a_node_that_joins_is_there_once_half_know_it() -> None:
    new = "e 10.0.0.5:7001@17001 master - 0 1 0 connected"
    few = agreed(a=seen_by("a", extra=new), b=seen_by("b"), c=seen_by("c"), d=seen_by("d"))
    assert len(few.nodes) == 4
    half = agreed(a=seen_by("a", extra=new), b=seen_by("b", extra=new), c=seen_by("c"), d=seen_by("d"))
    assert row(half, "e") == ("master", "", None, True)


def test_a_failover_moves_the_shard_and_leaves_the_old_master_without_one() -> None:
    changed = {
        "a": "a 10.0.0.1:7001@17001 master,fail - 0 1 1 disconnected",
        "d": "d 10.0.0.4:7001@17001 {} - 0 1 7 connected 0-5460",
    }
    views = {who: seen_by(who, a=changed["a"], d=changed["d"].format("master")) for who in "bc"}
    views["d"] = seen_by("d", a=changed["a"], d=changed["d"].format("myself,master"))
    topology = agreed(**views)
    assert row(topology, "d") == ("master", "0", None, True)
    assert row(topology, "a") == ("master", "", None, False)
    # The old master is back and has not heard yet: it is outvoted, and its slots stay the higher epoch's.
    assert row(agreed(a=seen_by("a"), **views), "a") == ("master", "", None, False)
    back = agreed(a=seen_by("a"), d=views["d"])
    assert row(back, "d")[1] == "0"
    assert back.slots_covered() == 16384


def test_the_own_address_that_a_node_does_not_know_yet_comes_from_the_others_or_from_us() -> None:
    bare = "a :7001@17001 myself,master - 0 0 1 connected 0-5460"
    assert agreed(a=seen_by("a", a=bare), b=seen_by("b")).nodes[0].address == "10.0.0.1:7001"
    assert merge_cluster_views({"cache-1:9001": parse_cluster_nodes(bare)}).nodes[0].address == "cache-1:7001"


def test_servers_that_lost_each_other_are_all_still_there() -> None:
    alone = {
        f"10.0.0.{n}:7001": parse_cluster_nodes(f"n{n} :7001@17001 myself,master - 0 0 0 connected")
        for n in (1, 2, 3)
    }
    assert [node.address for node in merge_cluster_views(alone).nodes] == [
        "10.0.0.1:7001",
        "10.0.0.2:7001",
        "10.0.0.3:7001",
    ]


def test_a_replica_of_an_unknown_master_has_no_shard() -> None:
    topology = merge_cluster_views({"h:1": parse_cluster_nodes("r h:1@2 myself,slave gone 0 0 1 connected")})
    assert row(topology, "r") == ("replica", "", None, True)


def test_unseen() -> None:
    topology = mark_unhealthy(agreed(a=seen_by("a")), "no node answers")
    assert {(node.healthy, node.why) for node in topology.nodes} == {(False, "no node answers")}


@given(st.one_of(st.binary(), st.text()))
def test_no_text_raises(raw: str | bytes) -> None:
    merge_cluster_views({"h:1": parse_cluster_nodes(raw)})


_WORD = st.one_of(
    st.sampled_from(
        [
            "a",
            "b",
            "-",
            "h:1@2",
            ":1",
            "::1:7@8,n",
            "master",
            "slave",
            "myself,master",
            "fail",
            "1",
            "0-5",
            "7",
        ]
    ),
    st.text(),
)
_TEXT = st.lists(st.lists(_WORD, max_size=12).map(" ".join), max_size=5).map("\n".join)


@pytest.mark.slow
@given(st.dictionaries(st.sampled_from(["h:1", "[::1]:7", "x:99"]), _TEXT, max_size=3))
def test_no_views_raise_and_no_slot_has_two_owners(texts: dict[str, str]) -> None:
    topology = merge_cluster_views({viewer: parse_cluster_nodes(text) for viewer, text in texts.items()})
    assert topology.slots_covered() <= 16384


_SPANS = st.tuples(st.integers(0, 40), st.integers(0, 20)).map(lambda span: (span[0], sum(span)))


@given(st.lists(st.tuples(st.integers(0, 5), st.lists(_SPANS, max_size=6)), min_size=1, max_size=5))
def test_each_slot_is_that_of_the_claim_with_the_highest_epoch(
    claims: list[tuple[int, list[tuple[int, int]]]],
) -> None:
    owners: dict[int, str] = {}
    for name, (_, spans) in sorted(enumerate(claims), key=lambda claim: claim[1][0]):
        owners |= {slot: str(name) for first, last in spans for slot in range(first, last + 1)}
    view = "\n".join(
        f"{name} h:{name} master - 0 0 {epoch} connected {' '.join(f'{a}-{b}' for a, b in spans)}"
        for name, (epoch, spans) in enumerate(claims)
    )
    for node in merge_cluster_views({"h:1": parse_cluster_nodes(view)}).nodes:
        assert all(one[1] + 1 < two[0] for one, two in pairwise(node.slots))
        owned = {slot for first, last in node.slots for slot in range(first, last + 1)}
        assert owned == {slot for slot, owner in owners.items() if owner == node.node_id}


@st.composite
def _clusters(draw: st.DrawFn) -> dict[str, ClusterView]:
    """Views of one cluster whose viewers may doubt or miss a node."""
    views = {}
    for who in LINES:
        view = parse_cluster_nodes(seen_by(who))
        lines = []
        for line in view:
            what = draw(st.sampled_from(["well", "well", "fail?", "cut", "missing"]))
            if what == "missing" and line.node_id != who:
                continue
            flags = line.flags | {"fail?"} if what == "fail?" and line.node_id != who else line.flags
            lines.append(replace(line, flags=flags, linked=what != "cut" or line.node_id == who))
        views[f"10.0.0.{ord(who) - 96}:7001"] = tuple(lines)
    return views


@given(_clusters(), st.permutations(range(len(LINES))))
def test_the_order_of_the_views_does_not_matter(views: dict[str, ClusterView], order: list[int]) -> None:
    items = list(views.items())
    assert merge_cluster_views(views) == merge_cluster_views(dict(items[index] for index in order))


@pytest.mark.fault
def test_a_port_that_is_none_is_no_node() -> None:
    """The system would connect to 99999 - 65536."""
    assert parse_cluster_nodes("a 10.0.0.1:99999@1 master - 0 0 1 connected\n") == ()
