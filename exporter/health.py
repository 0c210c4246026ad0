"""From a snapshot to its health: the score, and the issues with measured value, threshold, recommendation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from shlex import quote
from typing import Final, Literal, NamedTuple, TypeAlias

from exporter.bullmq.keys import base
from exporter.config.settings import HealthSettings
from exporter.derived import failed_last_hour
from exporter.snapshot import CLUSTER_SLOTS, NodeReading, Snapshot
from service.i18n import Message
from service.outcome import Failed, Ok, Outcome, value_or_none
from service.units import readable, size

Status: TypeAlias = Literal["healthy", "warning", "critical"]

HEALTHY: Final = 90.0
WARNING: Final = 70.0
_NAMED: Final = 3


@dataclass(frozen=True, slots=True)
class Issue:
    """One problem. `name` is a label value (snake_case), `source` the part of the snapshot that has the
    problem, `penalty` the points that are subtracted from the score."""

    name: str
    source: str
    penalty: float
    title: Message
    measured: Message
    threshold: Message
    recommendation: Message


@dataclass(frozen=True, slots=True)
class Health:
    """The score from 0 to 100, its status, and the issues, the highest penalty first."""

    score: float
    status: Status
    issues: tuple[Issue, ...]


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of a rule; its name is the key in RULES, its penalty is a setting."""

    source: str
    title: Message
    measured: Message
    threshold: Message
    recommendation: Message


Rule: TypeAlias = Callable[[Snapshot, HealthSettings], Finding | None]


def assess(snapshot: Snapshot, settings: HealthSettings) -> Health:
    """Apply every rule. A part that failed causes an issue, a part that is switched off does not."""
    issues = []
    for name, rule in RULES.items():
        finding = rule(snapshot, settings)
        if finding is not None:
            issues.append(_issue(name, finding, settings))
    return of_issues(issues)


def of_issues(issues: list[Issue]) -> Health:
    """The health with these issues: the score is 100 minus all penalties, and at least 0."""
    score = max(0.0, 100.0 - sum(issue.penalty for issue in issues))
    return Health(score, status_of(score), tuple(sorted(issues, key=lambda issue: -issue.penalty)))


def status_of(score: float) -> Status:
    """healthy from 90, warning from 70, critical below."""
    if score >= HEALTHY:
        return "healthy"
    return "warning" if score >= WARNING else "critical"


def _issue(name: str, finding: Finding, settings: HealthSettings) -> Issue:
    penalty: float = getattr(settings.penalties, name)
    return Issue(
        name,
        finding.source,
        penalty,
        finding.title,
        finding.measured,
        finding.threshold,
        finding.recommendation,
    )


# --- Redis -----------------------------------------------------------------------------------------------


def _redis_unreachable(snapshot: Snapshot, _: HealthSettings) -> Finding | None:
    outcome = snapshot.redis
    if outcome is None or (isinstance(outcome, Ok) and outcome.value.reachable):
        return None
    if isinstance(outcome, Failed):
        measured = Message("issue.text", text=outcome.message)
    else:
        failures = [f"{address}: {_why(node)}" for address, node in outcome.value.nodes.items()]
        measured = Message("issue.redis_unreachable.measured", count=len(failures), failures=_first(failures))
    known = sorted(outcome.value.nodes) if isinstance(outcome, Ok) else []
    command = f"{_cli(known[0] if known else 'HOST:PORT')} ping"
    return Finding(
        "redis",
        Message("issue.redis_unreachable.title"),
        measured,
        Message("issue.redis_unreachable.threshold"),
        Message("issue.redis_unreachable.recommendation", command=command),
    )


def _cluster_node_unhealthy(snapshot: Snapshot, _: HealthSettings) -> Finding | None:
    """A node that others report as failed, or that does not answer.

    If no node answers, that is `redis_unreachable` instead.
    """
    state = value_or_none(snapshot.redis)
    if state is None or not state.reachable:
        return None
    unhealthy: list[tuple[str, str | Message]] = []
    for node in state.topology.nodes:
        outcome = state.nodes.get(node.address)
        if isinstance(outcome, Failed):
            unhealthy.append((node.address, f"{node.address}: {outcome.message}"))
        elif not node.healthy and node.why:
            unhealthy.append((node.address, f"{node.address}: {node.why}"))
        elif not node.healthy:
            failure = Message("issue.cluster_node_unhealthy.node", node=node.address)
            unhealthy.append((node.address, failure))
    missing = CLUSTER_SLOTS - state.topology.slots_covered() if state.topology.mode == "cluster" else 0
    if not unhealthy and missing <= 0:
        return None
    failures: list[str | Message] = []
    if missing > 0:
        failures.append(Message("issue.slots_without_owner.measured", slots=missing, total=CLUSTER_SLOTS))
    failures += [failure for _, failure in unhealthy]
    witness = min(state.readings())
    if unhealthy:
        query = "cluster nodes" if state.topology.mode == "cluster" else "info replication"
        title = Message("issue.cluster_node_unhealthy.title")
        recommendation = Message(
            "issue.cluster_node_unhealthy.recommendation",
            node=unhealthy[0][0],
            command=f"{_cli(witness)} {query}",
        )
    else:
        title = Message("issue.slots_without_owner.title")
        command = f"redis-cli --cluster check {witness}"
        recommendation = Message("issue.slots_without_owner.recommendation", command=command)
    return Finding(
        "redis",
        title,
        Message("issue.text", text=_first(failures)),
        Message("issue.cluster_node_unhealthy.threshold", count=len(state.topology.nodes)),
        recommendation,
    )


def _redis_memory_high(snapshot: Snapshot, settings: HealthSettings) -> Finding | None:
    state = value_or_none(snapshot.redis)
    if state is None:
        return None
    limit = settings.thresholds.redis_memory_ratio
    fills = [(address, fill) for address, reading in state.readings().items() if (fill := _fill(reading))]
    high = sorted((pair for pair in fills if pair[1].ratio > limit), key=lambda pair: -pair[1].ratio)
    if not high:
        return None
    address, fill = high[0]
    ratio, used, total = f"{fill.ratio:.0%}", size(fill.used), size(fill.size)
    if fill.of_maxmemory:
        measured = Message(
            "issue.redis_memory_high.measured", node=address, ratio=ratio, used=used, size=total
        )
    else:
        measured = Message(
            "issue.redis_memory_high.measured_host", node=address, ratio=ratio, used=used, size=total
        )
    if len(high) > 1:
        measured = Message("issue.text", text=(measured, Message("issue.more_nodes", count=len(high) - 1)))
    return Finding(
        "redis",
        Message("issue.redis_memory_high.title"),
        measured,
        Message("issue.redis_memory_high.threshold", ratio=f"{limit:.0%}"),
        Message("issue.redis_memory_high.recommendation", command=f"{_cli(address)} --bigkeys"),
    )


class _Fill(NamedTuple):
    """Used and size in bytes; the size is maxmemory or, without it, the memory of the host."""

    ratio: float
    used: float
    size: float
    of_maxmemory: bool


def _fill(reading: NodeReading) -> _Fill | None:
    used = reading.info.number("used_memory")
    maxmemory = reading.info.number("maxmemory")
    total = maxmemory or reading.info.number("total_system_memory")
    if used is None or not total:
        return None
    return _Fill(used / total, used, total, bool(maxmemory))


# --- queues ----------------------------------------------------------------------------------------------


def _queue_system_down(snapshot: Snapshot, settings: HealthSettings) -> Finding | None:
    outcome = snapshot.bullmq
    if outcome is None:
        return None
    if isinstance(outcome, Failed):
        failures = [outcome.message]
        measured = Message("issue.text", text=outcome.message)
    elif outcome.value.up:
        return None
    elif outcome.value.blind:
        failures = [readable(problem) for problem in outcome.value.problems]
        measured = Message("issue.queue_system_down.measured_search", problems=_first(failures))
    else:
        unread = outcome.value.unread
        failures = [f"{readable(queue.name)}: {failed.message}" for queue, failed in unread.items()]
        measured = Message(
            "issue.queue_system_down.measured",
            unread=len(unread),
            count=len(unread) + len(outcome.value.queues),
            failures=_first(failures),
        )
    if any("NOPERM" in failure for failure in failures[:_NAMED]):
        command = f"{_any_cli(snapshot)} acl log"
        recommendation = Message("issue.queue_system_down.recommendation_acl", command=command)
    elif _redis_unreachable(snapshot, settings) or _cluster_node_unhealthy(snapshot, settings):
        recommendation = Message("issue.queue_system_down.recommendation_redis")
    else:
        command = f"{_any_cli(snapshot)} slowlog get 10"
        recommendation = Message("issue.queue_system_down.recommendation", command=command)
    return Finding(
        "bullmq",
        Message("issue.queue_system_down.title"),
        measured,
        Message("issue.queue_system_down.threshold"),
        recommendation,
    )


def _failed_jobs_high(snapshot: Snapshot, settings: HealthSettings) -> Finding | None:
    """Of the last hour: a failed set grows until it is trimmed, so its size would be a permanent issue."""
    state = value_or_none(snapshot.bullmq)
    if state is None:
        return None
    failed = {queue.id: failed_last_hour(queue, state.rates.get(queue.id)) for queue in state.queues}
    total = sum(failed.values())
    if total <= settings.thresholds.failed_jobs:
        return None
    worst = max(failed, key=failed.__getitem__)
    keys = readable(base(worst))
    return Finding(
        "bullmq",
        Message("issue.failed_jobs_high.title"),
        Message(
            "issue.failed_jobs_high.measured", count=total, failed=failed[worst], queue=readable(worst.name)
        ),
        Message("issue.failed_jobs_high.threshold", limit=settings.thresholds.failed_jobs),
        Message(
            "issue.failed_jobs_high.recommendation",
            job_command=f"{_any_cli(snapshot)} -c zrevrange {quote(keys + 'failed')} 0 0",
            reason_command=f"hget {quote(keys + 'ID')} failedReason",
        ),
    )


def _events_lost(snapshot: Snapshot, _: HealthSettings) -> Finding | None:
    state = value_or_none(snapshot.bullmq)
    lost = {queue: rates.lost_last_hour for queue, rates in state.rates.items()} if state else {}
    if not any(lost.values()):
        return None
    worst = max(lost, key=lost.__getitem__)
    return Finding(
        "bullmq",
        Message("issue.events_lost.title"),
        Message(
            "issue.events_lost.measured",
            count=sum(lost.values()),
            lost=lost[worst],
            queue=readable(worst.name),
        ),
        Message("issue.text", text="0"),
        Message(
            "issue.events_lost.recommendation",
            code="new Queue(name, {streams: {events: {maxLen: 100000}}})",
        ),
    )


# --- the host and this process ---------------------------------------------------------------------------


def _host_memory_low(snapshot: Snapshot, settings: HealthSettings) -> Finding | None:
    host = value_or_none(snapshot.host)
    if host is None or host.memory_total <= 0:
        return None
    limit = settings.thresholds.host_memory_available_ratio
    ratio = host.memory_available / host.memory_total
    if ratio >= limit:
        return None
    available, total = size(host.memory_available), size(host.memory_total)
    if host.memory_limited:
        measured = Message(
            "issue.host_memory_low.measured_container",
            ratio=f"{ratio:.1%}",
            available=available,
            limit=total,
        )
    else:
        measured = Message(
            "issue.host_memory_low.measured", ratio=f"{ratio:.1%}", available=available, total=total
        )
    return Finding(
        "host",
        Message("issue.host_memory_low.title"),
        measured,
        Message("issue.host_memory_low.threshold", ratio=f"{limit:.0%}"),
        Message("issue.host_memory_low.recommendation", command="ps aux --sort=-rss | head"),
    )


def _host_load_high(snapshot: Snapshot, settings: HealthSettings) -> Finding | None:
    """The 1-minute load per core of the machine, as in node-mixin's saturation alert.

    The cores of a container are not comparable: the load is that of the machine, and a container limited to a
    tenth of a core would always be overloaded.
    """
    host = value_or_none(snapshot.host)
    if host is None:
        return None
    per_core = settings.thresholds.host_load_per_core
    limit = per_core * host.machine_cores
    if host.load[0] <= limit:
        return None
    return Finding(
        "host",
        Message("issue.host_load_high.title"),
        Message("issue.host_load_high.measured", load=f"{host.load[0]:.2f}", count=host.machine_cores),
        Message("issue.host_load_high.threshold", limit=f"{limit:g}", per_core=f"{per_core:g}"),
        Message("issue.host_load_high.recommendation", cpu_command="top -o %CPU", disk_command="iostat -x 1"),
    )


def _process_memory_high(snapshot: Snapshot, settings: HealthSettings) -> Finding | None:
    process = value_or_none(snapshot.process)
    if process is None:
        return None
    limit = process.limit or settings.thresholds.process_memory_bytes
    ratio = process.resident / limit
    if ratio <= settings.thresholds.process_memory_ratio:
        return None
    resident, percentage = size(process.resident), f"{ratio:.0%}"
    if process.limit:
        measured = Message(
            "issue.process_memory_high.measured", resident=resident, ratio=percentage, limit=size(limit)
        )
    else:
        measured = Message(
            "issue.process_memory_high.measured_expected",
            resident=resident,
            ratio=percentage,
            expected=size(limit),
        )
    return Finding(
        "process",
        Message("issue.process_memory_high.title"),
        measured,
        Message("issue.text", text=f"{settings.thresholds.process_memory_ratio:.0%}"),
        Message("issue.process_memory_high.recommendation"),
    )


def _source_unreadable(snapshot: Snapshot, _: HealthSettings) -> Finding | None:
    """The host or the process could not be read; Redis and the queues have their own rules."""
    sources: dict[str, Outcome[object] | None] = {"host": snapshot.host, "process": snapshot.process}
    failures = [f"{name}: {part.message}" for name, part in sources.items() if isinstance(part, Failed)]
    if not failures:
        return None
    return Finding(
        "host" if isinstance(snapshot.host, Failed) else "process",
        Message("issue.source_unreadable.title"),
        Message("issue.text", text=tuple(failures)),
        Message("issue.source_unreadable.threshold"),
        Message("issue.source_unreadable.recommendation"),
    )


def _probe_failing(snapshot: Snapshot, _: HealthSettings) -> Finding | None:
    """An endpoint that was not probed yet is not an issue; /readyz reports a prober that has stopped."""
    states = value_or_none(snapshot.probes) or {}
    failures = [f"{name}: {state.message}" for name, state in states.items() if state and state.failure]
    if not failures:
        return None
    return Finding(
        "probes",
        Message("issue.probe_failing.title"),
        Message(
            "issue.probe_failing.measured",
            failing=len(failures),
            count=len(states),
            failures=_first(failures),
        ),
        Message("issue.probe_failing.threshold"),
        Message("issue.probe_failing.recommendation"),
    )


RULES: Final[Mapping[str, Rule]] = {
    "redis_unreachable": _redis_unreachable,
    "queue_system_down": _queue_system_down,
    "cluster_node_unhealthy": _cluster_node_unhealthy,
    "host_memory_low": _host_memory_low,
    "events_lost": _events_lost,
    "redis_memory_high": _redis_memory_high,
    "host_load_high": _host_load_high,
    "process_memory_high": _process_memory_high,
    "failed_jobs_high": _failed_jobs_high,
    "probe_failing": _probe_failing,
    "source_unreadable": _source_unreadable,
}
"""Every rule by the name of its issue, which is also the name of its penalty in the settings."""


# --- parameters ------------------------------------------------------------------------------------------


def _cli(address: str) -> str:
    """The redis-cli command for this node; redis-cli expects an IPv6 address without brackets."""
    host, _, port = address.rpartition(":")
    return f"redis-cli -h {host.strip('[]')} -p {port}"


def _any_cli(snapshot: Snapshot) -> str:
    """The redis-cli command for a node that answers, or with a placeholder."""
    state = value_or_none(snapshot.redis)
    addresses = sorted(state.readings()) if state else []
    return _cli(addresses[0]) if addresses else _cli("HOST:PORT")


def _why(outcome: Outcome[NodeReading]) -> str:
    return outcome.message if isinstance(outcome, Failed) else "answers"


def _first(items: Sequence[str | Message]) -> tuple[str | Message, ...]:
    """The first few, and how many more."""
    more = len(items) - _NAMED
    return (*items[:_NAMED], Message("issue.more", count=more)) if more > 0 else tuple(items)
