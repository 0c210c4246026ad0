"""PromQL for the figures of all queues, and the figures of a target's. No I/O and no clock.

One query a step asks for every figure of every queue. A query sees the database at one moment, so that all
figures and their timestamps are of the same scrape; ten queries side by side would straddle one now and then.
The age is `timestamp()` of the series against the query's own time, both by Prometheus's clock: an instant
query gives a value for 5 minutes after its last scrape, and our clock need not agree with the server's.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Final, NamedTuple

from scaler.model import Missing, QueueSample
from scaler.prometheus.settings import MEASURES, QuerySettings


class QueueKey(NamedTuple):
    """A queue as BullMQ names it."""

    prefix: str
    name: str

    def __str__(self) -> str:
        return f"{self.prefix}:{self.name}"


OURS: Final = QuerySettings()
"""The series of Oxherd's exporter."""

_OUR_QUERIES: Final[Mapping[str, str]] = {
    # `waiting` holds the jobs of a paused queue; prioritized ones are in a set of their own.
    "waiting": 'sum without (state) (bullmq_job_count{state=~"waiting|prioritized",{selector}})',
    "active": 'sum without (state) (bullmq_job_count{state="active",{selector}})',
    "timestamp": 'max without (state) (timestamp(bullmq_job_count{state="active",{selector}}))',
    "completed": "bullmq_job_completed_total{{selector}}",
    "failed": "bullmq_job_failed_total{{selector}}",
    "added": "bullmq_job_added_total{{selector}}",
    "duration_sum": "sum without (outcome) (bullmq_job_processing_seconds_sum{{selector}})",
    "duration_count": "sum without (outcome) (bullmq_job_processing_seconds_count{{selector}})",
    "oldest_waiting": "bullmq_queue_oldest_waiting_seconds{{selector}}",
    "due": "bullmq_queue_delayed_due{{selector}}",
    "up": "bullmq_up{{matchers}}",
}
MEASURE_LABEL: Final = "oxherd_measure"
"""Says in an answer which measure a series is of."""

_NAMED: Final = 100  # up to here a regular expression of names is cheaper than all queues' series
_RE2_SPECIAL: Final = frozenset(r"\.+*?()|[]{}^$")


def query_text(queries: QuerySettings, matchers: Mapping[str, str], names: Collection[str] = ()) -> str:
    """The one query for these figures: of the queues so named, or of all there are. A measure is one line, so
    that the line of a parse error names it."""
    extra = ",".join(f"{label}={quoted(value)}" for label, value in sorted(matchers.items()))
    label = queries.queue_label
    if 0 < len(names) <= _NAMED:
        listed = quoted("|".join(_literal(name) for name in sorted(names)))
        selector = f"{label}=~{listed}" + (f",{extra}" if extra else "")
    else:
        selector = f'{label}!=""' + (f",{extra}" if extra else "")
    return "\nor ".join(
        f'label_replace(({_filled(text, selector, extra)}), "{MEASURE_LABEL}", "{measure}", "", "")'
        for measure, text in measure_texts(queries)
    )


def explained(queries: QuerySettings, message: str) -> str:
    """What Prometheus says of the query, with the measure on whose line it found the mistake."""
    place = re.search(r"\b(\d+):\d+: parse error", message)
    measures = [measure for measure, _ in measure_texts(queries)]
    if place is None or not 0 < int(place[1]) <= len(measures):
        return message
    return f"{message} (in `{measures[int(place[1]) - 1]}`, or just before it)"


def combine(samples: Mapping[QueueKey, QueueSample | Missing]) -> QueueSample | Missing:
    """The queues of one target as one. `at` is that of the oldest, `oldest_waiting` the longest wait.

    One that is missing makes the whole missing: absence is not zero. That holds for a queue that was deleted
    too, as nothing tells it from one whose name has a slip or whose exporter lost sight of it.
    """
    if not samples:
        return Missing("empty", "no queue is named")
    absent = [one for one in samples.values() if isinstance(one, Missing)]
    if absent:
        more = f" (and {len(absent) - 1} more of {len(samples)} queues)" if len(absent) > 1 else ""
        return Missing(absent[0].kind, absent[0].message + more)
    there = [one for one in samples.values() if isinstance(one, QueueSample)]
    waits = [one.oldest_waiting for one in there if one.oldest_waiting is not None]
    timed = any(one.duration_count is not None for one in there)
    return QueueSample(
        at=min(one.at for one in there),
        waiting=sum(one.waiting for one in there),
        active=sum(one.active for one in there),
        completed=_sum(one.completed for one in there),
        failed=_sum(one.failed for one in there),
        added=_sum(one.added for one in there),
        duration_sum=_sum(_duration(one, one.duration_sum) for one in there) if timed else None,
        duration_count=_sum(_duration(one, one.duration_count) for one in there) if timed else None,
        oldest_waiting=max(waits, default=None),
        due=_sum(one.due for one in there),
    )


def _duration(sample: QueueSample, value: float | None) -> float | None:
    """The histogram begins with the first attempt that ends, the totals with the queue: till then it is 0."""
    return 0.0 if value is None and sample.completed is not None else value


def _sum(values: Iterable[float | None]) -> float | None:
    total = 0.0
    for value in values:
        if value is None:
            return None
        total += value
    return total


# --- texts --------------------------------------------------------------------------------------------------


def measure_texts(queries: QuerySettings) -> Iterator[tuple[str, str]]:
    if queries.is_ours:
        yield from _OUR_QUERIES.items()
        return
    for measure in MEASURES:
        text = getattr(queries, measure)
        if text is None and measure == "timestamp":
            text = f"timestamp({queries.waiting})"
        if text is not None:
            yield measure, " ".join(text.split())


def _filled(text: str, selector: str, matchers: str) -> str:
    """The placeholders replaced; an empty one takes the comma beside it along."""
    for name, value in (("{selector}", selector), ("{matchers}", matchers)):
        for comma in () if value else (f"{name},", f", {name}", f",{name}"):
            text = text.replace(comma, "")
        text = text.replace(name, value)
    return text


def quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def _literal(text: str) -> str:
    """A text as a regular expression of RE2, which does not take every escape of Python's."""
    return "".join(f"\\{one}" if one in _RE2_SPECIAL else one for one in text)
