"""CLUSTER NODES, one node's view of the cluster, and the topology that most views agree on. Without I/O.

A line is `id host:port@bus[,hostname] flags master ping pong epoch link slots...`
(redis.io/docs/latest/commands/cluster-nodes).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from exporter.address import is_socket, join_address, split_address
from exporter.redis.info import decode_text
from exporter.snapshot.redis import CLUSTER_SLOTS, ClusterLine, Role, Topology, TopologyNode

MOST_NODES: Final = 500
"""Lines that a view may have. Each node takes threads, connections and a view of all the others, and whoever
answers for one may name any number."""

_LAST_PORT: Final = 65_535
_NOT_NODES: Final = frozenset({"handshake", "noaddr"})
Ranges = tuple[tuple[int, int], ...]
ClusterView = tuple[ClusterLine, ...]


def parse_cluster_nodes(raw: str | bytes) -> ClusterView:
    """One view. Ignored are lines that cannot be parsed, and nodes in the handshake or without an address.
    The viewer's own address may be empty (`:7001`) until other nodes have reported it. None at all if it is
    `too_large`."""
    if too_large(raw):
        return ()
    lines = (_parse_line(line) for line in decode_text(raw).split("\n"))
    return tuple(line for line in lines if line and not line.flags & _NOT_NODES)


def too_large(raw: str | bytes) -> bool:
    """Whether a view has more than `MOST_NODES` lines."""
    return (raw.count(b"\n") if isinstance(raw, bytes) else raw.count("\n")) > MOST_NODES


def merge_cluster_views(views: Mapping[str, ClusterView]) -> Topology:
    """The topology that most views agree on. The keys of `views` are the addresses at which they were read.

    * A node is in the cluster if at least half of the views list it: a node that was forgotten or has left is
      removed once half of the views have dropped it. (If half list no node, each view's own line counts.)
    * Role, master, slots and address are those that most views report; at a tie the higher config epoch wins,
      as it does in the cluster itself.
    * A node is healthy unless at least half of the *other* nodes' views report fail, fail? or disconnected.
      This is the cluster's own opinion: a node that does not reply to us may be healthy, and the reverse.
    """
    reports_by_node: dict[str, list[_Report]] = {}
    for viewer, view in views.items():
        for line in view:
            reports_by_node.setdefault(line.node_id, []).append(_Report(viewer, line))
    members = {
        node_id: reports for node_id, reports in reports_by_node.items() if len(reports) * 2 >= len(views)
    }
    members = members or {
        node_id: reports
        for node_id, reports in reports_by_node.items()
        if any(report.own for report in reports)
    }
    chosen = {node_id: _most_reported(reports) for node_id, reports in members.items()}
    addresses = {node_id: _address(reports, chosen[node_id]) for node_id, reports in members.items()}
    slots = _owned_slots(chosen)
    nodes = []
    for node_id, line in chosen.items():
        role = _role(line)
        master = line.master_id if role == "replica" else None
        shard_slots = slots.get(master or node_id, ())
        healthy, why = _health(members[node_id])
        nodes.append(
            TopologyNode(
                address=addresses[node_id],
                role=role,
                shard=str(min(shard_slots)[0]) if shard_slots else "",
                master=addresses.get(master) if master else None,
                healthy=healthy,
                why=why,
                node_id=node_id,
                config_epoch=line.config_epoch,
                slots=slots.get(node_id, ()),
                hostname=line.hostname or "",
            )
        )
    return Topology("cluster", tuple(sorted(nodes, key=lambda node: node.address)))


def mark_unhealthy(topology: Topology, why: str) -> Topology:
    """The same deployment if no node reports the state of the others: no node counts as healthy."""
    return replace(topology, nodes=tuple(replace(node, healthy=False, why=why) for node in topology.nodes))


@dataclass(frozen=True, slots=True)
class _Report:
    """One view's line on one node, and the address at which the view was read."""

    viewer: str
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
    if not (port.isascii() and port.isdigit() and len(port) <= 5 and int(port) <= _LAST_PORT):
        return None  # the system would take the rest of a division
    hostname = names[0] if names and names[0] not in ("", "?") and "=" not in names[0] else None
    host = "" if host == "?" else host
    return ClusterLine(
        node_id=node_id,
        address=join_address(host or hostname or "", int(port)),
        flags=frozenset(flags.split(",")),
        master_id=None if master == "-" else master,
        config_epoch=int(epoch[:20]),
        linked=link == "connected",
        slots=tuple(span for span in map(_parse_range, slots) if span),
        hostname=hostname,
    )


def _parse_range(text: str) -> tuple[int, int] | None:
    """`5461-10922` or `12`; `[93-<-id]`, a slot that is migrating, still belongs to its owner."""
    first, _, last = text.partition("-")
    if not (first.isdecimal() and (last or first).isdecimal() and len(text) <= 11):
        return None
    low, high = int(first), int(last or first)
    return (low, high) if low <= high < CLUSTER_SLOTS else None


def _role(line: ClusterLine) -> Role:
    if "master" in line.flags:
        return "master"
    return "replica" if line.flags & {"slave", "replica"} else "unknown"


def _most_reported(reports: Iterable[_Report]) -> ClusterLine:
    """The line that most views agree on, then that with the higher config epoch, then the node's own line."""
    reports = list(reports)
    votes = Counter(_vote(report.line) for report in reports)
    return max(
        reports, key=lambda report: (votes[_vote(report.line)], report.line.config_epoch, report.own)
    ).line


def _vote(line: ClusterLine) -> tuple[Role, str | None, Ranges]:
    return _role(line), line.master_id, line.slots


def _address(reports: Iterable[_Report], chosen: ClusterLine) -> str:
    """The address that most views report; if no view has a host, the address at which the node was read."""
    votes = Counter(report.line.address for report in reports if not report.line.address.startswith(":"))
    if votes:
        return max(votes, key=lambda address: (votes[address], address == chosen.address))
    viewer = next((report.viewer for report in reports if report.own), "")
    if is_socket(viewer):
        return viewer
    return join_address(split_address(viewer)[0], int(chosen.address[1:])) if viewer else chosen.address


def _health(reports: Iterable[_Report]) -> tuple[bool, str]:
    """Whether most other nodes report it healthy, and if not, the reason as text."""
    others = [report.line for report in reports if not report.own]
    unhealthy = [line for line in others if line.flags & {"fail", "fail?"} or not line.linked]
    if not unhealthy or len(unhealthy) * 2 < len(others):
        return True, ""
    if any("fail" in line.flags for line in unhealthy):
        state = "failed"
    elif any("fail?" in line.flags for line in unhealthy):
        state = "suspected to have failed"
    else:
        state = "disconnected"
    return False, f"{state}, reported by {len(unhealthy)} of {len(others)} nodes"


def _owned_slots(chosen: Mapping[str, ClusterLine]) -> dict[str, Ranges]:
    """Each master's slots; if two claim a slot (views of different age), the higher config epoch wins."""
    masters = [(node_id, line) for node_id, line in chosen.items() if _role(line) == "master"]
    masters.sort(key=lambda item: item[1].config_epoch)
    # From each cut to the next one all slots have the same owner.
    cuts = sorted({cut for _, line in masters for first, last in line.slots for cut in (first, last + 1)})
    places = {cut: place for place, cut in enumerate(cuts)}
    owners: list[str | None] = [None] * len(cuts)
    for node_id, line in masters:
        for first, last in line.slots:
            start, end = places[first], places[last + 1]
            owners[start:end] = [node_id] * (end - start)
    owned: dict[str, list[tuple[int, int]]] = {}
    for owner, first, after in zip(owners, cuts, cuts[1:], strict=False):
        if owner is not None:
            ranges = owned.setdefault(owner, [])
            begin = ranges.pop()[0] if ranges and ranges[-1][1] == first - 1 else first
            ranges.append((begin, after - 1))
    return {owner: tuple(ranges) for owner, ranges in owned.items()}
