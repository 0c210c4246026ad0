"""Whether the programs of a soak stay as they were: memory, descriptors, none that ends by itself; and which
alerts belong to which faults. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final

from bench.faults.plan import ATTACKS, Fault, Kind

SETTLED_SECONDS: Final = 600.0
"""From the start of a process: until then it may grow, as what it keeps is filled."""
_LEAST_SAMPLES: Final = 60
_GROWTH: Final = 1.1
_GROWTH_BYTES: Final = 16 << 20
_GROWTH_DESCRIPTORS: Final = 20


@dataclass(frozen=True, slots=True)
class Footprint:
    """A process of a program at a moment (seconds)."""

    program: str
    pid: int
    at: float
    resident: int
    descriptors: int


@dataclass(frozen=True, slots=True)
class Fired:
    """An alert that fired, from when to when (seconds)."""

    alert: str
    begin: float
    end: float


def growth(footprints: Iterable[Footprint]) -> Iterator[str]:
    """A line for each process that grew from the first third of the time that counts to the last."""
    by_process: dict[tuple[str, int], list[Footprint]] = {}
    for footprint in footprints:
        by_process.setdefault((footprint.program, footprint.pid), []).append(footprint)
    for (program, _), samples in by_process.items():
        later = [sample for sample in samples if sample.at - samples[0].at >= SETTLED_SECONDS]
        if len(later) < _LEAST_SAMPLES:
            continue
        third = len(later) // 3
        first, last = later[:third], later[-third:]
        before, after = (median(sample.resident for sample in part) for part in (first, last))
        if after > max(before * _GROWTH, before + _GROWTH_BYTES):
            yield f"{program}: {before / 1e6:.0f} MB became {after / 1e6:.0f} MB"
        before, after = (median(sample.descriptors for sample in part) for part in (first, last))
        if after > before + _GROWTH_DESCRIPTORS:
            yield f"{program}: {before:.0f} descriptors became {after:.0f}"


# --- alerts ----------------------------------------------------------------------------------------------

OF_THE_MACHINE: Final = frozenset({"HighSystemLoad", "SystemMemoryLow"})
"""Of the load that this is, on one machine."""
OF_THE_LOAD: Final = frozenset({"QueueWaitBudgetBurn", "QueueWaitBudgetBurnSlow"})
"""Jobs wait for up to an SLO here on purpose."""
_ALWAYS: Final = frozenset({"OxherdWatchdog", "QueueWithoutWorkers"})
"""The second is of the odd queue, which is named in the settings; all others have a worker at least."""
_EXPORTER: Final = frozenset({"OxherdExporterDown", "OxherdSeriesMissing"})
_FAILURES: Final = ("QueueFailureBudgetBurn", "QueueFailureBudgetBurnSlow")
"""BullMQ lets a job fail that stalled twice: of few long jobs one is over the budget."""
_LONGEST_AFTER: Final = 660.0  # RedisConnectionDown looks ten minutes back

OWN: Final[dict[Kind, frozenset[str]]] = {
    "Redis failover": frozenset({"FailoverHappened"}),
    "shard hangs": frozenset({"RedisConnectionDown", "ClusterNodeDown", "JobsStalled"}),
    "replica away": frozenset({"ClusterNodeDown", "RedisConnectionDown", "ReplicationBroken"}),
    "replica hangs": frozenset({"ReplicationBroken"}),
    "exporter away": _EXPORTER,
    "both exporters restart": _EXPORTER,
    "no more descriptors": frozenset({"OxherdBackgroundFailing", "OxherdExporterDown"}),
    "no more memory": frozenset({"OxherdBackgroundFailing", "OxherdExporterDown"}),
    "exporter stands still": frozenset({"QueueEventsLost"}),
    "pause": frozenset({"QueueWaitHigh"}),
    "rate limit": frozenset({"QueueWaitHigh"}),
    "master killed": frozenset(
        {
            *("RedisConnectionDown", "ClusterNodeDown", "FailoverHappened", "ReplicationBroken"),
            *("JobsStalled", "ActiveJobsWithoutLock", "QueueEventsLost", "QueueWaitHigh"),
            *_FAILURES,
        }
    ),
    "Redis sleeps": frozenset({"RedisConnectionDown", "ClusterNodeDown", "JobsStalled"}),
    "slow wire": frozenset({"QueueEventsLost"}),
    "broken wire": frozenset({"QueueEventsLost"}),
    "endless replies": frozenset({"QueueEventsLost"}),
    "scaler killed": frozenset({"JobsStalled", "ActiveJobsWithoutLock"}),
    "writes refused": frozenset(
        {
            *("RedisWritesRefused", "RedisSaveFailing", "JobsStalled", "ActiveJobsWithoutLock"),
            *("QueueWaitHigh", "QueueSystemDown", "HealthScoreCritical"),
            *_FAILURES,
        }
    ),
    "events trimmed": frozenset({"QueueEventsLost"}),
}
"""The alerts that a fault may lead to; of another none."""
SURE: Final[dict[Kind, str]] = {
    "replica away": "ClusterNodeDown",
    "Redis failover": "FailoverHappened",
    "master killed": "FailoverHappened",
    "writes refused": "RedisWritesRefused",
    "events trimmed": "QueueEventsLost",
}
"""The alerts that a fault has to lead to, within two minutes."""
_SOON: Final = 120.0


def strange_alerts(fired: Sequence[Fired], faults: Sequence[Fault]) -> Iterator[str]:
    """A line for each alert that is no fault's, and for each that should have been there."""
    for alert in fired:
        if alert.alert in OF_THE_MACHINE | OF_THE_LOAD | _ALWAYS:
            continue
        own = any(
            alert.alert in OWN.get(fault.kind, ())
            and fault.begin <= alert.begin <= fault.end + _LONGEST_AFTER
            for fault in faults
        )
        if not own:
            yield f"{alert.alert} fired at {alert.begin:.0f} s, which no fault explains"
    for fault in faults:
        name = SURE.get(fault.kind)
        there = any(
            alert.alert == name and alert.begin <= fault.end + _SOON and alert.end >= fault.begin
            for alert in fired
        )
        if name and not there:
            yield f"{name} did not fire for the fault at {fault.begin:.0f} s ({fault.kind})"


def unanswered(downs: Iterable[tuple[str, float]], faults: Sequence[Fault]) -> Iterator[str]:
    """A line for each scrape that an attack kept out; `downs`: exporters and moments at which one failed."""
    attacks = [fault for fault in faults if fault.kind in ATTACKS]
    for exporter, at in downs:
        fault = next((fault for fault in attacks if fault.begin + 5 <= at <= fault.end), None)
        if fault is not None:
            yield f"{exporter}: no answer to a scrape at {at:.0f} s ({fault.kind})"
