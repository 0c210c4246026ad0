from __future__ import annotations

import pytest

from exporter.assessment import Assessment
from exporter.health import RULES, Issue, Status, of_issues
from exporter.metrics.health import FAMILIES
from exporter.snapshot import Snapshot
from service.i18n import Message


def series(*issues: Issue) -> dict[str, dict[tuple[str, ...], float]]:
    assessment = Assessment(Snapshot(0.0), of_issues(list(issues)))
    return {family.name: dict(family.read(assessment)) for family in FAMILIES}


def issue(name: str, penalty: float, source: str = "redis") -> Issue:
    return Issue(name, source, penalty, *[Message("issue.text", text="x")] * 4)


def test_every_penalty_is_there_when_nothing_is_wrong() -> None:
    assert series() == {
        "oxherd_health_score": {(): 100},
        "oxherd_health_status": {("healthy",): 1, ("warning",): 0, ("critical",): 0},
        "oxherd_health_penalty": {(name,): 0 for name in RULES},
    }


def test_a_penalty_is_under_its_issues_name() -> None:
    samples = series(issue("redis_unreachable", 30), issue("failed_jobs_high", 2.5))
    assert samples["oxherd_health_score"] == {(): 67.5}
    taken = {labels[0]: points for labels, points in samples["oxherd_health_penalty"].items() if points}
    assert taken == {"redis_unreachable": 30, "failed_jobs_high": 2.5}
    assert len(samples["oxherd_health_penalty"]) == len(RULES)


@pytest.mark.parametrize(("penalty", "status"), [(10, "healthy"), (10.5, "warning"), (31, "critical")])
def test_one_status_is_1(penalty: float, status: Status) -> None:
    samples = series(issue("redis_unreachable", penalty))["oxherd_health_status"]
    assert [labels for labels, number in samples.items() if number] == [(status,)]
