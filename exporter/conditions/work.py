"""Conditions of the work on queues: what stands still, waits too long, or has nobody to do it.

A condition is there only by what is known: unknown workers, counts or events make none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from shlex import quote

from exporter.bullmq.keys import base, connection_name
from exporter.bullmq.work import runnable_jobs, stopped
from exporter.conditions.finding import (
    AffectedQueues,
    Finding,
    any_redis_cli,
    by_value,
    each_once,
    first_few,
    node_of,
    queue_label,
    redis_cli,
    texts_of_worst,
)
from exporter.conditions.hanging import hanging_seconds, stands_for_hanging
from exporter.conditions.measured import measured_queues, measured_work
from exporter.conditions.queue_limits import queue_limits
from exporter.conditions.standing import standing_queues
from exporter.config.health import HealthSettings, WorkThresholds
from exporter.snapshot.queues import BullMQState, QueueId, QueueState, Work
from exporter.snapshot.whole import Snapshot
from service.i18n import Message
from service.outcome import value_or_none
from service.units import duration, readable

# --- jobs that nobody takes ------------------------------------------------------------------------------


def queue_standing_still(snapshot: Snapshot, settings: HealthSettings) -> Finding | None:
    """Jobs could be taken, and nothing takes them. Without a memory only what one look can prove."""
    state = value_or_none(snapshot.bullmq)
    standing = {} if state is None else standing_queues(state, settings)
    if state is None or not standing:
        return None
    worst = by_value(standing)
    limits = queue_limits(settings).of(worst[0].name) or settings.thresholds
    return Finding(
        "bullmq",
        Message("issue.queue_standing_still.title"),
        Message(
            "issue.text",
            text=texts_of_worst(
                worst,
                lambda queue: _how_it_stands(state.by_id[queue], state, standing[queue]),
            ),
        ),
        Message(
            "issue.queue_standing_still.threshold",
            no_worker=duration(limits.no_worker_seconds),
            no_start=duration(limits.no_start_seconds),
            hanging=duration(hanging_seconds(limits)),
        ),
        _make_it_work(state.by_id[worst[0]], state, snapshot),
        AffectedQueues(worst, standing),
    )


def _how_it_stands(queue: QueueState, state: BullMQState, seconds: float) -> Message:
    label, jobs, time = queue_label(queue.id, state), runnable_jobs(queue), duration(seconds)
    if stands_for_hanging(queue, state):
        return Message("issue.queue_standing_still.hanging", queue=label, count=jobs, time=time)
    if queue.workers == 0:
        return Message("issue.queue_standing_still.no_worker", queue=label, count=jobs, time=time)
    lost = state.unlocked.get(queue.id)
    if lost is not None:
        active = Message("issue.at_least", number=lost.jobs) if lost.more else str(lost.jobs)
        return Message("issue.queue_standing_still.hung", queue=label, count=jobs, time=time, lost=active)
    return Message("issue.queue_standing_still.no_start", queue=label, count=jobs, time=time)


def _make_it_work(queue: QueueState, state: BullMQState, snapshot: Snapshot) -> Message:
    label = queue_label(queue.id, state)
    if stands_for_hanging(queue, state):
        return Message(
            "issue.queue_standing_still.recommendation_hanging",
            queue=label,
            command=f"{any_redis_cli(snapshot)} -c lindex {quote(readable(base(queue.id)) + 'active')} -1",
        )
    if queue.workers is None:
        reason = queue.workers_unknown or "CLIENT LIST"
        return Message("issue.queue_standing_still.recommendation_unknown", queue=label, reason=reason)
    command = connections_command(queue.id, snapshot)
    if queue.workers == 0:
        return Message("issue.queue_standing_still.recommendation_no_worker", queue=label, command=command)
    if queue.id in state.unlocked:
        return advice_for_hung(queue, label, snapshot)
    return Message(
        "issue.queue_standing_still.recommendation_no_start",
        queue=label,
        count=queue.workers,
        command=command,
    )


def advice_for_hung(queue: QueueState, label: str, snapshot: Snapshot) -> Message:
    """Workers that are connected, and neither take jobs nor extend the locks of theirs."""
    return Message(
        "issue.queue_standing_still.recommendation_hung",
        queue=label,
        count=queue.workers or 0,
        command=connections_command(queue.id, snapshot),
    )


def connections_command(queue: QueueId, snapshot: Snapshot) -> str:
    """What lists the connections of a queue's workers: they are at the node that has its keys."""
    command = redis_cli(node_of(queue, snapshot))
    return f"{command} client list | grep -F {quote(readable(connection_name(queue)))}"


def queue_wait_high(snapshot: Snapshot, settings: HealthSettings) -> Finding | None:
    """The oldest job waits for longer than the settings allow; they allow any time where they say nothing."""
    state = value_or_none(snapshot.bullmq)
    if state is None or queue_limits(settings).least("wait_seconds") is None:
        return None
    waiting = measured_queues(state, settings, _waits, state.queues)
    return _of_seconds(
        state,
        settings,
        waiting,
        title="issue.queue_wait_high.title",
        threshold="wait_seconds",
        advise=lambda _, label: Message("issue.queue_wait_high.recommendation", queue=label),
    )


def _waits(queue: QueueState, _: Work, limits: WorkThresholds) -> float | None:
    waits = queue.oldest_waiting
    if limits.wait_seconds is None or waits is None or stopped(queue) is not False:
        return None
    return waits if waits > limits.wait_seconds else None


def delayed_overdue(snapshot: Snapshot, settings: HealthSettings) -> Finding | None:
    """Delayed jobs stay where they are although they are due, while the queue is worked on."""
    state = value_or_none(snapshot.bullmq)
    if state is None or not state.work:
        return None
    overdue = measured_work(state, settings, _overdue, of="overdue")
    still = standing_queues(state, settings) if overdue else {}
    overdue = {queue: late for queue, late in overdue.items() if queue not in still}
    cli = any_redis_cli(snapshot)
    return _of_seconds(
        state,
        settings,
        overdue,
        title="issue.delayed_overdue.title",
        threshold="delayed_overdue_seconds",
        advise=lambda queue, label: Message(
            "issue.delayed_overdue.recommendation",
            queue=label,
            command=f"{cli} -c zrange {quote(readable(base(queue)) + 'delayed')} 0 0 withscores",
        ),
    )


def _overdue(_: QueueState, work: Work, limits: WorkThresholds) -> float | None:
    late = work.overdue
    return late if late is not None and late > limits.delayed_overdue_seconds else None


# --- nobody to do it -------------------------------------------------------------------------------------


def paused_long(snapshot: Snapshot, settings: HealthSettings) -> Finding | None:
    """A pause that somebody may have forgotten, with jobs behind it."""
    state = value_or_none(snapshot.bullmq)
    if state is None:
        return None
    if state.work is None:
        ids = measured_queues(state, settings, pause_lasts, state.queues)
    else:
        ids = measured_work(state, settings, pause_lasts, of="paused")
    return _of_seconds(
        state,
        settings,
        ids,
        title="issue.paused_long.title",
        threshold="paused_seconds",
        advise=lambda queue, label: Message(
            "issue.paused_long.recommendation",
            queue=label,
            code="queue.resume()" if state.by_id[queue].paused else "queue.removeGlobalConcurrency()",
        ),
        text=lambda queue, label, time: _how_paused(state.by_id[queue], label, time),
    )


def _how_paused(queue: QueueState, label: str, time: str) -> Message:
    if queue.paused:
        return _time_of_queue(queue.id, label, time)
    return Message("issue.paused_long.concurrency", queue=label, time=time)


def pause_lasts(queue: QueueState, work: Work, limits: WorkThresholds) -> float | None:
    """With jobs that could be taken, by its clock or the age of its oldest job."""
    if not stopped(queue) or not runnable_jobs(queue):
        return None
    seconds = work.paused or 0.0
    if work.paused is None or work.paused_before:  # it may have been for as long as its oldest job waits
        seconds = max(seconds, queue.oldest_waiting or 0.0)
    return seconds if seconds >= limits.paused_seconds else None


def queue_without_workers(snapshot: Snapshot, settings: HealthSettings) -> Finding | None:
    """No worker, and nothing to do for one: the next job will wait."""
    state = value_or_none(snapshot.bullmq)
    if state is None or not state.work:
        return None
    ids = measured_work(state, settings, lacks_workers, of="without_workers", without="standing")
    return _of_seconds(
        state,
        settings,
        ids,
        title="issue.queue_without_workers.title",
        threshold="without_workers_seconds",
        advise=lambda _, label: Message("issue.queue_without_workers.recommendation", queue=label),
    )


def lacks_workers(queue: QueueState, work: Work, limits: WorkThresholds) -> float | None:
    """With nothing to do for one."""
    seconds = work.without_workers
    if seconds is None or queue.workers != 0 or stopped(queue) is not False or work.standing is not None:
        return None
    return seconds if seconds >= limits.without_workers_seconds else None


def no_queue_found(snapshot: Snapshot, _: HealthSettings) -> Finding | None:
    """The search has ended and found nothing: a wrong prefix, a wrong database, or no queue yet."""
    state = value_or_none(snapshot.bullmq)
    if state is None or not state.discovered or state.search_refused or state.unread:
        return None
    search = state.search
    if search.others or any(queue.id.name not in search.missing for queue in state.queues):
        return None
    missing = [readable(name) for name in search.missing]
    measured: list[str | Message] = [
        Message("issue.no_queue_found.prefixes", prefixes=", ".join(map(readable, search.prefixes)))
        if search.prefixes
        else Message("issue.no_queue_found.any_prefix")
    ]
    if search.keys is not None:
        measured.append(Message("issue.no_queue_found.keys", count=search.keys))
    if missing:
        measured.append(Message("issue.no_queue_found.missing", names=first_few(missing)))
    command = f"{any_redis_cli(snapshot)} --scan --pattern '*:meta'"
    if missing or search.prefixes:
        setting = "BULLMQ_QUEUES" if missing else "BULLMQ_PREFIXES"
        advice = Message("issue.no_queue_found.recommendation_setting", setting=setting, command=command)
    else:
        advice = Message("issue.no_queue_found.recommendation", command=command)
    return Finding(
        "bullmq",
        Message("issue.no_queue_found.title"),
        Message("issue.text", text=tuple(measured)),
        Message("issue.no_queue_found.threshold"),
        advice,
        each_once(missing),
    )


# --- what rules of work share ----------------------------------------------------------------------------


def _time_of_queue(_: QueueId, label: str, time: str) -> Message:
    return Message("issue.queue_time", queue=label, time=time)


def _of_seconds(
    state: BullMQState,
    settings: HealthSettings,
    seconds: Mapping[QueueId, float],
    *,
    title: str,
    threshold: str,
    advise: Callable[[QueueId, str], Message],
    text: Callable[[QueueId, str, str], Message] = _time_of_queue,
) -> Finding | None:
    """A condition that is measured in seconds. `title` is a message, `threshold` a setting: shown as that of
    the worst queue, for which the advice is. `text`: of a queue, its label, and the time."""
    if not seconds:
        return None
    worst = by_value(seconds)
    limit = getattr(queue_limits(settings).of(worst[0].name), threshold)
    measured = texts_of_worst(
        worst,
        lambda queue: text(queue, queue_label(queue, state), duration(seconds[queue])),
    )
    return Finding(
        "bullmq",
        Message(title),
        Message("issue.text", text=measured),
        Message("issue.at_most", limit=duration(limit)),
        advise(worst[0], queue_label(worst[0], state)),
        AffectedQueues(worst, seconds),
    )
