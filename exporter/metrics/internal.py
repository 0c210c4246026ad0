"""The exporter itself: what it reads, and success and duration of collecting from each source."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from exporter.assessment import Assessment, succeeded
from exporter.metrics.family import Family, Sample
from exporter.snapshot.whole import Snapshot
from service.outcome import Outcome, value_or_none


def _success(assessment: Assessment) -> Iterator[Sample]:
    for name, outcome in _parts(assessment.snapshot):
        yield (name,), float(succeeded(outcome))


def _duration(assessment: Assessment) -> Iterator[Sample]:
    for name, outcome in _parts(assessment.snapshot):
        yield (name,), outcome.took


def _parts(snapshot: Snapshot) -> Iterator[tuple[str, Outcome[object]]]:
    yield from snapshot.parts().items()


def _deployment(assessment: Assessment) -> Iterator[Sample]:
    state = value_or_none(assessment.snapshot.redis)
    if state is not None and state.deployment:
        yield (state.deployment,), 1.0


def _write_errors(assessment: Assessment) -> Iterator[Sample]:
    state = value_or_none(assessment.snapshot.bullmq)
    if state is not None and state.checkpoint is not None:
        yield (), float(state.checkpoint.errors)


FAMILIES: Final[tuple[Family, ...]] = (
    Family(
        "oxherd_redis_deployment_info",
        "gauge",
        "Always 1, with the Redis deployment that is read, the same at all of its exporters: redis.name, "
        "else the lowest node id of a cluster, else the id of the replication (INFO).",
        ("redis_deployment",),  # Kubernetes' service discovery often adds a label `deployment`
        _deployment,
    ),
    Family(
        "oxherd_collect_success",
        "gauge",
        "1 if the source was read in this scrape, else 0: for redis at least one node, "
        "for bullmq every known queue.",
        ("source",),
        _success,
    ),
    Family(
        "oxherd_collect_duration_seconds",
        "gauge",
        "Seconds that collecting from the source took in this scrape.",
        ("source",),
        _duration,
    ),
    Family(
        "oxherd_state_write_errors_total",
        "counter",
        "Failed writes of bullmq.state_file since the exporter started, which keeps the counters of events "
        "over a restart; absent without such a file.",
        (),
        _write_errors,
    ),
)
