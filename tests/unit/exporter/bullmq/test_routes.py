from __future__ import annotations

import pytest

from exporter.bullmq.routes import Routes
from exporter.snapshot import Mode, QueueId, Role, Topology, TopologyNode

A, B, C = "10.0.0.1:7001", "10.0.0.2:7001", "10.0.0.3:7001"


def node(address: str, *slots: tuple[int, int], role: Role = "master") -> TopologyNode:
    return TopologyNode(address, role, shard="s", slots=slots)


def routes(mode: Mode, *nodes: TopologyNode) -> Routes:
    return Routes(Topology(mode, nodes))


def tagged(tag: str) -> QueueId:
    return QueueId("bull", f"{{{tag}}}")


@pytest.mark.parametrize(
    ("tag", "owner"),
    [
        ("bar", A),  # slot 5061: the first of its range
        ("user1000", B),  # 3443: the last of its range
        ("foo", A),  # 12182: a range of one slot
        ("123456789", None),  # 12739: nobody's
    ],
)
def test_the_owner_is_that_of_the_slot(tag: str, owner: str | None) -> None:
    found = routes(
        "cluster", node(A, (5061, 9000), (12182, 12182)), node(B, (0, 3443)), node(C, (12183, 12738))
    )
    assert found.owner(tagged(tag)) == owner


def test_a_slot_before_the_first_range_is_nobodys() -> None:
    assert routes("cluster", node(A, (3444, 16383))).owner(tagged("user1000")) is None


def test_a_cluster_without_masters_owns_nothing() -> None:
    empty = routes("cluster", node(A, role="replica"))
    assert (empty.masters, empty.owner(tagged("foo"))) == ((), None)


def test_replicas_own_nothing() -> None:
    found = routes("cluster", node(A, (0, 16383), role="replica"), node(B, (0, 16383)))
    assert found.owner(tagged("foo")) == B


def test_one_master_has_every_queue() -> None:
    found = routes("sentinel", node(A, role="replica"), node(B))
    assert [found.owner(QueueId("bull", name)) for name in ("mail", "{sms}")] == [B, B]


def test_one_server_that_replicates_can_still_be_read() -> None:
    assert routes("standalone", node(A, role="replica")).owner(QueueId("bull", "mail")) == A


def test_nobody_to_ask() -> None:
    assert routes("sentinel").owner(QueueId("bull", "mail")) is None


def test_only_a_cluster_needs_tags() -> None:
    plain = QueueId("bull", "mail")
    assert routes("standalone", node(A)).possible(plain)
    cluster = routes("cluster", node(A, (0, 16383)))
    assert not cluster.possible(plain)
    assert cluster.possible(tagged("mail"))
    assert cluster.possible(QueueId("{bull}", "mail"))


def test_queues_by_owner_in_their_order() -> None:
    found = routes("cluster", node(A, (0, 6000)), node(B, (12182, 12182)))
    queues = [tagged("foo"), tagged("bar"), tagged("123456789"), tagged("user1000")]
    assert found.by_owner(queues) == (
        {B: [tagged("foo")], A: [tagged("bar"), tagged("user1000")]},
        [tagged("123456789")],
    )
