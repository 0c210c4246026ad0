"""Examples of assessments, for the views."""

from __future__ import annotations

from exporter.assessment import Assessment
from exporter.conditions.finding import Affected
from exporter.health import Health, Issue, Status
from exporter.snapshot.host import HostState, ProcessState
from exporter.snapshot.queues import BullMQState, JobCounts, QueueId, QueueState
from exporter.snapshot.redis import Info, NodeReading, RedisState, Topology, TopologyNode
from exporter.snapshot.whole import Snapshot
from service.i18n import Message
from service.outcome import Failed, Ok

NASTY = "<script>\x1b[31m'\"&\n"
MASTER, REPLICA = "10.0.0.1:7001", "10.0.0.2:7001"


def issue(name: str = "cluster_node_unhealthy", source: str = "redis", penalty: float = 20) -> Issue:
    texts = (f"title of {name}", "1 of 2 nodes", "0 nodes", f"do something {NASTY}")
    title, measured, threshold, advice = (Message("issue.text", text=text) for text in texts)
    affected = (Affected(f"10.0.0.2:7001{NASTY}", 1.0),)
    return Issue(name, source, penalty, "high", title, measured, threshold, advice, affected)


def queue(name: str = "mail", prefix: str = "bull", **fields: object) -> QueueState:
    """A queue; `fields` are those of QueueState or of its JobCounts."""
    state = QueueState(
        id=QueueId(prefix, name),
        jobs=JobCounts(
            waiting=1200, active=2, delayed=3, prioritized=4, waiting_children=5, completed=6, failed=7
        ),
        paused=False,
        schedulers=0,
        delayed_overdue=0,
        delayed_due=0,
        failed_last_hour=1,
        workers=2,
        oldest_waiting=61.0,
        longest_active=None,
    )
    counts = {field: fields.pop(field) for field in JobCounts._fields if field in fields}
    jobs = state.jobs._replace(**counts)  # type: ignore[arg-type]
    return state._replace(jobs=jobs, **fields)  # type: ignore[arg-type]


def redis_state() -> RedisState:
    """A master that answers and a replica that does not."""
    info = Info(
        {
            "used_memory": "1048576",
            "maxmemory": "2097152",
            "connected_clients": "12",
            "instantaneous_ops_per_sec": "3",
            "keyspace_hits": "3",
            "keyspace_misses": "1",
            "evicted_keys": "0",
            "uptime_in_seconds": "nan",
            "redis_version": "7.2.4",
            "master_repl_offset": "100",
        }
    )
    nodes = (
        TopologyNode(MASTER, "master", "0", slots=((0, 16383),)),
        TopologyNode(REPLICA, "replica", "0", master=MASTER, healthy=False, why="failed, say 1 of 1 nodes"),
    )
    return RedisState(
        Topology("cluster", nodes),
        {MASTER: Ok(NodeReading(info), 0.001), REPLICA: Failed("timeout", "no answer in time", 2.0)},
        failovers={"0": 2},
    )


def host_state() -> HostState:
    return HostState(
        cpu_seconds={},
        cpu_count=2,
        machine_cores=2,
        load=(0.5, 0.4, 0.3),
        memory_total=4 << 30,
        memory_available=1 << 30,
        memory_used=3 << 30,
        swap_used=0,
        boot_time=1.0,
        boot_id="9c7a1f6e",
    )


def assessment(
    *,
    issues: tuple[Issue, ...] = (issue(),),
    score: float = 80,
    queues: tuple[QueueState, ...] = (queue(), queue(NASTY, paused=True, workers=None)),
) -> Assessment:
    """Half of Redis up, a queue with markup in its name, a queue that could not be read, no process."""
    unread = {QueueId("bull", "lost"): Failed("refused", "NOPERM no")}
    snapshot = Snapshot(
        taken_at=1000.0,
        redis=Ok(redis_state(), 0.002),
        bullmq=Ok(BullMQState(queues, unread, problems=("SCAN refused",)), 0.03),
        host=Ok(host_state(), 0.0004),
        process=Failed("timeout", f"late {NASTY}", 10.0),
    )
    status: Status = "healthy" if score >= 90 else "warning" if score >= 70 else "critical"
    return Assessment(snapshot, Health(score, status, issues))


def healthy_assessment() -> Assessment:
    """No issues; only the process is switched on."""
    snapshot = Snapshot(taken_at=1000.0, process=Ok(ProcessState(1, None)))
    return Assessment(snapshot, Health(100, "healthy", ()))
