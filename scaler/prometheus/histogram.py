"""The 0.99-quantile of run times, from the exporter's histogram: PromQL and its answer. No I/O, no clock.

It is asked apart from the query of each step, which must not read the buckets of an hour.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from math import inf
from typing import Any, Final

from scaler.prometheus.numbers import finite_number
from scaler.prometheus.promql import QueueKey, queue_selector
from service.outcome import UnreadableError

_HISTOGRAM: Final = "bullmq_job_processing_seconds"
_WINDOW: Final = "1h"
_QUANTILE: Final = 0.99


def run_time_query(names: Collection[str], matchers: Mapping[str, str]) -> str:
    """The query for the buckets and the sums of these queues."""
    selector = queue_selector("queue", matchers, names)
    return "\nor ".join(
        f"sum without (outcome) (rate({_HISTOGRAM}_{part}{{{selector}}}[{_WINDOW}]))"
        for part in ("bucket", "sum")
    )


def run_time_p99s(series: Iterable[Any]) -> dict[QueueKey, float]:
    """The quantile of each queue (s) in the answer to `run_time_query`, of several exporters the longest;
    a queue without attempts is absent. Raises UnreadableError: not such an answer."""
    buckets: dict[frozenset[tuple[str, str]], dict[float, float]] = {}
    sums: dict[frozenset[tuple[str, str]], float] = {}
    try:
        for entry in series:
            labels, value = dict(entry["metric"]), finite_number(entry["value"][1])
            bound = labels.pop("le", None)
            source = frozenset(labels.items())
            if bound is None:
                sums[source] = value
            else:
                buckets.setdefault(source, {})[float(bound)] = value
        p99s: dict[QueueKey, float] = {}
        for source, cumulative in buckets.items():
            seconds = p99_of(cumulative, sums.get(source))
            if seconds is not None:
                key = QueueKey(dict(source)["prefix"], dict(source)["queue"])
                p99s[key] = max(seconds, p99s.get(key, 0.0))
    except (TypeError, KeyError, ValueError, IndexError):
        raise UnreadableError("invalid", "the answer is not a histogram of run times") from None
    return p99s


def p99_of(cumulative: Mapping[float, float], seconds: float | None = None) -> float | None:
    """The 0.99-quantile (s) of a histogram of attempts: those that took no longer than each upper bound, and
    the `seconds` of all together (None: not known). None: no attempts. Never above the largest finite bound.

    It is interpolated as by `histogram_quantile`, which takes the attempts of a bucket for evenly spread: of
    jobs that all take 70 s, between 60 and 300 s, that would make 298 s. So it is not above the mean of the
    attempts in that bucket and those after it, by the seconds that those before it leave.
    """
    total = max(cumulative.values(), default=0.0)
    if total <= 0 or inf not in cumulative:
        return None
    rank, lower, below, before = _QUANTILE * total, 0.0, 0.0, 0.0
    for bound in sorted(cumulative):
        count = max(below, cumulative[bound])
        if bound == inf:
            break
        if count >= rank:
            interpolated = lower + (bound - lower) * (rank - below) / (count - below)
            if seconds is None:
                return interpolated
            return min(interpolated, max(lower, (seconds - before) / (total - below)))
        before += (count - below) * (lower + bound) / 2
        lower, below = bound, count
    return lower
