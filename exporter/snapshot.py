"""The result of one collection, frozen; metrics, health, page and commands are functions of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from math import inf, isfinite
from typing import Final, Literal, NamedTuple, TypeAlias

from service.outcome import Failed, Ok, Outcome

Mode: TypeAlias = Literal["standalone", "sentinel", "cluster"]
Role: TypeAlias = Literal["master", "replica", "unknown"]
Library: TypeAlias = Literal["bullmq", "bull"]
"""What made a queue: BullMQ, or Bull 3 or 4, its predecessor."""
NextJob: TypeAlias = Literal["pending", "active", "gone", "over", "unknown"]
"""The job of a scheduler's next run: pending until a worker takes it, gone if there is none."""

CLUSTER_SLOTS: Final = 16384
"""Hash slots of a Redis Cluster (Cluster specification)."""


# --- Redis -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Info:
    """One node's INFO (and CLUSTER INFO), each field as the server wrote it; other fields are absent."""

    fields: Mapping[str, str]

    def text(self, name: str) -> str | None:
        return self.fields.get(name)

    def number(self, name: str) -> float | None:
        """The field as a number; None if it is absent, not a number, or not finite."""
        raw = self.fields.get(name)
        if raw is None:
            return None
        try:
            number = float(raw)
        except ValueError:
            return None
        return number if isfinite(number) else None


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


# --- BullMQ ----------------------------------------------------------------------------------------------


class QueueId(NamedTuple):
    """A queue's name under its key prefix."""

    prefix: str
    name: str


class JobCounts(NamedTuple):
    """Jobs of one queue in each state, as BullMQ's getJobCounts counts them: the states are declared here.

    `waiting` includes those of a paused queue; `completed` and `failed` are the jobs that are kept. None: the
    key of this state could not be read.
    """

    waiting: int | None
    active: int | None
    delayed: int | None
    prioritized: int | None
    waiting_children: int | None
    completed: int | None
    failed: int | None


class QueueState(NamedTuple):
    """One queue as read in this collection. A NamedTuple, as each scrape builds thousands of them.

    Ages and times to live are in seconds. None means that the value is unknown or does not exist (no job
    waits, no limit is set). `odd` has a sentence for each part that could not be read, `workers_unknown` the
    reason why `workers` is None, `version` is what the library wrote into `meta` ("" if nothing).
    """

    id: QueueId
    jobs: JobCounts
    paused: bool | None
    schedulers: int | None
    delayed_overdue: int | None
    delayed_due: int | None
    failed_last_hour: int | None
    workers: int | None = None
    concurrency_limit: int | None = None
    rate_limit_ttl: float | None = None
    oldest_waiting: float | None = None
    longest_active: float | None = None
    capacity_per_worker: float = 10.0
    worker_concurrency: int | None = None
    library: Library = "bullmq"
    workers_unknown: str = ""
    odd: tuple[str, ...] = ()
    measured_concurrency: float | None = None  # most active jobs per worker while jobs waited: at least that
    version: str = ""
    longest_overdue: float | None = None  # seconds since the first delayed job is due


class Histogram(NamedTuple):
    """Durations: upper bounds in seconds, the count of each bucket and of +Inf, and their sum in seconds."""

    bounds: tuple[float, ...]
    counts: tuple[int, ...]
    total: float


class JobCounters(NamedTuple):
    """Counters and durations from a queue's events since it is known. `processing` is by outcome.

    None: nothing tells it. Bull says nothing of jobs that are removed.
    """

    added: int | None
    started: int
    completed: int
    failed: int
    retried: int
    stalled: int
    removed: int | None
    deduplicated: int
    wait: Histogram
    processing: Mapping[str, Histogram]
    evicted: int


class Events(NamedTuple):
    """A queue's counters, events read, events lost (trimmed before they were read), and the lag in seconds.

    `undone` events were counted, and then lost by Redis in a failover. `since`: unix s when counting began.
    `gaps`: how often an unknown number of events was lost, with a stream that was deleted. `max_length`: to
    how many events BullMQ trims the stream (opts.maxLenEvents); `peak_rate`: most events a second of late;
    `passed_over`: why events of the last hour were not read although they were there. `busy_seconds`: the
    integral of the number of active jobs over time, up to the lag; None: not known.
    """

    counters: JobCounters
    read: int
    lost: int
    lag: float
    undone: int = 0
    since: float = 0.0
    gaps: int = 0
    max_length: int | None = None
    peak_rate: float = 0.0
    passed_over: str = ""
    busy_seconds: float | None = None


class Rates(NamedTuple):
    """Rates over the last `seconds` from a queue's event stream: jobs per minute, averages and quantiles in
    seconds.

    None if no job ended or waited; the rates and the share of errors also while events of this time are
    missing. Those of the last hour are counts, since the queue is known at most; retried ones are attempts.
    """

    seconds: float
    completed_per_minute: float | None
    failed_per_minute: float | None
    error_rate: float | None
    wait_p50: float | None
    wait_p95: float | None
    processing_p50: float | None
    processing_p95: float | None
    failed_last_hour: int
    lost_last_hour: int
    wait_average: float | None = None
    processing_average: float | None = None
    completed_last_hour: int = 0
    stalled_last_hour: int = 0
    retried_last_hour: int = 0


class Work(NamedTuple):
    """For how many seconds a queue stands still (jobs could be taken, nothing holds them back, none was
    started), has no worker, is paused, and has a delayed job due while others are started or workers are
    idle. None: it is not so, or not known to be. `..._before`: it was so at the first look at the queue, and
    may have been for longer. A global concurrency of 0 is a pause."""

    standing: float | None = None
    without_workers: float | None = None
    paused: float | None = None
    overdue: float | None = None
    standing_before: bool = False
    without_workers_before: bool = False
    paused_before: bool = False


class Unlocked(NamedTuple):
    """Active jobs whose lock is gone, and for how many seconds that is known of the first. `more`: there may
    be more of them, as not all were looked at."""

    jobs: int
    seconds: float
    more: bool = False


class OwnCounts(NamedTuple):
    """BullMQ's own counts, if it keeps them; read every few seconds. `groups` are those of BullMQ Pro, whose
    jobs are not counted."""

    completed: int | None
    failed: int | None
    ids: int | None
    groups: int | None = None


class Scheduler(NamedTuple):
    """A job scheduler or repeatable job. Times are unix s by the node's clock; None: not set, or not known.

    `id` is the library's key of it, `name` that of its jobs; `chosen_id`: upsertJobScheduler made it, and not
    the older queue.add; every `every` s, or by the cron `pattern` in
    `timezone`. `next_run`: when its next job is due; `last_run`: when a worker took the one before.
    `iterations` of `limit` jobs were added. `job` is the next job's state: "gone" if there is none although
    one should be, so that none will ever be added again, "over" if there is none as the limit or `ends_at` is
    reached. `missing_since`: since when it was seen to be gone. `quiet_since`: since when one with an
    interval is known not to have run.
    """

    id: str
    name: str
    chosen_id: bool
    next_run: float
    last_run: float | None
    every: float | None
    pattern: str | None
    timezone: str | None
    ends_at: float | None
    limit: int | None
    iterations: int | None
    job: NextJob
    missing_since: float | None = None
    quiet_since: float | None = None


class QueueSchedulers(NamedTuple):
    """A queue's schedulers by their next runs, how many more there are, and the node's time now (unix s).

    `held_at`, `limited_at`: when the queue was last seen paused, and at its rate limit or its global
    concurrency; 0: never. `duplicates`: the ids of schedulers that add the same jobs. `published`: those that
    have series of their own. `missing`: those whose next job is gone. `silent_at`:
    the first moment at which one has not run for two of its intervals.
    """

    schedulers: tuple[Scheduler, ...]
    now: float
    unread: int = 0
    held_at: float = 0.0
    limited_at: float = 0.0
    duplicates: tuple[tuple[str, ...], ...] = ()
    published: tuple[Scheduler, ...] = ()
    missing: tuple[Scheduler, ...] = ()
    silent_at: float = inf


@dataclass(frozen=True, slots=True)
class Search:
    """What was searched for queues: `prefixes` narrow it (none: any prefix), `keys` and `ended_at` (unix s)
    are those of the last whole search, `passed_over` has the candidates that are no queues, and why;
    `refused` those that Redis does not let us read, and which may be queues;
    `missing` are names of the settings that no queue has."""

    prefixes: tuple[str, ...] = ()
    keys: int | None = None
    ended_at: float | None = None
    passed_over: Mapping[QueueId, str] = field(default_factory=dict)
    refused: Mapping[QueueId, str] = field(default_factory=dict)
    missing: tuple[str, ...] = ()


@dataclass(frozen=True)
class BullMQState:
    """Every known queue: its state, or why it is unread. `discovered` is False until the first search for
    queues has ended; `search_refused` if Redis refused every search; `unfollowed` has the queues whose event
    stream is there and cannot be read, and why: they have no counters."""

    queues: tuple[QueueState, ...]
    unread: Mapping[QueueId, Failed] = field(default_factory=dict)
    discovered: bool = True
    problems: tuple[str, ...] = ()
    search_refused: bool = False
    events: Mapping[QueueId, Events] | None = None  # None: event streams are not followed
    rates: Mapping[QueueId, Rates] = field(
        default_factory=dict
    )  # of queues that have been followed for a while
    own: Mapping[QueueId, OwnCounts] = field(default_factory=dict)
    search: Search = Search()
    unfollowed: Mapping[QueueId, str] = field(default_factory=dict)
    work: Mapping[QueueId, Work] | None = None  # of queues that do not just work; None: nobody remembers
    watched_seconds: float = 0.0  # for which `work` can know something
    unlocked: Mapping[QueueId, Unlocked] = field(default_factory=dict)

    @cached_property
    def by_id(self) -> Mapping[QueueId, QueueState]:
        """The queues that could be read."""
        return {queue.id: queue for queue in self.queues}

    schedulers: Mapping[QueueId, QueueSchedulers] = field(default_factory=dict)  # of queues that have some

    @cached_property
    def several_prefixes(self) -> bool:
        """Whether a queue's name alone does not say which it is."""
        return len({known.prefix for known in (*(each.id for each in self.queues), *self.unread)}) > 1

    @property
    def blind(self) -> bool:
        """Whether the search for queues is refused and no queue is known without it."""
        return self.search_refused and not (self.queues or self.unread)

    @property
    def up(self) -> bool:
        """Whether the state of every known queue could be read; a running search is not a failure, a refused
        search is."""
        return not (self.unread or self.blind)


# --- Host ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Filesystem:
    size: int
    available: int


@dataclass(frozen=True, slots=True)
class Disk:
    """One block device's totals since boot: bytes, bytes, seconds (None if the kernel does not report it)."""

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


class DiskRates(NamedTuple):
    """Bytes per second, and the share of the time that the device was busy (None: not reported)."""

    read: float
    written: float
    busy: float | None


class NetworkRates(NamedTuple):
    """Bytes per second, and errors per second of both directions."""

    received: float
    transmitted: float
    errors: float


@dataclass(frozen=True, slots=True)
class HostRates:
    """Rates over the last `seconds`; `cpu` has the share of each mode in the time of all CPUs, 0 to 1."""

    seconds: float
    cpu: Mapping[str, float]
    disks: Mapping[str, DiskRates]
    networks: Mapping[str, NetworkRates]


@dataclass(frozen=True)
class HostState:
    """The machine, or the container if its cgroup has lower limits; bytes, seconds, cores with fractions.

    `load` is always that of the whole machine with `machine_cores`: a container has no load of its own.
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
    rates: HostRates | None = None  # None at the first reading
    boot_id: str | None = None  # of the kernel, the same in all containers of a machine; None but on Linux

    @property
    def limited(self) -> bool:
        """Whether this process can use less than the machine has."""
        return self.memory_limited or self.cpu_count < self.machine_cores


@dataclass(frozen=True, slots=True)
class ProbeState:
    """The result of the last probe of an endpoint. `at` in unix s, `seconds` is the duration; `failure` is
    one word, None on success; `certificate_expires` in unix s; `durations`, `failures` since the start."""

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
    """The exporter's own memory: resident bytes, and its limit (None: no limit)."""

    resident: int
    limit: int | None


# --- The whole -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Snapshot:
    """One collection. A part is None if it is switched off, and `Failed` if it could not be read."""

    taken_at: float
    redis: Outcome[RedisState] | None = None
    bullmq: Outcome[BullMQState] | None = None
    host: Outcome[HostState] | None = None
    process: Outcome[ProcessState] | None = None
    probes: Outcome[Mapping[str, ProbeState | None]] | None = None

    def parts(self) -> dict[str, Outcome[object]]:
        """Every part that is switched on, by the name of its source."""
        named: dict[str, Outcome[object] | None] = {
            "redis": self.redis,
            "bullmq": self.bullmq,
            "host": self.host,
            "process": self.process,
            "probes": self.probes,
        }
        return {name: outcome for name, outcome in named.items() if outcome is not None}
