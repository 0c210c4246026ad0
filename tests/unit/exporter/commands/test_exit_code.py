from __future__ import annotations

from dataclasses import replace

import pytest

from exporter.assessment import Assessment
from exporter.commands.exit_code import area_exit_code, exit_code
from exporter.snapshot.redis import RedisState
from exporter.views import About, status_view
from service.outcome import Failed, Ok
from tests.support.assessments import assessment, healthy_assessment, issue, redis_state

ABOUT = About("1", monitoring=True)


@pytest.mark.parametrize(("score", "code"), [(100, 0), (90, 0), (89, 1), (70, 1), (69, 2), (0, 2)])
def test_the_whole(score: float, code: int) -> None:
    assert exit_code(status_view(assessment(score=score), ABOUT)) == code


def test_an_unknown_state_is_not_healthy() -> None:
    view = status_view(None, ABOUT)
    assert (exit_code(view), area_exit_code(view, "redis")) == (2, 2)
    assert area_exit_code(status_view(healthy_assessment(), ABOUT), "redis") == 2


@pytest.mark.parametrize(
    ("penalties", "code"), [({"bullmq": 25}, 0), ({"redis": 5}, 1), ({"redis": 30}, 1), ({"redis": 31}, 2)]
)
def test_an_area_by_its_own_issues(penalties: dict[str, float], code: int) -> None:
    issues = tuple(issue("x", source, penalty) for source, penalty in penalties.items())
    assert area_exit_code(status_view(assessment(issues=issues), ABOUT), "redis") == code


def test_an_area_that_could_not_be_read() -> None:
    whole = assessment(issues=())
    lost = replace(whole.snapshot, bullmq=Failed("unreachable", "no"))
    assert area_exit_code(status_view(Assessment(lost, whole.health), ABOUT), "bullmq") == 2
    state = redis_state()
    down = RedisState(state.topology, {address: Failed("timeout", "no") for address in state.nodes})
    unreachable = replace(whole.snapshot, redis=Ok(down))
    assert area_exit_code(status_view(Assessment(unreachable, whole.health), ABOUT), "redis") == 2
