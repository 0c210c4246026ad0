"""Snapshot -> Health: the score, and every issue with what was measured, its threshold and what to do."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from shlex import quote
from typing import Final, Literal, TypeAlias

from exporter.bullmq.keys import base
from exporter.derived import failed_last_hour
from exporter.settings import HealthSettings
from exporter.snapshot import CLUSTER_SLOTS, HostState, NodeReading, Snapshot
from service.outcome import Failed, Ok, Outcome, value_or_none
from service.units import readable, size

Status: TypeAlias = Literal["healthy", "warning", "critical"]

HEALTHY: Final = 90.0
WARNING: Final = 70.0
_NAMED: Final = 3


@dataclass(frozen=True, slots=True)
class Issue:
    """One thing that is wrong. `name` is a label value (snake_case), `source` the part it was seen in,
    `penalty` the points it takes; `measured`, `threshold` and `recommendation` are for a person."""

    name: str
    source: str
    penalty: float
    title: str
    measured: str
    threshold: str
    recommendation: str


@dataclass(frozen=True, slots=True)
class Health:
    """0-100, its band, and the issues, the costliest first."""

    score: float
    status: Status
    issues: tuple[Issue, ...]


@dataclass(frozen=True, slots=True)
class Finding:
    """What a rule found; the table gives it its name and the settings its penalty."""

    source: str
    title: str
    measured: str
    threshold: str
    recommendation: str


Rule: TypeAlias = Callable[[Snapshot, HealthSettings], Finding | None]


def assess(snapshot: Snapshot, settings: HealthSettings) -> Health:
    """Every rule on one snapshot. A part that is switched off makes no issue, one that failed does."""
    issues = []
    for name, rule in RULES.items():
        finding = rule(snapshot, settings)
        if finding is not None:
            issues.append(_issue(name, finding, settings))
    return of_issues(issues)


def of_issues(issues: list[Issue]) -> Health:
    """100 less all penalties, never below 0."""
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
        measured = outcome.message
    else:
        failures = [f"{address}: {_why(one)}" for address, one in outcome.value.nodes.items()]
        measured = f"none of {_count(len(failures), 'node')} answers ({_some(failures)})"
    known = sorted(outcome.value.nodes) if isinstance(outcome, Ok) else []
    ping = _cli(known[0] if known else "HOST:PORT")
    return Finding(
        "redis",
        "Redis cannot be reached",
        measured,
        "at least one node answers",
        f"Check that Redis runs and that this host reaches it: {ping} ping.",
    )


def _cluster_node_unhealthy(snapshot: Snapshot, _: HealthSettings) -> Finding | None:
    """A node that the others doubt, or that does not answer us; if none does, that is the other rule's."""
    state = value_or_none(snapshot.redis)
    if state is None or not state.reachable:
        return None
    ill = []
    for node in state.topology.nodes:
        outcome = state.nodes.get(node.address)
        if isinstance(outcome, Failed):
            ill.append((node.address, outcome.message))
        elif not node.healthy:
            ill.append((node.address, node.why or "unhealthy"))
    missing = CLUSTER_SLOTS - state.topology.slots_covered() if state.topology.mode == "cluster" else 0
    if not ill and missing <= 0:
        return None
    words = [f"{missing} of {CLUSTER_SLOTS} slots have no owner"] if missing > 0 else []
    words += [f"{address}: {why}" for address, why in ill]
    witness = min(state.readings())
    asked = f"{_cli(witness)} {'cluster nodes' if state.topology.mode == 'cluster' else 'info replication'}"
    return Finding(
        "redis",
        "A Redis node is unhealthy" if ill else "Slots of the cluster have no owner",
        _some(words),
        f"all {_count(len(state.topology.nodes), 'node')} answer and are seen well by the others",
        f"Look at the process and the log of {ill[0][0]}, and at what a node that answers says: {asked}."
        if ill
        else f"See which slots, and who had them: redis-cli --cluster check {witness}.",
    )


def _redis_memory_high(snapshot: Snapshot, settings: HealthSettings) -> Finding | None:
    state = value_or_none(snapshot.redis)
    if state is None:
        return None
    limit = settings.thresholds.redis_memory_ratio
    fills = [(address, *fill) for address, reading in state.readings().items() if (fill := _fill(reading))]
    high = sorted((fill for fill in fills if fill[1] > limit), key=lambda fill: -fill[1])
    if not high:
        return None
    address, ratio, used, whole, whose = high[0]
    more = f", and {_count(len(high) - 1, 'more node')}" if len(high) > 1 else ""
    return Finding(
        "redis",
        "Redis memory is high",
        f"{address} uses {ratio:.0%} of {whose} ({size(used)} of {size(whole)}){more}",
        f"{limit:.0%} of maxmemory, or of the host's memory where none is set",
        f"See what fills it: {_cli(address)} --bigkeys; trim with removeOnComplete, or raise the limit.",
    )


def _fill(reading: NodeReading) -> tuple[float, float, float, str] | None:
    """Ratio, used and size in bytes, and what the size is."""
    used = reading.info.number("used_memory")
    maxmemory = reading.info.number("maxmemory")
    size = maxmemory or reading.info.number("total_system_memory")
    if used is None or not size:
        return None
    return (
        used / size,
        used,
        size,
        "its maxmemory" if maxmemory else "its host's memory (no maxmemory is set)",
    )


# --- queues ----------------------------------------------------------------------------------------------


def _queue_system_down(snapshot: Snapshot, settings: HealthSettings) -> Finding | None:
    outcome = snapshot.bullmq
    if outcome is None:
        return None
    if isinstance(outcome, Failed):
        measured = outcome.message
    elif outcome.value.up:
        return None
    elif outcome.value.blind:
        measured = (
            f"no queue could be looked for ({_some([readable(one) for one in outcome.value.problems])})"
        )
    else:
        unread = outcome.value.unread
        words = [f"{readable(queue.name)}: {failed.message}" for queue, failed in unread.items()]
        known = len(unread) + len(outcome.value.queues)
        measured = f"{len(unread)} of {_count(known, 'queue')} cannot be read ({_some(words)})"
    if "NOPERM" in measured:
        advice = (
            "Give the exporter's Redis user what deploy/redis/exporter.acl lists; "
            f"what it was refused: {_any_cli(snapshot)} acl log."
        )
    elif _redis_unreachable(snapshot, settings) or _cluster_node_unhealthy(snapshot, settings):
        advice = "Bring Redis back first; the queues follow."
    else:
        advice = f"See what Redis is busy with: {_any_cli(snapshot)} slowlog get 10."
    return Finding(
        "bullmq", "The queue system does not respond", measured, "every known queue can be read", advice
    )


def _failed_jobs_high(snapshot: Snapshot, settings: HealthSettings) -> Finding | None:
    """Of the last hour: a failed set only grows until someone trims it, and would be an issue for ever."""
    state = value_or_none(snapshot.bullmq)
    if state is None:
        return None
    failed = {queue.id: failed_last_hour(queue, state.rates.get(queue.id)) for queue in state.queues}
    total = sum(failed.values())
    if total <= settings.thresholds.failed_jobs:
        return None
    worst = max(failed, key=failed.__getitem__)
    name, keys = readable(worst.name), readable(base(worst))
    how = "by the failed sets, or by the event streams where these tell of more"
    return Finding(
        "bullmq",
        "Many jobs failed",
        f"{total} jobs failed in the last hour, {failed[worst]} of them in {name}, {how}",
        f"{settings.thresholds.failed_jobs} in all queues together",
        f"Mend why they fail, then retry them. The newest job: {_any_cli(snapshot)} -c zrevrange "
        f"{quote(keys + 'failed')} 0 0; its reason: hget {quote(keys + 'ID')} failedReason.",
    )


def _events_lost(snapshot: Snapshot, _: HealthSettings) -> Finding | None:
    state = value_or_none(snapshot.bullmq)
    lost = {queue: one.lost_last_hour for queue, one in state.rates.items()} if state else {}
    if not any(lost.values()):
        return None
    worst = max(lost, key=lost.__getitem__)
    return Finding(
        "bullmq",
        "Counters of jobs are too low",
        f"{sum(lost.values())} events were trimmed unread in the last hour, {lost[worst]} of them of "
        f"{readable(worst.name)}",
        "0",
        "Give the exporter more CPU, or the queue a longer stream: new Queue(name, "
        "{streams: {events: {maxLen: 100000}}}).",
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
    return Finding(
        "host",
        "The host is short of memory",
        f"{ratio:.1%}: {size(host.memory_available)} of {size(host.memory_total)}{_limited(host)}",
        f"at least {limit:.0%} available",
        "See which process grew: ps aux --sort=-rss | head; stop it or give the machine more memory.",
    )


def _host_load_high(snapshot: Snapshot, settings: HealthSettings) -> Finding | None:
    """The 1-minute load, as node-mixin's saturation alert takes it, for each core of the machine.

    A container's cores are no measure: the load is the machine's, and a container that may use a tenth of a
    core would be overloaded for ever.
    """
    host = value_or_none(snapshot.host)
    if host is None:
        return None
    limit = settings.thresholds.host_load_per_core * host.machine_cores
    if host.load[0] <= limit:
        return None
    return Finding(
        "host",
        "The load is high",
        f"load {host.load[0]:.2f} on {_count(host.machine_cores, 'core')}",
        f"{limit:g}, which is {settings.thresholds.host_load_per_core:g} for each core",
        "See what runs or waits for disk: top -o %CPU, then iostat -x 1.",
    )


def _process_memory_high(snapshot: Snapshot, settings: HealthSettings) -> Finding | None:
    process = value_or_none(snapshot.process)
    if process is None:
        return None
    limit = process.limit or settings.thresholds.process_memory_bytes
    ratio = process.resident / limit
    if ratio <= settings.thresholds.process_memory_ratio:
        return None
    whose = "its limit" if process.limit else "what it should need"
    return Finding(
        "process",
        "The exporter's memory is high",
        f"{size(process.resident)} resident, {ratio:.0%} of {whose} ({size(limit)})",
        f"{settings.thresholds.process_memory_ratio:.0%}",
        "Raise the exporter's memory limit, or narrow BULLMQ_QUEUES.",
    )


def _source_unreadable(snapshot: Snapshot, _: HealthSettings) -> Finding | None:
    """Redis and the queues have rules of their own for that."""
    failed: dict[str, Outcome[object] | None] = {"host": snapshot.host, "process": snapshot.process}
    words = [f"{name}: {one.message}" for name, one in failed.items() if isinstance(one, Failed)]
    if not words:
        return None
    return Finding(
        "host" if isinstance(snapshot.host, Failed) else "process",
        "A source could not be read",
        "; ".join(words),
        "every source that is switched on can be read",
        "See the exporter's log; host.enabled: false switches the host's part off.",
    )


def _probe_failing(snapshot: Snapshot, _: HealthSettings) -> Finding | None:
    """One that was not asked yet is no issue; a thread that asks no more is what /readyz tells."""
    states = value_or_none(snapshot.probes) or {}
    failing = [f"{name}: {one.message}" for name, one in states.items() if one and one.failure]
    if not failing:
        return None
    return Finding(
        "probes",
        "An endpoint fails its probe",
        f"{len(failing)} of {_count(len(states), 'endpoint')}: {_some(failing)}",
        "every endpoint answers as its probe expects",
        "Look at the endpoint itself: docs/probes.md says what each failure means.",
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


# --- words -----------------------------------------------------------------------------------------------


def _cli(address: str) -> str:
    """The command that speaks to this node; it takes an IPv6 address without its brackets."""
    host, _, port = address.rpartition(":")
    return f"redis-cli -h {host.strip('[]')} -p {port}"


def _any_cli(snapshot: Snapshot) -> str:
    """The command that speaks to a node that answers, if there is one."""
    state = value_or_none(snapshot.redis)
    addresses = sorted(state.readings()) if state else []
    return _cli(addresses[0]) if addresses else _cli("HOST:PORT")


def _why(outcome: Outcome[NodeReading]) -> str:
    return outcome.message if isinstance(outcome, Failed) else "answers"


def _some(words: list[str]) -> str:
    """The first few, and how many more."""
    more = len(words) - _NAMED
    return "; ".join(words[:_NAMED]) + (f"; and {more} more" if more > 0 else "")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _limited(host: HostState) -> str:
    return ", the container's limit" if host.memory_limited else ""
