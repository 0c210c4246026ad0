"""Causes of the conditions of work: queues that stand, wait, are paused, and their schedulers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from lab.bullmq import BullMQ
from tests.support.judgement.cause import Cause, Servers, World

_HOUR_MS: Final = 3_600_000

Act = Callable[[Servers], object]


def limits(queue: str, **thresholds: float | bool) -> dict[str, Any]:
    """Thresholds of one queue alone."""
    return {"health": {"queues": [{"match": queue, **thresholds}]}}


def served(queue: str) -> Act:
    """A queue with a worker, which has completed a job."""

    def prepare(servers: Servers) -> None:
        servers.jobs.add(queue)
        servers.start_worker(queue)
        servers.jobs.wait_for_counts(queue, {"completed": 1})

    return prepare


def start_worker(queue: str) -> Act:
    return lambda servers: servers.start_worker(queue)


def _stop_workers(queue: str) -> Act:
    return lambda servers: servers.stop_workers(queue)


def _strand(servers: Servers) -> None:
    servers.stop_workers("mail")
    servers.jobs.add_bulk("mail", 3)


def _hold(servers: Servers) -> None:
    """The only worker is busy, and another job waits."""
    servers.stop_workers("long")
    servers.start_worker("long", behaviour={"hold": True})
    servers.jobs.add_bulk("long", 2)


def _replace_worker(servers: Servers) -> None:
    servers.stop_workers("long")
    servers.start_worker("long")


def _forget_delayed(servers: Servers) -> None:
    """BullMQ 1 without its QueueScheduler: its workers start no delayed job."""
    servers.stop_workers("later")
    old = servers.undo.enter_context(BullMQ(1, url=servers.node.url))
    old.start_worker("later", scheduler=False)
    old.add("later", delay=10)


def _pause(servers: Servers) -> None:
    servers.jobs.pause("held")
    servers.jobs.add("held")


def _fail_child(servers: Servers) -> None:
    """Without an option of a flow: its parent waits for it for ever."""
    servers.start_worker("child", behaviour={"fail": True})
    child = {"name": "c", "queueName": "child", "data": {}, "opts": {"jobId": "c"}}
    servers.jobs.add_flow({"name": "p", "queueName": "parent", "data": {}, "children": [child]})


def _remove_child(servers: Servers) -> None:
    servers.jobs.wait_for_counts("child", {"failed": 1})
    servers.jobs.queue("child", "remove", "c")


def _schedule_for_nobody(servers: Servers) -> None:
    servers.stop_workers("cron")
    servers.jobs.upsert_scheduler("cron", "report", every=1000)


def _schedule_and_lose(servers: Servers) -> None:
    """The next job is deleted by hand: BullMQ adds another one only when it ends."""
    servers.jobs.upsert_scheduler("once", "report", every=_HOUR_MS)
    servers.jobs.wait_for_counts("once", {"delayed": 1, "waiting": 0, "active": 0})  # the first runs at once
    servers.node.cli("zremrangebyrank", "bull:once:delayed", 0, -1)


def _schedule_twice(servers: Servers) -> None:
    for scheduler in ("report", "report-of-old"):
        repeat, job = {"every": _HOUR_MS}, {"name": "report"}
        servers.jobs.queue("twice", "upsertJobScheduler", scheduler, repeat, job)


def _unschedule(queue: str) -> Act:
    return lambda servers: servers.jobs.queue(queue, "removeJobScheduler", "report")


STANDING: Final = (
    Cause(
        "jobs wait and no worker is there",
        "queue_standing_still",
        _strand,
        start_worker("mail"),
        prepare=served("mail"),
        settings=limits("mail", no_worker_seconds=2),
    ),
    Cause(
        "a queue with a job is paused",
        "paused_long",
        _pause,
        lambda servers: servers.jobs.resume("held"),
        prepare=served("held"),
        settings=limits("held", paused_seconds=2),
    ),
    Cause(
        "a child fails and its parent waits",
        "waiting_children_long",
        _fail_child,
        _remove_child,
        prepare=served("parent"),
        settings=limits("parent", waiting_children_seconds=2),
    ),
    Cause(
        "the job of a scheduler's next run is deleted",
        "scheduler_without_next",
        _schedule_and_lose,
        _unschedule("once"),
        prepare=served("once"),
        settings=limits("once", scheduler_missing_seconds=1),
    ),
    Cause(
        "the same scheduler twice",
        "scheduler_duplicate",
        _schedule_twice,
        _unschedule("twice"),
        prepare=served("twice"),
    ),
)
"""Whose alerts do not follow from a queue that stands still."""

_LATE: Final = (
    Cause(
        "a job waits behind a long one",
        "queue_wait_high",
        _hold,
        _replace_worker,
        prepare=served("long"),
        settings=limits("long", wait_seconds=2),
    ),
    Cause(
        "nothing starts a delayed job",
        "delayed_overdue",
        _forget_delayed,
        lambda servers: servers.jobs.drain("later"),
        prepare=served("later"),
        settings=limits("later", delayed_overdue_seconds=2, no_start_seconds=600),
    ),
    Cause(
        "the last worker is stopped",
        "queue_without_workers",
        _stop_workers("idle"),
        start_worker("idle"),
        prepare=served("idle"),
        settings=limits("idle", without_workers_seconds=2),
    ),
    Cause(
        "a scheduler whose queue has no worker",
        "scheduler_late",
        _schedule_for_nobody,
        _unschedule("cron"),
        prepare=served("cron"),
        settings=limits("cron", scheduler_late_seconds=2, no_worker_seconds=600),
    ),
)
"""QueueSystemDown inhibits their alerts."""

WORLDS: Final = (
    World("queues that are late", _LATE),
    World.of(
        Cause(
            "every queue is removed",
            "no_queue_found",
            lambda servers: servers.node.cli("flushall"),
            lambda servers: servers.jobs.add("mail"),
            prepare=lambda servers: servers.jobs.add("mail"),
        )
    ),
)
