"""The totals of a target's queues as one that only grows, by work that was done. Pure.

A sum of counters jumps when the set of them changes: a queue is away for a scrape, an exporter restarts or
another one takes over, a file brings back old counts. So each queue's growth is added, while its counters are
the same ones. Where they are not, nothing is added, and `created` says that the totals do not continue.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from scaler.model import Missing, QueueSample
from scaler.prometheus.promql import QueueKey, combine

TOTALS: Final = ("completed", "failed", "added", "duration_sum", "duration_count", "busy_seconds")
"""The counters of a sample."""

_NEW_JOBS: Final = 100  # of a queue that is new: where more have ended, it has a past that was not seen


@dataclass(frozen=True, slots=True)
class TargetTotals:
    """The totals of a target so far, and since when they count (unix seconds); of each queue its counters and
    whose they are at the last reading, None while it is missing."""

    created: float
    values: Mapping[str, float] = field(default_factory=dict)
    queues: Mapping[QueueKey, tuple[object, QueueSample] | None] = field(default_factory=dict)


def continue_totals(
    before: TargetTotals | None,
    samples: Mapping[QueueKey, QueueSample | Missing],
    sources: Mapping[QueueKey, object],
    time: float,
) -> tuple[QueueSample | Missing, TargetTotals | None]:
    """The known ones of these samples as one, whose totals continue those `before`, and the totals after it.

    `sources`: whose counters a queue's are, anything that can be compared; `time`: now (unix seconds). The
    totals begin with what the counters show. Missing if no queue is known.
    """
    known = {key: sample for key, sample in samples.items() if isinstance(sample, QueueSample)}
    combined = combine(known or samples)
    queues: dict[QueueKey, tuple[object, QueueSample] | None] = dict.fromkeys(samples)
    if isinstance(combined, Missing):
        return combined, None if before is None else replace(before, queues=queues)
    queues |= {key: (sources.get(key), sample) for key, sample in known.items()}
    sums = {name: getattr(combined, name) for name in TOTALS}
    if before is None:
        values = {name: value for name, value in sums.items() if value is not None}
        after = TargetTotals(time, values, queues)
    else:
        growths = [_growth(before, key, queues.get(key)) for key in before.queues.keys() | known.keys()]
        values = {
            name: before.values[name] + sum((growth or {}).get(name, 0.0) for growth in growths)
            if name in before.values
            else value
            for name, value in sums.items()
            if value is not None
        }
        created = time if any(growth is None for growth in growths) else before.created
        after = TargetTotals(created, {**before.values, **values}, queues)
    totals: dict[str, Any] = {name: None if sums[name] is None else after.values[name] for name in TOTALS}
    return replace(combined, **totals, created=after.created), after


def _growth(
    before: TargetTotals, key: QueueKey, now: tuple[object, QueueSample] | None
) -> Mapping[str, float] | None:
    """By how much a queue's counters grew; None if they do not continue, or its jobs came or went unseen."""
    then = before.queues.get(key)
    if now is None:
        gone_idle = then is None or then[1].waiting + then[1].active == 0
        return {} if gone_idle else None
    counters = _counters(now[1])
    if then is None:
        new = key not in before.queues and _ended(now[1]) <= _NEW_JOBS
        return counters if new else None
    earlier = _counters(then[1])
    growth = {name: counters[name] - earlier[name] for name in counters.keys() & earlier.keys()}
    came_late = "completed" in counters and "completed" not in earlier
    if then[0] != now[0] or came_late or any(value < 0 for value in growth.values()):
        return None
    return growth


def _counters(sample: QueueSample) -> dict[str, float]:
    """Those that there are. The durations begin with the first attempt that ends: until then they are 0."""
    counters = {name: getattr(sample, name) for name in TOTALS}
    if sample.completed is not None:
        counters |= {name: counters[name] or 0.0 for name in ("duration_sum", "duration_count")}
    return {name: value for name, value in counters.items() if value is not None}


def _ended(sample: QueueSample) -> float:
    return (sample.completed or 0.0) + (sample.failed or 0.0)
