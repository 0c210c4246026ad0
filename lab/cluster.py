"""A Redis Cluster on loopback."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import combinations
from types import TracebackType
from typing import Final, Self

from lab.deadline import wait_until
from lab.ports import free_port
from lab.redis import RedisServer, launch_redis
from lab.tls import Certificates

SLOTS: Final = 16_384


@dataclass(frozen=True, slots=True)
class Member:
    """One line of CLUSTER NODES: a node in the view of another node."""

    id: str
    address: str
    flags: frozenset[str]
    master_id: str
    slots: tuple[range, ...]

    @property
    def is_master(self) -> bool:
        """Whether it serves slots."""
        return "master" in self.flags and not self.flags & {"fail", "handshake"} and bool(self.slots)


class LocalCluster:
    """The nodes in the order of their start: first the masters, then their replicas in the same order."""

    def __init__(self, nodes: list[RedisServer], *, launch: Callable[[], RedisServer]) -> None:
        self.nodes = nodes
        self._launch = launch

    @property
    def addresses(self) -> list[str]:
        return [node.address for node in self.nodes]

    def members(self, viewer: RedisServer | None = None) -> list[Member]:
        """The members in the view of one node: `viewer`, or the first node that runs."""
        node = viewer or next(node for node in self.nodes if node.answers)
        return [_member(line) for line in node.cli("cluster", "nodes").splitlines()]

    def masters(self) -> list[RedisServer]:
        """The servers that own slots now, in the order of `nodes`."""
        owners = {member.address for member in self.members() if member.is_master}
        return [node for node in self.nodes if node.address in owners]

    def replicas(self) -> list[RedisServer]:
        """The servers that replicate another now, in the order of `nodes`."""
        followers = {member.address for member in self.members() if member.flags & {"slave", "replica"}}
        return [node for node in self.nodes if node.address in followers]

    def replicas_of(self, master: RedisServer) -> list[RedisServer]:
        members = self.members()
        master_id = next(member.id for member in members if member.address == master.address)
        followers = {member.address for member in members if member.master_id == master_id}
        return [node for node in self.nodes if node.address in followers]

    def owner_of(self, key: str) -> RedisServer:
        """The master that has the key's slot."""
        queried = next(node for node in self.nodes if node.answers)
        slot = int(queried.cli("cluster", "keyslot", key))
        owners = (member for member in self.members(queried) if member.is_master)
        address = next(owner.address for owner in owners if any(slot in slots for slots in owner.slots))
        return self.node(address)

    def node(self, address: str) -> RedisServer:
        """The server at host:port."""
        return next(node for node in self.nodes if node.address == address)

    def cli(self, *arguments: str | int) -> str:
        """What redis-cli prints for one command, sent to the node that has its key."""
        queried = next(node for node in self.nodes if node.answers)
        return queried.cli("-c", *arguments)

    def add_node(self, *, replica_of: RedisServer | None = None) -> RedisServer:
        """Start another node and add it: without slots, or as a replica."""
        server = self._launch()
        server.wait()
        self.nodes.append(server)
        _meet(server, [node for node in self.nodes[:-1] if node.answers])
        self._wait_for_gossip()
        if replica_of is not None:
            server.cli("cluster", "replicate", replica_of.cli("cluster", "myid"))
        self.wait_until_ok()
        return server

    def remove_node(self, server: RedisServer) -> None:
        """Remove a node that owns no slots: all others forget it, then it is stopped."""
        node_id = server.cli("cluster", "myid")
        self.nodes.remove(server)
        for node in self.nodes:
            node.cli("cluster", "forget", node_id)
        server.close()

    def fail_over(self, replica: RedisServer) -> None:
        """Promote a replica (CLUSTER FAILOVER) and wait until all nodes report it as a master."""
        replica.cli("cluster", "failover")
        wait_until(
            lambda: all(
                any(member.address == replica.address and member.is_master for member in self.members(node))
                for node in self.nodes
                if node.answers
            ),
            what=f"all nodes report {replica.address} as a master",
        )

    def wait_until_ok(self, *, seconds: float = 15.0) -> None:
        """Wait until every running node reports the state ok and every replica is linked to its master."""
        wait_until(
            self._is_ok, what="the cluster is ok and its replicas are linked", seconds=seconds, every=0.05
        )

    def form(self, *, masters: int) -> None:
        """Form a cluster from separate nodes; the first `masters` nodes share the slots evenly."""
        for epoch, node in enumerate(self.nodes, start=1):
            node.cli("cluster", "set-config-epoch", epoch)
        bounds = [SLOTS * number // masters for number in range(masters + 1)]
        for node, first, past in zip(self.nodes, bounds, bounds[1:], strict=False):
            node.cli("cluster", "addslots", *range(first, past))  # Redis 6.2 has no ADDSLOTSRANGE
        # Gossip alone would take seconds until all nodes know each other.
        for node, other in combinations(self.nodes, 2):
            _meet(node, [other])
        self._wait_for_gossip()
        for number, node in enumerate(self.nodes[masters:]):
            node.cli("cluster", "replicate", self.nodes[number % masters].cli("cluster", "myid"))
        self.wait_until_ok()

    def close(self) -> None:
        """Kill all nodes and remove their directories."""
        for node in self.nodes:
            node.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _wait_for_gossip(self) -> None:
        running = [node for node in self.nodes if node.answers]
        expected = len(self.nodes)

        def all_know_all() -> bool:
            views = [self.members(node) for node in running]
            return all(
                len(view) == expected and not any("handshake" in member.flags for member in view)
                for view in views
            )

        wait_until(all_know_all, what=f"all {expected} nodes know each other", every=0.05)

    def _is_ok(self) -> bool:
        running = [node for node in self.nodes if node.answers]
        followers = {node.address for node in self.replicas()}
        return all(
            node.facts("cluster", "info")["cluster_state"] == "ok"
            and {member.address for member in self.members(node) if member.flags & {"slave", "replica"}}
            == followers
            and (
                node.address not in followers
                or node.facts("info", "replication").get("master_link_status") == "up"
            )
            for node in running
        )


def start_cluster(
    *,
    masters: int = 3,
    replicas_per_master: int = 1,
    ports: Sequence[int] | None = None,
    config: Sequence[str] = (),
    node_timeout_ms: int = 2000,
    password: str | None = None,
    tls: Certificates | None = None,
    binary: str | None = None,
) -> LocalCluster:
    """Start a cluster and wait until all nodes agree that it is ok and its replicas are linked: about 2 s."""
    size = masters * (1 + replicas_per_master)
    if ports is not None and len(ports) != size:
        raise ValueError(f"{size} nodes need {size} ports, not {len(ports)}")
    lines = [
        "cluster-enabled yes",
        f"cluster-node-timeout {node_timeout_ms}",
        "cluster-replica-validity-factor 0",
        *([] if tls is None else ["tls-cluster yes"]),
        *config,
    ]

    def launch(port: int | None = None) -> RedisServer:
        return launch_redis(port=port, config=lines, password=password, tls=tls, binary=binary)

    with ExitStack() as undo:
        nodes = [undo.enter_context(launch(port)) for port in ports or [free_port() for _ in range(size)]]
        for node in nodes:
            node.wait()
        cluster = LocalCluster(nodes, launch=launch)
        cluster.form(masters=masters)
        undo.pop_all()
    return cluster


def _meet(node: RedisServer, others: list[RedisServer]) -> None:
    for other in others:
        node.cli("cluster", "meet", other.host, other.port)


def _member(line: str) -> Member:
    """Read `id host:port@bus[,name] flags master ping pong epoch link slots...`, without migrating slots."""
    node_id, address, flags, master_id, _ping, _pong, _epoch, _link, *slots = line.split()
    bounds = [slot.split("-") for slot in slots if not slot.startswith("[")]
    return Member(
        id=node_id,
        address=address.split("@")[0],
        flags=frozenset(flags.split(",")),
        master_id=master_id,
        slots=tuple(range(int(bound[0]), int(bound[-1]) + 1) for bound in bounds),
    )
