"""BullMQ's queues, from their keys, by Redis commands that only read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from hashlib import md5
from operator import attrgetter
from typing import Final, get_args

from exporter.assessment import Assessment
from exporter.derived import (
    queue_load_factor,
    scheduler_lateness,
    worker_concurrency,
    worker_utilization,
)
from exporter.metrics.family import Family, Sample, Table, TableColumn
from exporter.snapshot.queues import (
    BullMQState,
    Changes,
    JobCounts,
    LeftOut,
    LeftOutReason,
    OwnCounts,
    QueueId,
    QueueState,
)
from exporter.snapshot.schedulers import Scheduler
from service.outcome import value_or_none

_QUEUE: Final = ("prefix", "queue")
_LONGEST_LABEL: Final = 120


def _state(assessment: Assessment) -> BullMQState | None:
    return value_or_none(assessment.snapshot.bullmq)


def queue_changes(assessment: Assessment) -> Changes | None:
    """The queues of which state or events changed."""
    state = _state(assessment)
    return state.changes if state else None


def _up(assessment: Assessment) -> Iterator[Sample]:
    if assessment.snapshot.bullmq is not None:
        state = _state(assessment)
        yield (), float(state is not None and state.up)


def _queues(assessment: Assessment) -> Iterator[Sample]:
    state = _state(assessment)
    if state is not None and state.discovered:
        yield (), float(len(state.queues) + len(state.unread))


def _left_out(assessment: Assessment) -> Iterator[Sample]:
    state = _state(assessment)
    if state is not None and state.discovered:
        for reason in get_args(LeftOutReason):
            yield (reason,), float(state.search.left_out.get(reason, LeftOut()).number)


def _by_id(assessment: Assessment) -> Mapping[QueueId, QueueState]:
    state = _state(assessment)
    return state.by_id if state else {}


def _own_counts(assessment: Assessment) -> Mapping[QueueId, OwnCounts]:
    state = _state(assessment)
    return state.own if state else {}


def _failed_last_hour(assessment: Assessment) -> Mapping[QueueId, int]:
    state = _state(assessment)
    if state is None:
        return {}
    rates, failed = state.rates, state.failed_last_hour.get
    return {
        queue.id: failed(queue.id, 0)
        for queue in state.queues
        if queue.failed_last_hour is not None or queue.id in rates
    }


_QUEUES: Final = Table(
    _by_id,
    attrgetter(
        "jobs",
        "paused",
        "schedulers",
        "delayed_overdue",
        "delayed_due",
        "workers",
        "concurrency_limit",
        "capacity_per_worker",
        "worker_concurrency",
        "measured_concurrency",
        "library",
        "version",
    ),
    queue_changes,
)
_OWN: Final = Table(_own_counts, lambda own: own)
_FAILED: Final = Table(_failed_last_hour, lambda jobs: jobs)
_STATES: Final = tuple((state.replace("_", "-"),) for state in JobCounts._fields)


def _each_scheduler(
    value: Callable[[Scheduler, float], float | None],
) -> Callable[[Assessment], Iterable[Sample]]:
    """One sample per scheduler that has series of its own; none if the value is None."""

    def read(assessment: Assessment) -> Iterable[Sample]:
        state = _state(assessment)
        samples = (
            ((*queue, scheduler_label(scheduler.id)), value(scheduler, schedulers.now))
            for queue, schedulers in (state.schedulers if state else {}).items()
            for scheduler in schedulers.published
        )
        return [(labels, number) for labels, number in samples if number is not None]

    return read


def scheduler_label(scheduler: str) -> str:
    """A scheduler's id; a long one is cut, with a digest of the whole, so that no two become the same."""
    if len(scheduler) <= _LONGEST_LABEL:
        return scheduler
    digest = md5(scheduler.encode("utf-8", "surrogateescape"), usedforsecurity=False).hexdigest()
    return f"{scheduler[:_LONGEST_LABEL]}...{digest[:8]}"


def _next_run(scheduler: Scheduler, _: float) -> float | None:
    return None if scheduler.job == "over" else scheduler.next_run


def _scheduler(name: str, text: str, value: Callable[[Scheduler, float], float | None]) -> Family:
    return Family(
        f"bullmq_scheduler_{name}_seconds", "gauge", text, (*_QUEUE, "scheduler"), _each_scheduler(value)
    )


def _own(name: str, text: str, value: Callable[[OwnCounts], int | None]) -> Family:
    """A count that BullMQ itself keeps."""
    return Family.of_column(
        f"bullmq_{name}_total",
        "counter",
        f"{text} Read every discovery interval.",
        _QUEUE,
        TableColumn(_OWN, value),
    )


def _per_queue(
    name: str, text: str, value: Callable[[QueueState], float | None], *, moving: bool = False
) -> Family:
    return Family.of_column(
        f"bullmq_queue_{name}", "gauge", text, _QUEUE, TableColumn(_QUEUES, value, moving=moving)
    )


FAMILIES: Final[tuple[Family, ...]] = (
    Family(
        "bullmq_up",
        "gauge",
        "1 when Redis answered and the state of every known queue could be read in this scrape, else 0.",
        (),
        _up,
    ),
    Family(
        "bullmq_queues",
        "gauge",
        "Known queues, including those that could not be read; "
        "absent until the first search for queues has ended.",
        (),
        _queues,
    ),
    Family(
        "bullmq_queues_left_out",
        "gauge",
        "Queues that were found and are not watched, so that they have no series: those above "
        "bullmq.max_queues, and those with a prefix and name that are too long. Counted up to 100,000; "
        "absent until the first search for queues has ended.",
        ("reason",),
        _left_out,
    ),
    Family.of_column(
        "bullmq_queue_info",
        "gauge",
        "1 for each queue that could be read. library: bullmq, or bull for its predecessor Bull 3 and 4; "
        "version: that of the BullMQ that wrote the queue's meta key last, empty if none did (Bull, Python).",
        (*_QUEUE, "library", "version"),
        TableColumn(_QUEUES, attrgetter("library", "version"), lambda info: ((info, 1.0),)),
    ),
    Family.of_column(
        "bullmq_job_count",
        "gauge",
        "Jobs in each state of BullMQ's getJobCounts; waiting includes the jobs of a paused queue, and "
        "those of Bull that have a priority. "
        "completed and failed are the jobs that are kept, which removeOnComplete and removeOnFail trim. "
        "Jobs in groups of BullMQ Pro are not counted.",
        (*_QUEUE, "state"),
        TableColumn(_QUEUES, attrgetter("jobs"), lambda jobs: zip(_STATES, jobs, strict=True)),
    ),
    _per_queue(
        "paused",
        "1 while the queue is paused, else 0.",
        lambda queue: None if queue.paused is None else int(queue.paused),
    ),
    _per_queue(
        "workers",
        "Workers of the queue, by their connections' names in CLIENT LIST; absent if these cannot tell. In a "
        "cluster at least so many: the highest count of all nodes, or of workers that hold locks of active "
        "jobs.",
        attrgetter("workers"),
    ),
    _per_queue(
        "concurrency_limit",
        "Jobs that all workers of the queue together may run at once; absent if no such limit is set.",
        attrgetter("concurrency_limit"),
    ),
    _per_queue(
        "rate_limit_ttl_seconds",
        "Seconds until the rate limit lets jobs start again, 0 while it does not delay jobs. If only the "
        "workers know the limit, the remaining time of its current window; absent without a limit.",
        attrgetter("rate_limit_ttl"),
        moving=True,
    ),
    _per_queue(
        "oldest_waiting_seconds",
        "Seconds since the job at the head of the queue could first be taken: since it was added and its "
        "delay passed, or since its last attempt began. Absent while no job waits, and while that job was "
        "retried by hand, as BullMQ does not store that time. Prioritized jobs are ignored.",
        attrgetter("oldest_waiting"),
        moving=True,
    ),
    _per_queue(
        "longest_active_seconds",
        "Seconds since the start of the job that has been active longest; absent while no job is active.",
        attrgetter("longest_active"),
        moving=True,
    ),
    _per_queue(
        "delayed_overdue",
        "Delayed jobs whose delay has passed and that no worker has promoted yet.",
        attrgetter("delayed_overdue"),
    ),
    _per_queue(
        "delayed_due",
        "Delayed jobs that become due within a minute; the scaler anticipates them.",
        attrgetter("delayed_due"),
    ),
    Family.of_column(
        "bullmq_queue_failed_last_hour",
        "gauge",
        "Jobs that failed in the last hour: those in the failed set, or those of the event stream where they "
        "are more, as removeOnFail trims the set and an exporter that has just started has read little.",
        _QUEUE,
        TableColumn(_FAILED, float),
    ),
    _per_queue(
        "schedulers",
        "Job schedulers and repeatable jobs of the queue.",
        attrgetter("schedulers"),
    ),
    _scheduler(
        "next_run_timestamp",
        "Unix seconds at which the next job of a scheduler or repeatable job is due; absent once its limit "
        "or end date is reached. bullmq.schedulers.series_per_queue bounds how many of a queue have series.",
        _next_run,
    ),
    _scheduler(
        "last_run_timestamp",
        "Unix seconds at which a worker took the last job of the scheduler, which is when BullMQ added the "
        "next; absent before the first run, and after an upsert until the next unless the exporter saw it.",
        lambda scheduler, _: scheduler.last_run,
    ),
    _scheduler(
        "lateness",
        "Seconds since the next job of the scheduler was due, until a worker takes it; 0 before. Also while "
        "the queue is paused.",
        scheduler_lateness,
    ),
    _per_queue(
        "load_factor",
        "Ratio 0 to 1: (waiting + prioritized + active) / workers / capacity of a worker, at most 1; "
        "without a worker 1 while there is work and 0 otherwise.",
        queue_load_factor,
    ),
    _per_queue(
        "worker_utilization",
        "Ratio 0 to 1: active / (workers x bullmq_queue_worker_concurrency), at most 1; absent without "
        "either.",
        worker_utilization,
    ),
    _per_queue(
        "worker_concurrency",
        "Jobs that one worker runs at once, as set; otherwise as measured, which is a lower bound: the most "
        "active jobs per worker in the last hour while jobs waited for a second or longer. Absent until that "
        "was seen.",
        worker_concurrency,
    ),
    _own(
        "metrics_completed",
        "Jobs that completed, as BullMQ's own metrics count them: only if workers set `metrics`, otherwise "
        "absent. Comparable with bullmq_job_completed_total.",
        attrgetter("completed"),
    ),
    _own(
        "metrics_failed",
        "Jobs that failed permanently, as BullMQ's own metrics count them: only if workers set `metrics`, "
        "otherwise absent. Comparable with bullmq_job_failed_total.",
        attrgetter("failed"),
    ),
    _own(
        "ids",
        "Calls that added a job, by the id counter of the queue, including custom ids, duplicates and "
        "schedulers; absent before the first call; starts again at 0 after obliterate().",
        attrgetter("ids"),
    ),
)
