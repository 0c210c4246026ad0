"""BullMQ's queues, as their keys say (redis commands that only read)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from operator import attrgetter
from typing import Final

from exporter.assessment import Assessment
from exporter.derived import queue_load_factor, worker_utilization
from exporter.metrics.family import Family, Sample
from exporter.snapshot import BullMQState, OwnCounts, QueueState
from service.outcome import value_or_none

_QUEUE: Final = ("prefix", "queue")


def _state(assessment: Assessment) -> BullMQState | None:
    return value_or_none(assessment.snapshot.bullmq)


def _up(assessment: Assessment) -> Iterator[Sample]:
    if assessment.snapshot.bullmq is not None:
        state = _state(assessment)
        yield (), float(state is not None and state.up)


def _queues(assessment: Assessment) -> Iterator[Sample]:
    state = _state(assessment)
    if state is not None and state.discovered:
        yield (), float(len(state.queues) + len(state.unread))


def _job_count(assessment: Assessment) -> Iterable[Sample]:
    state = _state(assessment)
    samples: list[Sample] = []
    for queue in state.queues if state else ():
        prefix, name = queue.id
        jobs = queue.jobs
        samples += (
            ((prefix, name, "waiting"), jobs.waiting),
            ((prefix, name, "active"), jobs.active),
            ((prefix, name, "delayed"), jobs.delayed),
            ((prefix, name, "prioritized"), jobs.prioritized),
            ((prefix, name, "waiting-children"), jobs.waiting_children),
            ((prefix, name, "completed"), jobs.completed),
            ((prefix, name, "failed"), jobs.failed),
        )
    return samples


def _each(value: Callable[[QueueState], float | None]) -> Callable[[Assessment], Iterable[Sample]]:
    """One sample a queue, none where the value is None."""

    def read(assessment: Assessment) -> Iterable[Sample]:
        state = _state(assessment)
        pairs = ((queue.id, value(queue)) for queue in (state.queues if state else ()))
        return [(labels, one) for labels, one in pairs if one is not None]

    return read


def _own(name: str, text: str, value: Callable[[OwnCounts], int | None]) -> Family:
    """A count of BullMQ's own."""

    def read(assessment: Assessment) -> Iterable[Sample]:
        state = _state(assessment)
        pairs = ((queue, value(one)) for queue, one in (state.own if state else {}).items())
        return [(queue, count) for queue, count in pairs if count is not None]

    return Family(f"bullmq_{name}_total", "counter", f"{text} Read every discovery interval.", _QUEUE, read)


def _per_queue(name: str, text: str, value: Callable[[QueueState], float | None]) -> Family:
    return Family(f"bullmq_queue_{name}", "gauge", text, _QUEUE, _each(value))


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
        "Queues that are known, those that could not be read included; "
        "absent until the first search for queues has ended.",
        (),
        _queues,
    ),
    Family(
        "bullmq_job_count",
        "gauge",
        "Jobs in each state, as BullMQ's getJobCounts counts them; waiting includes those of a paused queue. "
        "completed and failed are what is kept, which removeOnComplete and removeOnFail trim.",
        (*_QUEUE, "state"),
        _job_count,
    ),
    _per_queue("paused", "1 while the queue is paused, else 0.", lambda queue: int(queue.paused)),
    _per_queue(
        "workers",
        "Workers connected to the queue, by their connections' names in CLIENT LIST; "
        "the node that sees most of them counts.",
        attrgetter("workers"),
    ),
    _per_queue(
        "concurrency_limit",
        "Jobs that all workers of the queue together may run at once; absent where no such limit is set.",
        attrgetter("concurrency_limit"),
    ),
    _per_queue(
        "rate_limit_ttl_seconds",
        "Seconds until the rate limit lets jobs start again, 0 while it does not hold any back. Where only "
        "the workers know the limit, what is left of its current window; absent where there is none.",
        attrgetter("rate_limit_ttl"),
    ),
    _per_queue(
        "oldest_waiting_seconds",
        "Seconds since the job at the head of the queue could first be taken: since it was added and its "
        "delay passed, or since its last attempt began. Absent while none waits, and while that job is one "
        "that was put back by hand, of which BullMQ keeps no time. Prioritized jobs are not looked at.",
        attrgetter("oldest_waiting"),
    ),
    _per_queue(
        "longest_active_seconds",
        "Seconds since the job that has been active longest was started; absent while none is active.",
        attrgetter("longest_active"),
    ),
    _per_queue(
        "delayed_overdue",
        "Delayed jobs whose time has come and that no worker has promoted yet.",
        attrgetter("delayed_overdue"),
    ),
    _per_queue(
        "delayed_due",
        "Delayed jobs that fall due within a minute: the scaler looks ahead by it.",
        attrgetter("delayed_due"),
    ),
    _per_queue(
        "schedulers",
        "Job schedulers and repeatable jobs of the queue.",
        attrgetter("schedulers"),
    ),
    _per_queue(
        "load_factor",
        "Ratio 0 to 1: (waiting + prioritized + active) / workers / capacity of a worker, at most 1; "
        "without a worker 1 while there is work and 0 otherwise.",
        queue_load_factor,
    ),
    _per_queue(
        "worker_utilization",
        "Ratio 0 to 1: active / (workers x their concurrency), at most 1; "
        "only where the settings tell the concurrency of a worker.",
        worker_utilization,
    ),
    _own(
        "metrics_completed",
        "Jobs that completed, as BullMQ's own metrics count them: only where workers set `metrics`, absent "
        "else. A second opinion on bullmq_job_completed_total.",
        attrgetter("completed"),
    ),
    _own(
        "metrics_failed",
        "Jobs that failed for good, as BullMQ's own metrics count them: only where workers set `metrics`, "
        "absent else. A second opinion on bullmq_job_failed_total.",
        attrgetter("failed"),
    ),
    _own(
        "ids",
        "Calls that added a job, as the queue's id counter says: custom ids, duplicates and schedulers "
        "included; absent until there was one, anew after obliterate().",
        attrgetter("ids"),
    ),
)
