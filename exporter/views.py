"""An assessment as plain data, for the page, the commands and /status.json. Ages are in seconds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from heapq import nlargest
from typing import Any, Final, TypeAlias

from exporter.assessment import Assessment
from exporter.conditions.finding import Affected
from exporter.conditions.schedulers import scheduler_subject
from exporter.config.shard import UNDIVIDED, QueueShard
from exporter.derived import (
    cpu_usage,
    error_rate,
    hit_ratio,
    keys,
    master_link_broken,
    master_link_up,
    queue_load_factor,
    replication_lags,
    scheduler_lateness,
    worker_utilization,
)
from exporter.health import Health, Issue
from exporter.jobs.views import failed_reasons_view, job_names_view
from exporter.memory.view import memory_view
from exporter.snapshot.histogram import average
from exporter.snapshot.host import HostRates, HostState, ProcessState
from exporter.snapshot.probes import ProbeState
from exporter.snapshot.queues import BullMQState, Events, JobCounts, QueueId, QueueState, Rates, Search
from exporter.snapshot.redis import Info, NodeReading, RedisState, SentinelMaster, TopologyNode
from exporter.snapshot.schedulers import QueueSchedulers, Scheduler
from exporter.snapshot.whole import Snapshot
from service.catalogs import ENGLISH
from service.i18n import Message, Translator, message_from_json
from service.outcome import Failed, Ok, Outcome, value_or_none
from service.units import readable

View: TypeAlias = Mapping[str, Any]
"""Plain data, as in JSON."""


def job_counts(queue: View) -> JobCounts:
    """The jobs of a queue's view by state. Raises KeyError if a state is absent from the view."""
    return JobCounts(*(queue[state] for state in JobCounts._fields))


NO_MONITORING: Final = (
    "monitoring is switched off (ENABLE_SYSTEM_MONITORING=false, or stop_monitoring): nothing is collected"
)

MOST_SCHEDULERS: Final = 100
"""How many schedulers of a queue its view has."""

SCHEDULER_CONDITIONS: Final = ("scheduler_late", "scheduler_without_next")
"""Those of which a scheduler's view says that it has them."""

_ISSUE_TEXTS: Final = ("title", "measured", "threshold", "recommendation")

SNAPSHOT_PARTS: Final = tuple(
    field.name for field in fields(Snapshot) if field.name not in ("taken_at", "number")
)


_OF_FIRST_SHARD: Final = ("redis", "host", "probes")
"""The parts that the first of several shards reads for all."""


@dataclass(frozen=True, slots=True)
class Task:
    """One background thread; `age` is the seconds since its last step."""

    name: str
    alive: bool
    age: float
    restarts: int


@dataclass(frozen=True, slots=True)
class About:
    """The exporter itself. `uptime` is None for a collection without a running exporter; `shard_urls` are
    those of all shards of the queues, or none."""

    version: str
    monitoring: bool
    uptime: float | None = None
    tasks: tuple[Task, ...] = ()
    shard: QueueShard = UNDIVIDED
    shard_urls: tuple[str, ...] = ()


def status_view(assessment: Assessment | None, about: About) -> View:
    """The whole state. Without an assessment (monitoring is off) only the facts about the exporter."""
    view: dict[str, Any] = {
        "name": "oxherd",
        "version": about.version,
        "uptime_seconds": about.uptime,
        "monitoring": about.monitoring,
        "background": [_task(task) for task in about.tasks],
        "shard": _shard(about),
    }
    if assessment is None:
        return view | {
            "health": None,
            "sources": [],
            "redis": None,
            "queues": None,
            "memory": None,
            "host": None,
            "process": None,
            "probes": None,
        }
    snapshot = assessment.snapshot
    queues = value_or_none(snapshot.bullmq)
    return view | {
        "taken_at": snapshot.taken_at,
        "health": _health(assessment.health),
        "sources": [_source(name, getattr(snapshot, name), about.shard) for name in SNAPSHOT_PARTS],
        "redis": _redis(value_or_none(snapshot.redis)),
        "queues": _queues(queues, assessment.health),
        "memory": memory_view(queues.memory if queues else None),
        "host": _host(value_or_none(snapshot.host), snapshot.taken_at),
        "process": _process(value_or_none(snapshot.process)),
        "probes": _probes(value_or_none(snapshot.probes)),
    }


def _shard(about: About) -> dict[str, Any] | None:
    """Which shard of the queues the view has; None where it has all."""
    if not about.shard.divided:
        return None
    return {"number": about.shard.number, "shards": about.shard.shards, "urls": list(about.shard_urls)}


def _task(task: Task) -> dict[str, Any]:
    return {"name": task.name, "alive": task.alive, "age_seconds": task.age, "restarts": task.restarts}


def _health(health: Health) -> dict[str, Any]:
    return {
        "score": health.score,
        "status": health.status,
        "issues": [_issue(issue) for issue in health.issues],
        "not_known_yet": [
            {"name": name, "known_in_seconds": seconds} for name, seconds in sorted(health.open.items())
        ],
    }


def _issue(issue: Issue) -> dict[str, Any]:
    """The issue with its texts in English, and as messages for `issue_text`."""
    messages: dict[str, Message] = {field: getattr(issue, field) for field in _ISSUE_TEXTS}
    return {
        "name": issue.name,
        "source": issue.source,
        "penalty": issue.penalty,
        "severity": issue.severity,
        "affected": [_affected(affected) for affected in issue.affected],
        **{field: ENGLISH.render(message) for field, message in messages.items()},
        "messages": {field: message.to_json() for field, message in messages.items()},
    }


def _affected(affected: Affected) -> dict[str, Any]:
    prefix, name = map(readable, affected.queue) if affected.queue else (None, None)
    return {"subject": affected.subject, "value": affected.value, "prefix": prefix, "queue": name}


def issue_text(issue: View, field: str, translator: Translator) -> str:
    """The title, measured, threshold or recommendation of an issue, translated; in English, as the exporter
    wrote it, if the exporter is of another version and its message is not known here."""
    message = message_from_json(issue.get("messages", {}).get(field))
    text = None if message is None else translator.known(message)
    return str(issue[field]) if text is None else text


def _source(name: str, outcome: Outcome[object] | None, shard: QueueShard) -> dict[str, Any]:
    if outcome is None:
        left = name in _OF_FIRST_SHARD and not shard.first
        why = f"shard 1 of {shard.shards} reads it" if left else "switched off"
        return {"name": name, "state": "off", "why": why, "seconds": None}
    state, why = "ok", ""
    if isinstance(outcome, Failed):
        state, why = "failed", outcome.message
    else:
        match outcome.value:
            case RedisState(reachable=False):
                state, why = "failed", "no node answers"
            case BullMQState(blind=True) as bullmq:
                state, why = "failed", readable("; ".join(bullmq.problems))
            case BullMQState(discovered=False):
                state, why = "partial", "the first search for queues has not ended yet"
            case BullMQState(up=False, queues=()) as bullmq:
                queue, failed = min(bullmq.unread.items())
                more = f" (1 of {len(bullmq.unread)} queues)" if len(bullmq.unread) > 1 else ""
                state, why = "failed", readable(f"no queue can be read: {queue.name}: {failed.message}{more}")
            case BullMQState(up=False) as bullmq:
                known = len(bullmq.queues) + len(bullmq.unread)
                state, why = "partial", f"{len(bullmq.unread)} of {known} queues could not be read"
    return {"name": name, "state": state, "why": why, "seconds": outcome.took}


# --- Redis -----------------------------------------------------------------------------------------------


def _redis(state: RedisState | None) -> dict[str, Any] | None:
    if state is None:
        return None
    lags = replication_lags(state)
    return {
        "mode": state.topology.mode,
        "reachable": state.reachable,
        "slots_covered": state.topology.slots_covered() if state.topology.mode == "cluster" else None,
        "sentinel": _sentinel(state.sentinel),
        "failovers": dict(state.failovers),
        "nodes": [
            _node(node, state.nodes.get(node.address), lags.get(node.address, (None, None))[1])
            for node in state.topology.nodes
        ],
    }


def _sentinel(master: SentinelMaster | None) -> dict[str, Any] | None:
    if master is None:
        return None
    return {
        "master": master.name,
        "address": master.address,
        "status_ok": master.status_ok,
        "quorum_ok": master.quorum_ok,
        "sentinels": master.sentinels,
        "replicas": master.replicas,
    }


_UNREAD_NODE: Final = NodeReading(Info({}))
_NODE_NUMBERS: Final[Mapping[str, tuple[str, int]]] = {
    "memory_used_bytes": ("used_memory", 1),
    "memory_max_bytes": ("maxmemory", 1),
    "memory_peak_bytes": ("used_memory_peak", 1),
    "memory_rss_bytes": ("used_memory_rss", 1),
    "fragmentation_ratio": ("mem_fragmentation_ratio", 1),
    "connected_clients": ("connected_clients", 1),
    "blocked_clients": ("blocked_clients", 1),
    "rejected_connections": ("rejected_connections", 1),
    "operations_per_second": ("instantaneous_ops_per_sec", 1),
    "commands_processed": ("total_commands_processed", 1),
    "keyspace_hits": ("keyspace_hits", 1),
    "keyspace_misses": ("keyspace_misses", 1),
    "evicted_keys": ("evicted_keys", 1),
    "expired_keys": ("expired_keys", 1),
    "input_bytes": ("total_net_input_bytes", 1),
    "output_bytes": ("total_net_output_bytes", 1),
    "input_bytes_per_second": ("instantaneous_input_kbps", 1024),
    "output_bytes_per_second": ("instantaneous_output_kbps", 1024),
    "uptime_seconds": ("uptime_in_seconds", 1),
    "connected_replicas": ("connected_slaves", 1),
    "master_last_io_seconds": ("master_last_io_seconds_ago", 1),
}
"""The field of INFO of each number, and its unit in ours."""


def _node(node: TopologyNode, outcome: Outcome[NodeReading] | None, lag: float | None) -> dict[str, Any]:
    view: dict[str, Any] = {
        "address": node.address,
        "role": node.role,
        "shard": node.shard,
        "master": node.master,
        "up": isinstance(outcome, Ok),
        "healthy": node.healthy,
        "why": outcome.message if isinstance(outcome, Failed) else node.why,
        "replication_lag_bytes": lag,
    }
    if node.healthy and isinstance(outcome, Ok) and master_link_broken(outcome.value):
        view["why"] = "no link to its master"
    reading = outcome.value if isinstance(outcome, Ok) else _UNREAD_NODE
    info = reading.info
    for name, (field, unit) in _NODE_NUMBERS.items():
        number = info.number(field)
        view[name] = None if number is None else number * unit
    return view | {
        "hit_ratio": hit_ratio(view["keyspace_hits"], view["keyspace_misses"]),
        "version": info.text("valkey_version") or info.text("redis_version"),
        "keys": keys(reading),
        "max_clients": reading.maxclients,
        "slots": sum(last - first + 1 for first, last in node.slots) if node.node_id else None,
        "master_link_up": master_link_up(reading),
        "cluster_state": reading.cluster_info.text("cluster_state") if reading.cluster_info else None,
        "cluster_links": _links(reading),
    }


def _links(reading: NodeReading) -> dict[str, int] | None:
    """How many of the other nodes this one is linked to, as it reports; None outside a cluster."""
    if reading.cluster_lines is None:
        return None
    others = [line for line in reading.cluster_lines if "myself" not in line.flags]
    return {"up": sum(line.linked for line in others), "known": len(others)}


# --- queues ----------------------------------------------------------------------------------------------


def _queues(state: BullMQState | None, health: Health) -> dict[str, Any] | None:
    if state is None:
        return None
    judged = _judged_schedulers(health)
    return {
        "up": state.up,
        "discovered": state.discovered,
        "problems": [readable(problem) for problem in state.problems],
        "unread": [
            {"prefix": readable(queue.prefix), "name": readable(queue.name), "why": failed.message}
            for queue, failed in sorted(state.unread.items())
        ],
        "search": _search(state.search),
        "queues": [
            _queue(
                queue,
                state.rates.get(queue.id),
                state.schedulers.get(queue.id),
                judged,
                (state.events or {}).get(queue.id),
            )
            for queue in sorted(state.queues, key=lambda queue: queue.id)
        ],
    }


def _search(search: Search) -> dict[str, Any]:
    """What was searched for queues, which candidates are none, which cannot be read, and which queues have
    no place."""
    return {
        "prefixes": [readable(prefix) for prefix in search.prefixes],
        "keys": search.keys,
        "ended_at": search.ended_at,
        "passed_over": _reasons(search.passed_over),
        "refused": _reasons(search.refused),
        "most_queues": search.most,
        "left_out": [
            {
                "reason": reason,
                "count": left.number,
                "at_least": left.more,
                "first": [
                    {"prefix": readable(prefix), "name": readable(name)} for prefix, name in left.first
                ],
            }
            for reason, left in search.left_out.items()
            if left.number
        ],
    }


def _reasons(reasons: Mapping[QueueId, str]) -> list[dict[str, str]]:
    return [
        {"prefix": readable(queue.prefix), "name": readable(queue.name), "why": readable(why)}
        for queue, why in sorted(reasons.items())
    ]


def _queue(
    queue: QueueState,
    rates: Rates | None,
    schedulers: QueueSchedulers | None,
    judged: Mapping[_Judged, str],
    events: Events | None,
) -> dict[str, Any]:
    fields: dict[str, Any] = queue._asdict()
    del fields["id"], fields["jobs"]
    fields["odd"] = [readable(text) for text in queue.odd]
    return {
        "prefix": readable(queue.id.prefix),
        "name": readable(queue.id.name),
        **queue.jobs._asdict(),
        **fields,
        "load_factor": queue_load_factor(queue),
        "worker_utilization": worker_utilization(queue),
        "rates": None if rates is None else rates.figures(),
        "failed_reasons": failed_reasons_view(events),
        "job_names": job_names_view(events),
        "job_schedulers": None if schedulers is None else _schedulers(queue.id, schedulers, judged),
    }


_Judged: TypeAlias = tuple[QueueId | None, str]
"""A queue, and the subject of a condition in it."""


def _judged_schedulers(health: Health) -> dict[_Judged, str]:
    """The condition of each scheduler that has one, so that no view has a rule of its own for it."""
    return {
        (affected.queue, affected.subject): issue.name
        for issue in health.issues
        if issue.name in SCHEDULER_CONDITIONS
        for affected in issue.affected
    }


def _schedulers(queue: QueueId, schedulers: QueueSchedulers, judged: Mapping[_Judged, str]) -> dict[str, Any]:
    """The schedulers of a queue, at most `MOST_SCHEDULERS`: those with a condition first, then the latest."""

    def issue(scheduler: Scheduler) -> str | None:
        return judged.get((queue, scheduler_subject(queue, scheduler.id))) if judged else None

    def rank(scheduler: Scheduler) -> tuple[bool, float, float]:
        late = scheduler_lateness(scheduler, schedulers.now) or 0.0
        return issue(scheduler) is not None, late, -scheduler.next_run

    views = [
        {
            "id": readable(scheduler.id),
            "name": readable(scheduler.name),
            "every": scheduler.every,
            "pattern": None if scheduler.pattern is None else readable(scheduler.pattern),
            "timezone": None if scheduler.timezone is None else readable(scheduler.timezone),
            "next_run": scheduler.next_run,
            "last_run": scheduler.last_run,
            "lateness": scheduler_lateness(scheduler, schedulers.now),
            "issue": issue(scheduler),
            "job": scheduler.job,
            "iterations": scheduler.iterations,
            "limit": scheduler.limit,
            "ends_at": scheduler.ends_at,
        }
        for scheduler in nlargest(MOST_SCHEDULERS, schedulers.schedulers, key=rank)
    ]
    return {
        "count": len(schedulers.schedulers) + schedulers.unread,
        "unread": schedulers.unread,
        "schedulers": views,
    }


# --- host ------------------------------------------------------------------------------------------------


def _host(host: HostState | None, taken_at: float) -> dict[str, Any] | None:
    if host is None:
        return None
    return {
        "load": list(host.load),
        "cpu_count": host.cpu_count,
        "machine_cores": host.machine_cores,
        "memory_total_bytes": host.memory_total,
        "memory_available_bytes": host.memory_available,
        "swap_used_bytes": host.swap_used,
        "boot_time": host.boot_time,
        "filesystems": [
            {
                "mountpoint": readable(mountpoint),
                "total_bytes": filesystem.size,
                "available_bytes": filesystem.available,
            }
            for mountpoint, filesystem in sorted(host.filesystems.items())
        ],
        "cgroup_limited": host.limited,
        "uptime_seconds": max(0.0, taken_at - host.boot_time),
        "memory_used_bytes": host.memory_used,
        "cpu_usage": cpu_usage(host.rates),
        "rates": None if host.rates is None else _host_rates(host.rates),
        "disks": [
            {"device": readable(name), "read_bytes": disk.read, "written_bytes": disk.written}
            | {"io_time_seconds": disk.io_time}
            for name, disk in sorted(host.disks.items())
        ],
        "networks": [
            {"device": readable(name), "received_bytes": network.received}
            | {"transmitted_bytes": network.transmitted}
            | {"receive_errors": network.receive_errors, "transmit_errors": network.transmit_errors}
            for name, network in sorted(host.networks.items())
        ],
    }


def _host_rates(rates: HostRates) -> dict[str, Any]:
    return {
        "seconds": rates.seconds,
        "cpu": dict(rates.cpu),
        "disks": [
            {"device": readable(name), "read_bytes_per_second": disk.read}
            | {"written_bytes_per_second": disk.written, "busy": disk.busy}
            for name, disk in sorted(rates.disks.items())
        ],
        "networks": [
            {"device": readable(name), "received_bytes_per_second": network.received}
            | {"transmitted_bytes_per_second": network.transmitted, "errors_per_second": network.errors}
            for name, network in sorted(rates.networks.items())
        ],
    }


def _process(process: ProcessState | None) -> dict[str, Any] | None:
    if process is None:
        return None
    return {"resident_bytes": process.resident, "limit_bytes": process.limit}


def _probes(probes: Mapping[str, ProbeState | None] | None) -> list[dict[str, Any]] | None:
    """The endpoints; only the name of an endpoint without a recent probe."""
    if probes is None:
        return None
    endpoints: list[dict[str, Any]] = []
    for name, state in probes.items():
        endpoint: dict[str, Any] = {"name": name, "known": state is not None}
        if state is not None:
            endpoint |= {
                "well": state.failure is None,
                "failure": state.failure,
                "why": state.message,
                "status": state.status,
                "seconds": state.seconds,
                "at": state.at,
                "certificate_expires": state.certificate_expires,
                "average_seconds": average(state.durations),
                "error_rate": error_rate(state),
            }
        endpoints.append(endpoint)
    return endpoints
