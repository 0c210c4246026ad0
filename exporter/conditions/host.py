"""Conditions of the host, of this process, and of the probed endpoints."""

from __future__ import annotations

from typing import Final

from exporter.conditions.finding import Finding, each_once, first_few
from exporter.config.health import HealthSettings
from exporter.snapshot.whole import Snapshot
from service.i18n import Message
from service.outcome import Failed, Outcome, value_or_none
from service.units import duration, size

_PUSHES: Final = 2  # that failed in a row


def host_memory_low(snapshot: Snapshot, settings: HealthSettings) -> Finding | None:
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


def host_load_high(snapshot: Snapshot, settings: HealthSettings) -> Finding | None:
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


def process_memory_high(snapshot: Snapshot, settings: HealthSettings) -> Finding | None:
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


def otlp_push_failing(snapshot: Snapshot, _: HealthSettings) -> Finding | None:
    """One push that failed is made good by the next, as each has all series."""
    process = value_or_none(snapshot.process)
    if process is None or process.push is None or process.push.failures < _PUSHES:
        return None
    push = process.push
    return Finding(
        "process",
        Message("issue.otlp_push_failing.title"),
        Message(
            "issue.otlp_push_failing.measured",
            count=push.failures,
            time=duration(push.seconds),
            reason=push.reason,
        ),
        Message("issue.otlp_push_failing.threshold"),
        Message("issue.otlp_push_failing.recommendation"),
    )


def source_unreadable(snapshot: Snapshot, _: HealthSettings) -> Finding | None:
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
        each_once([name for name, part in sources.items() if isinstance(part, Failed)]),
    )


def probe_failing(snapshot: Snapshot, _: HealthSettings) -> Finding | None:
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
            failures=first_few(failures),
        ),
        Message("issue.probe_failing.threshold"),
        Message("issue.probe_failing.recommendation"),
        each_once([name for name, state in states.items() if state and state.failure]),
    )
