"""An assessment as plain data, for the page, the commands and /status.json. Ages are in seconds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from math import isfinite
from typing import Any, Final, TypeAlias

from exporter.assessment import Assessment
from exporter.derived import hit_ratio, queue_load_factor, replication_lags, worker_utilization
from exporter.health import Health, Issue
from exporter.snapshot import (
    BullMQState,
    HostState,
    JobCounts,
    NodeReading,
    ProbeState,
    ProcessState,
    QueueId,
    QueueState,
    Rates,
    RedisState,
    Search,
    SentinelMaster,
    Snapshot,
    TopologyNode,
)
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

_ISSUE_TEXTS: Final = ("title", "measured", "threshold", "recommendation")

SNAPSHOT_PARTS: Final = tuple(field.name for field in fields(Snapshot) if field.name != "taken_at")


@dataclass(frozen=True, slots=True)
class Task:
    """One background thread; `age` is the seconds since its last step."""

    name: str
    alive: bool
    age: float
    restarts: int


@dataclass(frozen=True, slots=True)
class About:
    """The exporter itself. `uptime` is None for a collection without a running exporter."""

    version: str
    monitoring: bool
    uptime: float | None = None
    tasks: tuple[Task, ...] = ()


def status_view(assessment: Assessment | None, about: About) -> View:
    """The whole state. Without an assessment (monitoring is off) only the facts about the exporter."""
    view: dict[str, Any] = {
        "name": "oxherd",
        "version": about.version,
        "uptime_seconds": about.uptime,
        "monitoring": about.monitoring,
        "background": [_task(task) for task in about.tasks],
    }
    if assessment is None:
        return view | {
            "health": None,
            "sources": [],
            "redis": None,
            "queues": None,
            "host": None,
            "process": None,
            "probes": None,
        }
    snapshot = assessment.snapshot
    return view | {
        "taken_at": snapshot.taken_at,
        "health": _health(assessment.health),
        "sources": [_source(name, getattr(snapshot, name)) for name in SNAPSHOT_PARTS],
        "redis": _redis(value_or_none(snapshot.redis)),
        "queues": _queues(value_or_none(snapshot.bullmq)),
        "host": _host(value_or_none(snapshot.host)),
        "process": _process(value_or_none(snapshot.process)),
        "probes": _probes(value_or_none(snapshot.probes)),
    }


def _task(task: Task) -> dict[str, Any]:
    return {"name": task.name, "alive": task.alive, "age_seconds": task.age, "restarts": task.restarts}


def _health(health: Health) -> dict[str, Any]:
    return {
        "score": health.score,
        "status": health.status,
        "issues": [_issue(issue) for issue in health.issues],
    }


def _issue(issue: Issue) -> dict[str, Any]:
    """The issue with its texts in English, and as messages for `issue_text`."""
    messages: dict[str, Message] = {field: getattr(issue, field) for field in _ISSUE_TEXTS}
    return {
        "name": issue.name,
        "source": issue.source,
        "penalty": issue.penalty,
        **{field: ENGLISH.render(message) for field, message in messages.items()},
        "messages": {field: message.to_json() for field, message in messages.items()},
    }


def issue_text(issue: View, field: str, translator: Translator) -> str:
    """The title, measured, threshold or recommendation of an issue, translated; in English, as the exporter
    wrote it, if the exporter is of another version and its message is not known here."""
    message = message_from_json(issue.get("messages", {}).get(field))
    text = None if message is None else translator.known(message)
    return str(issue[field]) if text is None else text


def _source(name: str, outcome: Outcome[object] | None) -> dict[str, Any]:
    if outcome is None:
        return {"name": name, "state": "off", "why": "switched off", "seconds": None}
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
    info = outcome.value.info if isinstance(outcome, Ok) else None
    numbers = {
        "memory_used_bytes": "used_memory",
        "memory_max_bytes": "maxmemory",
        "connected_clients": "connected_clients",
        "operations_per_second": "instantaneous_ops_per_sec",
        "keyspace_hits": "keyspace_hits",
        "keyspace_misses": "keyspace_misses",
        "evicted_keys": "evicted_keys",
        "uptime_seconds": "uptime_in_seconds",
    }
    for name, field in numbers.items():
        number = info.number(field) if info else None
        view[name] = number if number is not None and isfinite(number) else None
    view["hit_ratio"] = hit_ratio(view["keyspace_hits"], view["keyspace_misses"])
    view["version"] = (info.text("valkey_version") or info.text("redis_version")) if info else None
    return view


# --- queues ----------------------------------------------------------------------------------------------


def _queues(state: BullMQState | None) -> dict[str, Any] | None:
    if state is None:
        return None
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
            _queue(queue, state.rates.get(queue.id))
            for queue in sorted(state.queues, key=lambda queue: queue.id)
        ],
    }


def _search(search: Search) -> dict[str, Any]:
    """What was searched for queues, which candidates are none, and which cannot be read."""
    return {
        "prefixes": [readable(prefix) for prefix in search.prefixes],
        "keys": search.keys,
        "ended_at": search.ended_at,
        "passed_over": _reasons(search.passed_over),
        "refused": _reasons(search.refused),
    }


def _reasons(reasons: Mapping[QueueId, str]) -> list[dict[str, str]]:
    return [
        {"prefix": readable(queue.prefix), "name": readable(queue.name), "why": readable(why)}
        for queue, why in sorted(reasons.items())
    ]


def _queue(queue: QueueState, rates: Rates | None) -> dict[str, Any]:
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
        "rates": None if rates is None else rates._asdict(),
    }


# --- host ------------------------------------------------------------------------------------------------


def _host(host: HostState | None) -> dict[str, Any] | None:
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
            }
        endpoints.append(endpoint)
    return endpoints
