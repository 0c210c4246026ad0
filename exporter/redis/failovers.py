"""Detects failovers by comparing successive topologies. Without I/O.

A failover gives its winner a config epoch that no node had before (Redis Cluster specification,
"configuration epoch"), so that node and epoch together identify it: it is counted at most once, however often
and in whatever order it is observed. Other causes that move slots or epochs (resharding, a restart, a bumped
epoch) are distinguished by the earlier role of the new owner: a replica wins a failover, a master is given
slots. A master claims slots (the specification's word) with its epoch.

Not detected: a failover that is reverted between two observations.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple, TypeAlias

from exporter.snapshot.redis import Topology, TopologyNode

STALE_VIEW_LIMIT: Final = 30
"""Consecutive observations after which lower epochs are not an old view any more: a new deployment."""
IDLE_MASTER_LIMIT: Final = 3
"""Consecutive observations after which a healthy master without slots has left its old shard."""


class Failover(NamedTuple):
    """One failover: the label of its shard, and the addresses of both masters."""

    shard: str
    old: str
    new: str


class SlotOwnership(NamedTuple):
    """The owner of the slots from `first` to `last`, and its config epoch. A Sentinel's master has slot 0."""

    first: int
    last: int
    owner: str
    epoch: int


@dataclass(frozen=True)
class FailoverState:
    """The state after the observations so far. Nodes are identified by node id, with Sentinel by address.

    `replicas` are the nodes last known as replicas, or as masters that lost their slots in a failover;
    `highest` is each owner's highest config epoch; `idle` and `stale_views` count consecutive observations.
    """

    owned: tuple[SlotOwnership, ...] = ()
    replicas: frozenset[str] = frozenset()
    highest: Mapping[str, int] = field(default_factory=dict)
    idle: Mapping[str, int] = field(default_factory=dict)
    stale_views: int = 0


def observe(state: FailoverState, topology: Topology) -> tuple[FailoverState, tuple[Failover, ...]]:
    """The state after one more observation, and the failovers detected in it. None for a single server."""
    if topology.mode == "sentinel":
        return _observe_sentinel(state, topology)
    return _observe_cluster(state, topology) if topology.mode == "cluster" else (state, ())


def shards(topology: Topology) -> frozenset[str]:
    """The shards that can fail over."""
    return frozenset(
        node.shard for node in topology.masters() if node.shard and topology.mode != "standalone"
    )


# --- Sentinel --------------------------------------------------------------------------------------------


def _observe_sentinel(state: FailoverState, topology: Topology) -> tuple[FailoverState, tuple[Failover, ...]]:
    """The sentinel that leads a failover reports the new epoch with the old address until its replicas
    follow: so the epoch is compared with the one at which the old address was first observed."""
    master = next(iter(topology.masters()), None)
    if master is None:
        return state, ()
    claimed = SlotOwnership(0, 0, master.address, master.config_epoch)
    owned = state.owned[0] if state.owned else claimed
    if claimed.epoch < owned.epoch:
        return _ignore_stale_view(state, (claimed,))
    if claimed.owner == owned.owner or claimed.epoch == owned.epoch:
        # An address that changes without a new epoch is another name for the same master.
        owned = owned._replace(owner=claimed.owner)
        return replace(state, owned=(owned,), highest=_highest(state, (owned,)), stale_views=0), ()
    already_counted = claimed.epoch <= state.highest.get(claimed.owner, -1)
    failovers = () if already_counted else (Failover(master.shard, owned.owner, claimed.owner),)
    return replace(state, owned=(claimed,), highest=_highest(state, (claimed,)), stale_views=0), failovers


# --- Cluster ---------------------------------------------------------------------------------------------


def _observe_cluster(state: FailoverState, topology: Topology) -> tuple[FailoverState, tuple[Failover, ...]]:
    claims = _claims(topology)
    transfers, owned, stale = _transfer_slots(state.owned, claims)
    nodes = {node.node_id: node for node in topology.nodes}
    highest = _highest(state, claims)
    winners = {
        new: before
        for new, before in transfers.items()
        if new in state.replicas and nodes[new].config_epoch > state.highest.get(new, -1)
    }
    failovers = tuple(
        Failover(nodes[new].shard, nodes[before].address if before in nodes else before, nodes[new].address)
        for new, before in sorted(winners.items())
    )
    state = replace(state, owned=owned, highest=highest, replicas=state.replicas.union(winners.values()))
    if stale:
        # Views from before the last change: their roles are as old as their slots.
        state, _ = _ignore_stale_view(replace(state, replicas=state.replicas - winners.keys()), claims)
        return state, failovers
    idle = _idle(state, topology.nodes)
    detached = {node_id for node_id, count in idle.items() if count >= IDLE_MASTER_LIMIT}
    current = {node.node_id for node in topology.nodes if node.role == "replica"}
    replicas = (state.replicas | current) - {ownership.owner for ownership in owned} - detached
    return replace(state, replicas=replicas, idle=idle, stale_views=0), failovers


def _claims(topology: Topology) -> tuple[SlotOwnership, ...]:
    return tuple(
        sorted(
            SlotOwnership(first, last, node.node_id, node.config_epoch)
            for node in topology.masters()
            for first, last in node.slots
        )
    )


_Transfers: TypeAlias = dict[str, str]


def _transfer_slots(
    owned: tuple[SlotOwnership, ...], claims: tuple[SlotOwnership, ...]
) -> tuple[_Transfers, tuple[SlotOwnership, ...], bool]:
    """Slots go to the higher epoch. Returns new owner -> previous owner, all ownership, and whether a claim
    was too old.

    A slot that no master claims stays with its last owner: it may be without an owner for a while.
    """
    if owned == claims:
        return {}, owned, False
    cuts = sorted({slot for ownership in (*owned, *claims) for slot in (ownership.first, ownership.last + 1)})
    before, after = _by_cut(owned, cuts), _by_cut(claims, cuts)
    transfers: _Transfers = {}
    stale = False
    for index, (previous, current) in enumerate(zip(before, after, strict=True)):
        if previous is None or current is None:
            before[index] = current or previous
        elif current[1] < previous[1] or (current[1] == previous[1] and current[0] != previous[0]):
            stale = True
        else:
            before[index] = current
            if current[0] != previous[0]:
                transfers.setdefault(current[0], previous[0])
    return transfers, _joined(before, cuts), stale


_Owner: TypeAlias = tuple[str, int]


def _by_cut(owned: Iterable[SlotOwnership], cuts: list[int]) -> list[_Owner | None]:
    """The owner of the slots from each cut to the next."""
    index = {slot: number for number, slot in enumerate(cuts)}
    owners: list[_Owner | None] = [None] * len(cuts)
    for first, last, owner, epoch in owned:
        past = index[last + 1]
        owners[index[first] : past] = [(owner, epoch)] * (past - index[first])
    return owners


def _joined(owners: list[_Owner | None], cuts: list[int]) -> tuple[SlotOwnership, ...]:
    owned: list[SlotOwnership] = []
    for owner, first, past in zip(owners, cuts, cuts[1:], strict=False):
        if owner is None:
            continue
        extends = bool(owned) and owned[-1].last == first - 1 and owned[-1][2:] == owner
        owned.append(SlotOwnership(owned.pop().first if extends else first, past - 1, *owner))
    return tuple(owned)


def _idle(state: FailoverState, nodes: Iterable[TopologyNode]) -> dict[str, int]:
    """Replicas that are now healthy masters without slots, and for how many observations. One observation
    proves nothing: a dead master stays so for long, a master that was just failed over for a moment."""
    owners = {ownership.owner for ownership in state.owned}
    return {
        node.node_id: state.idle.get(node.node_id, 0) + 1
        for node in nodes
        if node.role == "master"
        and node.healthy
        and node.node_id in state.replicas
        and node.node_id not in owners
    }


# --- both ------------------------------------------------------------------------------------------------


def _ignore_stale_view(
    state: FailoverState, claims: tuple[SlotOwnership, ...]
) -> tuple[FailoverState, tuple[Failover, ...]]:
    """An older view changes nothing, unless it persists."""
    if state.stale_views + 1 < STALE_VIEW_LIMIT:
        return replace(state, stale_views=state.stale_views + 1), ()
    return replace(state, owned=claims, stale_views=0), ()


def _highest(state: FailoverState, owned: Iterable[SlotOwnership]) -> dict[str, int]:
    highest = dict(state.highest)
    for ownership in owned:
        highest[ownership.owner] = max(ownership.epoch, highest.get(ownership.owner, -1))
    return highest
