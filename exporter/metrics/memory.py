"""How much memory the queues take, by queue and state, and how the nodes' memory grows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from exporter.assessment import Assessment
from exporter.metrics.family import Family, Sample, Table, TableColumn
from exporter.snapshot.memory import MemoryState, QueueMemory, StateMemory
from exporter.snapshot.queues import MeasuredMemory, QueueId
from service.outcome import value_or_none

_QUEUE: Final = ("prefix", "queue")


def _memory(assessment: Assessment) -> MeasuredMemory:
    state = value_or_none(assessment.snapshot.bullmq)
    return state.memory if state and state.memory else MeasuredMemory()


def _published(assessment: Assessment) -> Mapping[QueueId, QueueMemory]:
    return _memory(assessment).published


def _states(states: Mapping[MemoryState, StateMemory]) -> Iterator[tuple[tuple[str, ...], float]]:
    return (((name,), float(round(state.bytes))) for name, state in states.items())


_TABLE: Final = Table(_published, lambda measured: measured)


def _totals(assessment: Assessment) -> Iterator[Sample]:
    return (((name,), float(total)) for name, total in _memory(assessment).totals.items())


def _growths(assessment: Assessment) -> Iterator[Sample]:
    for address, node in _memory(assessment).nodes.items():
        if node.growth is not None:
            yield (address,), node.growth.rate


def _until_full(assessment: Assessment) -> Iterator[Sample]:
    for address, node in _memory(assessment).nodes.items():
        if node.full_in is not None:
            yield (address,), node.full_in


FAMILIES: Final[tuple[Family, ...]] = (
    Family.of_column(
        "bullmq_queue_memory_bytes",
        "gauge",
        "Bytes of the queue in Redis (MEMORY USAGE of a sample): its jobs by state with their logs, locks "
        "and children and the list or set of the state; schedulers; its event stream (events); its other "
        "keys (other). Of the bullmq.memory.series_queues queues that take most; a new one every "
        "bullmq.memory.interval_seconds.",
        (*_QUEUE, "state"),
        TableColumn(_TABLE, lambda measured: measured.states, _states),
    ),
    Family.of_column(
        "bullmq_queue_memory_error_bytes",
        "gauge",
        "Standard error in bytes of the sum of the queue's bullmq_queue_memory_bytes: with a probability of "
        "95 % it is not off by more than twice that.",
        _QUEUE,
        TableColumn(_TABLE, lambda measured: float(round(measured.error))),
    ),
    Family.of_column(
        "bullmq_queue_memory_measured_timestamp_seconds",
        "gauge",
        "Unix seconds at which the queue's memory was measured.",
        _QUEUE,
        TableColumn(_TABLE, lambda measured: measured.at),
    ),
    Family(
        "bullmq_memory_bytes",
        "gauge",
        "Bytes of all queues that were measured lately, by state as in bullmq_queue_memory_bytes, also of "
        "those without series of their own.",
        ("state",),
        _totals,
    ),
    Family(
        "redis_memory_growth_bytes_per_second",
        "gauge",
        "By how many bytes a second used_memory of the node grew, by least squares over up to the last day; "
        "absent in the first 15 minutes.",
        ("node",),
        _growths,
    ),
    Family(
        "redis_memory_until_full_seconds",
        "gauge",
        "Seconds until used_memory reaches maxmemory at this rate; absent without a maxmemory, and while it "
        "does not grow.",
        ("node",),
        _until_full,
    ),
)
