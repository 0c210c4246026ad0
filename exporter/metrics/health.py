"""The health score and its components."""

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
    penalties: dict[str, float] = {}
    for issue in assessment.health.issues:
        penalties[issue.name] = penalties.get(issue.name, 0.0) + issue.penalty
    for name in RULES:
        yield (name,), penalties.get(name, 0.0)


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
)
