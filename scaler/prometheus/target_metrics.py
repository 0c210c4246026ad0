"""The metrics of each target: which queues it has, what is known of them together, and what is missing."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Final, Self

from scaler.config.prometheus import QuerySettings
from scaler.config.settings import ScalerSettings, TargetSettings, is_glob, queries_of
from scaler.model import Missing, QueueSample, Stalled, TargetMetrics
from scaler.prometheus.matched_queues import MatchedQueues, observe_queues
from scaler.prometheus.observer import Observer, QueryResult
from scaler.prometheus.parse import Reading
from scaler.prometheus.promql import QueueKey, missing_of
from scaler.prometheus.queue_index import QueueIndex
from scaler.prometheus.run_times import RunTimes
from scaler.prometheus.totals import TargetTotals, continue_totals
from service.clock import Deadline, monotonic

_NO_QUEUES: Final = QueueIndex(())
_UNKNOWN: Final = MatchedQueues()


def _none(target: str) -> Stalled:
    del target
    return ()


class PrometheusMetrics:
    """Queries the queues of the targets of these settings. Does not connect before the first query."""

    def __init__(self, settings: ScalerSettings, stalled_before: Callable[[str], Stalled] = _none) -> None:
        """`stalled_before`: the jobs of a target that stalled before this process, and may still run."""
        self._stalled_before = stalled_before
        self._targets: dict[QuerySettings, list[TargetSettings]] = {}
        for target in settings.targets:
            self._targets.setdefault(queries_of(settings, target), []).append(target)
        self._observer = Observer(settings.prometheus, self._queues())
        self._known: dict[str, MatchedQueues] = {}
        self._indexes: dict[QuerySettings, QueueIndex] = {}
        self._totals: dict[str, TargetTotals | None] = {}
        self._run_times = RunTimes(settings.prometheus)
        self.last: QueryResult | None = None

    def continuing(self, before: Self) -> Self:
        """With what `before` remembers of the targets, after a change of the settings."""
        self._known, self._totals = before._known, before._totals
        self._run_times.continuing(before._run_times)
        return self

    def read(self, deadline: Deadline) -> Mapping[str, TargetMetrics]:
        """The metrics of each target, by its name. Never raises."""
        if not self._targets:
            return {}
        self.last = result = self._observer.observe(deadline)
        metrics: dict[str, TargetMetrics] = {}
        for queries, targets in self._targets.items():
            reading = result.readings[queries]
            if isinstance(reading, Missing):
                metrics |= {target.name: TargetMetrics(target.queues, reading) for target in targets}
                continue
            index = self._indexes.get(queries, _NO_QUEUES).of(reading.samples.keys())
            self._indexes[queries] = index
            for target in targets:
                metrics[target.name] = self._metrics_of(target, reading, index, result.time)
        return metrics

    def ask_run_times(self, names: Collection[str]) -> None:
        """In the background and seldom, how long the jobs of these targets run. Of other exporters' queues
        there is no such histogram."""
        self._run_times.ask(
            {
                key
                for queries, targets in self._targets.items()
                for target in targets
                if queries.is_default
                if target.name in names and target.name in self._known
                for key in self._known[target.name].samples
            }
        )

    def close(self) -> None:
        """Close the connections."""
        self._observer.close()
        self._run_times.close()

    def _metrics_of(
        self, target: TargetSettings, reading: Reading, index: QueueIndex, time: float
    ) -> TargetMetrics:
        before = self._known.get(target.name, _UNKNOWN)
        known = observe_queues(before, target, reading, monotonic(), index)
        self._known[target.name] = known
        if not known.samples:
            return TargetMetrics(
                target.queues, Missing("empty", f"no queue matches {', '.join(target.queues)}")
            )
        sources = {key: reading.source(key) for key in known.samples}
        before_totals = self._totals.get(target.name)
        stalled = self._stalled_before(target.name) if before_totals is None else ()
        sample, totals = continue_totals(before_totals, known.samples, sources, time, stalled=stalled)
        self._totals[target.name] = totals
        busy = tuple(key.name for key, one in known.samples.items() if _has_jobs(one))
        names = tuple(key.name for key in known.samples)
        unknown = None if isinstance(sample, Missing) else missing_of(known.samples) or known.unread
        run_p99 = None if isinstance(sample, Missing) else self._run_times.longest(known.samples)
        return TargetMetrics(names, sample, busy, unknown, run_p99, totals.stalled if totals else ())

    def _queues(self) -> dict[QuerySettings, list[QueueKey]]:
        """The queues by the queries of their figures; empty, which means all, where one is a pattern."""
        queues: dict[QuerySettings, list[QueueKey]] = {}
        for queries, targets in self._targets.items():
            queues[queries] = [QueueKey(target.prefix, name) for target in targets for name in target.queues]
        return {
            queries: [] if any(is_glob(key.name) for key in keys) else keys
            for queries, keys in queues.items()
        }


def _has_jobs(sample: QueueSample | Missing) -> bool:
    return isinstance(sample, QueueSample) and sample.waiting + sample.active + (sample.due or 0.0) > 0
