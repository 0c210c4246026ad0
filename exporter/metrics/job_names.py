"""Jobs by their name, from the queues' event streams."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from operator import attrgetter
from typing import Final

from exporter.metrics.events import EVENTS_TABLE
from exporter.metrics.family import AnyFamily, Family, HistogramFamily, TableColumn
from exporter.snapshot.histogram import Histogram, NativeHistogram
from exporter.snapshot.job_names import JobName, JobNames
from exporter.snapshot.queues import Events

_LABELS: Final = ("prefix", "queue", "name")
_WHICH: Final = (
    "By the name that the job was added with, `#` for numbers and `<id>` for ids in it. The first "
    "`job_names` of a queue have series, of all queues at most `max_job_names`; a name that has become small "
    "or went away gives its place to a larger one. The others count as `other`, jobs that were added before "
    "the exporter followed the queue as `unknown`. Absent for Bull."
)
_NAMES: Final = attrgetter("counters.names")


def _counter(name: str, text: str) -> Family:
    value: Callable[[JobName], int] = attrgetter(name)

    def each(names: JobNames) -> Iterable[tuple[tuple[str, ...], float]]:
        return [((counted.name,), float(value(counted))) for counted in names.all]

    column = TableColumn(EVENTS_TABLE, _NAMES, each)
    return Family.of_column(f"bullmq_job_name_{name}_total", "counter", f"{text} {_WHICH}", _LABELS, column)


def _durations(name: str, text: str) -> HistogramFamily:
    value: Callable[[JobName], Histogram] = attrgetter(name)

    def each(names: JobNames) -> Iterable[tuple[tuple[str, ...], Histogram]]:
        known = ((counted.name, value(counted)) for counted in names.all)
        return [((name,), histogram) for name, histogram in known if any(histogram.counts)]

    def native(events: Events) -> Mapping[tuple[str, ...], NativeHistogram] | None:
        names = events.counters.names
        counted = names.all if names else ()
        return {(each.name,): getattr(each.native, name) for each in counted if each.native} or None

    column = TableColumn(EVENTS_TABLE, _NAMES, each, native=native)
    text = f"{text}; absent before the first. {_WHICH}"
    return HistogramFamily.of_column(f"bullmq_job_name_{name}_seconds", text, _LABELS, column)


FAMILIES: Final[tuple[AnyFamily, ...]] = (
    _counter("added", "Jobs that were added."),
    _counter("completed", "Jobs that completed."),
    _counter("failed", "Jobs that failed permanently."),
    _counter("retried", "Attempts after which the job is retried."),
    _durations("wait", "Seconds from the time when a job could be taken to the start of the attempt"),
    _durations("processing", "Seconds from the start of an attempt to its end, whatever its outcome"),
)
