"""CLUSTER NODES, one node's view of all, and the topology that the views agree on. Without I/O.

A line is `id host:port@bus[,hostname] flags master ping pong epoch link slots...`
(redis.io/docs/latest/commands/cluster-nodes).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from exporter.address import join_address, split_address
from exporter.redis.info import decode_text
from exporter.snapshot import CLUSTER_SLOTS, ClusterLine, Role, Topology, TopologyNode

_NOT_NODES: Final = frozenset({"handshake", "noaddr"})
Ranges = tuple[tuple[int, int], ...]
ClusterView = tuple[ClusterLine, ...]


def parse_cluster_nodes(raw: str | bytes) -> ClusterView:
    """One view. A line that makes no sense is passed over, and so is a node still shaking hands or without
    an address; the viewer's own address may be empty (`:7001`) until others have told it."""
    lines = (_parse_line(line) for line in decode_text(raw).split("\n"))
    return tuple(line for line in lines if line and not line.flags & _NOT_NODES)


def agree(views: Mapping[str, ClusterView]) -> Topology:
    """What most of the views say, by the address that each view was asked at.

    * A node is in the cluster when at least half of the views list it: one that is forgotten or has left goes
      with the first half that drops it. (Where no node is listed by half, each view's own line counts.)
    * Role, master, slots and address are those that most views give; at a tie the higher config epoch wins,
      as it does in the cluster itself.
    * A node is healthy unless at least half of the *other* nodes' views call it fail, fail? or disconnected.
      This is the cluster's own opinion: a node that does not answer us may be healthy, and the reverse.
    """
    claims: dict[str, list[_Claim]] = {}
    for asked, view in views.items():
        for line in view:
            claims.setdefault(line.node_id, []).append(_Claim(asked, line))
    members = {one: told for one, told in claims.items() if len(told) * 2 >= len(views)}
    members = members or {one: told for one, told in claims.items() if any(c.own for c in told)}
    chosen = {one: _choose(told) for one, told in members.items()}
    addresses = {one: _address(told, chosen[one]) for one, told in members.items()}
    slots = _disjoint(chosen)
    nodes = []
    for one, line in chosen.items():
        role = _role(line)
        master = line.master_id if role == "replica" else None
        head = slots.get(master or one, ())
        healthy, why = _health(members[one])
        nodes.append(
            TopologyNode(
                address=addresses[one],
                role=role,
                shard=str(min(head)[0]) if head else "",
                master=addresses.get(master) if master else None,
                healthy=healthy,
                why=why,
                node_id=one,
                config_epoch=line.config_epoch,
                slots=slots.get(one, ()),
                hostname=line.hostname or "",
            )
        )
    return Topology("cluster", tuple(sorted(nodes, key=lambda node: node.address)))


def unseen(topology: Topology, why: str) -> Topology:
    """The same deployment when nobody is left to say how its nodes are: none counts as healthy."""
    return replace(topology, nodes=tuple(replace(node, healthy=False, why=why) for node in topology.nodes))


@dataclass(frozen=True, slots=True)
class _Claim:
    """One view's line on one node, and the address that the viewer was asked at."""

    asked: str
    line: ClusterLine

    @property
    def own(self) -> bool:
        return "myself" in self.line.flags


def _parse_line(text: str) -> ClusterLine | None:
    words = text.split()
    if len(words) < 8 or not words[6].isdecimal():
        return None
    node_id, endpoint, flags, master, _, _, epoch, link, *slots = words
    address, *names = endpoint.split(",")
    host, _, port = address.partition("@")[0].rpartition(":")
    if not (port.isascii() and port.isdigit() and len(port) <= 5):
        return None
    hostname = names[0] if names and names[0] not in ("", "?") and "=" not in names[0] else None
    host = "" if host == "?" else host
    return ClusterLine(
        node_id=node_id,
        address=join_address(host or hostname or "", int(port)),
        flags=frozenset(flags.split(",")),
        master_id=None if master == "-" else master,
        config_epoch=int(epoch[:20]),
        linked=link == "connected",
        slots=tuple(found for found in map(_parse_range, slots) if found),
        hostname=hostname,
    )


def _parse_range(text: str) -> tuple[int, int] | None:
    """`5461-10922` or `12`; `[93-<-id]`, a slot on the move, is still its owner's."""
    first, _, last = text.partition("-")
    if not (first.isdecimal() and (last or first).isdecimal() and len(text) <= 11):
        return None
    low, high = int(first), int(last or first)
    return (low, high) if low <= high < CLUSTER_SLOTS else None


def _role(line: ClusterLine) -> Role:
    if "master" in line.flags:
        return "master"
    return "replica" if line.flags & {"slave", "replica"} else "unknown"


def _choose(told: Iterable[_Claim]) -> ClusterLine:
    """The line that most views agree on, then the one of the higher config epoch, then the node's own."""
    told = list(told)
    votes = Counter(_gist(claim.line) for claim in told)
    return max(told, key=lambda claim: (votes[_gist(claim.line)], claim.line.config_epoch, claim.own)).line


def _gist(line: ClusterLine) -> tuple[Role, str | None, Ranges]:
    return _role(line), line.master_id, line.slots


def _address(told: Iterable[_Claim], chosen: ClusterLine) -> str:
    """The address that most views give; where no view has a host, the one that the node was asked at."""
    named = Counter(claim.line.address for claim in told if not claim.line.address.startswith(":"))
    if named:
        return max(named, key=lambda address: (named[address], address == chosen.address))
    asked = next((claim.asked for claim in told if claim.own), "")
    return join_address(split_address(asked)[0], int(chosen.address[1:])) if asked else chosen.address


def _health(told: Iterable[_Claim]) -> tuple[bool, str]:
    """Whether most of the others see it well, and in words what they see otherwise."""
    others = [claim.line for claim in told if not claim.own]
    ill = [line for line in others if line.flags & {"fail", "fail?"} or not line.linked]
    if not ill or len(ill) * 2 < len(others):
        return True, ""
    if any("fail" in line.flags for line in ill):
        word = "failed"
    elif any("fail?" in line.flags for line in ill):
        word = "suspected to have failed"
    else:
        word = "disconnected"
    return False, f"{word}, say {len(ill)} of {len(others)} nodes"


def _disjoint(chosen: Mapping[str, ClusterLine]) -> dict[str, Ranges]:
    """Each master's slots; one that two claim (views of different age) is the higher config epoch's."""
    owners: list[str | None] = [None] * CLUSTER_SLOTS
    for one, line in sorted(chosen.items(), key=lambda item: item[1].config_epoch):
        if _role(line) == "master":
            for first, last in line.slots:
                owners[first : last + 1] = [one] * (last + 1 - first)
    found: dict[str, list[tuple[int, int]]] = {}
    start = 0
    for slot in range(1, CLUSTER_SLOTS + 1):
        if slot == CLUSTER_SLOTS or owners[slot] != owners[start]:
            owner = owners[start]
            if owner is not None:
                found.setdefault(owner, []).append((start, slot - 1))
            start = slot
    return {owner: tuple(ranges) for owner, ranges in found.items()}
