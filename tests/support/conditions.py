"""The issues of real servers."""

from __future__ import annotations

from exporter.assessment import Assessment
from exporter.config.health import HealthSettings
from exporter.health import assess
from exporter.redis.deployment import Deployment
from exporter.snapshot.queues import BullMQState, JobCounts, QueueId, QueueState
from exporter.snapshot.whole import Snapshot
from service.catalogs import ENGLISH
from service.outcome import Ok
from tests.support.deployments import collect

_QUEUE = QueueState(QueueId("bull", "mail"), JobCounts(0, 0, 0, 0, 0, 0, 0), False, 0, 0, 0, 0)


def assessment_of(deployment: Deployment, queues: BullMQState | None = None) -> Assessment:
    """The state of these servers with these queues, or with one that is empty."""
    snapshot = Snapshot(0.0, Ok(collect(deployment)), Ok(queues or BullMQState((_QUEUE,))))
    return Assessment(snapshot, assess(snapshot, HealthSettings()))


def issues_of(deployment: Deployment, queues: BullMQState | None = None) -> dict[str, str]:
    """Each issue's measured value and recommendation, without issues of the machine that runs the tests."""
    return {
        issue.name: f"{ENGLISH.render(issue.measured)} | {ENGLISH.render(issue.recommendation)}"
        for issue in assessment_of(deployment, queues).health.issues
        if issue.name != "redis_memory_high"
    }
