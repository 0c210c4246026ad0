from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from exporter.assessment import Assessment
from exporter.condition_table import CONDITION_TABLE
from exporter.conditions.finding import Affected
from exporter.health import Issue, Status, of_issues
from exporter.metrics.health import FAMILIES
from exporter.snapshot.host import ProcessState
from exporter.snapshot.queues import BullMQState, QueueId
from exporter.snapshot.whole import Snapshot
from service.i18n import Message
from service.outcome import Failed, Ok
from tests.support.assessments import host_state, redis_state


def series(*issues: Issue) -> dict[str, dict[tuple[str, ...], float]]:
    assessment = Assessment(Snapshot(0.0), of_issues(list(issues)))
    return {family.name: dict(family.read(assessment)) for family in FAMILIES}


def issue(name: str, penalty: float, source: str = "redis", affected: Sequence[Affected] = ()) -> Issue:
    text = Message("issue.text", text="x")
    return Issue(
        name, source, penalty, CONDITION_TABLE[name].severity, text, text, text, text, tuple(affected)
    )


def test_every_penalty_is_there_when_nothing_is_wrong() -> None:
    assert series() == {
        "oxherd_health_score": {(): 100},
        "oxherd_health_status": {("healthy",): 1, ("warning",): 0, ("critical",): 0},
        "oxherd_health_penalty": {(name,): 0 for name in CONDITION_TABLE},
        "oxherd_issue": {},
        "oxherd_issue_affected": {},
        "oxherd_issue_subjects": {},
    }


def test_a_penalty_is_under_its_issues_name() -> None:
    samples = series(issue("redis_unreachable", 30), issue("failed_jobs_high", 2.5))
    assert samples["oxherd_health_score"] == {(): 67.5}
    taken = {labels[0]: points for labels, points in samples["oxherd_health_penalty"].items() if points}
    assert taken == {"redis_unreachable": 30, "failed_jobs_high": 2.5}
    assert len(samples["oxherd_health_penalty"]) == len(CONDITION_TABLE)


@pytest.mark.parametrize(("penalty", "status"), [(10, "healthy"), (10.5, "warning"), (31, "critical")])
def test_one_status_is_1(penalty: float, status: Status) -> None:
    samples = series(issue("redis_unreachable", penalty))["oxherd_health_status"]
    assert [labels for labels, number in samples.items() if number] == [(status,)]


WHOLE = Snapshot(
    1.0, Ok(redis_state()), Ok(BullMQState(())), Ok(host_state()), Ok(ProcessState(1, None)), Ok({})
)


def states(snapshot: Snapshot, *issues: Issue) -> dict[str, float]:
    assessment = Assessment(snapshot, of_issues(list(issues)))
    [family] = [family for family in FAMILIES if family.name == "oxherd_issue"]
    for labels, _ in family.read(assessment):
        assert labels[2] == CONDITION_TABLE[labels[0]].severity
    return {labels[0]: state for labels, state in family.read(assessment)}


def test_a_condition_is_there_or_is_not_or_is_not_known() -> None:
    down = replace(WHOLE, bullmq=Failed("timeout", "no answer in time"))
    assert states(WHOLE).keys() == CONDITION_TABLE.keys()
    there = states(down, issue("queue_system_down", 25, "bullmq"), issue("redis_memory_high", 15))
    assert {name for name, state in there.items() if state} == {"queue_system_down", "redis_memory_high"}
    unknown = {row.name for row in CONDITION_TABLE.values() if row.source == "bullmq"} - {"queue_system_down"}
    assert CONDITION_TABLE.keys() - there.keys() == unknown


def test_a_source_that_is_switched_off_has_no_conditions() -> None:
    without = replace(WHOLE, probes=None, process=None)
    assert "probe_failing" not in states(without)
    assert states(without)["source_unreadable"] == 0  # the host is read


def test_the_worst_ten_have_series_and_all_are_counted() -> None:
    affected = [Affected(f"queue-{number}", float(20 - number)) for number in range(12)]
    samples = series(issue("failed_jobs_high", 10, "bullmq", affected))
    labels = ("failed_jobs_high", "bullmq", "medium")
    assert samples["oxherd_issue_subjects"] == {labels: 12}
    assert samples["oxherd_issue_affected"] == {
        (*labels, f"queue-{number}", "", ""): 20 - number for number in range(10)
    }


def test_what_belongs_to_a_queue_has_its_prefix_and_name() -> None:
    affected = [Affected("eu:a:b: nightly", 9.0, QueueId("eu", "a:b"))]
    samples = series(issue("scheduler_late", 15, "bullmq", affected))
    labels = ("scheduler_late", "bullmq", "high", "eu:a:b: nightly", "eu", "a:b")
    assert samples["oxherd_issue_affected"] == {labels: 9}
