"""What the queues' event streams have told: counters and durations that removeOnComplete does not trim."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from operator import attrgetter
from typing import Final

from exporter.metrics.family import AnyFamily, Assessment, Family, HistogramFamily, HistogramSample, Sample
from exporter.snapshot import Events, QueueId
from service.outcome import value_or_none

_QUEUE: Final = ("prefix", "queue")
_SINCE: Final = "Counted from the queue's event stream since the exporter has known the queue."


def _events(assessment: Assessment) -> Mapping[QueueId, Events]:
    state = value_or_none(assessment.snapshot.bullmq)
    return (state.events if state else None) or {}


def _each(value: Callable[[Events], float]) -> Callable[[Assessment], Iterable[Sample]]:
    return lambda assessment: [(queue, value(one)) for queue, one in _events(assessment).items()]


def _jobs(name: str, text: str) -> Family:
    read = _each(attrgetter(f"tallies.{name}"))
    return Family(f"bullmq_job_{name}_total", "counter", f"{text} {_SINCE}", _QUEUE, read)


# A histogram is there from its first duration on: a thousand idle queues would be 48,000 lines of zeros.


def _wait(assessment: Assessment) -> Iterable[HistogramSample]:
    waits = ((queue, one.tallies.wait) for queue, one in _events(assessment).items())
    return [(queue, wait) for queue, wait in waits if any(wait.counts)]


def _processing(assessment: Assessment) -> Iterator[HistogramSample]:
    for (prefix, name), one in _events(assessment).items():
        for outcome, histogram in one.tallies.processing.items():
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
    Family(
        "bullmq_events_read_total",
        "counter",
        "Events of the queue's stream that were read.",
        _QUEUE,
        _each(attrgetter("read")),
    ),
    Family(
        "bullmq_events_lost_total",
        "counter",
        "Events that were trimmed off the stream before they could be read, by which the counters of jobs "
        "are too low; exact from Redis 7 on, before that at least so many.",
        _QUEUE,
        _each(attrgetter("lost")),
    ),
    Family(
        "bullmq_events_evicted_total",
        "counter",
        "Jobs whose start was forgotten, as too many are under way or they went without an event: "
        "they are counted, but have no duration.",
        _QUEUE,
        _each(attrgetter("tallies.evicted")),
    ),
    Family(
        "bullmq_events_lag_seconds",
        "gauge",
        "Seconds since the queue's stream was last read to its end.",
        _QUEUE,
        _each(attrgetter("lag")),
    ),
)
