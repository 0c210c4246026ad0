"""States of everything, and the conditions that each has: `CASES`. `BASE` is well; a change makes another."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from exporter.config.health import HealthSettings
from exporter.snapshot.host import HostState, ProcessState, PushState
from exporter.snapshot.queues import (
    BullMQState,
    CheckpointWrites,
    JobCounts,
    LeftOut,
    LeftOutReason,
    QueueId,
    QueueState,
    Rates,
    Search,
)
from exporter.snapshot.redis import Info, NodeReading, Recent, RedisState, Topology, TopologyNode
from exporter.snapshot.whole import Snapshot
from service.outcome import Failed, Ok, Outcome

GIB = 1 << 30
SILENT = Failed("timeout", "no answer in time")
DEFAULTS = HealthSettings()
Change = Callable[[Snapshot], Snapshot]
Node = Ok[NodeReading]


def reading(**fields: object) -> Node:
    given = {"used_memory": GIB, "maxmemory": 10 * GIB, "total_system_memory": 100 * GIB} | fields
    return Ok(NodeReading(Info({name: str(value) for name, value in given.items() if value is not None})))


def queue(failed_last_hour: int = 0, name: str = "mail", failed: int = 10_000) -> QueueState:
    jobs = JobCounts(0, 0, 0, 0, 0, 0, failed)
    return QueueState(QueueId("bull", name), jobs, False, 0, 0, 0, failed_last_hour)


NODES = (
    TopologyNode("a:1", "master", "0", slots=((0, 16383),)),
    TopologyNode("b:1", "replica", "0", master="a:1"),
)
REDIS = RedisState(Topology("cluster", NODES), {"a:1": reading(), "b:1": reading()})
HOST = HostState({}, 4.0, 4, (1.0, 1.0, 1.0), 10 * GIB, 5 * GIB, 5 * GIB, 0, 0.0)
BASE = Snapshot(1.0, Ok(REDIS), Ok(BullMQState((queue(),))), Ok(HOST), Ok(ProcessState(GIB // 10, None)))


def redis(**nodes: Outcome[NodeReading]) -> Change:
    """The cluster with these nodes' readings (`a` and `b`)."""
    readings = {**REDIS.nodes, **{f"{name}:1": outcome for name, outcome in nodes.items()}}
    return lambda snapshot: replace(snapshot, redis=Ok(replace(REDIS, nodes=readings)))


def with_facts(outcome: Ok[NodeReading], **facts: object) -> Node:
    return replace(outcome, value=replace(outcome.value, **facts))  # type: ignore[arg-type]


def erring(
    ago: float = 0, during: float = 0, info: Mapping[str, object] | None = None, **counts: int
) -> Node:
    """A node whose counts grew, last so many seconds ago, and for so many seconds."""
    recent = {name: Recent(count, ago, during) for name, count in counts.items()}
    return with_facts(reading(**(info or {})), recent=recent)


def bgsave_failed(**counts: int) -> Node:
    return erring(info={"rdb_last_bgsave_status": "err"}, **counts)


def unsaved(seconds: float = 7201, changes: int = 9, **fields: object) -> Node:
    """A node without an append-only file that has saved so many seconds before the collection."""
    facts = {"aof_enabled": 0, "rdb_last_save_time": 1 - seconds, "rdb_changes_since_last_save": changes}
    return reading(**{"connected_slaves": 1} | facts | fields)


def behind(lag: int, **fields: object) -> Change:
    """The replica lacks so many bytes of what its master wrote."""
    return redis(
        a=reading(role="master", master_repl_offset=1000 + lag),
        b=reading(role="slave", slave_repl_offset=1000, **{"master_link_status": "up"} | fields),
    )


def connected(clients: int, limit: int | None) -> Node:
    return with_facts(reading(connected_clients=clients), maxclients=limit)


def clock(offset: float) -> Node:
    return with_facts(reading(), clock_offset=offset)


def unlinked(since: int = 7, **fields: object) -> Node:
    facts = {"master_link_status": "down", "master_link_down_since_seconds": since}
    return reading(**facts, master_host="10.0.0.1", master_port=7001, **fields)


def evicting_cache(snapshot: Snapshot) -> Snapshot:
    return bullmq()(redis(a=reading(maxmemory_policy="allkeys-lru"))(snapshot))


def topology(*nodes: TopologyNode) -> Change:
    return lambda snapshot: replace(snapshot, redis=Ok(replace(REDIS, topology=Topology("cluster", nodes))))


def bullmq(*queues: QueueState, unread: int = 0, discovered: bool = True) -> Change:
    lost = {QueueId("bull", f"lost{number}"): SILENT for number in range(unread)}
    return lambda snapshot: replace(snapshot, bullmq=Ok(BullMQState(queues, lost, discovered)))


def followed(state: QueueState, *, failed: int = 0, lost: int = 0) -> Change:
    rates = Rates(300.0, 0.0, 0.0, None, failed, lost, completed_last_hour=999)
    return lambda snapshot: replace(snapshot, bullmq=Ok(BullMQState((state,), rates={state.id: rates})))


def unfollowed(state: QueueState, why: str) -> Change:
    return lambda snapshot: replace(
        snapshot, bullmq=Ok(BullMQState((state,), events={}, unfollowed={state.id: why}))
    )


def kept(failing: str) -> Change:
    checkpoint = CheckpointWrites("/var/lib/oxherd/state", 3, failing)
    return lambda snapshot: replace(snapshot, bullmq=Ok(BullMQState((queue(),), checkpoint=checkpoint)))


def looking(problem: str, *queues: QueueState, refused: bool) -> Change:
    state = BullMQState(queues, discovered=False, problems=(problem,), search_refused=refused)
    return lambda snapshot: replace(snapshot, bullmq=Ok(state))


def crowded(*queues: QueueState, too_many: int, too_long: int = 0, more: bool = False) -> Change:
    first = (QueueId("bull", "customer-1"),)
    left_out: dict[LeftOutReason, LeftOut] = {
        "max_queues": LeftOut(too_many, more, first if too_many else ()),
        "name_length": LeftOut(too_long, more, first if too_long else ()),
    }
    state = BullMQState(queues, search=Search(ended_at=1.0, left_out=left_out, most=12_000))
    return lambda snapshot: replace(snapshot, bullmq=Ok(state))


def searched(*queues: QueueState, refused: int) -> Change:
    candidates = {QueueId("app", f"q{number}"): "NOPERM no key" for number in range(refused)}
    state = BullMQState(queues, search=Search(ended_at=1.0, refused=candidates))
    return lambda snapshot: replace(snapshot, bullmq=Ok(state))


def host(**fields: object) -> Change:
    return lambda snapshot: replace(snapshot, host=Ok(replace(HOST, **fields)))  # type: ignore[arg-type]


def process(resident: int, limit: int | None, push: PushState | None = None) -> Change:
    return lambda snapshot: replace(snapshot, process=Ok(ProcessState(resident, limit, push)))


def part(**outcomes: object) -> Change:
    return lambda snapshot: replace(snapshot, **outcomes)  # type: ignore[arg-type]


UNWELL = replace(NODES[1], healthy=False, why="failed, say 1 of 1 nodes")

EVICTS = {"redis_evicts_keys": 15.0}
REFUSES = {"redis_writes_refused": 35.0}
FILLED = {"redis_memory_high": 15.0}
FULL = {"used_memory": 9 * GIB}

CASES: list[tuple[str, Change, dict[str, float]]] = [
    ("no issue", lambda snapshot: snapshot, {}),
    ("everything is switched off", part(redis=None, bullmq=None, host=None, process=None), {}),
    ("no node answers", redis(a=SILENT, b=SILENT), {"redis_unreachable": 30}),
    ("Redis could not be collected", part(redis=SILENT), {"redis_unreachable": 30}),
    ("one node does not answer", redis(b=SILENT), {"cluster_node_unhealthy": 20}),
    ("the others doubt a node", topology(NODES[0], UNWELL), {"cluster_node_unhealthy": 20}),
    (
        "slots without an owner",
        topology(replace(NODES[0], slots=((0, 16382),)), NODES[1]),
        {"cluster_node_unhealthy": 20},
    ),
    ("memory just at 80 % of maxmemory", redis(a=reading(used_memory=8 * GIB)), {}),
    (
        "memory just over 80 % of maxmemory",
        redis(a=reading(used_memory=8 * GIB + 1)),
        {"redis_memory_high": 15},
    ),
    ("no maxmemory, 80 % of the host", redis(b=reading(maxmemory=0, used_memory=80 * GIB)), {}),
    (
        "no maxmemory, over 80 % of the host",
        redis(b=reading(maxmemory=0, used_memory=81 * GIB)),
        {"redis_memory_high": 15},
    ),
    (
        "neither maxmemory nor the host's memory is known",
        redis(a=reading(maxmemory=0, total_system_memory=None, used_memory=99 * GIB)),
        {},
    ),
    ("a snapshot failed, no write was refused", redis(a=bgsave_failed()), {"redis_save_failing": 15}),
    (
        "a snapshot failed, writes are refused",
        redis(a=bgsave_failed(MISCONF=3)),
        {"redis_writes_refused": 35},
    ),
    ("a snapshot failed, and succeeded since", redis(a=erring(MISCONF=3)), {}),
    (
        "one node refuses writes, another one only fails to save",
        redis(a=bgsave_failed(MISCONF=3), b=bgsave_failed()),
        {"redis_writes_refused": 35, "redis_save_failing": 15},
    ),
    (
        "the append-only file cannot be written",
        redis(a=reading(aof_last_write_status="err")),
        {"redis_writes_refused": 35},
    ),
    ("writes over maxmemory", redis(a=erring(OOM=1)), REFUSES),
    ("writes over maxmemory, half a minute ago", redis(a=erring(30, OOM=1)), REFUSES),
    ("writes over maxmemory, and there is room since", redis(a=erring(31, 60, OOM=1)), {}),
    (
        "a minute of writes over maxmemory, still full",
        redis(a=erring(300, 60, FULL, OOM=9)),
        REFUSES | FILLED,
    ),
    ("no maxmemory any more", redis(a=erring(0, 60, {"maxmemory": 0}, OOM=1)), {}),
    ("writes to a replica", redis(b=erring(READONLY=1)), REFUSES),
    ("a moment of writes to a replica, as after a failover", redis(b=erring(31, 59, READONLY=99)), {}),
    ("a minute of writes to a replica", redis(b=erring(300, 60, READONLY=5)), REFUSES),
    (
        "writes to a replica that is a master since",
        redis(b=erring(5, 60, {"role": "master"}, READONLY=5)),
        {},
    ),
    ("writes without replicas, none needed any more", redis(a=erring(1, 60, NOREPLICAS=5)), {}),
    (
        "writes without enough replicas",
        redis(a=erring(200, 60, {"role": "master", "min_slaves_good_slaves": 1}, NOREPLICAS=5)),
        REFUSES,
    ),
    (
        "a replica cannot write its append-only file",
        redis(b=reading(role="slave", aof_last_write_status="err")),
        {"redis_save_failing": 15},
    ),
    (
        "the append-only file could not be written, and is off since",
        redis(a=reading(aof_last_write_status="err", aof_last_bgrewrite_status="err", aof_enabled=0)),
        {},
    ),
    (
        "the append-only file cannot be written anew",
        redis(a=reading(aof_last_bgrewrite_status="err")),
        {"redis_save_failing": 15},
    ),
    ("nothing is saved", redis(a=unsaved(), b=unsaved()), {"persistence_off": 5}),
    (
        "nothing is saved, and there is no queue",
        lambda base: bullmq()(redis(a=unsaved(), b=unsaved())(base)),
        {"no_queue_found": 15},
    ),
    ("saved within two hours", redis(a=unsaved(7200), b=unsaved()), {}),
    ("the replica saves", redis(a=unsaved(), b=unsaved(7200)), {}),
    ("the replica has an append-only file", redis(a=unsaved(), b=unsaved(aof_enabled=1)), {}),
    ("nothing to save", redis(a=unsaved(changes=0), b=unsaved(changes=0)), {}),
    ("a replica is not read", redis(a=unsaved(connected_slaves=2), b=unsaved()), {}),
    ("whether anything is saved is not known", redis(a=unsaved(), b=unsaved(aof_enabled=None)), {}),
    (
        "a save that fails is not switched off",
        redis(a=unsaved(rdb_last_bgsave_status="err"), b=unsaved()),
        {"redis_save_failing": 15},
    ),
    ("a replica 64 MiB behind", behind(64 << 20), {}),
    ("a replica over 64 MiB behind", behind((64 << 20) + 1), {"replication_lag_high": 10}),
    (
        "a replica behind, without a link",
        behind(1 << 30, master_link_status="down"),
        {"replication_broken": 15},
    ),
    (
        "a connection was rejected",
        redis(a=erring(300, rejected_connections=1)),
        {"redis_connections_rejected": 15},
    ),
    (
        "connections are rejected, at the limit",
        redis(a=with_facts(erring(0, 0, {"connected_clients": 100}, rejected_connections=1), maxclients=100)),
        {"redis_connections_rejected": 15},
    ),
    (
        "a client that read too slowly",
        redis(a=erring(300, client_output_buffer_limit_disconnections=1)),
        {"redis_clients_disconnected": 5},
    ),
    ("errors of other kinds", redis(b=erring(ERR=9, WRONGTYPE=9, NOSCRIPT=9, other=9)), {}),
    (
        "no replica of those that a write needs",
        redis(a=reading(role="master", min_slaves_good_slaves=0)),
        {"redis_writes_refused": 35},
    ),
    ("a replica of those that a write needs", redis(a=reading(role="master", min_slaves_good_slaves=1)), {}),
    ("a replica needs none", redis(b=reading(role="slave", min_slaves_good_slaves=0)), {}),
    ("a limit that evicts", redis(a=reading(maxmemory_policy="allkeys-lru")), {"redis_evicts_keys": 15}),
    ("a limit that evicts what expires", redis(a=reading(maxmemory_policy="volatile-ttl")), EVICTS),
    ("no limit that evicts", redis(a=reading(maxmemory=0, maxmemory_policy="allkeys-lru")), {}),
    ("a limit that does not evict", redis(a=reading(maxmemory_policy="noeviction")), {}),
    ("a cache without queues", evicting_cache, {"no_queue_found": 15}),
    ("a replica without its master", redis(b=unlinked()), {"replication_broken": 15}),
    ("a replica that never had its master", redis(b=unlinked(-1)), {"replication_broken": 15}),
    ("a replica that receives its first copy", redis(b=unlinked(master_sync_in_progress=1)), {}),
    ("90 % of maxclients", redis(a=connected(9, 10)), {}),
    (
        "over 90 % of maxclients",
        redis(a=connected(91, 100), b=connected(99, 100)),
        {"redis_clients_high": 15},
    ),
    ("maxclients is not known", redis(a=connected(91, None)), {}),
    ("clocks 5 s apart", redis(a=clock(5.0), b=clock(-5.0)), {}),
    ("a clock that is behind", redis(a=clock(-5.1)), {"clock_offset_high": 5}),
    ("clocks that are ahead", redis(a=clock(300.0), b=clock(301.0)), {"clock_offset_high": 5}),
    ("queues could not be collected", part(bullmq=SILENT), {"queue_system_down": 25}),
    ("one queue could not be read", bullmq(queue(), unread=1), {"queue_system_down": 25}),
    ("no queues", bullmq(), {"no_queue_found": 15}),
    ("the first search goes on", bullmq(discovered=False), {}),
    ("the first search goes on beside a problem", looking("CLIENT LIST: NOPERM", refused=False), {}),
    ("the search is refused, some queues have names", looking("SCAN: NOPERM", queue(), refused=True), {}),
    ("the search is refused", looking("SCAN: NOPERM", refused=True), {"queue_system_down": 25}),
    ("candidates beside a queue are refused", searched(queue(), refused=2), {"candidates_refused": 5}),
    ("one queue has no place", crowded(queue(), too_many=1), {"queues_left_out": 15}),
    ("uncounted ones too", crowded(queue(), too_many=99_999, too_long=1, more=True), {"queues_left_out": 15}),
    ("every queue has a place", crowded(queue(), too_many=0), {}),
    ("no candidate is refused", searched(queue(), refused=0), {}),
    ("50 failed in the hour", bullmq(queue(25), queue(25, "sms")), {}),
    ("51 failed in the hour", bullmq(queue(25), queue(26, "sms")), {"failed_jobs_high": 10}),
    ("many failed long ago", bullmq(queue(0, failed=100_000)), {}),
    ("removeOnFail trims, the stream tells", followed(queue(0), failed=51), {"failed_jobs_high": 10}),
    ("the exporter read fewer failures than the failed set has", followed(queue(50), failed=3), {}),
    ("followed, nothing lost", followed(queue(0)), {}),
    ("one event lost within the hour", followed(queue(0), lost=1), {"events_lost": 5}),
    ("a stream is refused", unfollowed(queue(0), "NOPERM no"), {"events_unreadable": 5}),
    ("the state file was written", kept(""), {}),
    ("the state file cannot be written", kept("No space left on device"), {"state_not_written": 5}),
    ("10 % of the memory available", host(memory_available=GIB), {}),
    ("under 10 % of the memory available", host(memory_available=GIB - 1), {"host_memory_low": 20}),
    ("load of twice the cores", host(load=(8.0, 0.0, 0.0)), {}),
    ("load over twice the cores", host(load=(8.01, 0.0, 0.0)), {"host_load_high": 15}),
    ("the machine's load beside a container's tenth of a core", host(load=(3.0, 0, 0), cpu_count=0.1), {}),
    ("the host could not be read", part(host=SILENT), {"source_unreadable": 5}),
    ("process at 90 % of its limit", process(90, 100), {}),
    ("process over 90 % of its limit", process(91, 100), {"process_memory_high": 15}),
    ("process under the default limit", process(GIB * 9 // 10, None), {}),
    ("process over the default limit", process(GIB, None), {"process_memory_high": 15}),
    ("one push failed", process(1, 100, PushState(1, "refused", 60.0)), {}),
    ("two pushes failed", process(1, 100, PushState(2, "refused", 60.0)), {"otlp_push_failing": 5}),
    ("the process could not be read", part(process=SILENT), {"source_unreadable": 5}),
    (
        "Redis is gone and so are the queues",
        part(redis=SILENT, bullmq=SILENT),
        {"redis_unreachable": 30, "queue_system_down": 25},
    ),
]
