"""Causes of the conditions of work: queues, their jobs, their schedulers."""

from __future__ import annotations

from typing import Any, Final

from lab.bullmq import BullMQ
from tests.support.judgement.cause import Cause, Servers

_HOUR_MS: Final = 3_600_000


def _thresholds(**seconds: float) -> dict[str, Any]:
    return {"health": {"thresholds": seconds}}


def _queue(servers: Servers) -> None:
    """A queue with a worker."""
    servers.jobs.add("mail")
    _start_worker(servers)
    servers.jobs.wait_for_counts("mail", {"completed": 1})


def _start_worker(servers: Servers, **behaviour: Any) -> None:
    servers.workers.append(servers.jobs.start_worker("mail", behaviour=behaviour))


def _stop_worker(servers: Servers) -> None:
    while servers.workers:
        servers.jobs.stop_worker(servers.workers.pop())


def _strand(servers: Servers) -> None:
    _stop_worker(servers)
    servers.jobs.add_bulk("mail", 3)


def _hold(servers: Servers) -> None:
    """The only worker is busy, and another job waits."""
    _stop_worker(servers)
    _start_worker(servers, hold=True)
    servers.jobs.add_bulk("mail", 2)


def _replace_worker(servers: Servers) -> None:
    _stop_worker(servers)
    _start_worker(servers)


def _forget_delayed(servers: Servers) -> None:
    """BullMQ 1 without its QueueScheduler: its workers start no delayed job."""
    _stop_worker(servers)
    old = servers.undo.enter_context(BullMQ(1, url=servers.node.url))
    old.start_worker("mail", scheduler=False)
    old.add("mail", delay=10)


def _pause(servers: Servers) -> None:
    servers.jobs.pause("mail")
    servers.jobs.add("mail")


def _schedule_for_nobody(servers: Servers) -> None:
    _stop_worker(servers)
    servers.jobs.upsert_scheduler("mail", "report", every=1000)


def _schedule_and_lose(servers: Servers) -> None:
    """The next job is deleted by hand: BullMQ adds another one only when it ends."""
    servers.jobs.upsert_scheduler("mail", "report", every=_HOUR_MS)
    servers.node.cli("zremrangebyrank", "bull:mail:delayed", 0, -1)


def _schedule_twice(servers: Servers) -> None:
    for scheduler in ("report", "report-of-old"):
        repeat, job = {"every": _HOUR_MS}, {"name": "report"}
        servers.jobs.queue("mail", "upsertJobScheduler", scheduler, repeat, job)


def _unschedule(servers: Servers) -> None:
    servers.jobs.queue("mail", "removeJobScheduler", "report")


NO_CAUSE: Final = {
    "active_too_long": "a queue's own times take long to learn: tests/integration/bullmq/test_work_jobs.py",
    "active_without_lock": "a lock lives for 30 s: tests/integration/bullmq/test_work_jobs.py has it shorter",
    "jobs_stalled": "it lasts for an hour",
    "failures_rising": "it lasts for an hour",
}
"""Conditions that no test of this kind can cause in its time, and why."""

CAUSES: Final = (
    Cause(
        "jobs wait and no worker is there",
        "queue_standing_still",
        _strand,
        _start_worker,
        prepare=_queue,
        settings=_thresholds(no_worker_seconds=2),
    ),
    Cause(
        "a job waits behind a long one",
        "queue_wait_high",
        _hold,
        _replace_worker,
        prepare=_queue,
        settings=_thresholds(wait_seconds=2),
    ),
    Cause(
        "nothing starts a delayed job",
        "delayed_overdue",
        _forget_delayed,
        lambda servers: servers.jobs.drain("mail"),
        prepare=_queue,
        settings=_thresholds(delayed_overdue_seconds=2, no_start_seconds=600),
    ),
    Cause(
        "a queue with a job is paused",
        "paused_long",
        _pause,
        lambda servers: servers.jobs.resume("mail"),
        prepare=_queue,
        settings=_thresholds(paused_seconds=2),
    ),
    Cause(
        "the last worker is stopped",
        "queue_without_workers",
        _stop_worker,
        _start_worker,
        prepare=_queue,
        settings=_thresholds(without_workers_seconds=2),
    ),
    Cause(
        "every queue is removed",
        "no_queue_found",
        lambda servers: servers.node.cli("flushall"),
        lambda servers: servers.jobs.add("mail"),
        prepare=lambda servers: servers.jobs.add("mail"),
    ),
    Cause(
        "a scheduler whose queue has no worker",
        "scheduler_late",
        _schedule_for_nobody,
        _unschedule,
        prepare=_queue,
        settings=_thresholds(scheduler_late_seconds=2),
    ),
    Cause(
        "the job of a scheduler's next run is deleted",
        "scheduler_without_next",
        _schedule_and_lose,
        _unschedule,
        prepare=_queue,
        settings=_thresholds(scheduler_missing_seconds=1),
    ),
    Cause("the same scheduler twice", "scheduler_duplicate", _schedule_twice, _unschedule, prepare=_queue),
)
