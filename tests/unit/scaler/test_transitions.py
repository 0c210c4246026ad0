"""What is said of a target: conditions that begin and end."""

from __future__ import annotations

from scaler.commands.status import status_exit_code
from scaler.config.settings import PolicySettings
from scaler.model import Condition, Control, Decision, QueueSample, Workers
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
