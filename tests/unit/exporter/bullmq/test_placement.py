from __future__ import annotations

import pytest

from exporter.bullmq.keys import slot_of
from exporter.bullmq.placement import SlotMap
from exporter.snapshot.queues import QueueId
from exporter.snapshot.redis import Mode, Role, Topology, TopologyNode


def node(address: str, *slots: tuple[int, int], role: Role = "master") -> TopologyNode:
    return TopologyNode(address, role, "", slots=slots)


def cluster(*nodes: TopologyNode) -> SlotMap:
    return SlotMap(Topology("cluster", nodes))


MAIL = QueueId("bull", "{mail}")
SLOT = slot_of("bull:{mail}:")


@pytest.mark.parametrize(
    ("slots", "owned"),
    [
        ([(0, 16383)], True),
        ([(SLOT, SLOT)], True),
        ([(0, SLOT)], True),
        ([(SLOT, 16383)], True),
        ([(0, 10), (SLOT - 1, SLOT + 1)], True),
        ([(0, SLOT - 1), (SLOT + 1, 16383)], False),
        ([(SLOT + 1, 16383)], False),
        ([], False),
    ],
)
def test_a_slot_has_the_owner_that_the_topology_names(slots: list[tuple[int, int]], owned: bool) -> None:  # noqa: FBT001
    assert cluster(node("a", *slots)).owner(MAIL) == ("a" if owned else None)


def test_a_replica_owns_nothing() -> None:
    assert cluster(node("a", (0, 16383), role="replica")).owner(MAIL) is None


def test_queues_by_owner() -> None:
    slot_map = cluster(node("a", (0, SLOT)), node("b", (SLOT + 1, 16000)))
    queues = [MAIL, QueueId("{mail}", "x"), QueueId("bull", "{foo}")]
    owned, orphans = slot_map.by_owner(queues)
    assert owned == {"a": queues[:2], "b": queues[2:]}
    assert orphans == []


def test_queues_that_are_looked_up_once_are_the_callers_own() -> None:
    slot_map = cluster(node("a", (0, SLOT)))
    queues = (MAIL, QueueId("bull", "{foo}"))
    owned, orphans = slot_map.by_owner(queues)
    owned["a"].clear()
    orphans.clear()
    assert slot_map.by_owner(queues) == ({"a": [MAIL]}, [queues[1]])
    assert slot_map.by_owner(queues[:1]) == ({"a": [MAIL]}, [])
    assert slot_map.by_owner(()) == ({}, [])


def test_in_a_cluster_a_queue_needs_a_tag() -> None:
    slot_map = cluster(node("a", (0, 8000)), node("b", (8001, 16383)))
    assert slot_map.supports(MAIL)
    assert not slot_map.supports(QueueId("bull", "mail"))
    assert cluster(node("a", (0, 16383))).supports(QueueId("bull", "mail"))  # there Redis decides
    assert SlotMap(Topology("standalone", (node("a"),))).supports(QueueId("bull", "mail"))


@pytest.mark.parametrize("mode", ["standalone", "sentinel"])
def test_without_a_cluster_the_master_has_them_all(mode: Mode) -> None:
    slot_map = SlotMap(Topology(mode, (node("a", role="replica"), node("b"))))
    assert (slot_map.owner(MAIL), slot_map.masters) == ("b", ("b",))


def test_a_lone_replica_is_read() -> None:
    assert SlotMap(Topology("standalone", (node("a", role="replica"),))).owner(MAIL) == "a"
    assert SlotMap(Topology("sentinel", ())).owner(MAIL) is None


def test_they_fit_until_a_master_or_slot_moves() -> None:
    nodes = (node("a", (0, 99)), node("b", (100, 16383)), node("c", role="replica"))
    slot_map = cluster(*nodes)
    assert slot_map.matches(Topology("cluster", nodes))
    for others in (
        (node("a", (0, 98)), node("b", (99, 16383)), nodes[2]),
        (node("c", (0, 99)), nodes[1], node("a", role="replica")),
    ):
        assert not slot_map.matches(Topology("cluster", others))
