"""What the nodes of a Redis deployment report, and its topology."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple, TypeAlias

from service.outcome import Ok, Outcome

Mode: TypeAlias = Literal["standalone", "sentinel", "cluster"]
Role: TypeAlias = Literal["master", "replica", "unknown"]
CLUSTER_SLOTS: Final = 16384
"""Hash slots of a Redis Cluster (Cluster specification)."""
_MOST: Final = 1e30  # and not 1e308, which in another unit is infinite
_LEAST: Final = 1e-30  # but 0: what is divided by 1e-320 is infinite too


@dataclass(frozen=True)
class Info:
    """One node's INFO (and CLUSTER INFO), each field as the server wrote it; other fields are absent."""

    fields: Mapping[str, str]

    def text(self, name: str) -> str | None:
        return self.fields.get(name)

    def number(self, name: str) -> float | None:
        """The field as a number; None if it is absent, no number, or of a size that no server has."""
        raw = self.fields.get(name)
        if raw is None:
            return None
        try:
            number = float(raw)
        except ValueError:
            return None
        return number if number == 0 or _LEAST <= abs(number) <= _MOST else None  # not for NaN either


@dataclass(frozen=True, slots=True)
class CommandStat:
    """One command's row of INFO commandstats: calls since start, and the seconds they took."""

    calls: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Keyspace:
    """One database's row of INFO keyspace."""

    keys: int
    expiring: int


@dataclass(frozen=True, slots=True)
class ClusterLine:
    """One line of CLUSTER NODES: one node's report on another node (or on itself)."""

    node_id: str
    address: str
    flags: frozenset[str]
    master_id: str | None
    config_epoch: int
    linked: bool
    slots: tuple[tuple[int, int], ...]
    hostname: str | None = None


class Recent(NamedTuple):
    """A count of a server that grew in the last minutes: by how much, how many seconds `ago` it last did, and
    `during` how many seconds it went on growing."""

    growth: int
    ago: float = 0.0
    during: float = 0.0


@dataclass(frozen=True)
class NodeReading:
    """What one Redis node reported about itself in this collection."""

    info: Info
    commands: Mapping[str, CommandStat] = field(default_factory=dict)
    keyspace: Mapping[str, Keyspace] = field(default_factory=dict)
    cluster_info: Info | None = None
    cluster_lines: tuple[ClusterLine, ...] | None = None
    slowlog_length: int | None = None
    maxclients: int | None = None
    clock_offset: float | None = None  # seconds that the server's clock is ahead of ours
    errors: Mapping[str, int] = field(default_factory=dict)  # error replies since its start, by code
    recent: Mapping[str, Recent] = field(default_factory=dict)  # error codes and INFO fields that grew


@dataclass(frozen=True, slots=True)
class TopologyNode:
    """One node as most nodes or sentinels report it; `address` is host:port as announced."""

    address: str
    role: Role
    shard: str
    master: str | None = None
    healthy: bool = True
    why: str = ""
    node_id: str = ""
    config_epoch: int = 0
    slots: tuple[tuple[int, int], ...] = ()
    hostname: str = ""


@dataclass(frozen=True)
class Topology:
    """The nodes of the deployment and the owners of the slots. `nodes` is sorted by address."""

    mode: Mode
    nodes: tuple[TopologyNode, ...]

    def masters(self) -> tuple[TopologyNode, ...]:
        return tuple(node for node in self.nodes if node.role == "master")

    def slots_covered(self) -> int:
        """How many of the 16,384 slots have an owner."""
        return sum(last - first + 1 for node in self.masters() for first, last in node.slots)


@dataclass(frozen=True, slots=True)
class SentinelMaster:
    """One monitored master as most sentinels report it."""

    name: str
    address: str
    status_ok: bool
    quorum_ok: bool | None
    sentinels: int
    replicas: int
    config_epoch: int


class Access(NamedTuple):
    """How a person reaches the servers: the options of redis-cli, and the name of the exporter's user."""

    options: tuple[str, ...] = ()
    user: str = "default"


@dataclass(frozen=True)
class RedisState:
    """The deployment: its topology, and for each known node its own reading or the reason why there is none.

    `failovers` counts failovers by shard since the exporter started; empty without a failover watcher.
    `deployment` is its name in the settings, else what exporters of the same deployment have in common; None:
    not known yet.
    """

    topology: Topology
    nodes: Mapping[str, Outcome[NodeReading]]
    sentinel: SentinelMaster | None = None
    failovers: Mapping[str, int] = field(default_factory=dict)
    deployment: str | None = None
    access: Access | None = None

    def readings(self) -> dict[str, NodeReading]:
        """The nodes that answered, by address."""
        return {address: out.value for address, out in self.nodes.items() if isinstance(out, Ok)}

    @property
    def reachable(self) -> bool:
        """Whether any node answered."""
        return any(isinstance(out, Ok) for out in self.nodes.values())
