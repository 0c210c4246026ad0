from __future__ import annotations

from typing import Any

import pytest

from scaler.engines.decisions import Decisions, NoAnswer, active, decisions_of, needed, recommended
from scaler.model import Missing, QueueSample
from scaler.step_result import StepResult
from service.outcome import Failed
from tests.support.engine_steps import AT, decided, target, target_step

STALE = Missing("empty", "Prometheus has no such series")


@pytest.mark.parametrize(
    ("number", "bounds", "answer"),
    [
        (7, {}, 7),
        (0, {}, 0),
        (0, {"min_workers": 2}, 2),
        (99, {"max_workers": 20}, 20),
    ],
)
def test_the_number_is_the_policys_within_the_bounds(
    number: int, bounds: dict[str, Any], answer: int
) -> None:
    step = target_step(number, **bounds)
    assert recommended(decided(step), "mail", AT) == answer == step.recommended


@pytest.mark.parametrize(
    ("step", "code", "why"),
    [
        (target_step(sample=STALE), "UNAVAILABLE", "mail: Prometheus has no such series"),
        (target_step(None), "UNAVAILABLE", "mail: held at 3: 900 jobs after 2"),
        (target_step(current=Failed("timeout", "no answer")), "UNAVAILABLE", "mail: no answer"),
        (target_step(current=Failed("not_found", "gone")), "FAILED_PRECONDITION", "mail: gone"),
        (target_step(current=Failed("forbidden", "no right")), "FAILED_PRECONDITION", "mail: no right"),
    ],
)
def test_without_a_decision_both_answers_are_the_error_that_says_why(step: Any, code: Any, why: str) -> None:
    assert recommended(decided(step), "mail", AT) == NoAnswer(code, why)
    assert active(decided(step), "mail", AT) == NoAnswer(code, why)


def test_before_the_first_step_nothing_is_known() -> None:
    refused = NoAnswer("UNAVAILABLE", "mail: the first step is not done yet")
    assert recommended(Decisions([target()]), "mail", AT) == refused
    assert active(Decisions([target()]), "mail", AT) == refused


@pytest.mark.parametrize(("interval", "most"), [(5.0, 60), (300.0, 600)])
def test_a_decision_of_steps_that_hang_gets_too_old(interval: float, most: int) -> None:
    """By the age of the metrics, as the scaler's own decisions; a long interval is two of them."""
    decisions = decided(target_step(), interval=interval)
    until = AT + most - 1  # the sample is 1 s older than the step
    assert recommended(decisions, "mail", until) == 7
    assert active(decisions, "mail", until) is True
    why = f"mail: the last decision is by metrics that are {most + 1} s old, over {most} s"
    assert recommended(decisions, "mail", until + 1) == NoAnswer("UNAVAILABLE", why)
    assert active(decisions, "mail", until + 1) == NoAnswer("UNAVAILABLE", why)


def test_the_age_counts_from_the_end_of_the_step_on_the_monotonic_clock() -> None:
    result = StepResult(AT - 4, 4.0, (target_step(),))
    decisions = decisions_of([target()], result, ended=50.0, interval=5.0)
    assert recommended(decisions, "mail", 50.0 + 59) == 7
    assert isinstance(recommended(decisions, "mail", 50.0 + 60), NoAnswer)
    assert recommended(decisions, "mail", 49.0) == 7, "another thread's clock may be read a moment earlier"


def test_a_lower_bound_scales_out_and_never_in() -> None:
    unknown = Missing("empty", "queue b has no metrics")
    assert recommended(decided(target_step(7, current=3, unknown=unknown)), "mail", AT) == 7
    for number in (3, 2, 0):
        refused = recommended(decided(target_step(number, current=3, unknown=unknown)), "mail", AT)
        why = f"mail: at least {number}, as not all is known: queue b has no metrics"
        assert refused == NoAnswer("UNAVAILABLE", why)


NOTHING = QueueSample(AT - 1, 0.0, 0.0)


@pytest.mark.parametrize(
    ("sample", "idle", "policy", "answer"),
    [
        (NOTHING._replace(waiting=1.0), None, {}, True),
        (NOTHING._replace(active=1.0), None, {}, True),
        (NOTHING._replace(due=1.0), None, {}, True),
        (NOTHING, None, {}, True),
        (NOTHING, 299.0, {}, True),
        (NOTHING, 300.0, {}, False),
        (NOTHING, 300.0, {"min_workers": 1}, True),
        (NOTHING, 0.0, {"scale_to_zero_after_seconds": 0.0}, False),
        (NOTHING._replace(waiting=1.0), 0.0, {"scale_to_zero_after_seconds": 0.0}, True),
        # A pause holds back the jobs that wait, and those that fall due would wait with them.
        (NOTHING._replace(waiting=9.0, held=9.0, due=3.0), 300.0, {}, False),
        (NOTHING._replace(waiting=9.0, held=8.0), None, {}, True),
    ],
)
def test_a_target_is_active_until_the_scaler_would_scale_it_to_zero(
    sample: QueueSample,
    idle: float | None,
    policy: dict[str, Any],
    answer: bool,  # noqa: FBT001  # a parameter of the test
) -> None:
    step = target_step(0, sample=sample, idle=idle, **policy)
    assert active(decided(step), "mail", AT) is answer


def test_what_is_not_known_whole_is_active_or_an_error() -> None:
    unknown = Missing("empty", "queue b has no metrics")
    step = target_step(0, sample=NOTHING, unknown=unknown)
    why = "mail: not all is known: queue b has no metrics"
    assert active(decided(step), "mail", AT) == NoAnswer("UNAVAILABLE", why)
    assert active(decided(target_step(unknown=unknown)), "mail", AT) is True


@pytest.mark.parametrize(
    ("number", "sample", "idle", "policy", "answer"),
    [
        (7, None, None, {}, 7),
        (0, None, None, {}, 1),
        (0, NOTHING, 299.0, {}, 1),
        (3, NOTHING, 300.0, {}, 0),
        (0, NOTHING, 300.0, {"min_workers": 2}, 2),
    ],
)
def test_a_number_alone_says_when_to_go_to_zero(
    number: int, sample: QueueSample | None, idle: float | None, policy: dict[str, Any], answer: int
) -> None:
    step = target_step(number, sample=sample, idle=idle, **policy)
    assert needed(decided(step), "mail", AT) == answer


def test_without_both_there_is_no_number_alone() -> None:
    for step in (target_step(None), target_step(0, sample=NOTHING, unknown=STALE)):
        assert isinstance(needed(decided(step), "mail", AT), NoAnswer)
    lower_bound = target_step(2, current=3, unknown=STALE)
    assert isinstance(needed(decided(lower_bound), "mail", AT), NoAnswer)
