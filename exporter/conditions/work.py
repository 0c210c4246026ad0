"""Conditions of the work on queues: what stands still, waits too long, or has nobody to do it.

A condition is there only by what is known: unknown workers, counts or events make none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from shlex import quote
from typing import Final, TypeAlias

from exporter.bullmq.keys import base, connection_name
from exporter.bullmq.work import held_back, runnable_jobs, stopped, waits_for
from exporter.conditions.finding import (
    Finding,
    affected_queues,
    any_redis_cli,
    by_value,
    each_once,
    first_few,
    node_of,
    queue_label,
    redis_cli,
    texts_of_worst,
)
from exporter.conditions.hanging import hanging_queues, hanging_seconds
from exporter.conditions.queue_limits import queue_limits
from exporter.config.settings import HealthSettings, WorkThresholds
from exporter.snapshot.queues import BullMQState, QueueId, QueueState, Work
from exporter.snapshot.whole import Snapshot
from service.i18n import Message
from service.outcome import value_or_none
from service.units import duration, readable

_NOTHING_KNOWN: Final = Work()
_ONE_LOOK: Final = Work(standing_before=True, without_workers_before=True)
Measure: TypeAlias = Callable[[QueueState, Work, WorkThresholds], float | None]
"""For how many seconds a condition is there at a queue; None where it is not."""


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
        affected_queues(worst, standing),
    )


def _how_it_stands(queue: QueueState, state: BullMQState, seconds: float) -> Message:
    label, jobs, time = queue_label(queue.id, state), runnable_jobs(queue), duration(seconds)
    if _hangs(queue, state):
        return Message("issue.queue_standing_still.hanging", queue=label, count=jobs, time=time)
    if queue.workers == 0:
        return Message("issue.queue_standing_still.no_worker", queue=label, count=jobs, time=time)
    lost = state.unlocked.get(queue.id)
    if lost is not None:
        active = Message("issue.at_least", number=lost.jobs) if lost.more else str(lost.jobs)
        return Message("issue.queue_standing_still.hung", queue=label, count=jobs, time=time, lost=active)
    return Message("issue.queue_standing_still.no_start", queue=label, count=jobs, time=time)


def _hangs(queue: QueueState, state: BullMQState) -> bool:
    """Whether a queue that stands still does so behind jobs that do not end."""
    return state.work is not None and state.work.get(queue.id, _NOTHING_KNOWN).standing is None


def standing_queues(state: BullMQState, settings: HealthSettings) -> dict[QueueId, float]:
    """The queues that stand still, and for how many seconds."""
    if state.work is None:
        return measured_queues(state, settings, _proved_at_once, state.queues)
    return hanging_queues(state, settings) | measured_work(state, settings, _stands, of="standing")


def _stands(queue: QueueState, work: Work, limits: WorkThresholds) -> float | None:
    standing = work.standing
    if standing is None:
        return None
    if work.standing_before:
        before = _stood_before(queue, work, limits)
        if before is not None:
            return max(standing, before)
    if standing >= limits.no_start_seconds:
        return standing
    # Both must have lasted: where workers come with the first job, it waits until they are there.
    no_worker = min(standing, work.without_workers or 0.0) if queue.workers == 0 else 0.0
    return standing if no_worker >= limits.no_worker_seconds else None


def _stood_before(queue: QueueState, work: Work, limits: WorkThresholds) -> float | None:
    """A queue that stood at the first look: by what that look proves, or the age of its jobs. Workers that
    take others first (LIFO, priority) would be seen to start one soon."""
    waits = waits_for(queue)
    if waits is None or waits < limits.no_start_seconds:
        return None
    if queue.workers == 0 and work.without_workers_before and waits >= limits.no_worker_seconds:
        return waits
    return waits if (work.standing or 0.0) >= limits.no_worker_seconds else None


def _proved_at_once(queue: QueueState, _: Work, limits: WorkThresholds) -> float | None:
    """One look: no worker, and the oldest job waits for longer than a start of workers may take."""
    if queue.workers != 0 or held_back(queue) or not runnable_jobs(queue):
        return None
    return _stood_before(queue, _ONE_LOOK, limits)


def _make_it_work(queue: QueueState, state: BullMQState, snapshot: Snapshot) -> Message:
    label = queue_label(queue.id, state)
    if _hangs(queue, state):
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
        ids = measured_queues(state, settings, _paused, state.queues)
    else:
        ids = measured_work(state, settings, _paused, of="paused")
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


def _paused(queue: QueueState, work: Work, limits: WorkThresholds) -> float | None:
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
    ids = measured_work(state, settings, _without_workers, of="without_workers")
    return _of_seconds(
        state,
        settings,
        ids,
        title="issue.queue_without_workers.title",
        threshold="without_workers_seconds",
        advise=lambda _, label: Message("issue.queue_without_workers.recommendation", queue=label),
    )


def _without_workers(queue: QueueState, work: Work, limits: WorkThresholds) -> float | None:
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
    if any(queue.id.name not in search.missing for queue in state.queues):
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


# --- what is not known yet -------------------------------------------------------------------------------


def not_known_yet(snapshot: Snapshot, settings: HealthSettings) -> frozenset[str]:
    """Conditions that may be there or not: a queue was so at the first look, and nothing tells since when."""
    state = value_or_none(snapshot.bullmq)
    if state is None or state.work is None:
        return frozenset()
    names = {
        name for name, (clock, measure) in _OPEN.items() if measured_work(state, settings, measure, of=clock)
    }
    limits = queue_limits(settings)
    for queue in state.unlocked:
        own = limits.of(queue.name)
        if own is not None and state.watched_seconds <= own.no_lock_seconds:
            names.add("active_without_lock")
    return frozenset(names)


def _may_stand(queue: QueueState, work: Work, limits: WorkThresholds) -> float | None:
    if not work.standing_before or _stands(queue, work, limits) is not None:
        return None
    waits = waits_for(queue)
    limit = limits.no_worker_seconds if queue.workers == 0 else limits.no_start_seconds
    return work.standing if waits is None or waits >= limit else None


def _may_lack_workers(queue: QueueState, work: Work, limits: WorkThresholds) -> float | None:
    known = queue.workers != 0 or stopped(queue) is not False or work.standing is not None
    if known or not work.without_workers_before or _without_workers(queue, work, limits) is not None:
        return None
    return work.without_workers


def _may_be_paused(queue: QueueState, work: Work, limits: WorkThresholds) -> float | None:
    known = not stopped(queue) or not runnable_jobs(queue)
    if known or not work.paused_before or _paused(queue, work, limits) is not None:
        return None
    return work.paused


_OPEN: Final[Mapping[str, tuple[str, Measure]]] = {
    "queue_standing_still": ("standing_before", _may_stand),
    "queue_without_workers": ("without_workers_before", _may_lack_workers),
    "paused_long": ("paused_before", _may_be_paused),
}
"""Which conditions, the field of `Work` that says that it was so at the first look, and the measure."""


# --- what rules of work share ----------------------------------------------------------------------------


def measured_queues(
    state: BullMQState, settings: HealthSettings, measure: Measure, queues: Iterable[QueueState]
) -> dict[QueueId, float]:
    """Those of the queues at which a condition is there, and what was measured; not those excluded."""
    limits, works = queue_limits(settings), state.work or {}
    measured = {}
    for queue in queues:
        own = limits.of(queue.id.name)
        value = None if own is None else measure(queue, works.get(queue.id, _NOTHING_KNOWN), own)
        if value is not None:
            measured[queue.id] = value
    return measured


def measured_work(
    state: BullMQState, settings: HealthSettings, measure: Measure, *, of: str
) -> dict[QueueId, float]:
    """As `measured_queues`, of those queues of which something is known that began before this collection:
    this field of their `Work`, without which the measure is None."""
    if not state.work:
        return {}
    limits, queues, field = queue_limits(settings), state.by_id, Work._fields.index(of)
    measured, unset = {}, _NOTHING_KNOWN[field]
    for queue_id, work in [item for item in state.work.items() if item[1][field] is not unset]:
        queue, own = queues.get(queue_id), limits.of(queue_id.name)
        value = None if queue is None or own is None else measure(queue, work, own)
        if value is not None:
            measured[queue_id] = value
    return measured


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
        affected_queues(worst, seconds),
    )
