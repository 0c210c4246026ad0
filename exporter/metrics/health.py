"""The health score, its components, and the conditions that are there."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, get_args

from exporter.assessment import Assessment, succeeded
from exporter.condition_table import CONDITION_TABLE, HealthCondition
from exporter.health import Status
from exporter.metrics.family import Family, Sample
from exporter.snapshot.queues import QueueId

MOST_AFFECTED: Final = 10
"""Subjects of one condition that have a series of their own; how many there are in all is another."""


def _score(assessment: Assessment) -> Iterator[Sample]:
    yield (), assessment.health.score


def _status(assessment: Assessment) -> Iterator[Sample]:
    for status in get_args(Status):
        yield (status,), float(assessment.health.status == status)


def _penalty(assessment: Assessment) -> Iterator[Sample]:
    penalties: dict[str, float] = {}
    for issue in assessment.health.issues:
        penalties[issue.name] = penalties.get(issue.name, 0.0) + issue.penalty
    for name in CONDITION_TABLE:
        yield (name,), penalties.get(name, 0.0)


def _issue(assessment: Assessment) -> Iterator[Sample]:
    there = {issue.name: issue.source for issue in assessment.health.issues}
    read = {name for name, part in assessment.snapshot.parts().items() if succeeded(part)}
    for row in CONDITION_TABLE.values():
        if row.name in there:
            yield (row.name, there[row.name], row.severity), 1.0
        elif row.name not in assessment.health.open and read.issuperset(_needed(row, assessment)):
            yield (row.name, row.sources[0], row.severity), 0.0


def _needed(row: HealthCondition, assessment: Assessment) -> set[str]:
    """The sources that must have been read for a condition not to be there."""
    on = assessment.snapshot.parts().keys()
    return set(row.sources) & on or set(row.sources)


def _affected(assessment: Assessment) -> Iterator[Sample]:
    for issue in assessment.health.issues:
        for subject, value, queue in issue.affected[:MOST_AFFECTED]:
            yield (issue.name, issue.source, issue.severity, subject, *(queue or _NO_QUEUE)), value


def _affected_count(assessment: Assessment) -> Iterator[Sample]:
    for issue in assessment.health.issues:
        yield (issue.name, issue.source, issue.severity), float(len(issue.affected))


_LABELS: Final = ("issue", "source", "severity")
_NO_QUEUE: Final = QueueId("", "")  # to Prometheus an empty label is none

FAMILIES: Final[tuple[Family, ...]] = (
    Family(
        "oxherd_health_score",
        "gauge",
        "Health score from 0 to 100: 100 less the penalties, at least 0.",
        (),
        _score,
    ),
    Family(
        "oxherd_health_status",
        "gauge",
        "1 for the current status, else 0: healthy from a score of 90, warning from 70, critical below.",
        ("status",),
        _status,
    ),
    Family(
        "oxherd_health_penalty",
        "gauge",
        "Points that each kind of issue takes from 100; 0 without such an issue.",
        ("issue",),
        _penalty,
    ),
    Family(
        "oxherd_issue",
        "gauge",
        "1 while a condition is there, 0 while it is not; absent while its source cannot be read, or while "
        "it is not known yet after a start.",
        _LABELS,
        _issue,
    ),
    Family(
        "oxherd_issue_affected",
        "gauge",
        f"What was measured at each of the {MOST_AFFECTED} worst queues, nodes or endpoints of a condition "
        "that is there; 1 where there is nothing to measure. A queue, and what belongs to one, also has its "
        "prefix and name.",
        (*_LABELS, "subject", "prefix", "queue"),
        _affected,
    ),
    Family(
        "oxherd_issue_subjects",
        "gauge",
        "Queues, nodes or endpoints that a condition that is there concerns; 0: the source as a whole.",
        _LABELS,
        _affected_count,
    ),
)
