"""What the queues' event streams have told: counters and durations that removeOnComplete does not trim."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from operator import attrgetter
from typing import Final

from exporter.metrics.family import (
    AnyFamily,
    Assessment,
    Column,
    Family,
    HistogramFamily,
    HistogramSample,
    Sample,
    Table,
)
from exporter.snapshot import Events, QueueId
from service.outcome import value_or_none

_QUEUE: Final = ("prefix", "queue")
_SINCE: Final = "Counted from the queue's event stream since the exporter has known the queue."


def _events(assessment: Assessment) -> Mapping[QueueId, Events]:
    state = value_or_none(assessment.snapshot.bullmq)
    return (state.events if state else None) or {}


def _same(one: Events, other: Events) -> bool:
    """Whether all but the lag is as it was: tallies are made anew whenever an event was read."""
    return (
        one.counters is other.counters
        and one.read == other.read
        and one.lost == other.lost
        and one.undone == other.undone
        and one.since == other.since
    )


_TABLE: Final = Table(_events, _same)


def _counter(name: str, text: str, value: Callable[[Events], float]) -> Family:
    return Family.of_column(name, "counter", text, _QUEUE, Column(_TABLE, value))


def _jobs(name: str, text: str) -> Family:
    return _counter(f"bullmq_job_{name}_total", f"{text} {_SINCE}", attrgetter(f"counters.{name}"))


def _lag(assessment: Assessment) -> Iterable[Sample]:
    return [(queue, one.lag) for queue, one in _events(assessment).items()]


# A histogram is there from its first duration on: a thousand idle queues would be 48,000 lines of zeros.


def _wait(assessment: Assessment) -> Iterable[HistogramSample]:
    waits = ((queue, one.counters.wait) for queue, one in _events(assessment).items())
    return [(queue, wait) for queue, wait in waits if any(wait.counts)]


def _processing(assessment: Assessment) -> Iterator[HistogramSample]:
    for (prefix, name), one in _events(assessment).items():
        for outcome, histogram in one.counters.processing.items():
            if any(histogram.counts):
                yield (prefix, name, outcome), histogram


FAMILIES: Final[tuple[AnyFamily, ...]] = (
    _jobs("added", "Jobs that were added."),
    _jobs("started", "Attempts that were started: a job that is retried starts again."),
    _jobs("completed", "Jobs that completed, kept or not."),
    _jobs("failed", "Jobs that failed for good, their last attempt too, kept or not."),
    _jobs(
        "retried",
        "Attempts after which the job went back to be tried again, at once or after a delay; "
        "from BullMQ 5 on also those that a rate limit sent back.",
    ),
    _jobs("stalled", "Attempts that were given up on because their worker fell silent."),
    _jobs(
        "removed", "Jobs that were removed one by one, as remove() does; drain() and obliterate() tell none."
    ),
    _jobs("deduplicated", "Jobs that were not added as another one has their deduplication id."),
    HistogramFamily(
        "bullmq_job_wait_seconds",
        "Seconds from the moment a job could be taken (added, its delay passed, or put back) to the start of "
        "the attempt, by the clock of Redis; absent until there was one.",
        _QUEUE,
        _wait,
    ),
    HistogramFamily(
        "bullmq_job_processing_seconds",
        "Seconds from the start of an attempt to its end, by the clock of Redis and by outcome: completed, "
        "failed for good, or retried; absent until there was one.",
        (*_QUEUE, "outcome"),
        _processing,
    ),
    _counter("bullmq_events_read_total", "Events of the queue's stream that were read.", attrgetter("read")),
    _counter(
        "bullmq_events_lost_total",
        "Events that were trimmed off the stream before they could be read, by which the counters of jobs "
        "are too low; exact from Redis 7 on, before that at least so many.",
        attrgetter("lost"),
    ),
    _counter(
        "bullmq_events_undone_total",
        "Events that were counted and that Redis then lost, with a master that had not replicated them or by "
        "a restart from an older file: what they tell may happen, and count, again. Before Redis 7 at least "
        "one for each loss.",
        attrgetter("undone"),
    ),
    _counter(
        "bullmq_events_evicted_total",
        "Jobs whose start was forgotten, as too many are under way or they went without an event: "
        "they are counted, but have no duration.",
        attrgetter("counters.evicted"),
    ),
    Family.of_column(
        "bullmq_events_since_timestamp_seconds",
        "gauge",
        "Unix time since which the queue's counters count: the exporter's start or the queue's first sight, "
        "or those of an earlier exporter whose state file was found.",
        _QUEUE,
        Column(_TABLE, attrgetter("since")),
    ),
    Family(
        "bullmq_events_lag_seconds",
        "gauge",
        "Seconds since the queue's stream was last read to its end.",
        _QUEUE,
        _lag,
    ),
)
