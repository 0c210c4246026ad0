"""What is said of a target: conditions that begin and end."""

from __future__ import annotations

import pytest

from scaler.activity import Activity
from scaler.commands.status import status_exit_code
from scaler.config.settings import PolicySettings
from scaler.model import Condition, Control, Decision, Missing, QueueSample, RunTimeP99, Workers
from scaler.step_result import StepResult, TargetStep
from scaler.transitions import known_conditions, transitions_of
from scaler.views import scaler_view
from service.outcome import Failed, Ok, Outcome


def a_step(workers: Outcome[Workers], *conditions: Condition) -> TargetStep:
    decision = None
    if isinstance(workers, Ok):
        decision = Decision(2, 2, "steady", "as it is", conditions=frozenset(conditions))
    sample = QueueSample(0.0, 1.0, 1.0)
    return TargetStep("mail", ("mail",), PolicySettings(), 0.0, workers, sample, Control(), decision)


READ = Ok(Workers(2, 2))


def test_a_target_that_cannot_be_read_for_a_moment_ends_no_condition() -> None:
    before = frozenset[Condition]({"Active", "Paused", "AtMax"})
    unread = a_step(Failed("unreachable", "connection refused"))
    assert list(transitions_of(unread, before)) == []
    assert known_conditions(unread, before) == before
    assert list(transitions_of(a_step(READ, "Active", "Paused", "AtMax"), before)) == []


def test_a_refusal_begins_is_kept_while_the_server_is_away_and_ends_with_a_read() -> None:
    refused = a_step(Failed("forbidden", "get deployments: 403"))
    [begun] = transitions_of(refused, frozenset({"Active"}))
    assert (begun.reason, begun.trouble) == ("Forbidden", True)
    after = known_conditions(refused, frozenset({"Active"}))
    assert list(transitions_of(a_step(Failed("timeout", "no response")), after)) == []
    assert [transition.reason for transition in transitions_of(a_step(READ, "Active"), after)] == [
        "ForbiddenEnded"
    ]


def test_a_workload_that_is_gone_is_not_forbidden_any_more() -> None:
    gone = a_step(Failed("not_found", "there is none"))
    reasons = [transition.reason for transition in transitions_of(gone, frozenset({"Forbidden"}))]
    assert reasons == ["TargetNotFound", "ForbiddenEnded"]


def graced(grace: float, mean: float | None, p99: RunTimeP99 | None, *queues: str) -> TargetStep:
    step = a_step(Ok(Workers(2, 2, grace_seconds=grace)), "Active")
    return step._replace(queues=queues or ("mail",), activity=Activity(300.0, 1.0, 0.0, mean), run_p99=p99)


def test_a_grace_that_is_too_short_for_the_slowest_jobs_is_a_condition() -> None:
    step = graced(30.0, 2.0, RunTimeP99("mail", 57.0))
    [begun] = transitions_of(step, frozenset({"Active"}))
    assert (begun.reason, begun.trouble) == ("GraceTooShort", True)
    assert begun.message.startswith(
        "1 in 100 jobs runs over 57 s, longer than the grace period of 30 s: a busy worker that is removed"
    )
    several = graced(30.0, 2.0, RunTimeP99("video", 300.0), "mail", "video")
    assert several.grace_warning.startswith("1 in 100 jobs of video runs over 300 s, longer")


@pytest.mark.parametrize("p99", [RunTimeP99("mail", 20.0), None])
def test_the_mean_says_so_where_the_slowest_jobs_do_not(p99: RunTimeP99 | None) -> None:
    assert graced(30.0, 40.0, p99).grace_warning.startswith("jobs run 40 s on average, longer than the grace")


@pytest.mark.parametrize(
    ("grace", "p99"), [(60.0, RunTimeP99("mail", 57.0)), (400.0, RunTimeP99("mail", 300.0)), (60.0, None)]
)
def test_a_grace_over_what_is_known_of_run_times_is_long_enough(grace: float, p99: RunTimeP99 | None) -> None:
    step = graced(grace, 2.0, p99)
    assert step.warnings == ()
    assert step.conditions == {"Active"}


def concurrency(settings: PolicySettings, taken: float | None, excess: float | None) -> TargetStep:
    step = a_step(READ, "Active")
    assert step.decision is not None
    inputs = {"waiting": 1.0} | ({} if taken is None else {"taken": taken})
    return step._replace(settings=settings, decision=step.decision._replace(inputs=inputs), excess=excess)


@pytest.mark.parametrize(
    ("settings", "taken", "excess", "words"),
    [
        (
            PolicySettings(worker_concurrency=25),
            5.0,
            None,
            "each worker ran 5 jobs at once at most while jobs waited, fewer than worker_concurrency 25: ",
        ),
        (
            PolicySettings(worker_concurrency=5),
            None,
            7.5,
            "each worker ran 7.5 jobs at once or more for minutes, more than worker_concurrency 5: ",
        ),
        (
            PolicySettings(worker_concurrency=25, worker_concurrency_per_queue=5),
            None,
            40.0,
            "more than worker_concurrency_per_queue 5 with worker_concurrency 25: ",
        ),
    ],
)
def test_a_concurrency_that_is_contradicted_is_a_condition(
    settings: PolicySettings, taken: float | None, excess: float | None, words: str
) -> None:
    step = concurrency(settings, taken, excess)
    [begun] = transitions_of(step, frozenset({"Active"}))
    assert (begun.reason, begun.trouble) == ("ConcurrencyMismatch", True)
    assert words in begun.message
    assert step.warnings == (begun.message,)
    after = known_conditions(step, frozenset({"Active"}))
    [ended] = transitions_of(concurrency(settings, None, None), after)
    assert ended.message == "no longer running another number of jobs at once than is set"


def test_metrics_that_are_missing_end_nothing_that_only_they_show() -> None:
    before = frozenset[Condition]({"Active", "GraceTooShort", "ConcurrencyMismatch"})
    unseen = a_step(READ, "Active")._replace(sample=Missing("timeout", "too slow"))
    assert [transition.reason for transition in transitions_of(unseen, before)] == ["MetricsStale"]
    assert known_conditions(unseen, before) == before | {"MetricsStale"}


def test_workers_that_crash_at_each_start_are_a_condition_and_not_ok() -> None:
    why = "2 of 2 workers exited 5 times in a row soon after they started, the last with exit 3"
    crashing = a_step(Ok(Workers(2, 0, crash_loop=why)), "Active")
    assert crashing.conditions == {"Active", "CrashLoop"}
    assert crashing.warnings == (why,)
    [begun] = transitions_of(crashing, frozenset({"Active"}))
    assert (begun.reason, begun.message, begun.trouble) == ("CrashLoop", why, True)
    result = StepResult(0.0, 0.1, (crashing,))
    view = scaler_view(result, version="1", uptime=1.0, actions=(), origins={})
    assert status_exit_code(dict(view)) == 1
    [ended] = transitions_of(a_step(READ, "Active"), frozenset({"Active", "CrashLoop"}))
    assert ended.message == "no longer with workers that exit soon after each start"
