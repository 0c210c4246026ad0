"""Counters and durations from the queues' event streams, which removeOnComplete does not affect."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from operator import attrgetter
from typing import Final

from exporter.assessment import Assessment
from exporter.bullmq.reasons.masking import OTHER_REASONS
from exporter.metrics.bullmq import queue_changes
from exporter.metrics.family import (
    AnyFamily,
    Family,
    HistogramFamily,
    HistogramSample,
    Sample,
    Table,
    TableColumn,
)
from exporter.snapshot.histogram import Histogram, NativeHistogram
from exporter.snapshot.queues import Events, EventTotals, QueueId
from service.outcome import value_or_none

_QUEUE: Final = ("prefix", "queue")
_SINCE: Final = (
    "Counted from the queue's event stream, or from what Bull publishes, since the exporter first knew the "
    "queue; absent while Redis refuses to read it. docs/libraries.md has what is exact."
)


def _events(assessment: Assessment) -> Mapping[QueueId, Events]:
    state = value_or_none(assessment.snapshot.bullmq)
    return (state.events if state else None) or {}


EVENTS_TABLE: Final = Table(_events, attrgetter("counters", "lost", "since"), queue_changes)
"""What was counted of each queue."""

_SINCE_UNIX: Final = attrgetter("since")


def _counter(
    name: str, text: str, value: Callable[[Events], float | None], *, moving: bool = False
) -> Family:
    column = TableColumn(EVENTS_TABLE, value, moving=moving, created=_SINCE_UNIX)
    return Family.of_column(name, "counter", text, _QUEUE, column)


def _jobs(name: str, text: str) -> Family:
    return _counter(f"bullmq_job_{name}_total", f"{text} {_SINCE}", attrgetter(f"counters.{name}"))


# A histogram is present from its first duration: a thousand idle queues would be 48,000 lines of zeros.


def _wait(wait: Histogram) -> Iterator[HistogramSample]:
    if any(wait.counts):
        yield (), wait


def _processing(processing: Mapping[str, Histogram]) -> Iterator[HistogramSample]:
    for outcome, histogram in processing.items():
        if any(histogram.counts):
            yield (outcome,), histogram


def _of_all(name: str, text: str, value: Callable[[EventTotals], int]) -> Family:
    def read(assessment: Assessment) -> Iterator[Sample]:
        state = value_or_none(assessment.snapshot.bullmq)
        if state is not None and state.event_totals is not None:
            yield (), float(value(state.event_totals))

    return Family(f"bullmq_{name}_total", "counter", text, (), read)


def _lag(assessment: Assessment) -> Iterator[Sample]:
    state = value_or_none(assessment.snapshot.bullmq)
    if state is not None and state.events:
        resting = {each.resting for each in state.events.values()}
        lags = [each.lag for each in state.events.values()]
        yield (), max(*lags, *(state.node_lags[node] for node in resting if node), 0.0)


def _reasons(assessment: Assessment) -> Iterator[Sample]:
    for (prefix, queue), events in _events(assessment).items():
        reasons = events.counters.reasons
        if reasons is None or not reasons.known:
            continue
        for reason in reasons.known:
            if reason.labelled is not None:
                yield (prefix, queue, reason.text), float(reason.labelled)
        yield (prefix, queue, OTHER_REASONS), float(reasons.other)


def _native_wait(events: Events) -> Mapping[tuple[str, ...], NativeHistogram] | None:
    native = events.counters.native
    return {(): native.wait} if native else None


def _native_processing(events: Events) -> Mapping[tuple[str, ...], NativeHistogram] | None:
    native = events.counters.native
    return {(outcome,): each for outcome, each in native.processing.items()} if native else None


FAMILIES: Final[tuple[AnyFamily, ...]] = (
    _jobs("added", "Jobs that were added."),
    _jobs("started", "Attempts that were started: a job that is retried starts again."),
    _jobs("completed", "Jobs that completed, whether or not they were kept."),
    _jobs(
        "failed",
        "Jobs that failed permanently, whether or not they were kept; their last attempt counts here.",
    ),
    _jobs(
        "retried",
        "Attempts after which the job is retried, immediately or after a delay; "
        "from BullMQ 5 also attempts that a rate limit sent back.",
    ),
    Family(
        "bullmq_job_failed_reasons_total",
        "counter",
        "Jobs that failed permanently, by the reason without what differs from job to job (numbers, ids, "
        "addresses, quoted parts, payloads) and what may be a secret. The first `failed_reasons` of a queue "
        "have a series each, of all queues at most `max_failed_reasons`; the others count as `other`. A "
        "reason that has become rare gives its place to a frequent one. Absent before the first one.",
        (*_QUEUE, "reason"),
        _reasons,
    ),
    _jobs("stalled", "Attempts that were abandoned because their worker stopped renewing the lock."),
    _jobs(
        "removed",
        "Jobs that were removed one by one, as by remove(); drain() and obliterate() emit no event for it. "
        "Absent for Bull, which does not tell.",
    ),
    _jobs("deduplicated", "Jobs that were not added because another job has their deduplication id."),
    _counter(
        "bullmq_queue_busy_seconds_total",
        "Slot-seconds busy: the number of active jobs integrated over time, running jobs included, by the "
        "clock of Redis (for Bull by ours). Its rate is the mean number of active jobs; divided by the rate "
        "of attempts that end it is their run time (Little's law). After a start, and after events were "
        f"lost, a lower bound: what was active before counts from then on. {_SINCE}",
        attrgetter("busy_seconds"),
        moving=True,  # while jobs are active
    ),
    HistogramFamily.of_column(
        "bullmq_job_wait_seconds",
        "Seconds from the time when a job could be taken (added, its delay passed, or returned) to the start "
        "of the attempt, by the clock of Redis (for Bull by ours, as its messages arrive); absent before the "
        "first.",
        _QUEUE,
        TableColumn(
            EVENTS_TABLE, attrgetter("counters.wait"), _wait, created=_SINCE_UNIX, native=_native_wait
        ),
    ),
    HistogramFamily.of_column(
        "bullmq_job_processing_seconds",
        "Seconds from the start of an attempt to its end, by the clock of Redis and by outcome: completed, "
        "failed permanently, or retried; absent before the first.",
        (*_QUEUE, "outcome"),
        TableColumn(
            EVENTS_TABLE,
            attrgetter("counters.processing"),
            _processing,
            created=_SINCE_UNIX,
            native=_native_processing,
        ),
    ),
    _counter(
        "bullmq_events_lost_total",
        "Events that were trimmed from the stream before they were read, or are too large to be read: the "
        "counters of jobs are too low by them. Exact from Redis 7, a lower bound before and where the stream "
        "was deleted. For Bull starts and ends while the subscription was lost, at least.",
        attrgetter("lost"),
    ),
    _of_all(
        "events_read",
        "Events of streams, or messages of Bull, that were read since the exporter started, of all queues.",
        attrgetter("read"),
    ),
    _of_all(
        "events_undone",
        "Events that were counted and that Redis then lost, with a master that had not replicated them or by "
        "a restart from an older file: they may happen, and count, again. Of all queues since the exporter "
        "started; before Redis 7 at least one for each loss.",
        attrgetter("undone"),
    ),
    _of_all(
        "events_evicted",
        "Jobs whose start was forgotten, because too many are in progress or they left without an event: "
        "they are counted, but have no duration. Of all queues since the exporter started.",
        attrgetter("evicted"),
    ),
    Family(
        "bullmq_events_lag_seconds",
        "gauge",
        "Seconds since the stream that is furthest behind was last read to its end.",
        (),
        _lag,
    ),
)
