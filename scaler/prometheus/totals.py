"""The totals of a target's queues as one that only grows, by work that was done. Pure.

A sum of counters jumps when the set of them changes: a queue is away for a scrape, an exporter restarts or
another one takes over, a file brings back old counts. So each queue's growth is added, while its counters are
the same ones. Where they are not, nothing is added, and `joined` says by how many jobs there are more or less
for it. Where no queue's counters are the same ones, `created` says that the totals do not continue.

A job whose lock ran out counts as waiting again, while its worker goes on with it: Redis did not take the
renewal, or the worker stood still. It counts as `unseen` for twice the mean run time of its queue. What takes
locks away takes metrics away too: of these, the growth over a gap counts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import ceil
from operator import attrgetter
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from scaler.model import Missing, QueueSample, Stalled
from scaler.prometheus.promql import QueueKey, combine, usable_slots

TOTALS: Final = ("completed", "failed", "added", "duration_sum", "duration_count", "busy_seconds", "stalled")
"""The counters of a sample."""

_totals_of: Final[Callable[[QueueSample], tuple[Any, ...]]] = attrgetter(*TOTALS)
_HALF_SECONDS: Final = 120.0  # until the slots that a queue had a use for count half
_UNSEEN_RUNS: Final = 2.0  # mean run times: one in seven takes longer, where they are exponential
_UNSEEN_SECONDS: Final = (120.0, 3600.0)  # at least: of a queue's jobs the long ones stall; and at most
_TOGETHER_SECONDS: Final = 10.0  # times that are closer are one: 360 entries at most
_NEW_JOBS: Final = 100  # of a queue that is new: where more have ended, it has a past that was not seen


class _Seen(NamedTuple):
    """A queue's sample, its counters, and whose these are."""

    source: object
    sample: QueueSample
    counters: Mapping[str, float]


class TargetTotals(NamedTuple):
    """The totals of a target so far, and since when they count (unix seconds); the jobs that `joined` since
    then, see QueueSample; of each queue its counters and whose they are at the last reading, None while it is
    missing; of those that have a limit of jobs at once the slots `usable` lately; the jobs that `stalled`
    and may still run; of the queues that are `away`, as they are missing, what was seen last."""

    created: float
    joined: float = 0.0
    values: Mapping[str, float] = MappingProxyType({})
    queues: Mapping[QueueKey, _Seen | None] = MappingProxyType({})
    usable: Mapping[QueueKey, float] = MappingProxyType({})
    stalled: Stalled = ()
    away: Mapping[QueueKey, _Seen] = MappingProxyType({})


def continue_totals(
    before: TargetTotals | None,
    samples: Mapping[QueueKey, QueueSample | Missing],
    sources: Mapping[QueueKey, object],
    time: float,
    *,
    stalled: Stalled = (),
) -> tuple[QueueSample | Missing, TargetTotals | None]:
    """The known ones of these samples as one, whose totals continue those `before`, and the totals after it.

    `sources`: whose counters a queue's are, anything that can be compared; `time`: now (unix seconds). The
    totals begin with what the counters show, and with the jobs that `stalled` before, if they are known.
    Missing if no queue is known.
    """
    known = {key: sample for key, sample in samples.items() if isinstance(sample, QueueSample)}
    usable = _usable(before, known)
    combined = combine(known or samples, usable)
    queues: dict[QueueKey, _Seen | None] = dict.fromkeys(samples)
    if isinstance(combined, Missing):
        return combined, None if before is None else before._replace(
            queues=queues, away=_away(before, queues)
        )
    queues |= {key: _Seen(sources.get(key), sample, _counters(sample)) for key, sample in known.items()}
    sums = dict(zip(TOTALS, _totals_of(combined), strict=True))
    if before is None:
        values = {name: value for name, value in sums.items() if value is not None}
        after = TargetTotals(time, 0.0, values, queues, usable, _not_over(stalled, time))
    else:
        growth_of = {
            key: _growth(before.queues.get(key), queues.get(key), new=key not in before.queues)
            for key in {**before.queues, **known}
        }
        grown = dict.fromkeys(TOTALS, 0.0)
        for growth in growth_of.values():
            for name, jobs in growth.items() if growth else ():
                grown[name] += jobs
        values = {
            name: before.values[name] + grown[name] if name in before.values else value
            for name, value in sums.items()
            if value is not None
        }
        values = {**before.values, **values}
        if any(growth_of[key] is not None for key in known):
            joined = before.joined + _joined(before, queues, growth_of)
            after = TargetTotals(before.created, joined, values, queues, usable)
        else:
            after = TargetTotals(time, 0.0, values, queues, usable)
        after = after._replace(stalled=_stalled(before, queues, growth_of, time), away=_away(before, queues))
    totals: dict[str, Any] = {name: None if sums[name] is None else after.values[name] for name in TOTALS}
    unseen = sum(jobs for _, jobs in after.stalled)
    combined = combined._replace(**totals, created=after.created, joined=after.joined, unseen=unseen)
    return combined, after


def _stalled(
    before: TargetTotals,
    queues: Mapping[QueueKey, _Seen | None],
    growth_of: Mapping[QueueKey, Mapping[str, float] | None],
    time: float,
) -> Stalled:
    """The jobs that stalled, and that have just done so; without those that must have ended since."""
    least, most = _UNSEEN_SECONDS
    stalled = dict(_not_over(before.stalled, time))
    for key, seen in queues.items():
        if seen is None:
            continue
        sample, then = seen.sample, before.away.get(key)
        growth = growth_of[key]
        if then is not None and sample.at - then.sample.at <= most:
            growth = _growth(then, seen, new=False)
        jobs = (growth or {}).get("stalled")
        if jobs:
            run = (sample.duration_sum or 0.0) / (sample.duration_count or 1.0)
            until = time + min(most, max(least, _UNSEEN_RUNS * run))
            until = ceil(until / _TOGETHER_SECONDS) * _TOGETHER_SECONDS
            stalled[until] = stalled.get(until, 0.0) + jobs
    return tuple(stalled.items())


def _not_over(stalled: Stalled, time: float) -> Stalled:
    """Those that may still run; without those of another clock."""
    longest = _UNSEEN_SECONDS[1] + _TOGETHER_SECONDS
    return tuple(entry for entry in stalled if time < entry[0] <= time + longest)


def _away(before: TargetTotals, queues: Mapping[QueueKey, _Seen | None]) -> dict[QueueKey, _Seen]:
    """The queues that are missing, as they were seen last."""
    missing = (key for key, seen in queues.items() if seen is None)
    last = ((key, before.queues.get(key) or before.away.get(key)) for key in missing)
    return {key: seen for key, seen in last if seen is not None}


def _usable(before: TargetTotals | None, known: Mapping[QueueKey, QueueSample]) -> dict[QueueKey, float]:
    """The most slots that each queue with a limit had a use for, which counts for less and less: a single
    sample may show few jobs by chance."""
    usable = {}
    for key, sample in known.items():
        if sample.concurrency_limit is not None:
            then = None if before is None else before.queues.get(key)
            seconds = 0.0 if then is None else max(0.0, sample.at - then.sample.at)
            earlier = 0.0 if before is None else before.usable.get(key, 0.0)
            usable[key] = max(usable_slots(sample), earlier * 0.5 ** (seconds / _HALF_SECONDS))
    return usable


def _joined(
    before: TargetTotals,
    queues: Mapping[QueueKey, _Seen | None],
    growth_of: Mapping[QueueKey, Mapping[str, float] | None],
) -> float:
    """The jobs of the queues that do not continue, less those that they had."""
    broken = [key for key, growth in growth_of.items() if growth is None]
    return sum(_inside(queues.get(key)) - _inside(before.queues.get(key)) for key in broken)


def _growth(then: _Seen | None, now: _Seen | None, *, new: bool) -> Mapping[str, float] | None:
    """By how much a queue's counters grew; None if they do not continue, or its jobs came or went unseen."""
    if now is None:
        return {} if _inside(then) == 0 else None
    counters = now.counters
    if then is None:
        return counters if new and _ended(now.sample) <= _NEW_JOBS else None
    earlier = then.counters
    growth = {name: value - earlier[name] for name, value in counters.items() if name in earlier}
    came_late = "completed" in counters and "completed" not in earlier
    if then.source != now.source or came_late or any(value < 0 for value in growth.values()):
        return None
    return growth


def _inside(seen: _Seen | None) -> float:
    return 0.0 if seen is None else seen.sample.waiting + seen.sample.active


def _counters(sample: QueueSample) -> dict[str, float]:
    """Those that there are. The durations begin with the first attempt that ends: until then they are 0."""
    counters = dict(zip(TOTALS, _totals_of(sample), strict=True))
    if sample.completed is not None:
        for name in ("duration_sum", "duration_count"):
            counters[name] = counters[name] or 0.0
    return {name: value for name, value in counters.items() if value is not None}


def _ended(sample: QueueSample) -> float:
    return (sample.completed or 0.0) + (sample.failed or 0.0)
