"""The 0.99-quantile of run times, from the exporter's histogram: PromQL and its answer. No I/O, no clock.

It is asked apart from the query of each step, which must not read the buckets of an hour. Prometheus has the
histogram in classic form, in native form, or in both; native ones with bounds of their own, or (where it
converts classic ones) with those of the exporter.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, pairwise
from math import inf
from typing import Any, Final, NamedTuple, Self

from scaler.prometheus.numbers import finite_number
from scaler.prometheus.promql import MEASURE_LABEL, RUN_TIMES, QueueKey, queue_selector
from service.outcome import UnreadableError

_WINDOW: Final = "1h"
_QUANTILE: Final = 0.99
_SUM: Final = "sum"
_CLEARLY_MORE: Final = 2.0


class Bucket(NamedTuple):
    """How many attempts took longer than `lower` and no longer than `upper` seconds."""

    lower: float
    upper: float
    attempts: float


def run_time_query(names: Collection[str], matchers: Mapping[str, str]) -> str:
    """The query for the histograms of these queues, in either form. The sums get a label that tells them from
    the native ones; those keep theirs, as Prometheus 2.42 makes them the number 0 when it adds a label."""
    selector = queue_selector("queue", matchers, names)
    buckets, sums, native = (
        f"sum without (outcome) (rate({RUN_TIMES}{part}{{{selector}}}[{_WINDOW}]))"
        for part in ("_bucket", "_sum", "")
    )
    return "\nor ".join((buckets, f'label_replace({sums}, "{MEASURE_LABEL}", "{_SUM}", "", "")', native))


def run_time_p99s(series: Iterable[Any]) -> dict[QueueKey, float]:
    """The quantile of each queue (s) in the answer to `run_time_query`, of several exporters the longest;
    a queue without attempts is absent. Raises UnreadableError: not such an answer."""
    histograms: dict[frozenset[tuple[str, str]], _Histograms] = {}
    try:
        for entry in series:
            labels = dict(entry["metric"])
            measure, bound = labels.pop(MEASURE_LABEL, None), labels.pop("le", None)
            of_source = histograms.setdefault(frozenset(labels.items()), _Histograms())
            if bound is not None:
                of_source.cumulative[_bound(bound)] = finite_number(entry["value"][1])
            elif measure == _SUM:
                of_source.seconds = finite_number(entry["value"][1])
            else:
                of_source.native = NativeRunTimes.of(entry["histogram"][1])
        p99s: dict[QueueKey, float] = {}
        for source, of_source in histograms.items():
            seconds = of_source.p99()
            if seconds is not None:
                key = QueueKey(dict(source)["prefix"], dict(source)["queue"])
                p99s[key] = max(seconds, p99s.get(key, 0.0))
    except (TypeError, KeyError, ValueError, IndexError, AttributeError, OverflowError):
        raise UnreadableError("invalid", "the answer is not a histogram of run times") from None
    return p99s


@dataclass(frozen=True, slots=True)
class NativeRunTimes:
    """A native histogram of run times: the buckets in which there are attempts, and their seconds."""

    buckets: tuple[Bucket, ...]
    seconds: float

    @classmethod
    def of(cls, data: Any) -> Self:
        """As Prometheus's API writes it: without buckets where there are no attempts, and the first one of
        given bounds from minus infinity. Raises TypeError, KeyError or ValueError."""
        buckets = [
            Bucket(max(0.0, float(lower)), float(upper), max(0.0, finite_number(count)))
            for _, lower, upper, count in data.get("buckets") or ()
        ]
        if any(not bucket.lower <= bucket.upper or bucket.lower == inf for bucket in buckets):
            raise ValueError("a bucket ends before it begins, or never begins")
        return cls(tuple(sorted(buckets)), finite_number(data["sum"]))


@dataclass(slots=True)
class _Histograms:
    """The histograms of one queue by one exporter, in both forms."""

    cumulative: dict[float, float] = field(default_factory=dict)
    seconds: float | None = None
    native: NativeRunTimes | None = None

    def p99(self) -> float | None:
        """By the native one, which is more exact; by the classic one while that shows clearly more attempts:
        in the first part of an hour after the form was changed."""
        classic = buckets_of(self.cumulative)
        if self.native is None or _attempts(classic) > _CLEARLY_MORE * _attempts(self.native.buckets):
            return p99_of(classic, self.seconds)
        return p99_of(self.native.buckets, self.native.seconds)


def buckets_of(cumulative: Mapping[float, float]) -> list[Bucket]:
    """The buckets of a classic histogram: the attempts that took no longer than each upper bound. None
    without the bound that all are within."""
    if inf not in cumulative:
        return []
    bounds = sorted(cumulative)
    # Rates do not always rise, by a rounding.
    counts = accumulate((cumulative[bound] for bound in bounds), max)
    return [
        Bucket(lower, upper, count - below)
        for (lower, below), (upper, count) in pairwise([(0.0, 0.0), *zip(bounds, counts, strict=True)])
    ]


def p99_of(buckets: Sequence[Bucket], seconds: float | None = None) -> float | None:
    """The 0.99-quantile (s) of a histogram of attempts; `seconds` of all of them together (None: not known).
    None: no attempts. Never above the largest finite bound.

    It is interpolated as by `histogram_quantile`, which takes the attempts of a bucket for evenly spread: of
    jobs that all take 70 s, between 60 and 300 s, that would make 298 s. So it is not above the mean of the
    attempts in that bucket and those after it, by the seconds that those before it leave.
    """
    total = _attempts(buckets)
    if not 0 < total < inf:  # together they may be more than a float has, though each is not
        return None
    rank, below, before = _QUANTILE * total, 0.0, 0.0
    for lower, upper, count in buckets:
        if upper == inf:
            return lower
        if below + count >= rank:
            interpolated = lower + (upper - lower) * ((rank - below) / count)
            if seconds is None:
                return interpolated
            return min(interpolated, max(lower, (seconds - before) / (total - below)))
        before += count * (lower + upper) / 2
        below += count
    return buckets[-1].upper


def _bound(text: Any) -> float:
    """The upper bound of a bucket of run times. Raises TypeError, ValueError or OverflowError."""
    bound = float(text)
    if not bound >= 0:
        raise ValueError("not a time that a job may take")
    return bound


def _attempts(buckets: Iterable[Bucket]) -> float:
    return sum(bucket.attempts for bucket in buckets)
