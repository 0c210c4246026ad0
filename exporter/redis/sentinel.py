"""The sentinels' views of one master, and what most of them agree on. Without I/O."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from exporter.address import join_address
from exporter.redis.info import decode_text, failed_reply
from exporter.redis.protocol import Reply, ReplyError, Request, pack_request
from exporter.snapshot.redis import SentinelMaster, Topology, TopologyNode
from service.outcome import Failed

_DOWN: Final = frozenset({"s_down", "o_down", "disconnected"})


@dataclass(frozen=True, slots=True)
class Peer:
    """A master, a replica or a sentinel, as one sentinel reports it."""

    address: str
    flags: frozenset[str]
    config_epoch: int = 0
    run_id: str = ""

    @property
    def down(self) -> bool:
        return bool(self.flags & _DOWN)


@dataclass(frozen=True, slots=True)
class SentinelView:
    """One sentinel's view of one master. `quorum_ok` is None if CKQUORUM is refused, `run_id` is empty if
    MYID is refused. A sentinel that is read at two addresses (a name and an IP) has one vote."""

    run_id: str
    master: Peer
    replicas: tuple[Peer, ...]
    sentinels: tuple[Peer, ...]
    quorum_ok: bool | None


def sentinel_request(name: str) -> Request:
    """The request to a sentinel (SENTINEL REPLICAS: Redis 5 and later)."""
    commands = [
        ("SENTINEL", subcommand, name) for subcommand in ("MASTER", "REPLICAS", "SENTINELS", "CKQUORUM")
    ]
    return pack_request([("SENTINEL", "MYID"), *commands])


def parse_sentinel(replies: Sequence[Reply]) -> SentinelView | Failed:
    """The replies to `sentinel_request` as a view, or why there is none."""
    run_id, master, replicas, sentinels, quorum = replies
    if isinstance(master, ReplyError):
        return failed_reply("SENTINEL MASTER", master)
    peer = _peer(master)
    if peer is None:
        return Failed("error", "the reply to SENTINEL MASTER has no address")
    own_id = decode_text(run_id) if isinstance(run_id, bytes) else ""
    return SentinelView(own_id, peer, _peers(replicas), _peers(sentinels), _quorum(quorum))


def merge_sentinel_views(name: str, views: Mapping[str, SentinelView]) -> tuple[SentinelMaster, Topology]:
    """The master that most sentinels report; at a tie that of the higher config epoch (a failover raises it).

    Its replicas are those that at least half of the sentinels on that master list. A replica is healthy
    unless at least half of the sentinels that list it report it down. Raises ValueError without a view.
    """
    voters = list({view.run_id or address: view for address, view in views.items()}.values())
    if not voters:
        raise ValueError("no sentinel view")
    votes = Counter(view.master.address for view in voters)
    best = max(voters, key=lambda view: (votes[view.master.address], view.master.config_epoch))
    master = best.master.address
    agreeing = [view for view in voters if view.master.address == master]
    reports_by_replica: dict[str, list[Peer]] = {}
    for view in agreeing:
        for replica in view.replicas:
            reports_by_replica.setdefault(replica.address, []).append(replica)
    replicas = {
        address: reports
        for address, reports in reports_by_replica.items()
        if len(reports) * 2 >= len(agreeing)
    }
    up, why = _health([view.master for view in agreeing])
    nodes = [TopologyNode(master, "master", name, None, up, why, config_epoch=best.master.config_epoch)]
    for address, reports in replicas.items():
        if address != master:
            nodes.append(TopologyNode(address, "replica", name, master, *_health(reports)))
    return (
        SentinelMaster(
            name=name,
            address=master,
            status_ok=up,
            quorum_ok=_majority([view.quorum_ok for view in voters if view.quorum_ok is not None]),
            sentinels=len(sentinel_addresses(views)),
            replicas=len(nodes) - 1,
            config_epoch=best.master.config_epoch,
        ),
        Topology("sentinel", tuple(sorted(nodes, key=lambda node: node.address))),
    )


def sentinel_addresses(views: Mapping[str, SentinelView]) -> frozenset[str]:
    """Every known sentinel: the address at which it replied, else the address that the others report."""
    known = {peer.run_id or peer.address: peer.address for view in views.values() for peer in view.sentinels}
    known |= {view.run_id or address: address for address, view in views.items()}
    return frozenset(known.values())


def _health(reports: Sequence[Peer]) -> tuple[bool, str]:
    """Whether fewer than half report it down, and if not, the reason as text."""
    down = [peer for peer in reports if peer.down]
    if not down or len(down) * 2 < len(reports):
        return True, ""
    flags = ",".join(sorted(frozenset[str]().union(*(peer.flags & _DOWN for peer in down))))
    return False, f"{flags}, reported by {len(down)} of {len(reports)} sentinels"


def _majority(votes: Sequence[bool]) -> bool | None:
    return sum(votes) * 2 > len(votes) if votes else None


def _quorum(reply: Reply) -> bool | None:
    """CKQUORUM replies OK or NOQUORUM; any other error is a refusal: None."""
    if isinstance(reply, ReplyError):
        return False if reply.code == "NOQUORUM" else None
    return True if isinstance(reply, bytes) else None


def _peers(reply: Reply) -> tuple[Peer, ...]:
    rows = reply if isinstance(reply, list) else []
    return tuple(peer for peer in map(_peer, rows) if peer)


def _peer(reply: Reply) -> Peer | None:
    """A flat list of names and values: ip, port, flags, config-epoch ..."""
    if not isinstance(reply, list):
        return None
    words = [decode_text(word) if isinstance(word, bytes) else str(word) for word in reply]
    fields = dict(zip(words[::2], words[1::2], strict=False))
    port, epoch = fields.get("port", ""), fields.get("config-epoch", "")
    if not fields.get("ip") or not (port.isascii() and port.isdigit() and len(port) <= 5):
        return None
    return Peer(
        address=join_address(fields["ip"], int(port)),
        flags=frozenset(fields.get("flags", "").split(",")),
        config_epoch=int(epoch) if epoch.isascii() and epoch.isdigit() and len(epoch) <= 20 else 0,
        run_id=fields.get("runid", ""),
    )
