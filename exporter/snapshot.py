"""All that one collection learned, frozen; metrics, health, page and commands are functions of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple, TypeAlias

from service.outcome import Failed, Ok, Outcome

Mode: TypeAlias = Literal["standalone", "sentinel", "cluster"]
Role: TypeAlias = Literal["master", "replica", "unknown"]

CLUSTER_SLOTS: Final = 16384
"""Hash slots of a Redis Cluster (Cluster specification)."""


# --- Redis -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Info:
    """One node's INFO (and CLUSTER INFO), each field as the server wrote it; a field it lacks is absent."""

    fields: Mapping[str, str]

    def text(self, name: str) -> str | None:
        return self.fields.get(name)

    def number(self, name: str) -> float | None:
        """The field as a number, or None when it is absent or not a number."""
        raw = self.fields.get(name)
        if raw is None:
            return None
        try:
            return float(raw)
        except ValueError:
            return None


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
    """One line of CLUSTER NODES: how one node sees another (or itself)."""

    node_id: str
    address: str
    flags: frozenset[str]
    master_id: str | None
    config_epoch: int
    linked: bool
    slots: tuple[tuple[int, int], ...]
    hostname: str | None = None


@dataclass(frozen=True)
class NodeReading:
    """What one Redis node said of itself in this collection."""

    info: Info
    commands: Mapping[str, CommandStat] = field(default_factory=dict)
    keyspace: Mapping[str, Keyspace] = field(default_factory=dict)
    cluster_info: Info | None = None
    cluster_lines: tuple[ClusterLine, ...] | None = None
    slowlog_length: int | None = None
    maxclients: int | None = None


@dataclass(frozen=True, slots=True)
class TopologyNode:
    """One node as the deployment agrees on it; `address` is host:port as the deployment announces it."""

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
    """Who is in the deployment and who owns which slot. `nodes` is sorted by address."""

    mode: Mode
    nodes: tuple[TopologyNode, ...]

    def masters(self) -> tuple[TopologyNode, ...]:
        return tuple(node for node in self.nodes if node.role == "master")

    def slots_covered(self) -> int:
        """How many of the 16,384 slots have an owner."""
        return sum(last - first + 1 for node in self.masters() for first, last in node.slots)


@dataclass(frozen=True, slots=True)
class SentinelMaster:
    """One watched master as the sentinels agree on it."""

    name: str
    address: str
    status_ok: bool
    quorum_ok: bool | None
    sentinels: int
    replicas: int
    config_epoch: int


@dataclass(frozen=True)
class RedisState:
    """The deployment: its agreed topology, and each known node's own reading or why there is none.

    `failovers` counts them by shard since the exporter's start; empty where nobody watches for them.
    """

    topology: Topology
    nodes: Mapping[str, Outcome[NodeReading]]
    sentinel: SentinelMaster | None = None
    failovers: Mapping[str, int] = field(default_factory=dict)

    def readings(self) -> dict[str, NodeReading]:
        """The nodes that answered, by address."""
        return {address: out.value for address, out in self.nodes.items() if isinstance(out, Ok)}

    @property
    def reachable(self) -> bool:
        """Whether any node answered."""
        return any(isinstance(out, Ok) for out in self.nodes.values())


# --- BullMQ ----------------------------------------------------------------------------------------------


class QueueId(NamedTuple):
    """A queue's name under its key prefix."""

    prefix: str
    name: str


class QueueState(NamedTuple):
    """One queue as read in this collection. A NamedTuple, as thousands are built a scrape.

    Ages and times to live are seconds. None means that it could not be known, or that there is no such thing
    (no job waits, no limit is set).
    """

    id: QueueId
    waiting: int
    active: int
    delayed: int
    prioritized: int
    waiting_children: int
    completed: int
    failed: int
    paused: bool
    schedulers: int
    delayed_overdue: int
    delayed_due: int
    failed_last_hour: int
    workers: int | None = None
    concurrency_limit: int | None = None
    rate_limit_ttl: float | None = None
    oldest_waiting: float | None = None
    longest_active: float | None = None
    capacity_per_worker: float = 10.0
    worker_concurrency: int | None = None


class Histogram(NamedTuple):
    """Durations: upper bounds in seconds, how many fell into each and above all, and their sum in seconds."""

    bounds: tuple[float, ...]
    counts: tuple[int, ...]
    total: float


class JobCounters(NamedTuple):
    """What a queue's event stream has told since it was first known. `processing` is by outcome."""

    added: int
    started: int
    completed: int
    failed: int
    retried: int
    stalled: int
    removed: int
    deduplicated: int
    wait: Histogram
    processing: Mapping[str, Histogram]
    evicted: int


class Events(NamedTuple):
    """A queue's tallies, how many events they rest on, how many were trimmed unread, and seconds behind.

    `undone` events were counted, and lost by Redis in a failover. `since`: unix seconds, when counting began.
    """

    counters: JobCounters
    read: int
    lost: int
    lag: float
    undone: int = 0
    since: float = 0.0


class Rates(NamedTuple):
    """A queue's last `seconds`, by its event stream: jobs a minute, and quantiles in seconds.

    None where nothing ended or waited. The last two are counts of the last hour, or since the queue is known.
    """

    seconds: float
    completed_per_minute: float
    failed_per_minute: float
    error_rate: float | None
    wait_p50: float | None
    wait_p95: float | None
    processing_p50: float | None
    processing_p95: float | None
    failed_last_hour: int
    lost_last_hour: int


class OwnCounts(NamedTuple):
    """What BullMQ counts itself, where it does; read every few seconds."""

    completed: int | None
    failed: int | None
    ids: int | None


@dataclass(frozen=True)
class BullMQState:
    """Every known queue: read, or why not. `discovered` is False until a first look for queues has ended;
    `search_refused` when Redis let none be made."""

    queues: tuple[QueueState, ...]
    unread: Mapping[QueueId, Failed] = field(default_factory=dict)
    discovered: bool = True
    problems: tuple[str, ...] = ()
    search_refused: bool = False
    events: Mapping[QueueId, Events] | None = None  # None: nobody follows the event streams
    rates: Mapping[QueueId, Rates] = field(default_factory=dict)  # of those that are followed for a while
    own: Mapping[QueueId, OwnCounts] = field(default_factory=dict)

    @property
    def blind(self) -> bool:
        """Whether no queue could be searched for, and none is known without that."""
        return self.search_refused and not (self.queues or self.unread)

    @property
    def up(self) -> bool:
        """Whether every known queue's state could be read; a search that goes on is no failure, one that is
        refused is."""
        return not (self.unread or self.blind)


# --- Host ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Filesystem:
    size: int
    available: int


@dataclass(frozen=True, slots=True)
class Disk:
    """One block device's totals since boot: bytes, bytes, seconds (None where the kernel does not say)."""

    read: int
    written: int
    io_time: float | None


@dataclass(frozen=True, slots=True)
class Network:
    """One interface's totals since boot."""

    received: int
    transmitted: int
    receive_errors: int
    transmit_errors: int


@dataclass(frozen=True)
class HostState:
    """The machine, or the container where its cgroup allows less; bytes, seconds, cores with fractions.

    `load` is always that of the whole machine, which has `machine_cores`: no container has one of its own.
    """

    cpu_seconds: Mapping[str, float]
    cpu_count: float
    machine_cores: int
    load: tuple[float, float, float]
    memory_total: int
    memory_available: int
    memory_used: int
    swap_used: int | None
    boot_time: float
    filesystems: Mapping[str, Filesystem] = field(default_factory=dict)
    disks: Mapping[str, Disk] = field(default_factory=dict)
    networks: Mapping[str, Network] = field(default_factory=dict)
    memory_limited: bool = False

    @property
    def limited(self) -> bool:
        """Whether this process may use less than the machine has."""
        return self.memory_limited or self.cpu_count < self.machine_cores


@dataclass(frozen=True, slots=True)
class ProbeState:
    """An endpoint as its last probe found it. `at` in unix s, `seconds` it took; `failure` is one word, None
    when all was well; `certificate_expires` in unix s. `durations` and `failures` are since the start."""

    at: float
    seconds: float
    failure: str | None
    message: str
    status: int | None
    certificate_expires: float | None
    durations: Histogram
    failures: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class ProcessState:
    """This exporter's own memory: resident bytes, and the limit that it lives under (None: no limit)."""

    resident: int
    limit: int | None


# --- The whole -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Snapshot:
    """One collection. A part is None when it is switched off, and `Failed` when it could not be read."""

    taken_at: float
    redis: Outcome[RedisState] | None = None
    bullmq: Outcome[BullMQState] | None = None
    host: Outcome[HostState] | None = None
    process: Outcome[ProcessState] | None = None
    probes: Outcome[Mapping[str, ProbeState | None]] | None = None

    def parts(self) -> dict[str, Outcome[object]]:
        """Every part that is switched on, by its source's name."""
        named: dict[str, Outcome[object] | None] = {
            "redis": self.redis,
            "bullmq": self.bullmq,
            "host": self.host,
            "process": self.process,
            "probes": self.probes,
        }
        return {name: outcome for name, outcome in named.items() if outcome is not None}
