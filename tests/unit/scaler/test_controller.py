from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import pytest

from scaler.commands.tables import scaling_table
from scaler.config.settings import PolicySettings
from scaler.controller import Controller, Managed
from scaler.decision.step import TargetMemory
from scaler.metrics import metrics
from scaler.model import Applied, Missing, NotApplied, Override, QueueSample, TargetMetrics, Workers
from scaler.state.live import LiveState
from scaler.state.model import OperatorState
from scaler.views import scaler_view
from service.clock import Deadline, now
from service.outcome import Failed, Ok, Outcome


@dataclass
class FakeTarget:
    requested: int = 2
    broken: Failed | None = None
    refuses: NotApplied | None = None
    calls: list[tuple[int, int]] = field(default_factory=list)

    def read(self, deadline: Deadline) -> Outcome[Workers]:
        return self.broken or Ok(Workers(self.requested, self.requested))

    def scale(self, old: int, new: int, deadline: Deadline) -> Applied | NotApplied:
        self.calls.append((old, new))
        if self.refuses:
            return self.refuses
        self.requested = new
        return Applied(new)

    def close(self) -> None:
        """There is nothing to close."""


@dataclass
class FakeMetrics:
    waiting: dict[str, float | None]

    def read(self, deadline: Deadline) -> Mapping[str, TargetMetrics]:
        def sample_of(waiting: float | None) -> QueueSample | Missing:
            return Missing("timeout", "too slow") if waiting is None else QueueSample(now(), waiting, 1.0)

        return {
            name: TargetMetrics((f"{name}-queue",), sample_of(waiting))
            for name, waiting in self.waiting.items()
        }


class RecordingState(LiveState):
    """In memory; records what was saved."""

    def __init__(self, overrides: Mapping[str, Override] | None = None) -> None:
        super().__init__(None)
        self.saved: dict[str, TargetMemory] = {}
        self.update(lambda state: replace(state, operator=OperatorState(overrides or {})))

    def save(self, memories: Mapping[str, TargetMemory], *, at_once: bool = False) -> None:
        self.saved = dict(memories)

    @property
    def changes(self) -> list[tuple[str, int, int, str]]:
        return [(action.target, action.old, action.new, action.reason) for action in self.actions]


POLICY = PolicySettings(policy="threshold", cooldown_seconds=0)


def managed(**targets: FakeTarget) -> list[Managed]:
    return [Managed(name, POLICY, target) for name, target in targets.items()]


def test_a_decision_is_applied_recorded_and_saved() -> None:
    state, mail, video = RecordingState(), FakeTarget(), FakeTarget()
    result = Controller(state).step(
        FakeMetrics({"mail": 40, "video": 3}), managed(mail=mail, video=video), 5.0
    )
    assert (mail.calls, video.calls) == ([(2, 8)], [])
    assert state.changes == [("mail", 2, 8, "waiting")]
    assert set(state.saved) == {"mail", "video"}
    assert [step.desired for step in result.steps] == [8, 2]
    assert result.steps[0].acted == Applied(8)


def test_a_failing_target_does_not_affect_the_others(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    lost = FakeTarget(broken=Failed("not_found", "there is no such thing"))
    denied = FakeTarget(refuses=NotApplied("forbidden", "not allowed to"))
    healthy, blind = FakeTarget(), FakeTarget()
    targets = managed(lost=lost, denied=denied, healthy=healthy, blind=blind)
    metrics = FakeMetrics({"lost": 40, "denied": 40, "healthy": 40, "blind": None})
    controller = Controller(RecordingState())
    controller.step(metrics, targets, 5.0)
    result = controller.step(metrics, targets, 5.0)
    conditions = {step.name: step.conditions for step in result.steps}
    assert "TargetNotFound" in conditions["lost"]
    assert "Forbidden" in conditions["denied"]
    assert "MetricsStale" in conditions["blind"]
    assert (healthy.requested, blind.calls, lost.calls) == (9, [], [])
    failures = [record for record in caplog.records if record.message == "target failing"]
    assert len(failures) == 3  # once each, not once a step
    lost.broken = None
    controller.step(metrics, targets, 5.0)
    assert [record.message for record in caplog.records].count("target recovered") == 1
    assert controller.counters.errors == {"not_found": 2, "forbidden": 3, "metrics_timeout": 3}


@pytest.mark.parametrize("how", ["dry run", "switched off", "not leading"])
def test_nothing_is_scaled_and_the_decision_is_logged(how: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    state, mail = RecordingState(), FakeTarget()
    controller = Controller(state, leading=lambda: how != "not leading")
    result = controller.step(
        FakeMetrics({"mail": 40}),
        managed(mail=mail),
        5.0,
        enabled=how != "switched off",
        dry_run=how == "dry run",
    )
    assert (mail.calls, state.changes) == ([], [])
    assert result.steps[0].desired == 8
    assert [record.message for record in caplog.records] == ["would scale"]


def test_a_change_is_one_line_with_the_reason_and_its_figures(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    Controller(RecordingState()).step(FakeMetrics({"mail": 40}), managed(mail=FakeTarget()), 5.0)
    [record] = caplog.records
    fields = vars(record)
    assert (record.message, fields["target"], fields["from"], fields["to"]) == ("scaled", "mail", 2, 8)
    assert (fields["reason"], fields["waiting"]) == ("waiting", 40)
    assert "40 jobs wait" in fields["because"]


def test_a_change_that_was_not_applied_begins_no_cooldown() -> None:
    policy = POLICY.model_copy(update={"cooldown_seconds": 3600})
    mail = FakeTarget(refuses=NotApplied("conflict", "someone else was faster"))
    controller, metrics = Controller(RecordingState()), FakeMetrics({"mail": 40})
    for _ in range(2):
        controller.step(metrics, [Managed("mail", policy, mail)], 5.0)
    assert mail.calls == [(2, 8), (2, 8)]
    mail.refuses = None
    controller.step(metrics, [Managed("mail", policy, mail)], 5.0)
    controller.step(FakeMetrics({"mail": 400}), [Managed("mail", policy, mail)], 5.0)
    assert mail.calls[2:] == [(2, 8)]


def test_a_removed_target_is_forgotten() -> None:
    state = RecordingState()
    controller = Controller(state)
    controller.step(FakeMetrics({"mail": 1, "video": 1}), managed(mail=FakeTarget(), video=FakeTarget()), 5.0)
    controller.step(FakeMetrics({"video": 1}), managed(video=FakeTarget()), 5.0)
    assert set(state.saved) == {"video"}


def test_series_and_views_of_all_kinds_of_targets() -> None:
    override = Override(5, "a sale", "ann", 0.0, 4e9)
    state = RecordingState({"mail": override})
    controller = Controller(state)
    targets = managed(
        mail=FakeTarget(), lost=FakeTarget(broken=Failed("not_found", "gone")), blind=FakeTarget()
    )
    result = controller.step(FakeMetrics({"mail": 4, "lost": 4, "blind": None}), targets, 5.0)
    series = {
        (sample.name, sample.labels.get("target"), sample.labels.get("condition")): sample.value
        for family in metrics(result, controller.counters)
        for sample in family.samples
    }
    assert series["oxherd_scaler_desired_replicas", "mail", None] == 5
    assert series["oxherd_scaler_override_replicas", "mail", None] == 5
    assert series["oxherd_scaler_override_expires_timestamp_seconds", "mail", None] == 4e9
    assert series["oxherd_scaler_condition", "mail", "Overridden"] == 1
    assert series["oxherd_scaler_condition", "blind", "MetricsStale"] == 1
    assert ("oxherd_scaler_desired_replicas", "lost", None) not in series
    assert ("oxherd_scaler_load_factor", "blind", None) not in series
    assert ("oxherd_scaler_metrics_age_seconds", "blind", None) not in series
    assert ("oxherd_scaler_override_replicas", "blind", None) not in series
    view = scaler_view(result, version="1", uptime=1.0, actions=[], origins={})
    mail, lost, blind = view["targets"]
    assert (mail["override"]["by"], mail["desired"], lost["error"], lost["desired"]) == (
        "ann",
        5,
        "gone",
        None,
    )
    assert blind["metrics"] == {"missing": "timeout", "why": "too slow"}
    scaling_table(view)
    assert scaler_view(None, version="1", uptime=1.0, actions=[], origins={})["targets"] == []
