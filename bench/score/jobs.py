"""The causes of conditions of queues, jobs and schedulers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from bench.score.cause import Act, Cause
from bench.score.world import BUSY, FAILING, World

_FAILURES: Final = 120  # over the thresholds of the score (50) and of the alert (100)
_HOUR_MS: Final = 3_600_000
_GONE_SECONDS: Final = 25.0
_SHORT_LOCK: Final[Mapping[str, Any]] = {"lockDuration": 1000, "stalledInterval": 500, "maxStalledCount": 5}
_FOUND: Final[Mapping[str, Any]] = {"bullmq": {"queues": []}}
_NO_EVENTS: Final[Mapping[str, Any]] = {"bullmq": {"queues": [BUSY, FAILING], "events": False}}
"""With events, what failed counts for an hour."""


def _own(**thresholds: float) -> Mapping[str, Any]:
    """Of the busy queue."""
    return {"health": {"queues": [{"match": BUSY, **thresholds}]}}


def _fail_jobs(world: World, jobs: int = _FAILURES) -> None:
    world.stop_workers(FAILING)
    world.start_worker(FAILING, fail=True)
    world.bullmq.add_bulk(FAILING, jobs)
    world.bullmq.wait_for_counts(FAILING, {"failed": jobs})


def _remove_failed(world: World) -> None:
    world.bullmq.queue(FAILING, "clean", 0, 1000, "failed")


def _fail_most(world: World) -> None:
    _fail_jobs(world, 30)


def _complete_more(world: World) -> None:
    world.stop_workers(FAILING)
    world.start_worker(FAILING)
    world.bullmq.add_bulk(FAILING, 300)


def _no_worker(world: World) -> None:
    world.stop_workers(BUSY)
    world.bullmq.add_bulk(BUSY, 1000)


def _worker(world: World) -> None:
    world.start_worker(BUSY)


def _due_without_worker(world: World) -> None:
    world.stop_workers(BUSY)
    world.bullmq.add(BUSY, delay=1000)


def _schedule_without_worker(world: World) -> None:
    world.stop_workers(BUSY)
    world.bullmq.upsert_scheduler(BUSY, "report", every=5000)


def _schedule_behind_full_slots(world: World) -> None:
    world.stop_workers(BUSY)
    world.start_worker(BUSY, hold=True)
    world.bullmq.add_bulk(BUSY, 10)
    world.bullmq.upsert_scheduler(BUSY, "report", every=5000)


def _unschedule_and_free(world: World) -> None:
    world.stop_workers(BUSY)
    _unschedule(world)


def _schedule_and_lose(world: World) -> None:
    """A job that is deleted by hand: BullMQ adds the next one when it ends, so there is none ever more."""
    world.bullmq.upsert_scheduler(BUSY, "report", every=3_600_000)
    world.cluster.cli("zremrangebyrank", f"bull:{BUSY}:delayed", 0, -1)


def _schedule_twice(world: World) -> None:
    for scheduler in ("report", "report-of-old"):
        world.bullmq.queue(BUSY, "upsertJobScheduler", scheduler, {"every": 3_600_000}, {"name": "report"})


def _unschedule(world: World) -> None:
    for scheduler in ("report", "report-of-old"):
        world.bullmq.queue(BUSY, "removeJobScheduler", scheduler)
    if not world.workers.get(BUSY):
        world.start_worker(BUSY)


def _hold(world: World) -> None:
    """Every slot is busy, and another job waits."""
    world.stop_workers(BUSY)
    world.start_worker(BUSY, hold=True)
    world.bullmq.add_bulk(BUSY, 6)


def _replace_worker(world: World) -> None:
    world.stop_workers(BUSY)
    world.start_worker(BUSY)


def _forget_delayed(world: World) -> None:
    """Workers of BullMQ 1, without its QueueScheduler, start no delayed job."""
    world.stop_workers(BUSY)
    old = world.start_other(1)
    old.start_worker(BUSY, scheduler=False)
    old.add(BUSY, delay=1000)


def _drain(world: World) -> None:
    world.bullmq.drain(BUSY)
    world.start_worker(BUSY)


def _killed(world: World, jobs: int, **options: Any) -> None:
    """A process with a worker that has these jobs, and is killed."""
    other = world.start_other()
    other.start_worker(BUSY, concurrency=jobs, behaviour={"hold": True}, **options)
    world.bullmq.add_bulk(BUSY, jobs)
    world.bullmq.wait_for_counts(BUSY, {"active": jobs})
    other.process.kill()


def _lose(world: World) -> None:
    """The workers that are left look for no stalled job."""
    world.stop_workers(BUSY)
    _killed(world, 1)
    world.start_worker(BUSY, options={"skipStalledCheck": True})


def _stall(world: World) -> None:
    """The worker that is left gives them back."""
    world.stop_workers(BUSY)
    _killed(world, 3, **_SHORT_LOCK)
    world.start_worker(BUSY, options=_SHORT_LOCK)


def _never_end(world: World) -> None:
    """One among many others that took 20 ms."""
    world.bullmq.add_bulk(BUSY, 300)
    world.bullmq.wait_for_counts(BUSY, {"waiting": 0, "active": 0})
    world.stop_workers(BUSY)
    world.start_worker(BUSY, hold=True)
    world.bullmq.add(BUSY)


def _pause(world: World) -> None:
    world.bullmq.pause(BUSY)
    world.bullmq.add(BUSY)


def _stop_workers(world: World) -> None:
    world.stop_workers(BUSY)


def _fail_a_child(world: World) -> None:
    """Without an option that says what its failure means for the parent."""
    child = {"name": "child", "queueName": BUSY, "data": {}}
    world.stop_workers(BUSY)
    world.start_worker(BUSY, fail=True)
    world.bullmq.add_flow({"name": "parent", "queueName": BUSY, "data": {}, "children": [child]})


def _lose_events(world: World) -> None:
    """One call adds more events than the stream keeps."""
    world.cluster.cli("hset", f"bull:{FAILING}:meta", "opts.maxLenEvents", 10)
    world.bullmq.add(FAILING, delay=_HOUR_MS)
    world.watch(15)  # the exporter follows the stream
    world.bullmq.add_bulk(FAILING, 1500, delay=_HOUR_MS)


def _remove(queue: str) -> Act:
    """The queue, until the exporter has seen that it is gone: what it knew of the last hour goes with it."""

    def act(world: World) -> None:
        world.stop_workers(queue)
        world.bullmq.obliterate(queue)
        world.watch(_GONE_SECONDS)
        world.bullmq.counts(queue)
        world.start_worker(queue)

    return act


def _remove_all(world: World) -> None:
    for queue in (BUSY, FAILING):
        world.stop_workers(queue)
    for master in world.cluster.masters():
        master.cli("flushall")


def _add_again(world: World) -> None:
    for queue in (BUSY, FAILING):
        world.start_worker(queue)
        world.bullmq.add(queue)


JOB_CAUSES: Final = (
    Cause("no worker, and 1,000 jobs wait", "queue_standing_still", _no_worker, _worker, 90),
    Cause("no worker, and a delayed job is due", "queue_standing_still", _due_without_worker, _worker, 90),
    Cause(
        "no worker for a scheduler of 5 s",
        "queue_standing_still",
        _schedule_without_worker,
        _unschedule,
        100,
        90,
    ),
    Cause(
        "a scheduler of 5 s behind full slots",
        "scheduler_late",
        _schedule_behind_full_slots,
        _unschedule_and_free,
        100,
        90,
    ),
    Cause(
        "the job of a scheduler's next run deleted",
        "scheduler_without_next",
        _schedule_and_lose,
        _unschedule,
        70,
        90,
    ),
    Cause("the same scheduler twice", "scheduler_duplicate", _schedule_twice, _unschedule, 45, 90),
    Cause("120 jobs failed", "failed_jobs_high", _fail_jobs, _remove_failed, 30, 90, _NO_EVENTS),
    Cause("most jobs of a queue fail", "failures_rising", _fail_most, _complete_more, 30, 90),
    Cause(
        "a job waits behind long ones",
        "queue_wait_high",
        _hold,
        _replace_worker,
        60,
        60,
        _own(wait_seconds=30),
    ),
    Cause("nothing starts a delayed job", "delayed_overdue", _forget_delayed, _drain, 90, 60),
    Cause("the job of a killed worker", "active_without_lock", _lose, _replace_worker, 150, 120),
    Cause("the jobs of a killed worker given back", "jobs_stalled", _stall, _remove(BUSY), 40, 60, _FOUND),
    Cause(
        "a job that does not end",
        "active_too_long",
        _never_end,
        _replace_worker,
        40,
        60,
        _own(active_seconds=15),
    ),
    Cause(
        "a queue with a job paused",
        "paused_long",
        _pause,
        lambda world: world.bullmq.resume(BUSY),
        60,
        60,
        _own(paused_seconds=30),
    ),
    Cause(
        "the last worker stopped",
        "queue_without_workers",
        _stop_workers,
        _worker,
        90,
        60,
        _own(without_workers_seconds=30),
    ),
    Cause(
        "a child failed, and its parent waits",
        "waiting_children_long",
        _fail_a_child,
        _remove(BUSY),
        60,
        60,
        _own(waiting_children_seconds=30),
    ),
    Cause("more events than the stream keeps", "events_lost", _lose_events, _remove(FAILING), 30, 60, _FOUND),
    Cause("every queue removed", "no_queue_found", _remove_all, _add_again, 45, 60, _FOUND),
)
