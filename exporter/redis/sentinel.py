"""What sentinels say of one master, and what they agree on. Without I/O."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from exporter.address import join_address
from exporter.redis.info import decode_text, failed_reply
from exporter.redis.protocol import Reply, ReplyError, Request, request
from exporter.snapshot import SentinelMaster, Topology, TopologyNode
from service.outcome import Failed

_DOWN: Final = frozenset({"s_down", "o_down", "disconnected"})


@dataclass(frozen=True, slots=True)
class Peer:
    """A master, a replica or a sentinel as one sentinel sees it."""

    address: str
    flags: frozenset[str]
    config_epoch: int = 0
    run_id: str = ""

    @property
    def down(self) -> bool:
        return bool(self.flags & _DOWN)


@dataclass(frozen=True, slots=True)
class SentinelView:
    """One sentinel's view of one master. `quorum_ok` is None where CKQUORUM is refused, `run_id` empty where
    MYID is: one sentinel may be asked at two addresses (a name and an IP), and has one vote."""

    run_id: str
    master: Peer
    replicas: tuple[Peer, ...]
    sentinels: tuple[Peer, ...]
    quorum_ok: bool | None


def sentinel_request(name: str) -> Request:
    """All that is asked of a sentinel (SENTINEL REPLICAS: Redis 5 and later)."""
    about = [("SENTINEL", what, name) for what in ("MASTER", "REPLICAS", "SENTINELS", "CKQUORUM")]
    return request([("SENTINEL", "MYID"), *about])


def parse_sentinel(replies: Sequence[Reply]) -> SentinelView | Failed:
    """The replies to `sentinel_request` as a view, or why they are none."""
    run_id, master, replicas, sentinels, quorum = replies
    if isinstance(master, ReplyError):
        return failed_reply("SENTINEL MASTER", master)
    seen = _peer(master)
    if seen is None:
        return Failed("error", "SENTINEL MASTER was answered without an address")
    own = decode_text(run_id) if isinstance(run_id, bytes) else ""
    return SentinelView(own, seen, _peers(replicas), _peers(sentinels), _quorum(quorum))


def agree_sentinels(name: str, views: Mapping[str, SentinelView]) -> tuple[SentinelMaster, Topology]:
    """What most sentinels say; at a tie the one with the higher config epoch, which a failover raises.

    Replicas are those that at least half of the sentinels on that master list; each is healthy unless at
    least half of those who list it call it down. Raises ValueError without a view.
    """
    voters = list({view.run_id or asked: view for asked, view in views.items()}.values())
    if not voters:
        raise ValueError("no sentinel's view to agree on")
    votes = Counter(view.master.address for view in voters)
    best = max(voters, key=lambda view: (votes[view.master.address], view.master.config_epoch))
    master = best.master.address
    agreeing = [view for view in voters if view.master.address == master]
    listed: dict[str, list[Peer]] = {}
    for view in agreeing:
        for replica in view.replicas:
            listed.setdefault(replica.address, []).append(replica)
    replicas = {address: seen for address, seen in listed.items() if len(seen) * 2 >= len(agreeing)}
    up, why = _opinion([view.master for view in agreeing])
    nodes = [TopologyNode(master, "master", name, None, up, why, config_epoch=best.master.config_epoch)]
    for address, seen in replicas.items():
        if address != master:
            nodes.append(TopologyNode(address, "replica", name, master, *_opinion(seen)))
    return (
        SentinelMaster(
            name=name,
            address=master,
            status_ok=up,
            quorum_ok=_most([view.quorum_ok for view in voters if view.quorum_ok is not None]),
            sentinels=len(sentinel_addresses(views)),
            replicas=len(nodes) - 1,
            config_epoch=best.master.config_epoch,
        ),
        Topology("sentinel", tuple(sorted(nodes, key=lambda node: node.address))),
    )


def sentinel_addresses(views: Mapping[str, SentinelView]) -> frozenset[str]:
    """Every sentinel that is known: where it answered, else where the others say that it is."""
    known = {peer.run_id or peer.address: peer.address for view in views.values() for peer in view.sentinels}
    known |= {view.run_id or asked: asked for asked, view in views.items()}
    return frozenset(known.values())


def _opinion(seen: Sequence[Peer]) -> tuple[bool, str]:
    """Whether fewer than half call it down, and in words what they say otherwise."""
    down = [peer for peer in seen if peer.down]
    if not down or len(down) * 2 < len(seen):
        return True, ""
    flags = ",".join(sorted(frozenset[str]().union(*(peer.flags & _DOWN for peer in down))))
    return False, f"{flags}, say {len(down)} of {len(seen)} sentinels"


def _most(answers: Sequence[bool]) -> bool | None:
    return sum(answers) * 2 > len(answers) if answers else None


def _quorum(reply: Reply) -> bool | None:
    """CKQUORUM answers OK or NOQUORUM; any other error is a refusal, not an answer."""
    if isinstance(reply, ReplyError):
        return False if reply.code == "NOQUORUM" else None
    return True if isinstance(reply, bytes) else None


def _peers(reply: Reply) -> tuple[Peer, ...]:
    rows = reply if isinstance(reply, list) else []
    return tuple(peer for peer in map(_peer, rows) if peer)


def _peer(reply: Reply) -> Peer | None:
    """One flat list of names and values: ip, port, flags, config-epoch ..."""
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
