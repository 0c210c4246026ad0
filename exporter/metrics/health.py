"""The health score and what it is made of."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, get_args

from exporter.assessment import Assessment
from exporter.health import RULES, Status
from exporter.metrics.family import Family, Sample


def _score(assessment: Assessment) -> Iterator[Sample]:
    yield (), assessment.health.score


def _status(assessment: Assessment) -> Iterator[Sample]:
    for status in get_args(Status):
        yield (status,), float(assessment.health.status == status)


def _penalty(assessment: Assessment) -> Iterator[Sample]:
    taken: dict[str, float] = {}
    for issue in assessment.health.issues:
        taken[issue.name] = taken.get(issue.name, 0.0) + issue.penalty
    for name in RULES:
        yield (name,), taken.get(name, 0.0)


FAMILIES: Final[tuple[Family, ...]] = (
    Family(
        "oxherd_health_score",
        "gauge",
        "Health from 0 to 100, without a unit: 100 less the penalties, never below 0.",
        (),
        _score,
    ),
    Family(
        "oxherd_health_status",
        "gauge",
        "1 for the band of the score, 0 for the others: healthy from 90, warning from 70, critical below.",
        ("status",),
        _status,
    ),
    Family(
        "oxherd_health_penalty",
        "gauge",
        "Points that each kind of issue takes from 100; 0 when there is no such issue.",
        ("issue",),
        _penalty,
    ),
)
