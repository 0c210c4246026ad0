"""Targets whose workers this scaler does not set: another one does (advise), or nobody yet (shadow)."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass

import pytest

from scaler.config.settings import PolicySettings
from scaler.controller import Controller, Managed
from scaler.decision.step import initial_memory
from scaler.model import Override, QueueSample, TargetMetrics
from scaler.state.learned import Learned
from scaler.state.live import LiveState
from scaler.state.model import OperatorState, State
from scaler.step_result import StepResult
from service.clock import Deadline, now
from service.outcome import Failed
from tests.support.targets import FakeTarget

ACT = PolicySettings(policy="threshold", cooldown_seconds=0, min_workers=1)
ADVISE = ACT.model_copy(update={"mode": "advise"})
SHADOW = ACT.model_copy(update={"mode": "shadow"})


@dataclass
class Workload(FakeTarget):
    """A target that another autoscaler scales too."""

    contested: str | None = "conflict: HorizontalPodAutoscaler rival scales it too"
    shared: bool = True


class Source:
    def __init__(self, **waiting: float) -> None:
        self._waiting = waiting

    def read(self, deadline: Deadline) -> Mapping[str, TargetMetrics]:
        return {
            name: TargetMetrics((name,), QueueSample(now(), waiting, 1.0))
            for name, waiting in self._waiting.items()
        }


def stepped(
    policy: PolicySettings, target: Workload, *, override: int | None = None, waiting: float = 40.0
) -> StepResult:
    state = LiveState(None)
    if override is not None:
        orders = {"mail": Override(override, "a sale", "ann", 0.0)}
        state.update(lambda _: State(operator=OperatorState(orders)))
    return Controller(state).step(Source(mail=waiting), [Managed("mail", policy, target)], 5.0)


def test_where_another_one_sets_the_number_it_is_told_what_is_recommended() -> None:
    target = Workload()
    [step] = stepped(ADVISE, target).steps
    assert (step.desired, step.recommended, target.calls) == (2, 8, [])
    assert step.conditions == {"Active", "Advising"}, "an autoscaler that is meant to be there is no conflict"
    assert step.decision is not None
    assert step.decision.reason == "advising"
    assert step.decision.sentence.endswith("mode is advise: held at 2")


def test_the_same_workload_is_contested_where_this_scaler_acts() -> None:
    [step] = stepped(ACT, Workload()).steps
    assert "Contested" in step.conditions


@pytest.mark.parametrize("policy", [ADVISE, SHADOW], ids=["advise", "shadow"])
def test_no_order_sets_its_workers_and_no_right_is_asked_for(policy: PolicySettings) -> None:
    target = Workload(contested=None)
    stepped(policy, target, override=9)
    assert (target.calls, target.acts) == ([], [False])


@pytest.mark.parametrize("workers", [0, 50])
def test_a_number_beyond_the_bounds_is_the_other_ones_and_stays(workers: int) -> None:
    [step] = stepped(ADVISE, Workload(requested=workers), waiting=0.0).steps
    assert step.desired == workers
    assert not step.conditions & {"Resting", "AtMax"}


def test_in_the_shadow_it_decides_as_if_it_acted(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    target = Workload(contested=None)
    [step] = stepped(SHADOW, target).steps
    assert (step.desired, step.recommended, target.calls) == (8, 8, [])
    assert "Shadowing" in step.conditions
    assert [record.message for record in caplog.records] == ["would scale"]


def test_a_number_that_would_be_set_is_logged_once_and_again_when_it_is_another(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    controller, target = Controller(LiveState(None)), Workload(contested=None)
    numbers = []
    for waiting in (40.0, 40.0, 45.0, 3.0, 45.0):
        caplog.clear()
        controller.step(Source(mail=waiting), [Managed("mail", SHADOW, target)], 5.0)
        numbers.append([vars(record)["to"] for record in caplog.records])
    assert numbers == [[8], [], [9], [], [9]]


def test_beside_one_that_acts_all_are_counted_as_they_are() -> None:
    """The workers that a shadow only wishes for take nobody's place under the limit of all together."""
    own, shadow, advised = Workload(contested=None), Workload(3, contested=None), Workload(4, contested=None)
    targets = [
        Managed("own", ACT, own),
        Managed("shadow", SHADOW, shadow),
        Managed("advised", ADVISE, advised),
    ]
    source = Source(own=40.0, shadow=40.0, advised=40.0)
    result = Controller(LiveState(None)).step(source, targets, 5.0, most=12)
    assert [step.desired for step in result.steps] == [5, 8, 4]
    assert own.calls == [(2, 5)]


@pytest.mark.parametrize(("policy", "calls"), [(ACT, [(0, 6)]), (ADVISE, []), (SHADOW, [])])
def test_workers_that_ended_with_the_scaler_are_started_again_only_where_it_acts(
    policy: PolicySettings, calls: list[tuple[int, int]]
) -> None:
    class Recalling(LiveState):
        def recall(self, target: str) -> Learned:
            return Learned(initial_memory(ACT), (), 6)

    target = Workload(0, contested=None)
    Controller(Recalling(None)).restore([Managed("mail", policy, target)], workers=True)
    assert target.calls == calls


@pytest.mark.parametrize("mode", [ADVISE, SHADOW], ids=["advise", "shadow"])
def test_one_that_cannot_be_read_counts_with_its_last_known_workers(mode: PolicySettings) -> None:
    own, other = Workload(contested=None), Workload(6, contested=None)
    targets = [Managed("own", ACT, own), Managed("other", mode, other)]
    controller = Controller(LiveState(None))
    controller.step(Source(own=40.0, other=6.0), targets, 5.0, most=8)
    other.broken = Failed("timeout", "the API server is late")
    [step, _] = controller.step(Source(own=40.0, other=6.0), targets, 5.0, most=8).steps
    assert (step.desired, own.calls) == (2, [])


@pytest.mark.parametrize(("policy", "mode"), [(ACT, None), (ADVISE, "Advising"), (SHADOW, "Shadowing")])
def test_the_mode_of_one_that_cannot_be_read_is_told(policy: PolicySettings, mode: str | None) -> None:
    """The alerts leave out what is in the shadow, and a workload that is missing has no decision."""
    [step] = stepped(policy, Workload(broken=Failed("not_found", "there is no Deployment mail"))).steps
    assert step.conditions == {"TargetNotFound", mode} - {None}


@pytest.mark.parametrize("off", [ADVISE, ACT.model_copy(update={"enabled": False})], ids=["advise", "off"])
def test_the_zero_of_another_autoscaler_does_not_rest_once_it_is_gone(off: PolicySettings) -> None:
    """From KEDA: its number of the night is nobody's wish that the workload rests."""
    target, controller = Workload(3), Controller(LiveState(None))
    for requested in (3, 0):
        target.requested = requested
        controller.step(Source(mail=0.0), [Managed("mail", off, target)], 5.0)
    target.contested = None
    controller.step(Source(mail=40.0), [Managed("mail", ACT, target)], 5.0)
    assert target.calls == [(0, 8)]
