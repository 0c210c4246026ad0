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


class SlotOwnership(NamedTuple):
    """Who owns the slots from `first` to `last`, by which config epoch. A Sentinel's master has slot 0."""

    first: int
    last: int
    owner: str
    epoch: int


@dataclass(frozen=True)
class FailoverState:
    """What the looks so far have told. Nodes go by node id, with Sentinel by address.

    `followers` are the nodes last known as replicas, or as masters that lost their slots in a failover;
    `highest` is each owner's highest config epoch; `idle` and `doubted` count looks in a row.
    """

    owned: tuple[SlotOwnership, ...] = ()
    followers: frozenset[str] = frozenset()
    highest: Mapping[str, int] = field(default_factory=dict)
    idle: Mapping[str, int] = field(default_factory=dict)
    doubted: int = 0


def observe(state: FailoverState, seen: Topology) -> tuple[FailoverState, tuple[Failover, ...]]:
    """The memory after one more look, and the failovers that it told of. Nothing for a single server."""
    if seen.mode == "sentinel":
        return _observe_sentinel(state, seen)
    return _observe_cluster(state, seen) if seen.mode == "cluster" else (state, ())


def shards(seen: Topology) -> frozenset[str]:
    """The shards that can fail over."""
    return frozenset(node.shard for node in seen.masters() if node.shard and seen.mode != "standalone")


# --- Sentinel --------------------------------------------------------------------------------------------


def _observe_sentinel(state: FailoverState, seen: Topology) -> tuple[FailoverState, tuple[Failover, ...]]:
    """The sentinel that leads a failover shows the new epoch beside the old address until its replicas
    follow: so the epoch is compared with the one at which the old address was first seen."""
    master = next(iter(seen.masters()), None)
    if master is None:
        return state, ()
    claim = SlotOwnership(0, 0, master.address, master.config_epoch)
    held = state.owned[0] if state.owned else claim
    if claim.epoch < held.epoch:
        return _doubt(state, (claim,))
    if claim.owner == held.owner or claim.epoch == held.epoch:
        # An address that changes without an epoch is another name for the same master.
        held = held._replace(owner=claim.owner)
        return replace(state, owned=(held,), highest=_highest(state, (held,)), doubted=0), ()
    known = claim.epoch <= state.highest.get(claim.owner, -1)
    told = () if known else (Failover(master.shard, held.owner, claim.owner),)
    return replace(state, owned=(claim,), highest=_highest(state, (claim,)), doubted=0), told


# --- Cluster ---------------------------------------------------------------------------------------------


def _observe_cluster(state: FailoverState, seen: Topology) -> tuple[FailoverState, tuple[Failover, ...]]:
    claims = _claims(seen)
    passed, owned, old = _pass_on(state.owned, claims)
    nodes = {node.node_id: node for node in seen.nodes}
    highest = _highest(state, claims)
    won = {
        new: before
        for new, before in passed.items()
        if new in state.followers and nodes[new].config_epoch > state.highest.get(new, -1)
    }
    told = tuple(
        Failover(nodes[new].shard, nodes[before].address if before in nodes else before, nodes[new].address)
        for new, before in sorted(won.items())
    )
    state = replace(state, owned=owned, highest=highest, followers=state.followers.union(won.values()))
    if old:
        # Views of before the last change: their roles are as old as their slots.
        state, _ = _doubt(replace(state, followers=state.followers - won.keys()), claims)
        return state, told
    idle = _idle(state, seen.nodes)
    freed = {one for one, looks in idle.items() if looks >= DETACHED}
    replicas = {node.node_id for node in seen.nodes if node.role == "replica"}
    followers = (state.followers | replicas) - {ownership.owner for ownership in owned} - freed
    return replace(state, followers=followers, idle=idle, doubted=0), told


def _claims(seen: Topology) -> tuple[SlotOwnership, ...]:
    return tuple(
        sorted(
            SlotOwnership(first, last, node.node_id, node.config_epoch)
            for node in seen.masters()
            for first, last in node.slots
        )
    )


_Passed: TypeAlias = dict[str, str]


def _pass_on(
    held: tuple[SlotOwnership, ...], claims: tuple[SlotOwnership, ...]
) -> tuple[_Passed, tuple[SlotOwnership, ...], bool]:
    """Slots go to the higher epoch. New owner -> the one before it, all holds, whether a claim was too old.

    A slot that nobody claims stays with the last who had it: it may be without an owner for a while.
    """
    if held == claims:
        return {}, held, False
    cuts = sorted({slot for ownership in (*held, *claims) for slot in (ownership.first, ownership.last + 1)})
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


def _by_cut(owned: Iterable[SlotOwnership], cuts: list[int]) -> list[_Owner | None]:
    """Who owns the slots from each cut to the next."""
    place = {slot: number for number, slot in enumerate(cuts)}
    owners: list[_Owner | None] = [None] * len(cuts)
    for first, last, owner, epoch in owned:
        past = place[last + 1]
        owners[place[first] : past] = [(owner, epoch)] * (past - place[first])
    return owners


def _joined(owners: list[_Owner | None], cuts: list[int]) -> tuple[SlotOwnership, ...]:
    owned: list[SlotOwnership] = []
    for owner, first, past in zip(owners, cuts, cuts[1:], strict=False):
        if owner is None:
            continue
        joins = bool(owned) and owned[-1].last == first - 1 and owned[-1][2:] == owner
        owned.append(SlotOwnership(owned.pop().first if joins else first, past - 1, *owner))
    return tuple(owned)


def _idle(state: FailoverState, nodes: Iterable[TopologyNode]) -> dict[str, int]:
    """Followers that now are healthy masters without slots, and for how many looks. One look proves nothing:
    a dead master stays so for long, one that was just failed over for a moment."""
    owners = {ownership.owner for ownership in state.owned}
    return {
        node.node_id: state.idle.get(node.node_id, 0) + 1
        for node in nodes
        if node.role == "master"
        and node.healthy
        and node.node_id in state.followers
        and node.node_id not in owners
    }


# --- both ------------------------------------------------------------------------------------------------


def _doubt(
    state: FailoverState, claims: tuple[SlotOwnership, ...]
) -> tuple[FailoverState, tuple[Failover, ...]]:
    """An older view changes nothing, unless it stays."""
    if state.doubted + 1 < BELIEVED:
        return replace(state, doubted=state.doubted + 1), ()
    return replace(state, owned=claims, doubted=0), ()


def _highest(state: FailoverState, owned: Iterable[SlotOwnership]) -> dict[str, int]:
    highest = dict(state.highest)
    for ownership in owned:
        highest[ownership.owner] = max(ownership.epoch, highest.get(ownership.owner, -1))
    return highest
