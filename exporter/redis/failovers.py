"""Failovers told from one look at the deployment after another. Without I/O.

A failover gives its winner a config epoch that no node had before (Redis Cluster specification,
"configuration epoch"), so that node and epoch together are its name: it is counted at most once, however
often and in whatever order it is seen. What else moves slots or epochs (resharding, a restart, a bumped
epoch) is told apart by who the new owner was before: a replica wins a failover, a master is given slots.

Not seen: a failover that was undone again between two looks.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple, TypeAlias

from exporter.snapshot import Topology, TopologyNode

BELIEVED: Final = 30
"""Looks in a row after which lower epochs are no old view any more: the deployment was made anew."""
DETACHED: Final = 3
"""Looks in a row after which a healthy master without slots is one that nothing binds to its old shard."""


class Failover(NamedTuple):
    """One failover: its shard's label, and the two masters' addresses."""

    shard: str
    old: str
    new: str


class Hold(NamedTuple):
    """Who owns the slots from `first` to `last`, by which config epoch. A Sentinel's master has slot 0."""

    first: int
    last: int
    owner: str
    epoch: int


@dataclass(frozen=True)
class Memory:
    """What the looks so far have told. Nodes go by node id, with Sentinel by address.

    `followers` are the nodes last known as replicas, or as masters that lost their slots in a failover;
    `highest` is each owner's highest config epoch; `idle` and `doubted` count looks in a row.
    """

    holds: tuple[Hold, ...] = ()
    followers: frozenset[str] = frozenset()
    highest: Mapping[str, int] = field(default_factory=dict)
    idle: Mapping[str, int] = field(default_factory=dict)
    doubted: int = 0


def learn(memory: Memory, seen: Topology) -> tuple[Memory, tuple[Failover, ...]]:
    """The memory after one more look, and the failovers that it told of. Nothing for a single server."""
    if seen.mode == "sentinel":
        return _learn_sentinel(memory, seen)
    return _learn_cluster(memory, seen) if seen.mode == "cluster" else (memory, ())


def shards(seen: Topology) -> frozenset[str]:
    """The shards that can fail over."""
    return frozenset(node.shard for node in seen.masters() if node.shard and seen.mode != "standalone")


# --- Sentinel --------------------------------------------------------------------------------------------


def _learn_sentinel(memory: Memory, seen: Topology) -> tuple[Memory, tuple[Failover, ...]]:
    """The sentinel that leads a failover shows the new epoch beside the old address until its replicas
    follow: so the epoch is compared with the one at which the old address was first seen."""
    master = next(iter(seen.masters()), None)
    if master is None:
        return memory, ()
    claim = Hold(0, 0, master.address, master.config_epoch)
    held = memory.holds[0] if memory.holds else claim
    if claim.epoch < held.epoch:
        return _doubt(memory, (claim,))
    if claim.owner == held.owner or claim.epoch == held.epoch:
        # An address that changes without an epoch is another name for the same master.
        held = held._replace(owner=claim.owner)
        return replace(memory, holds=(held,), highest=_highest(memory, (held,)), doubted=0), ()
    known = claim.epoch <= memory.highest.get(claim.owner, -1)
    told = () if known else (Failover(master.shard, held.owner, claim.owner),)
    return replace(memory, holds=(claim,), highest=_highest(memory, (claim,)), doubted=0), told


# --- Cluster ---------------------------------------------------------------------------------------------


def _learn_cluster(memory: Memory, seen: Topology) -> tuple[Memory, tuple[Failover, ...]]:
    claims = _claims(seen)
    passed, holds, old = _pass_on(memory.holds, claims)
    nodes = {node.node_id: node for node in seen.nodes}
    highest = _highest(memory, claims)
    won = {
        new: before
        for new, before in passed.items()
        if new in memory.followers and nodes[new].config_epoch > memory.highest.get(new, -1)
    }
    told = tuple(
        Failover(nodes[new].shard, nodes[before].address if before in nodes else before, nodes[new].address)
        for new, before in sorted(won.items())
    )
    memory = replace(memory, holds=holds, highest=highest, followers=memory.followers.union(won.values()))
    if old:
        # Views of before the last change: their roles are as old as their slots.
        memory, _ = _doubt(replace(memory, followers=memory.followers - won.keys()), claims)
        return memory, told
    idle = _idle(memory, seen.nodes)
    freed = {one for one, looks in idle.items() if looks >= DETACHED}
    replicas = {node.node_id for node in seen.nodes if node.role == "replica"}
    followers = (memory.followers | replicas) - {hold.owner for hold in holds} - freed
    return replace(memory, followers=followers, idle=idle, doubted=0), told


def _claims(seen: Topology) -> tuple[Hold, ...]:
    return tuple(
        sorted(
            Hold(first, last, node.node_id, node.config_epoch)
            for node in seen.masters()
            for first, last in node.slots
        )
    )


_Passed: TypeAlias = dict[str, str]


def _pass_on(held: tuple[Hold, ...], claims: tuple[Hold, ...]) -> tuple[_Passed, tuple[Hold, ...], bool]:
    """Slots go to the higher epoch. New owner -> the one before it, all holds, whether a claim was too old.

    A slot that nobody claims stays with the last who had it: it may be without an owner for a while.
    """
    if held == claims:
        return {}, held, False
    cuts = sorted({slot for hold in (*held, *claims) for slot in (hold.first, hold.last + 1)})
    before, after = _by_cut(held, cuts), _by_cut(claims, cuts)
    passed: _Passed = {}
    old = False
    for place, (had, has) in enumerate(zip(before, after, strict=True)):
        if had is None or has is None:
            before[place] = has or had
        elif has[1] < had[1] or (has[1] == had[1] and has[0] != had[0]):
            old = True
        else:
            before[place] = has
            if has[0] != had[0]:
                passed.setdefault(has[0], had[0])
    return passed, _joined(before, cuts), old


_Owner: TypeAlias = tuple[str, int]


def _by_cut(holds: Iterable[Hold], cuts: list[int]) -> list[_Owner | None]:
    """Who owns the slots from each cut to the next."""
    place = {slot: number for number, slot in enumerate(cuts)}
    owners: list[_Owner | None] = [None] * len(cuts)
    for first, last, owner, epoch in holds:
        past = place[last + 1]
        owners[place[first] : past] = [(owner, epoch)] * (past - place[first])
    return owners


def _joined(owners: list[_Owner | None], cuts: list[int]) -> tuple[Hold, ...]:
    holds: list[Hold] = []
    for owner, first, past in zip(owners, cuts, cuts[1:], strict=False):
        if owner is None:
            continue
        joins = bool(holds) and holds[-1].last == first - 1 and holds[-1][2:] == owner
        holds.append(Hold(holds.pop().first if joins else first, past - 1, *owner))
    return tuple(holds)


def _idle(memory: Memory, nodes: Iterable[TopologyNode]) -> dict[str, int]:
    """Followers that now are healthy masters without slots, and for how many looks. One look proves nothing:
    a dead master stays so for long, one that was just failed over for a moment."""
    owners = {hold.owner for hold in memory.holds}
    return {
        node.node_id: memory.idle.get(node.node_id, 0) + 1
        for node in nodes
        if node.role == "master"
        and node.healthy
        and node.node_id in memory.followers
        and node.node_id not in owners
    }


# --- both ------------------------------------------------------------------------------------------------


def _doubt(memory: Memory, claims: tuple[Hold, ...]) -> tuple[Memory, tuple[Failover, ...]]:
    """An older view changes nothing, unless it stays."""
    if memory.doubted + 1 < BELIEVED:
        return replace(memory, doubted=memory.doubted + 1), ()
    return replace(memory, holds=claims, doubted=0), ()


def _highest(memory: Memory, holds: Iterable[Hold]) -> dict[str, int]:
    highest = dict(memory.highest)
    for hold in holds:
        highest[hold.owner] = max(hold.epoch, highest.get(hold.owner, -1))
    return highest
