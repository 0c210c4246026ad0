"""Conditions of job schedulers and repeatable jobs.

A pause is somebody's will: a scheduler of a paused queue is not late, and after a pause it has the same time
to catch up. A queue without workers is nobody's will: its schedulers are late. At a rate limit or a global
concurrency a run may wait its turn, but not for longer than until the next.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from shlex import quote
from typing import NamedTuple

from exporter.bullmq.keys import base
from exporter.bullmq.work import stopped
from exporter.conditions.finding import (
    Affected,
    Finding,
    any_redis_cli,
    first_few,
    queue_label,
    queue_subject,
)
from exporter.conditions.queue_limits import queue_limits
from exporter.conditions.standing import standing_queues
from exporter.config.health import HealthSettings, WorkThresholds
from exporter.derived import silent_at
from exporter.snapshot.queues import BullMQState, QueueId, QueueState
from exporter.snapshot.schedulers import QueueSchedulers, Scheduler
from exporter.snapshot.whole import Snapshot
from service.i18n import Message
from service.outcome import value_or_none
from service.units import duration, readable


class _Late(NamedTuple):
    """A scheduler that is late: for how many s, and whether its next run is ahead all the same; `limit` is
    its queue's threshold. `label` is the queue's name, `shown` the scheduler's, as the tables show it."""

    label: str
    shown: str
    queue: QueueState
    scheduler: Scheduler
    seconds: float
    moved: bool
    limit: float


def scheduler_late(snapshot: Snapshot, settings: HealthSettings) -> Finding | None:
    """Its next run is in the past, or it has not run for two of its intervals and the next is ahead. Where
    the queue stands still, that says it."""
    state = value_or_none(snapshot.bullmq)
    late = sorted(_late(state, settings), key=lambda each: -each.seconds) if state else []
    still = standing_queues(state, settings) if state and late else {}
    late = [each for each in late if each.moved or each.queue.id not in still]
    if state is None or not late:
        return None
    worst = late[0]
    return Finding(
        "bullmq",
        Message("issue.scheduler_late.title"),
        Message(
            "issue.scheduler_late.measured",
            count=len(late),
            schedulers=first_few(
                [
                    Message("issue.scheduler_late.each", scheduler=each.shown, late=duration(each.seconds))
                    for each in late
                ]
            ),
        ),
        Message("issue.scheduler_late.threshold", limit=duration(worst.limit)),
        _advice_for_late(worst, state, any_redis_cli(snapshot)),
        tuple([_affected(each.queue.id, each.scheduler, each.seconds) for each in late]),
    )


def _late(state: BullMQState, settings: HealthSettings) -> Iterator[_Late]:
    for queue, schedulers, limits in _of_queues(state, settings):
        if stopped(queue):
            continue
        limit = limits.scheduler_late_seconds
        limited = schedulers.now - schedulers.limited_at <= limit
        for scheduler, seconds, moved in _due(schedulers):
            if seconds > (max(limit, _interval(scheduler)) if limited else limit):
                label = queue_label(queue.id, state)
                yield _Late(label, _shown(label, scheduler), queue, scheduler, seconds, moved, limit)


def _due(schedulers: QueueSchedulers) -> Iterator[tuple[Scheduler, float, bool]]:
    """Those that should have run: for how many s, and whether the next run is ahead all the same.

    They are in the order of their next runs: of thousands, few are looked at.
    """
    now, held_at = schedulers.now, schedulers.held_at
    for scheduler in schedulers.schedulers:
        if scheduler.next_run >= now:
            break
        if scheduler.job not in ("gone", "over"):
            yield scheduler, now - max(scheduler.next_run, held_at), False
    for scheduler in schedulers.schedulers if now > schedulers.silent_at else ():
        ahead = scheduler.next_run >= now and scheduler.job not in ("gone", "over")
        if ahead and now > silent_at(scheduler, held_at):
            quiet = now - max(scheduler.quiet_since or 0.0, held_at)
            yield scheduler, quiet - (scheduler.every or 0.0), True


def _of_queues(
    state: BullMQState, settings: HealthSettings
) -> Iterator[tuple[QueueState, QueueSchedulers, WorkThresholds]]:
    """The queues that are read and have schedulers, with their thresholds; not those that are excluded."""
    of_queues = queue_limits(settings)
    for name, schedulers in state.schedulers.items():
        queue, limits = state.by_id.get(name), of_queues.of(name.name)
        if queue is not None and limits is not None:
            yield queue, schedulers, limits


def _interval(scheduler: Scheduler) -> float:
    """Seconds between two runs; of a cron pattern those from the last to the next."""
    if scheduler.every is not None:
        return scheduler.every
    return float("inf") if scheduler.last_run is None else scheduler.next_run - scheduler.last_run


def _advice_for_late(late: _Late, state: BullMQState, redis_cli: str) -> Message:
    queue = late.queue
    if late.moved:
        scheduler = late.scheduler
        return Message(
            "issue.scheduler_late.recommendation_moved",
            scheduler=late.shown,
            remove=_removal(scheduler),
            add=_addition(scheduler),
        )
    if queue.workers == 0:
        return Message("issue.scheduler_late.recommendation_workers", queue=late.label)
    waiting = (queue.jobs.waiting or 0) + (queue.jobs.prioritized or 0)
    # So many may be the schedulers' own: Bull has them among the waiting ones once they are due.
    if waiting <= (queue.schedulers or 0) and (longest := _busy_for(queue, state)) is not None:
        return _advice_for_busy(late, longest)
    if waiting:
        return Message("issue.scheduler_late.recommendation_behind", queue=late.label, count=waiting)
    key = quote(readable(base(queue.id)) + "delayed")
    return Message(
        "issue.scheduler_late.recommendation",
        queue=late.label,
        command=f"{redis_cli} -c zrange {key} 0 0 withscores",
    )


def _busy_for(queue: QueueState, state: BullMQState) -> float | None:
    """For how many s the longest job is active where all slots may be taken: workers have the active jobs,
    and started no later job before the one that is due. None: it is not so, or not known."""
    work = (state.work or {}).get(queue.id)
    passed_over = work is not None and work.overdue is not None
    busy = queue.jobs.active and queue.id not in state.unlocked and not passed_over
    return queue.longest_active if busy else None


def _advice_for_busy(late: _Late, longest: float) -> Message:
    interval, label, time = _interval(late.scheduler), late.label, duration(longest)
    if longest > interval:
        return Message(
            "issue.scheduler_late.recommendation_longer",
            queue=label,
            scheduler=late.shown,
            time=time,
            interval=duration(interval),
        )
    active = late.queue.jobs.active or 0
    return Message("issue.scheduler_late.recommendation_busy", queue=label, count=active, time=time)


def scheduler_without_next(snapshot: Snapshot, settings: HealthSettings) -> Finding | None:
    """The job of the next run is not there: BullMQ adds the one after it when a worker takes it."""
    state = value_or_none(snapshot.bullmq)
    if state is None:
        return None
    gone: list[tuple[float, str, Affected]] = []
    first: Scheduler | None = None
    limit = 0.0
    for queue, schedulers, limits in _of_queues(state, settings):
        label = queue_label(queue.id, state)
        for scheduler in schedulers.missing:
            seconds = schedulers.now - (scheduler.missing_since or schedulers.now)
            if seconds > limits.scheduler_missing_seconds:
                limit = limit or limits.scheduler_missing_seconds
                affected = _affected(queue.id, scheduler, seconds)
                gone.append((-seconds, _shown(label, scheduler), affected))
                first = first or scheduler
    if first is None:
        return None
    return Finding(
        "bullmq",
        Message("issue.scheduler_without_next.title"),
        Message(
            "issue.scheduler_without_next.measured",
            count=len(gone),
            schedulers=first_few([shown for _, shown, _ in gone]),
        ),
        Message("issue.scheduler_without_next.threshold", limit=duration(limit)),
        Message(
            "issue.scheduler_without_next.recommendation",
            remove=_removal(first),
            add=_addition(first),
        ),
        tuple([affected for *_, affected in sorted(gone)]),
    )


def scheduler_duplicate(snapshot: Snapshot, settings: HealthSettings) -> Finding | None:
    """Schedulers of one queue that add the same jobs: each job runs twice."""
    state = value_or_none(snapshot.bullmq)
    if state is None:
        return None
    groups: list[Affected] = []
    texts: list[str | Message] = []
    first: Scheduler | None = None
    for queue, schedulers, _ in _of_queues(state, settings):
        if not schedulers.duplicates:
            continue
        by_id = {scheduler.id: scheduler for scheduler in schedulers.schedulers}
        for ids in schedulers.duplicates:
            members = [by_id[each] for each in ids if each in by_id]
            if len(members) > 1:
                label = queue_label(queue.id, state)
                groups.append(_affected(queue.id, members[0], float(len(members))))
                first = first or members[0]
                texts.append(
                    Message(
                        "issue.scheduler_duplicate.each",
                        queue=label,
                        job=readable(members[0].name),
                        schedulers=first_few([f"{readable(each.id)} ({schedule(each)})" for each in members]),
                    )
                )
    if first is None:
        return None
    return Finding(
        "bullmq",
        Message("issue.scheduler_duplicate.title"),
        Message("issue.text", text=first_few(texts)),
        Message("issue.text", text="0"),
        Message("issue.scheduler_duplicate.recommendation", remove=_removal(first)),
        tuple(sorted(groups, key=lambda each: (-each.value, each.subject))),
    )


def schedule(scheduler: Scheduler) -> str:
    """The pattern and its time zone, or the interval, as in the code that sets it."""
    if scheduler.pattern is None:
        return "" if scheduler.every is None else duration(scheduler.every)
    return readable(" ".join(filter(None, (scheduler.pattern, scheduler.timezone))))


def scheduler_subject(queue: QueueId, scheduler: str) -> str:
    """What the scheduler with this id is called in series and alerts."""
    return f"{queue_subject(queue)}: {readable(scheduler)}"


def _affected(queue: QueueId, scheduler: Scheduler, value: float) -> Affected:
    return Affected(scheduler_subject(queue, scheduler.id), value, queue)


def _shown(label: str, scheduler: Scheduler) -> str:
    return f"{label}: {readable(scheduler.id)}"


def _removal(scheduler: Scheduler) -> str:
    method = "removeJobScheduler" if scheduler.chosen_id else "removeRepeatableByKey"
    return f"queue.{method}({json.dumps(readable(scheduler.id))})"


def _addition(scheduler: Scheduler) -> str:
    """The code that adds it again; what is not known of it has a place holder."""
    if scheduler.pattern is not None:
        repeat = f"{{pattern: {json.dumps(readable(scheduler.pattern))}}}"
    else:
        repeat = f"{{every: {(scheduler.every or 0) * 1000:.0f}}}"
    name = json.dumps(readable(scheduler.name))
    if scheduler.chosen_id:
        return (
            f"queue.upsertJobScheduler({json.dumps(readable(scheduler.id))}, {repeat}, {{name: {name}, ...}})"
        )
    return f"queue.add({name}, data, {{repeat: {repeat}}})"
