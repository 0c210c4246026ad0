"""PromQL for the figures of all queues, and the sum over the queues of a target. No I/O and no clock.

Each step sends one query for every figure of every queue: of Oxherd's exporter that of `exporter_series`, of
another one its own expressions in one query, as they are in the history too. A query reads the database at
one moment, so that all figures and their timestamps are of the same scrape; ten parallel ones would sometimes
straddle one.
The age is `timestamp()` of the series against the time of the query, both by Prometheus's clock: an instant
query returns a value for 5 minutes after its last scrape, and our clock may differ from the server's.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Final, NamedTuple

from scaler.config.prometheus import MEASURES, QuerySettings
from scaler.model import Missing, QueueSample


class QueueKey(NamedTuple):
    """A queue as BullMQ names it."""

    prefix: str
    name: str

    def __str__(self) -> str:
        return f"{self.prefix}:{self.name}"


DEFAULT_QUERIES: Final = QuerySettings()
"""The series of Oxherd's exporter."""

RUN_TIMES: Final = "bullmq_job_processing_seconds"
"""The exporter's histogram of run times."""

# Added, not summed: without one of the two there is no sum. `waiting` includes the jobs of a paused queue;
# prioritized jobs are in a set of their own.
_WAITING: Final = (
    'bullmq_job_count{state="waiting",{selector}} '
    '+ ignoring (state) bullmq_job_count{state="prioritized",{selector}}'
)
# Jobs that are due in a paused queue will wait with the others.
_DUE: Final = "bullmq_queue_delayed_due{{selector}}"
_OUR_QUERIES: Final[Mapping[str, str]] = {
    "waiting": f"({_WAITING})",
    "active": 'sum without (state) (bullmq_job_count{state="active",{selector}})',
    "timestamp": 'max without (state) (timestamp(bullmq_job_count{state="active",{selector}}))',
    "completed": "bullmq_job_completed_total{{selector}}",
    "failed": "bullmq_job_failed_total{{selector}}",
    "added": "bullmq_job_added_total{{selector}}",
    "duration_sum": f"sum without (outcome) ({RUN_TIMES}_sum{{{{selector}}}})",
    "duration_count": f"sum without (outcome) ({RUN_TIMES}_count{{{{selector}}}})",
    "oldest_waiting": "bullmq_queue_oldest_waiting_seconds{{selector}}",
    "due": f"{_DUE} * (1 - bullmq_queue_paused{{{{selector}}}}) or {_DUE}",
    "busy_seconds": "bullmq_queue_busy_seconds_total{{selector}}",
    "held": f"({_WAITING}) * bullmq_queue_paused{{{{selector}}}}",
    "limit_seconds": "bullmq_queue_rate_limit_ttl_seconds{{selector}}",
    "concurrency_limit": "bullmq_queue_concurrency_limit{{selector}}",
    "stalled": "bullmq_job_stalled_total{{selector}}",
    "up": "bullmq_up{{matchers}}",
    "deployment": "oxherd_redis_deployment_info{{matchers}}",
    "shard": "oxherd_shard_info{{matchers}}",
    "started": "process_start_time_seconds{{matchers}} and bullmq_up{{matchers}}",
}
# Beside those of the same name, where there are native histograms: not every server knows these functions.
_NATIVE_QUERIES: Final[Mapping[str, str]] = {
    "duration_sum": f"sum without (outcome) (histogram_sum({RUN_TIMES}{{{{selector}}}}))",
    "duration_count": f"sum without (outcome) (histogram_count({RUN_TIMES}{{{{selector}}}}))",
}
DEPLOYMENT_LABEL: Final = "redis_deployment"
"""The label of an exporter's info series that has the identity of its Redis deployment."""
MEASURE_LABEL: Final = "oxherd_measure"
"""The label of the measure that a series in an answer belongs to."""

MAX_NAMES: Final = 100
"""Queues in one selector: up to here a regular expression of names is cheaper than all queues' series."""
_ROOM: Final = 1.5  # above the jobs that a queue has: it may have more in a moment
_RE2_SPECIAL: Final = frozenset(r"\.+*?()|[]{}^$")


def query_text(
    queries: QuerySettings, matchers: Mapping[str, str], names: Collection[str] = (), *, native: bool = False
) -> str:
    """The query for these figures, of the queues with these names, or of all. Each measure is one line, so
    that the line of a parse error identifies it. `native`: of Oxherd's exporter also by native histograms."""
    selector, extra = queue_selector(queries.queue_label, matchers, names), matchers_text(matchers)
    return "\nor ".join(
        f'label_replace(({_filled(text, selector, extra)}), "{MEASURE_LABEL}", "{measure}", "", "")'
        for measure, text in measure_texts(queries, native=native)
    )


def queue_selector(label: str, matchers: Mapping[str, str], names: Collection[str] = ()) -> str:
    """The matchers of series of the queues with these names; of all queues without names, or with many."""
    extra = matchers_text(matchers)
    if 0 < len(names) <= MAX_NAMES:
        return f"{label}=~{names_pattern(names)}" + (f",{extra}" if extra else "")
    return f'{label}!=""' + (f",{extra}" if extra else "")


def names_pattern(names: Collection[str]) -> str:
    """A quoted regular expression of these names."""
    return quoted("|".join(_literal(name) for name in sorted(names)))


def matchers_text(matchers: Mapping[str, str]) -> str:
    """Matchers of these labels and values."""
    return ",".join(f"{label}={quoted(value)}" for label, value in sorted(matchers.items()))


def explained(queries: QuerySettings, message: str) -> str:
    """An error message of Prometheus, with the measure on whose line the parse error is."""
    position = None if queries.is_default else re.search(r"\b(\d+):\d+: parse error", message)
    measures = [measure for measure, _ in measure_texts(queries)]
    if position is None or not 0 < int(position[1]) <= len(measures):
        return message
    return f"{message} (in `{measures[int(position[1]) - 1]}`, or just before it)"


def combine(
    samples: Mapping[QueueKey, QueueSample | Missing], usable: Mapping[QueueKey, float] = MappingProxyType({})
) -> QueueSample | Missing:
    """The samples of a target's queues as one. `at` is the oldest time, `oldest_waiting` the longest wait.

    A limit of one queue bounds the sum only where it bounds all that waits: else the jobs behind a rate
    limit are held, and those beyond a limit of jobs at once. `usable`: slots that a queue had a use for
    lately. Jobs that are due in a paused queue will wait with the others, and do not count.

    One missing sample makes the result missing: absence is not zero. That includes a queue that was deleted:
    it cannot be distinguished from a misspelt name, or from a queue that its exporter does not find any more.
    """
    if not samples:
        return Missing("empty", "no queues")
    missing = missing_of(samples)
    if missing is not None:
        return missing
    present = [sample for sample in samples.values() if isinstance(sample, QueueSample)]
    if len(present) == 1:
        return present[0]
    waits = [sample.oldest_waiting for sample in present if sample.oldest_waiting is not None]
    limit_seconds, behind = _rate_limit(present)
    concurrency_limit, beyond = _concurrency_limit(dict(zip(samples, present, strict=True)), usable)
    held = [min(sample.runnable, max(pair)) for sample, *pair in zip(present, behind, beyond, strict=True)]
    paused = _sum(sample.held for sample in present)
    has_durations = any(sample.duration_count is not None for sample in present)
    return QueueSample(
        at=min(sample.at for sample in present),
        waiting=sum(sample.waiting for sample in present),
        active=sum(sample.active for sample in present),
        completed=_sum(sample.completed for sample in present),
        failed=_sum(sample.failed for sample in present),
        added=_sum(sample.added for sample in present),
        duration_sum=_sum(_duration(sample, sample.duration_sum) for sample in present)
        if has_durations
        else None,
        duration_count=_sum(_duration(sample, sample.duration_count) for sample in present)
        if has_durations
        else None,
        oldest_waiting=max(waits, default=None),
        due=_sum(0.0 if sample.paused else sample.due for sample in present),
        busy_seconds=_sum(sample.busy_seconds for sample in present),
        held=paused if not any(held) else sum(held) + sum(sample.held or 0.0 for sample in present),
        limit_seconds=limit_seconds,
        concurrency_limit=concurrency_limit,
        largest_share=_largest_share(present),
        largest_active=max(sample.active for sample in present),
        stalled=_sum(sample.stalled for sample in present),
    )


def missing_of(samples: Mapping[QueueKey, QueueSample | Missing]) -> Missing | None:
    """What is missing among the samples, the first by name; None: nothing."""
    missing = [sample for sample in samples.values() if isinstance(sample, Missing)]
    if not missing:
        return None
    more = f" (and {len(missing) - 1} more of {len(samples)} queues)" if len(missing) > 1 else ""
    return Missing(missing[0].kind, missing[0].message + more)


def _largest_share(samples: Sequence[QueueSample]) -> float | None:
    inside = [sample.runnable + sample.active for sample in samples]
    return max(inside) / sum(inside) if sum(inside) > 0 else None


def _rate_limit(samples: Sequence[QueueSample]) -> tuple[float | None, list[float]]:
    """The seconds until any of the jobs that wait may start, and of each queue the jobs that a rate limit
    holds while those of others may start. The limit of a queue in which no job waits holds none."""
    limits = [sample.limit_seconds for sample in samples if sample.limit_seconds is not None]
    seconds = [sample.limit_seconds or 0.0 for sample in samples if sample.runnable > 0]
    first = min(seconds, default=0.0)
    held = [sample.runnable if first == 0 and sample.limit_seconds else 0.0 for sample in samples]
    return (first if limits else None), held


def _concurrency_limit(
    samples: Mapping[QueueKey, QueueSample], usable: Mapping[QueueKey, float]
) -> tuple[float | None, list[float]]:
    """The jobs that may run at once, None: as many as there are; and of each queue those beyond its limit.

    Where all have a limit it is their sum. While one of them holds jobs back, each counts for no more than it
    may have a use for: what one queue leaves is no use to another.
    """
    limits = [sample.concurrency_limit for sample in samples.values()]
    jobs = [sample.runnable + sample.active for sample in samples.values()]
    total = _sum(limits)
    if total is None:
        waiting = [sample.runnable for sample in samples.values()]
        return None, [
            max(0.0, n - (n if most is None else most)) for n, most in zip(waiting, limits, strict=True)
        ]
    if any(n > (most or 0.0) for n, most in zip(jobs, limits, strict=True)):
        uses = [max(n, usable.get(key, 0.0)) for n, key in zip(jobs, samples, strict=True)]
        total = sum(min(most or 0.0, _ROOM * use) for use, most in zip(uses, limits, strict=True))
    return total, [0.0] * len(samples)


def usable_slots(sample: QueueSample) -> float:
    """The slots that a queue has jobs for, within its limit."""
    jobs = sample.runnable + sample.active
    return jobs if sample.concurrency_limit is None else min(sample.concurrency_limit, jobs)


def _duration(sample: QueueSample, value: float | None) -> float | None:
    """The histogram begins with the first attempt that ends, the totals with the queue: 0 until then."""
    return 0.0 if value is None and sample.completed is not None else value


def _sum(values: Iterable[float | None]) -> float | None:
    total = 0.0
    for value in values:
        if value is None:
            return None
        total += value
    return total


# --- texts --------------------------------------------------------------------------------------------------


def measure_texts(queries: QuerySettings, *, native: bool = False) -> Iterator[tuple[str, str]]:
    if queries.is_default:
        for measure, text in _OUR_QUERIES.items():
            other = _NATIVE_QUERIES.get(measure) if native else None
            yield measure, text if other is None else f"{text} or {other}"
        return
    for measure in MEASURES:
        text = getattr(queries, measure)
        if text is None and measure == "timestamp":
            text = f"timestamp({queries.waiting})"
        if text is not None:
            yield measure, " ".join(text.split())


def _filled(text: str, selector: str, matchers: str) -> str:
    """The text with placeholders replaced; with an empty one the adjacent comma is removed."""
    for name, value in (("{selector}", selector), ("{matchers}", matchers)):
        for comma in () if value else (f"{name},", f", {name}", f",{name}"):
            text = text.replace(comma, "")
        text = text.replace(name, value)
    return text


def quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def _literal(text: str) -> str:
    """A text as a regular expression of RE2, which does not accept every escape of Python."""
    return "".join(f"\\{char}" if char in _RE2_SPECIAL else char for char in text)
