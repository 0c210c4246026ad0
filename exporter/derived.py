"""Facts that follow from what was read, each defined once, for metrics, page, commands, API and log. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from math import inf
from typing import Final, NamedTuple

from exporter.snapshot.host import HostRates
from exporter.snapshot.probes import ProbeState
from exporter.snapshot.queues import JobCounts, QueueState
from exporter.snapshot.redis import NodeReading, RedisState
from exporter.snapshot.schedulers import Scheduler
from service.load_factor import load_factor

_SILENT_INTERVALS: Final = 2.0


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


def worker_concurrency(queue: QueueState) -> float | None:
    """Jobs that one worker runs at once: as set, else at least as many as were seen; None if neither is."""
    return queue.worker_concurrency or queue.measured_concurrency


def worker_utilization(queue: QueueState) -> float | None:
    """min(1, active / (workers x concurrency)); None without workers or a concurrency that is set or was
    measured. A measured one may be too low, and the ratio then too high."""
    concurrency = worker_concurrency(queue)
    if not queue.workers or not concurrency or queue.jobs.active is None:
        return None
    return min(1.0, queue.jobs.active / (queue.workers * concurrency))


def scheduler_lateness(scheduler: Scheduler, now: float) -> float | None:
    """Seconds since the next run was due, at least 0; `now` in unix s. None: none is to come.

    A worker that takes its job adds the next at once, and that is the next run then.
    """
    return None if scheduler.job == "over" else max(0.0, now - scheduler.next_run)


def silent_at(scheduler: Scheduler, held_at: float = 0.0) -> float:
    """Unix s at which a scheduler with an interval has not run for two of them, a pause until `held_at` left
    out; inf where it is not known."""
    if scheduler.every is None or scheduler.quiet_since is None:
        return inf
    return max(scheduler.quiet_since, held_at) + _SILENT_INTERVALS * scheduler.every


class QueueTotals(NamedTuple):
    """Jobs of several queues; `waiting` as in `waiting_jobs`."""

    waiting: int = 0
    active: int = 0
    delayed: int = 0
    completed: int = 0
    failed: int = 0


def totals(queues: Iterable[JobCounts]) -> QueueTotals:
    """The sums over all queues of what could be read; what could not is reported with its queue."""
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
        if master_link_up(readings[node.address]) is False:
            continue
        written = readings[node.master].info.number("master_repl_offset")
        received = readings[node.address].info.number("slave_repl_offset")
        if written is not None and received is not None:
            lags[node.address] = (node.master, max(0.0, written - received))
    return lags


_NOT_BUSY = frozenset({"idle", "iowait"})


def error_rate(probe: ProbeState) -> float | None:
    """Share of the probes of an endpoint since the start that failed; None before the first."""
    probes = sum(probe.durations.counts)
    return min(1.0, sum(probe.failures.values()) / probes) if probes else None


def cpu_usage(rates: HostRates | None) -> float | None:
    """Share of the CPUs' time, 0 to 1, that was neither idle nor waiting for a disk; None without rates."""
    if rates is None or not rates.cpu:
        return None
    return min(1.0, sum(share for mode, share in rates.cpu.items() if mode not in _NOT_BUSY))


def master_link_up(reading: NodeReading) -> bool | None:
    """Whether a replica's link to its master is up; None for a master, and where it is not known."""
    status = reading.info.text("master_link_status")
    return status == "up" if status else None


def master_link_broken(reading: NodeReading) -> bool:
    """Whether a replica has no link to its master, and does not receive its first copy of the data either."""
    return master_link_up(reading) is False and not reading.info.number("master_sync_in_progress")


def keys(reading: NodeReading) -> int | None:
    """Keys of all databases of a node; None where INFO has no keyspace."""
    return sum(row.keys for row in reading.keyspace.values()) if reading.keyspace else None


def hit_ratio(hits: float | None, misses: float | None) -> float | None:
    """Share of the look-ups since the server's start that found their key; None when there were none."""
    if hits is None or misses is None or hits + misses <= 0:
        return None
    return hits / (hits + misses)
