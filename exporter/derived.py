"""Facts that follow from what was read, each defined once, for metrics, page, commands, API and log. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from exporter.snapshot import JobCounts, NodeReading, QueueState, Rates, RedisState
from service.load_factor import load_factor


def waiting_jobs(jobs: JobCounts) -> int | None:
    """Jobs that a worker could take now, wherever one number is shown: waiting and prioritized.

    BullMQ's `waiting` does not contain prioritized jobs; ours contains the jobs of a paused queue already.
    None if one of the two could not be read.
    """
    if jobs.waiting is None or jobs.prioritized is None:
        return None
    return jobs.waiting + jobs.prioritized


def queue_load_factor(queue: QueueState) -> float | None:
    """Load factor from 0 to 1 (service.load_factor); None while the workers or the jobs are not known."""
    waiting, active = waiting_jobs(queue.jobs), queue.jobs.active
    if queue.workers is None or waiting is None or active is None:
        return None
    return load_factor(waiting + active, queue.workers, queue.capacity_per_worker)


def worker_utilization(queue: QueueState) -> float | None:
    """min(1, active / (workers x concurrency)); None without workers or a concurrency that is set."""
    if not queue.workers or queue.worker_concurrency is None or queue.jobs.active is None:
        return None
    return min(1.0, queue.jobs.active / (queue.workers * queue.worker_concurrency))


def failed_last_hour(queue: QueueState, rates: Rates | None) -> int:
    """Jobs that failed: by the failed set, which removeOnFail trims, or by the event stream, of which an
    exporter that has just started has read little; the larger counts, or that which could be read."""
    return max(queue.failed_last_hour or 0, rates.failed_last_hour if rates else 0)


class QueueTotals(NamedTuple):
    """Jobs of several queues; `waiting` as in `waiting_jobs`."""

    waiting: int = 0
    active: int = 0
    delayed: int = 0
    completed: int = 0
    failed: int = 0


def totals(queues: Iterable[JobCounts]) -> QueueTotals:
    """The sums over all queues of what could be read; what could not is told with its queue."""
    listed = list(queues)
    return QueueTotals(
        waiting=sum(waiting_jobs(jobs) or 0 for jobs in listed),
        active=sum(jobs.active or 0 for jobs in listed),
        delayed=sum(jobs.delayed or 0 for jobs in listed),
        completed=sum(jobs.completed or 0 for jobs in listed),
        failed=sum(jobs.failed or 0 for jobs in listed),
    )


def replication_lags(state: RedisState) -> dict[str, tuple[str, float]]:
    """Bytes of the master's replication stream that each replica does not have yet, as (master, bytes).

    The two offsets are read some milliseconds apart, so that a replica may seem ahead: that is not a lag.
    A replica whose offset or whose master's is not known is absent, and one whose link to its master is
    down: its offsets do not move then, and 0 would look well.
    """
    readings = state.readings()
    lags: dict[str, tuple[str, float]] = {}
    for node in state.topology.nodes:
        if node.role != "replica" or node.master is None:
            continue
        if not {node.address, node.master} <= readings.keys():
            continue
        if replication_link_down(readings[node.address]):
            continue
        written = readings[node.master].info.number("master_repl_offset")
        received = readings[node.address].info.number("slave_repl_offset")
        if written is not None and received is not None:
            lags[node.address] = (node.master, max(0.0, written - received))
    return lags


def replication_link_down(reading: NodeReading) -> bool:
    """Whether the node is a replica that has no link to its master (INFO)."""
    return reading.info.text("master_link_status") not in (None, "", "up")


def hit_ratio(hits: float | None, misses: float | None) -> float | None:
    """Share of the look-ups since the server's start that found their key; None when there were none."""
    if hits is None or misses is None or hits + misses <= 0:
        return None
    return hits / (hits + misses)
