from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.redis.failovers import (
    IDLE_MASTER_LIMIT,
    STALE_VIEW_LIMIT,
    Failover,
    FailoverState,
    observe,
    shards,
)
from exporter.redis.topology import ClusterView, merge_cluster_views
from exporter.snapshot.redis import ClusterLine, Topology, TopologyNode

FIRST, SECOND, ALL = ((0, 99),), ((100, 16383),), ((0, 16383),)


def master(
    name: str, epoch: int, slots: tuple[tuple[int, int], ...] = (), *, healthy: bool = True
) -> TopologyNode:
    shard = str(slots[0][0]) if slots else ""
    return TopologyNode(
        f"{name}:1", "master", shard, healthy=healthy, node_id=name, config_epoch=epoch, slots=slots
    )


def replica(name: str, of: TopologyNode) -> TopologyNode:
    return TopologyNode(
        f"{name}:1", "replica", of.shard, master=of.address, node_id=name, config_epoch=of.config_epoch
    )


def cluster(*nodes: TopologyNode) -> Topology:
    return Topology("cluster", nodes)


A, B = master("a", 1, FIRST), master("b", 2, SECOND)
BEFORE = cluster(A, B, replica("d", A), replica("e", A))
D = master("d", 7, FIRST)
AFTER = cluster(replica("a", D), B, D, replica("e", D))
DEAD = cluster(master("a", 1, healthy=False), B, D, replica("e", D))


def detect(*observations: Topology) -> list[Failover]:
    state = FailoverState()
    failovers: list[Failover] = []
    for topology in observations:
        state, detected = observe(state, topology)
        failovers += detected
    return failovers


ONE = [Failover("0", "a:1", "d:1")]
BACK = master("a", 8, FIRST)
AND_BACK = cluster(BACK, B, replica("d", BACK), replica("e", BACK))
UNOWNED = cluster(replica("a", D), B, replica("d", A), replica("e", A))
MOVED = cluster(master("a", 1, ((5, 99),)), master("b", 9, ((0, 4), (100, 16383))), replica("d", A))
TAKEN = master("b", 9, ALL)


@pytest.mark.parametrize(
    ("observations", "failovers"),
    [
        pytest.param([BEFORE], [], id="a first look"),
        pytest.param([BEFORE, BEFORE, BEFORE], [], id="nothing happens"),
        pytest.param([BEFORE, AFTER, AFTER], ONE, id="by hand"),
        pytest.param([BEFORE, DEAD, DEAD, AFTER], ONE, id="by death, and the old master comes back"),
        pytest.param([BEFORE, UNOWNED, UNOWNED, AFTER], ONE, id="without an owner for a while"),
        pytest.param([BEFORE, AFTER, BEFORE, AFTER], ONE, id="an old view in between"),
        pytest.param([AFTER, BEFORE, AFTER], [], id="an old view after a start"),
        pytest.param(
            [BEFORE, AFTER, *[BEFORE] * STALE_VIEW_LIMIT * 2, AFTER], ONE, id="an old view that stays"
        ),
        pytest.param([BEFORE, AFTER, AND_BACK], [*ONE, Failover("0", "d:1", "a:1")], id="and back"),
        pytest.param([BEFORE, DEAD, AND_BACK], [*ONE, Failover("0", "d:1", "a:1")], id="and back, missed"),
        pytest.param(
            [BEFORE, AFTER, BEFORE, AND_BACK], [*ONE, Failover("0", "d:1", "a:1")], id="and back, old view"
        ),
        pytest.param(
            [BEFORE, cluster(master("a", 1), B, D, replica("e", D)), AND_BACK],
            [*ONE, Failover("0", "d:1", "a:1")],
            id="and back, its yielding missed",
        ),
        pytest.param([BEFORE, MOVED, MOVED], [], id="slots move to another master"),
        pytest.param(
            [BEFORE, cluster(replica("a", TAKEN), TAKEN, replica("d", TAKEN))], [], id="all slots move"
        ),
        pytest.param(
            [BEFORE, cluster(replace(A, config_epoch=9), B, replica("d", A))], [], id="a bumped epoch"
        ),
        pytest.param(
            [BEFORE, cluster(replace(A, healthy=False), B, replica("d", A)), BEFORE], [], id="a restart"
        ),
        pytest.param([BEFORE, cluster(master("f", 9, FIRST), B)], [], id="a node that nobody knew"),
        pytest.param(
            [BEFORE, cluster(A, B, replica("d", B)), cluster(B, D, replica("a", D))],
            ONE,
            id="of another shard before",
        ),
        pytest.param(
            [BEFORE, cluster(replica("a", D), B, master("d", 7, ((0, 49),)), master("b", 9, ((50, 16383),)))],
            ONE,
            id="a failover and a move in one",
        ),
    ],
)
def test_what_counts(observations: list[Topology], failovers: list[Failover]) -> None:
    assert detect(*observations) == failovers


def test_a_replica_that_was_made_a_master_and_is_given_slots_won_nothing() -> None:
    detached = cluster(A, B, master("d", 0))
    given = cluster(master("a", 1, ((5, 99),)), B, master("d", 9, ((0, 4),)))
    assert detect(BEFORE, *[detached] * IDLE_MASTER_LIMIT, given) == []


def test_a_new_deployment_with_lower_epochs_is_accepted_and_then_watched() -> None:
    old, new = master("x", 50, ALL), master("a", 1, ALL)
    won = master("d", 3, ALL)
    rebuilt = cluster(new, replica("d", new))
    observations = [cluster(old), *[rebuilt] * STALE_VIEW_LIMIT, rebuilt, cluster(won, replica("a", won))]
    assert detect(*observations) == [Failover("0", "a:1", "d:1")]


def test_a_master_that_is_forgotten_at_once_is_named_by_its_id() -> None:
    assert detect(BEFORE, cluster(B, D)) == [Failover("0", "a", "d:1")]


def watched(address: str, epoch: int) -> Topology:
    return Topology("sentinel", (TopologyNode(address, "master", "mymaster", config_epoch=epoch),))


@pytest.mark.parametrize(
    ("observations", "count"),
    [
        pytest.param([("a:1", 0)], 0, id="a first look"),
        pytest.param([("a:1", 0), ("b:1", 1), ("b:1", 1)], 1, id="one"),
        pytest.param([("a:1", 0), ("a:1", 1), ("a:1", 1), ("b:1", 1)], 1, id="the leader's view comes first"),
        pytest.param([("a:1", 0), ("b:1", 1), ("a:1", 1), ("b:1", 1)], 1, id="the leader's view comes last"),
        pytest.param([("a:1", 0), ("b:1", 1), ("a:1", 0), ("b:1", 1)], 1, id="an old view in between"),
        pytest.param(
            [("a:1", 0), ("b:1", 1), *[("a:1", 0)] * 99, ("b:1", 1)], 1, id="an old view that stays"
        ),
        pytest.param([("a:1", 0), ("b:1", 1), ("a:1", 2), ("b:1", 5)], 3, id="to and fro"),
        pytest.param([("a:1", 3), ("cache-1:1", 3), ("b:1", 4)], 1, id="another name of the same"),
        pytest.param([("a:1", 9), *[("b:1", 0)] * STALE_VIEW_LIMIT, ("c:1", 1)], 1, id="monitored again"),
    ],
)
def test_sentinel(observations: list[tuple[str, int]], count: int) -> None:
    failovers = detect(*(watched(address, epoch) for address, epoch in observations))
    labels = {failover.shard for failover in failovers}
    assert (len(failovers), labels) == (count, {"mymaster"} if count else set())


def test_a_single_server_has_no_shards_and_no_failovers() -> None:
    alone = Topology("standalone", (TopologyNode("a:1", "master", "", config_epoch=1),))
    assert (shards(alone), observe(FailoverState(), alone)) == (frozenset(), (FailoverState(), ()))
    assert shards(BEFORE) == {"0", "100"}
    assert shards(watched("a:1", 0)) == {"mymaster"}
    assert observe(FailoverState(), Topology("sentinel", ())) == (FailoverState(), ())


# --- any history, looked at in any way ---


@dataclass
class World:
    """Two shards of three nodes each, which act as a cluster's do."""

    owner: list[str] = field(default_factory=lambda: ["a0", "b0"])
    epochs: dict[str, int] = field(default_factory=lambda: {"a0": 1, "b0": 2})
    border: int = 8000
    dead: set[str] = field(default_factory=set)

    def top(self) -> int:
        return max(self.epochs.values()) + 1

    def fail_over(self, shard: int, number: int, *, by_death: bool) -> bool:
        new = f"{'ab'[shard]}{number}"
        if new == self.owner[shard] or new in self.dead:
            return False
        if by_death:
            self.dead.add(self.owner[shard])
        self.owner[shard] = new
        self.epochs[new] = self.top()
        return True

    def cluster(self) -> Topology:
        ranges = [((0, self.border - 1),), ((self.border, 16383),)]
        nodes = []
        for shard, letter in enumerate("ab"):
            own = self.owner[shard]
            head = master(own, self.epochs[own], ranges[shard])
            for name in (f"{letter}{number}" for number in range(3)):
                if name == own:
                    nodes.append(head)
                elif name in self.dead:
                    nodes.append(master(name, self.epochs.get(name, 0), healthy=False))
                else:
                    nodes.append(replica(name, head))
        return cluster(*nodes)


HAPPENS = st.one_of(
    st.tuples(st.just("by hand"), st.integers(0, 1), st.integers(0, 2)),
    st.tuples(st.just("by death"), st.integers(0, 1), st.integers(0, 2)),
    st.tuples(st.just("revive"), st.just(0), st.just(0)),
    st.tuples(st.just("move slots"), st.integers(0, 1), st.integers(1, 16383)),
    st.tuples(st.just("look"), st.just(0), st.just(0)),
    st.tuples(st.just("old look"), st.integers(1, 5), st.just(0)),
)


def happen(world: World, what: str, shard: int, number: int) -> bool:
    """Whether it was a failover."""
    match what:
        case "by hand" | "by death":
            return world.fail_over(shard, number, by_death=what == "by death")
        case "revive":
            world.dead.clear()
        case "move slots" if number != world.border:
            gains = world.owner[0 if number > world.border else 1]
            world.border = number
            world.epochs[gains] = world.top()
    return False


@given(st.lists(HAPPENS, max_size=40))
def test_each_observed_failover_counts_once_whatever_stale_views_come_between(
    steps: list[tuple[str, int, int]],
) -> None:
    world, state, happened, counted = World(), FailoverState(), 0, 0
    history = [world.cluster()]
    state, _ = observe(state, history[0])
    for what, shard, number in steps:
        if what == "old look":
            state, detected = observe(state, history[-min(shard, len(history))])
            assert detected == ()
            continue
        happened += happen(world, what, shard, number)
        history.append(world.cluster())
        state, detected = observe(state, history[-1])
        counted += len(detected)
        assert counted == happened


@given(st.lists(HAPPENS, max_size=40))
def test_missed_observations_never_give_more_failovers_than_there_were(
    steps: list[tuple[str, int, int]],
) -> None:
    world, state, happened, counted = World(), FailoverState(), 0, 0
    history = [world.cluster()]
    for what, shard, number in steps:
        if what.endswith("look"):
            state, detected = observe(state, history[-min(max(shard, 1), len(history))])
            counted += len(detected)
            assert counted <= happened
        else:
            happened += happen(world, what, shard, number)
            history.append(world.cluster())


@given(
    steps=st.lists(HAPPENS, max_size=10),
    shard=st.integers(0, 1),
    number=st.integers(0, 2),
    by_death=st.booleans(),
)
def test_one_failover_among_missed_observations_counts_once(
    steps: list[tuple[str, int, int]], shard: int, number: int, *, by_death: bool
) -> None:
    world = World()
    state, _ = observe(FailoverState(), world.cluster())
    counted = 0
    failed_over = world.fail_over(shard, number, by_death=by_death)
    for what, other_shard, other_number in steps:
        if what in ("revive", "move slots"):
            happen(world, what, other_shard, other_number)
        elif what == "look":
            state, detected = observe(state, world.cluster())
            counted += len(detected)
    state, detected = observe(state, world.cluster())
    assert counted + len(detected) == failed_over


def view_of(who: str, topology: Topology) -> ClusterView:
    """CLUSTER NODES as `who` gives it."""
    by_address = {node.address: node.node_id for node in topology.nodes}
    return tuple(
        ClusterLine(
            node.node_id,
            node.address,
            frozenset(
                {"master" if node.role == "master" else "slave", *(["myself"] * (node.node_id == who))}
            ),
            by_address[node.master] if node.master else None,
            node.config_epoch,
            linked=True,
            slots=node.slots,
        )
        for node in topology.nodes
    )


@pytest.mark.slow
@given(
    st.lists(st.tuples(HAPPENS, st.lists(st.integers(1, 3), min_size=6, max_size=6)), max_size=12),
    st.integers(0, 2),
)
def test_views_of_different_age_agree_on_no_failover_that_was_none(
    steps: list[tuple[tuple[str, int, int], list[int]]], last: int
) -> None:
    world, state, happened, counted = World(), FailoverState(), 0, 0
    history = [world.cluster()]
    names = [node.node_id for node in history[0].nodes]
    for step, ages in [*steps, (("by hand", 0, last), [1] * 6)]:
        happened += happen(world, *step)
        history.append(world.cluster())
        aged = {name: history[-min(age, len(history))] for name, age in zip(names, ages, strict=True)}
        state, detected = observe(
            state,
            merge_cluster_views({f"{name}:1": view_of(name, topology) for name, topology in aged.items()}),
        )
        counted += len(detected)
        assert counted <= happened


@pytest.mark.slow
@given(
    shard=st.integers(0, 1),
    number=st.integers(1, 2),
    observations=st.lists(st.sets(st.integers(0, 5)), max_size=8),
    by_death=st.booleans(),
)
def test_a_failover_that_only_some_nodes_know_of_counts_once_in_the_end(
    shard: int, number: int, observations: list[set[int]], *, by_death: bool
) -> None:
    world = World()
    before = world.cluster()
    names = [node.node_id for node in before.nodes]
    world.fail_over(shard, number, by_death=by_death)
    after = world.cluster()
    state, counted = FailoverState(), 0
    for informed in [set[int](), *observations, set(range(6))]:
        views = {
            f"{name}:1": view_of(name, after if place in informed else before)
            for place, name in enumerate(names)
        }
        state, detected = observe(state, merge_cluster_views(views))
        counted += len(detected)
    assert counted == 1
