from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import pytest

from lab.deadline import wait_until
from scaler import controller
from scaler.commands.tables import scaling_table
from scaler.config.settings import PolicySettings
from scaler.controller import Controller, Managed
from scaler.model import (
    Applied,
    Missing,
    NotApplied,
    Override,
    QueueSample,
    RunTimeP99,
    Stalled,
    TargetMetrics,
)
from scaler.state.learned import Learned, dump_learned
from scaler.state.live import LiveState
from scaler.state.model import OperatorState
from scaler.step_result import StepCounters
from scaler.transitions import transitions_of
from scaler.views import scaler_view
from service.clock import Deadline, now
from service.outcome import Failed, Ok, Outcome
from tests.support.no_threads import no_threads
from tests.support.scaler_metrics import metrics
from tests.support.targets import FakeTarget


@dataclass
class FakeMetrics:
    waiting: dict[str, float | None]
    stalled: Stalled = ()

    def read(self, deadline: Deadline) -> Mapping[str, TargetMetrics]:
        def sample_of(waiting: float | None) -> QueueSample | Missing:
            return Missing("timeout", "too slow") if waiting is None else QueueSample(now(), waiting, 1.0)

        return {
            name: TargetMetrics((f"{name}-queue",), sample_of(waiting), stalled=self.stalled)
            for name, waiting in self.waiting.items()
        }


class RecordingState(LiveState):
    """In memory; records what was saved."""

    def __init__(self, overrides: Mapping[str, Override] | None = None) -> None:
        super().__init__(None)
        self.saved: dict[str, Learned] = {}
        self.soon: list[bool] = []
        self.update(lambda state: replace(state, operator=OperatorState(overrides or {})))

    def save(
        self, learned: Callable[[], Mapping[str, Learned]], *, at_once: bool = False, soon: bool = False
    ) -> None:
        self.saved = dict(learned())
        self.soon.append(soon)

    @property
    def changes(self) -> list[tuple[str, int, int, str]]:
        return [(action.target, action.old, action.new, action.reason) for action in self.actions]


POLICY = PolicySettings(policy="threshold", cooldown_seconds=0)


def managed(**targets: FakeTarget) -> list[Managed]:
    return [Managed(name, POLICY, target) for name, target in targets.items()]


@dataclass
class HangingTarget(FakeTarget):
    """`scale` takes as long as it may, 5 s; only the clock knows."""

    clock: list[float] = field(default_factory=list)

    def scale(self, old: int, new: int, deadline: Deadline) -> Applied | NotApplied:
        self.calls.append((old, new))
        self.clock[0] += min(5.0, deadline.remaining())
        return NotApplied("timeout", "no response")


def test_targets_that_hang_take_ten_seconds_of_a_step_together_and_the_others_are_first_in_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = [1000.0]
    monkeypatch.setattr("service.clock.monotonic", lambda: clock[0])
    monkeypatch.setattr(controller, "_THREADS", 1)
    targets = {f"t{number}": HangingTarget(clock=clock) for number in range(5)}
    metrics, running = FakeMetrics(dict.fromkeys(targets, 40.0)), Controller(RecordingState())
    tried = []
    for _ in range(3):
        begun = clock[0]
        running.step(metrics, managed(**targets), 5.0)
        assert clock[0] - begun <= 10.0
        tried.append({name for name, target in targets.items() if target.calls})
        for target in targets.values():
            target.calls.clear()
    assert tried == [{"t0", "t1"}, {"t2", "t3"}, {"t0", "t4"}]
    assert running.last is not None
    waiting = [step.acted for step in running.last.steps if step.name not in tried[-1]]
    assert all(isinstance(acted, NotApplied) and acted.kind == "throttled" for acted in waiting)
    assert len(waiting) == 3


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


@pytest.mark.fault
def test_without_room_for_a_thread_a_step_reads_decides_and_acts_all_the_same() -> None:
    targets = {f"t{number}": FakeTarget() for number in range(20)}
    state = RecordingState()
    under_test = Controller(state)
    with no_threads():
        result = under_test.step(FakeMetrics(dict.fromkeys(targets, 40.0)), managed(**targets), 5.0)
    assert all(isinstance(step.acted, Applied) for step in result.steps)
    assert [len(target.calls) for target in targets.values()] == [1] * 20
    assert len(state.changes) == 20


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


def test_jobs_that_stalled_are_saved_also_while_the_metrics_are_away() -> None:
    state, metrics = RecordingState(), FakeMetrics({"mail": 1.0}, stalled=((2000.0, 7.0),))
    controller = Controller(state)
    for waiting in (1.0, None):
        metrics.waiting["mail"] = waiting
        controller.step(metrics, managed(mail=FakeTarget()), 5.0)
        assert state.saved["mail"].stalled == ((2000.0, 7.0),)
        metrics.stalled = ()


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


def test_before_a_scale_in_the_target_is_asked_how_many_workers_are_idle() -> None:
    unknown, known = FakeTarget(requested=9), FakeTarget(requested=9, idle_workers=Ok(2))
    settings = PolicySettings(min_workers=1, max_workers=20, worker_concurrency=1, start_cost_seconds=0)
    targets = [Managed("unknown", settings, unknown), Managed("known", settings, known)]
    metrics = FakeMetrics({"unknown": 0, "known": 0})
    Controller(RecordingState()).step(metrics, targets, 5.0)
    assert unknown.requested == 1  # without totals: a slot for the one job that runs
    assert known.requested == 7
    assert (unknown.asked_idle, known.asked_idle) == (1, 1)


def test_nobody_is_asked_without_a_scale_in_or_by_a_scaler_that_does_not_lead() -> None:
    target = FakeTarget()
    Controller(RecordingState()).step(FakeMetrics({"mail": 40}), managed(mail=target), 5.0)
    assert target.asked_idle == 0
    target = FakeTarget(requested=9)
    follower = Controller(RecordingState(), leading=lambda: False)
    result = follower.step(FakeMetrics({"mail": 0}), managed(mail=target), 5.0)
    assert result.steps[0].desired == 8
    assert target.asked_idle == 0


def test_targets_that_hang_are_asked_for_a_while_and_not_each_so_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And none is scaled in without an answer where a job could be killed; those come first the next time."""
    monkeypatch.setattr(controller, "_IDLE_SECONDS", 0.05)
    asked: list[str] = []

    class Hanging(FakeTarget):
        def idle(self, deadline: Deadline) -> Outcome[int] | None:
            if not deadline.passed():
                asked.append(next(name for name in targets if targets[name] is self))
                wait_until(deadline.passed, what="the time is over")
            return Failed("timeout", "no answer in time")

    targets = {f"t{number}": Hanging(requested=9, grace=5.0) for number in range(20)}
    scaler = Controller(RecordingState())
    for _ in range(2):
        scaler.step(FakeMetrics(dict.fromkeys(targets, 0)), managed(**targets), 5.0)
    assert asked == ["t0", "t1"]
    assert {target.requested for target in targets.values()} == {9}


def test_targets_share_the_workers_that_there_may_be() -> None:
    mail, video, manual = FakeTarget(), FakeTarget(), FakeTarget()
    state = RecordingState({"manual": Override(4, "because", "me", 0.0)})
    targets = [
        Managed("mail", POLICY, mail, priority=1),
        Managed("video", POLICY, video),
        Managed("manual", POLICY, manual),
    ]
    metrics = FakeMetrics({"mail": 30, "video": 30, "manual": 0})
    result = Controller(state).step(metrics, targets, 5.0, most=12)
    steps = {step.name: step for step in result.steps}
    assert {name: step.desired for name, step in steps.items()} == {"mail": 6, "video": 2, "manual": 4}
    assert (mail.requested, video.requested, manual.requested) == (6, 2, 4)
    assert steps["video"].decision is not None
    assert steps["video"].decision.reason == "capacity"
    assert "max_total_workers is 12, this target gets 2" in steps["video"].decision.sentence
    assert "AtMax" in steps["video"].conditions
    assert "AtMax" not in steps["mail"].conditions


def test_a_target_that_cannot_be_read_keeps_its_share() -> None:
    """Its workers go on running; those of a workload that is gone do not."""
    mail, video = FakeTarget(), FakeTarget(requested=5)
    controller, metrics = Controller(RecordingState()), FakeMetrics({"mail": 3, "video": 30})
    controller.step(metrics, managed(mail=mail, video=video), 5.0, most=8)
    assert (mail.requested, video.requested) == (2, 6)
    video.broken = Failed("timeout", "too slow")
    metrics.waiting["mail"] = 50
    controller.step(metrics, managed(mail=mail, video=video), 5.0, most=8)
    assert mail.requested == 2
    video.broken = Failed("not_found", "there is none")
    controller.step(metrics, managed(mail=mail, video=video), 5.0, most=8)
    assert mail.requested == 8


def test_workers_that_were_there_before_the_start_count_until_they_can_be_read() -> None:
    state = RecordingState()
    learned = {"video": dump_learned(Learned(None, (), 5))}
    state.update(lambda state: replace(state, learned=learned))
    mail, video = FakeTarget(), FakeTarget(broken=Failed("timeout", "too slow"))
    controller = Controller(state)
    controller.restore(managed(mail=mail, video=video), workers=False)
    controller.step(FakeMetrics({"mail": 50, "video": 0}), managed(mail=mail, video=video), 5.0, most=8)
    assert mail.requested == 3


def test_the_slo_is_that_of_the_queues_with_jobs() -> None:
    asked: list[tuple[str, ...]] = []

    def slo(queues: Sequence[str]) -> float:
        asked.append(tuple(queues))
        return 7.0

    class Busy(FakeMetrics):
        def read(self, deadline: Deadline) -> Mapping[str, TargetMetrics]:
            read = super().read(deadline)
            return {name: metrics._replace(busy=("urgent",)) for name, metrics in read.items()}

    targets = [Managed("mail", POLICY, FakeTarget(), slo)]
    result = Controller(RecordingState()).step(Busy({"mail": 1}), targets, 5.0)
    assert asked == [("urgent",)]
    assert result.steps[0].settings.wait_slo_seconds == 7.0


def test_what_is_unknown_of_a_target_is_reported_and_takes_no_more_than_its_share(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "scaler.controller")
    unknown = Missing("empty", "bull:mail-retry: no such series")

    class Partial(FakeMetrics):
        def read(self, deadline: Deadline) -> Mapping[str, TargetMetrics]:
            read = super().read(deadline)
            return {**read, "mail": read["mail"]._replace(unknown=unknown)}

    mail, video = FakeTarget(), FakeTarget()
    targets = [Managed("mail", POLICY, mail), Managed("video", POLICY, video)]
    scaler = Controller(RecordingState())
    result = scaler.step(Partial({"mail": 200, "video": 200}), targets, 5.0, most=8)
    assert scaler.counters.errors == {"metrics_empty": 1}
    steps = {step.name: step for step in result.steps}
    assert "MetricsStale" in steps["mail"].conditions
    assert {name: step.desired for name, step in steps.items()} == {"mail": 4, "video": 4}
    assert [record.error for record in caplog.records if record.message == "target failing"] == [  # type: ignore[attr-defined]
        unknown.message
    ]


PAUSED = OperatorState(paused=frozenset({"mail"}))


@pytest.mark.parametrize("how", ["paused", "disabled", "contested", "dry run", "overridden"])
def test_the_policys_number_is_there_whatever_else_decides(how: str) -> None:
    override = Override(3, "a sale", "ann", 0.0)
    state = RecordingState({"mail": override} if how == "overridden" else {})
    if how == "paused":
        state.update(lambda before: replace(before, operator=PAUSED))
    mail = FakeTarget(contested="conflict: HorizontalPodAutoscaler mail" if how == "contested" else None)
    policy = POLICY.model_copy(update={"enabled": how != "disabled"})
    result = Controller(state).step(
        FakeMetrics({"mail": 40}), [Managed("mail", policy, mail)], 5.0, dry_run=how == "dry run"
    )
    [step] = result.steps
    assert step.recommended == 8
    assert step.desired == {"dry run": 8, "overridden": 3}.get(how, 2)
    families = {family.name: family.samples for family in metrics(result, Controller(state).counters)}
    assert [sample.value for sample in families["oxherd_scaler_recommended_replicas"]] == [8]
    view = scaler_view(result, version="1", uptime=1.0, actions=(), origins={})
    assert view["targets"][0]["recommended"] == 8


def test_the_policys_number_is_within_the_bounds_and_absent_without_metrics() -> None:
    targets = {"much": 4000.0, "none": 0.0, "blind": None}
    result = Controller(RecordingState()).step(
        FakeMetrics(targets), managed(**{name: FakeTarget() for name in targets}), 5.0
    )
    assert [step.recommended for step in result.steps] == [10, 2, None]
    families = {family.name: family.samples for family in metrics(result, StepCounters())}
    assert len(families["oxherd_scaler_recommended_replicas"]) == 2


def test_a_condition_keeps_the_time_at_which_it_began() -> None:
    controller, mail = Controller(RecordingState()), FakeTarget()
    first = controller.step(FakeMetrics({"mail": None}), managed(mail=mail), 5.0)
    second = controller.step(FakeMetrics({"mail": None}), managed(mail=mail), 5.0)
    assert second.time > first.time
    assert second.steps[0].since == {"Active": first.time, "MetricsStale": first.time}
    view = scaler_view(second, version="1", uptime=1.0, actions=(), origins={})
    assert view["targets"][0]["conditions_since"] == second.steps[0].since
    third = controller.step(FakeMetrics({"mail": 1}), managed(mail=mail), 5.0)
    assert third.steps[0].since == {"Active": first.time}
    again = controller.step(FakeMetrics({"mail": None}), managed(mail=mail), 5.0)
    assert again.steps[0].since["MetricsStale"] == again.time


class LongJobs:
    """Each of 10 jobs took `seconds` since the sample before, 10 s earlier."""

    def __init__(self) -> None:
        self.at, self.count, self.total = now() - 60, 0.0, 0.0
        self.seconds = 57.0
        self.stalled: Stalled = ()

    def read(self, deadline: Deadline) -> Mapping[str, TargetMetrics]:
        self.at, self.count, self.total = self.at + 10, self.count + 10, self.total + 10 * self.seconds
        sample = QueueSample(
            self.at, 0, 0, self.count, 0.0, duration_sum=self.total, duration_count=self.count
        )
        return {"mail": TargetMetrics(("mail-queue",), sample, stalled=self.stalled)}


def test_jobs_that_run_longer_than_the_grace_are_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    controller, jobs, mail = Controller(RecordingState()), LongJobs(), FakeTarget(grace=5.0)
    policy = POLICY.model_copy(update={"metrics_max_age_seconds": 3600.0})
    controller.step(jobs, [Managed("mail", policy, mail)], 5.0)
    controller.step(jobs, [Managed("mail", policy, mail)], 5.0)
    result = controller.step(jobs, [Managed("mail", policy, mail)], 5.0)
    [step] = result.steps
    assert "GraceTooShort" in step.conditions
    [record] = [record for record in caplog.records if record.message == "grace period too short"]
    assert (vars(record)["target"], vars(record)["run_seconds"]) == ("mail", 57.0)
    assert "grace period of 5 s" in vars(record)["why"]
    [transition] = [
        change for change in transitions_of(step, frozenset()) if change.reason == "GraceTooShort"
    ]
    assert transition.trouble
    assert transition.message == step.warnings[0]
    assert "jobs run 57 s on average, longer than the grace period of 5 s" in step.warnings[0]
    families = {family.name: family.samples for family in metrics(result, controller.counters)}
    conditions = {sample.labels["condition"]: sample.value for sample in families["oxherd_scaler_condition"]}
    assert conditions["GraceTooShort"] == 1


@pytest.mark.parametrize("grace", [60.0, None])
def test_a_grace_that_is_long_enough_or_not_known_is_no_warning(grace: float | None) -> None:
    controller, jobs, mail = Controller(RecordingState()), LongJobs(), FakeTarget(grace=grace)
    policy = POLICY.model_copy(update={"metrics_max_age_seconds": 3600.0})
    controller.step(jobs, [Managed("mail", policy, mail)], 5.0)
    controller.step(jobs, [Managed("mail", policy, mail)], 5.0)
    result = controller.step(jobs, [Managed("mail", policy, mail)], 5.0)
    assert "GraceTooShort" not in result.steps[0].conditions


def test_a_grace_shorter_than_the_slowest_jobs_is_a_warning_though_the_mean_is_not(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class FewLongJobs(LongJobs):
        def read(self, deadline: Deadline) -> Mapping[str, TargetMetrics]:
            metrics = super().read(deadline)["mail"]
            return {"mail": metrics._replace(run_p99=RunTimeP99("mail-queue", 57.0))}

    controller, jobs, mail = Controller(RecordingState()), FewLongJobs(), FakeTarget(grace=30.0)
    jobs.seconds = 2.0
    policy = POLICY.model_copy(update={"metrics_max_age_seconds": 3600.0})
    results = [controller.step(jobs, [Managed("mail", policy, mail)], 5.0) for _ in range(3)]
    view = scaler_view(results[-1], version="1", uptime=1.0, actions=(), origins={})["targets"][0]
    [warning] = view["warnings"]
    assert warning.startswith("1 in 100 jobs runs over 57 s, longer than the grace period of 30 s")
    assert (view["run_p99_seconds"], view["run_seconds"], view["grace_seconds"]) == (57.0, 2.0, 30.0)
    [record] = [record for record in caplog.records if record.message == "grace period too short"]
    assert vars(record)["run_seconds"] == 57.0


@dataclass
class ManyJobs:
    """Samples 60 s apart with jobs that wait, and these active ones."""

    active: float
    at: float = field(default_factory=lambda: now() - 1000)

    def read(self, deadline: Deadline) -> Mapping[str, TargetMetrics]:
        self.at += 60
        return {"mail": TargetMetrics(("mail-queue",), QueueSample(self.at, 1.0, self.active))}


def test_workers_that_run_more_jobs_than_set_are_a_condition_until_it_is_set_right(
    caplog: pytest.LogCaptureFixture,
) -> None:
    controller, jobs, mail = Controller(RecordingState()), ManyJobs(16.0), FakeTarget(grace=30.0)
    update = {"metrics_max_age_seconds": 3600.0, "max_workers": 2, "worker_concurrency": 5}
    policy = POLICY.model_copy(update=update)
    managed_mail = [Managed("mail", policy, mail)]
    begun = [controller.step(jobs, managed_mail, 5.0).steps[0].conditions for _ in range(6)]
    assert ["ConcurrencyMismatch" in conditions for conditions in begun] == [False] * 5 + [True]
    result = controller.step(jobs, managed_mail, 5.0)
    families = {family.name: family.samples for family in metrics(result, controller.counters)}
    conditions = {sample.labels["condition"]: sample.value for sample in families["oxherd_scaler_condition"]}
    assert conditions["ConcurrencyMismatch"] == 1
    view = scaler_view(result, version="1", uptime=1.0, actions=(), origins={})
    [warning] = view["targets"][0]["warnings"]
    assert "8 jobs at once or more for minutes, more than worker_concurrency 5" in warning
    [record] = [record for record in caplog.records if record.message == "worker concurrency contradicted"]
    assert vars(record)["why"] == "each worker runs more jobs than worker_concurrency 5"
    right = policy.model_copy(update={"worker_concurrency": 8})
    after = controller.step(jobs, [Managed("mail", right, mail)], 5.0)
    assert "ConcurrencyMismatch" not in after.steps[0].conditions


def test_workers_that_run_fewer_jobs_than_set_are_a_condition(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of however many workers runs 2 jobs beside 500 that wait: a limit would let no more of all run."""
    begin = now() - 2000
    mail, state = FakeTarget(grace=30.0), {"at": begin, "ended": 0.0}

    class Waiting:
        def read(self, deadline: Deadline) -> Mapping[str, TargetMetrics]:
            state["at"] += 5
            active = 2.0 * mail.requested
            state["ended"] += active
            sample = QueueSample(
                state["at"],
                500.0,
                active,
                state["ended"],
                0.0,
                duration_sum=5 * state["ended"],
                duration_count=state["ended"],
                oldest_waiting=100.0,
            )
            return {"mail": TargetMetrics(("mail-queue",), sample)}

    monkeypatch.setattr(controller, "now", lambda: state["at"] + 5)
    policy = PolicySettings(min_workers=1, max_workers=20, worker_concurrency=10)
    under_test, jobs = Controller(RecordingState()), Waiting()
    results = [under_test.step(jobs, [Managed("mail", policy, mail)], 5.0) for _ in range(100)]
    [step] = results[-1].steps
    words = "each worker ran 2 jobs at once at most while jobs waited, fewer than worker_concurrency 10: "
    assert step.concurrency_warning.startswith(words)
    begun = {change.reason for change in transitions_of(step, frozenset({"Active"}))}
    assert begun == {"AtMax", "ConcurrencyMismatch"}


class LongRunning:
    """Jobs of 60 s, one batch after the other: the slots are busy while none has ended yet."""

    def __init__(self) -> None:
        self.second, self.begun = 0, now() - 200

    def read(self, deadline: Deadline) -> Mapping[str, TargetMetrics]:
        self.second += 2
        ran, again = min(60, self.second), max(0, min(60, self.second - 62))
        done, running = 3.0 * (ran == 60), 3 * (ran < 60) + 4 * (0 < again < 60)
        sample = QueueSample(
            self.begun + self.second, 0, running, done, 0.0, 3.0 + 4.0 * (again > 0), 60 * done, done
        )
        busy = sample._replace(busy_seconds=float(3 * ran + 4 * again), oldest_waiting=0.0)
        return {"mail": TargetMetrics(("mail-queue",), busy)}


def test_the_time_of_jobs_that_still_run_makes_no_run_time() -> None:
    """By the policy's reckoning these jobs ran over the grace of 75 s."""
    policy = PolicySettings(
        min_workers=2, max_workers=4, worker_concurrency=2, metrics_max_age_seconds=3600.0
    )
    scaler, jobs, mail = Controller(RecordingState()), LongRunning(), FakeTarget(grace=75.0)
    steps = [scaler.step(jobs, [Managed("mail", policy, mail)], 2.0).steps[0] for _ in range(60)]
    assert max(step.decision.inputs.get("service_seconds", 0) for step in steps if step.decision) > 75
    assert {step.run_seconds for step in steps} == {None, 60.0}
    assert not [step for step in steps if "GraceTooShort" in step.conditions]


def remembering(learned: Learned) -> LiveState:
    state = LiveState(None)
    state.update(lambda before: replace(before, learned={"mail": dump_learned(learned)}))
    return state


@pytest.mark.parametrize(
    ("where", "before", "requested"),
    [("here", 4, 4), ("here", 99, 10), ("here", None, 0), ("in a cluster", 4, 0)],
)
def test_workers_that_ended_with_the_scaler_are_there_again_within_the_bounds(
    where: str, before: int | None, requested: int
) -> None:
    workers = where == "here"
    mail = FakeTarget(requested=0)
    controller = Controller(remembering(Learned(None, (1.5, 2.5), before)))
    controller.restore(managed(mail=mail), workers=workers)
    assert (mail.requested, mail.measured_starts) == (requested, (1.5, 2.5))
    mail.requested = 7
    controller.restore(managed(mail=mail), workers=workers)
    assert mail.requested == 7, "once, not in every step"


def test_the_number_and_the_start_times_are_saved_with_what_was_learned() -> None:
    state, mail = RecordingState(), FakeTarget(measured_starts=(1.5,))
    Controller(state).step(FakeMetrics({"mail": 40}), managed(mail=mail), 5.0)
    assert (state.saved["mail"].workers, state.saved["mail"].start_times) == (8, (1.5,))
    assert state.saved["mail"].memory is not None


def test_what_the_machine_can_run_takes_no_worker_that_has_a_job() -> None:
    class Busy(FakeMetrics):
        def read(self, deadline: Deadline) -> Mapping[str, TargetMetrics]:
            sample = QueueSample(now(), 0.0, 7.0)
            return {name: TargetMetrics((name,), sample) for name in self.waiting}

    settings = PolicySettings(worker_concurrency=1, min_workers=1)
    targets = [Managed(name, settings, FakeTarget(requested=9)) for name in ("mail", "video")]
    result = Controller(RecordingState()).step(Busy({"mail": 0, "video": 0}), targets, 5.0, most=4)
    assert {step.name: step.desired for step in result.steps} == {"mail": 7, "video": 7}


def test_jobs_that_stall_are_saved_soon_and_that_they_ended_is_not() -> None:
    state, metrics = RecordingState(), FakeMetrics({"mail": 1.0})
    controller = Controller(state)
    for stalled in ((), ((2000.0, 7.0),), ((2000.0, 7.0),), ((2000.0, 7.0), (2010.0, 1.0)), ((2010.0, 1.0),)):
        metrics.stalled = stalled
        controller.step(metrics, managed(mail=FakeTarget()), 5.0)
    assert state.soon == [False, True, False, True, False]


@pytest.mark.fault
@pytest.mark.parametrize(
    ("grace", "most", "left"), [(5.0, None, 9), (None, None, 9), (5.0, 4, 9), (3600.0, None, 6)]
)
def test_no_worker_counts_as_idle_while_a_job_that_stalled_may_run_in_any(
    grace: float | None, most: int | None, left: int
) -> None:
    """The exporter lists the workers of active jobs, and those that stalled are none."""
    mail = FakeTarget(requested=9, grace=grace, idle_workers=Ok(9))
    policy = POLICY.model_copy(update={"metrics_max_age_seconds": 3600.0, "cooldown_seconds": 0.0})
    controller, jobs = Controller(RecordingState()), LongJobs()
    targets = [Managed("mail", policy, mail)]
    jobs.stalled = ((now() + 60, 2.0),)
    [step] = [controller.step(jobs, targets, 5.0, most=most) for _ in range(3)][-1].steps
    assert step.desired == left
    assert step.decision is not None
    if most is None:
        held = "held at 9 until it is known who has a job: 2 jobs that stalled may still run, for "
        assert (held in step.decision.sentence) == (left == 9)
    jobs.stalled = ((now() - 1, 2.0),)
    [step] = controller.step(jobs, targets, 5.0, most=most).steps
    assert step.desired is not None
    assert step.desired < left


@pytest.mark.parametrize(("grace", "left"), [(5.0, 9), (None, 9), (3600.0, 6)])
def test_who_has_a_job_is_awaited_where_a_job_could_be_killed(grace: float | None, left: int) -> None:
    """Jobs run 57 s, as the counters say; where they end within the grace, nobody has to be asked."""
    mail = FakeTarget(requested=9, grace=grace, idle_workers=Failed("unreachable", "connection refused"))
    policy = POLICY.model_copy(update={"metrics_max_age_seconds": 3600.0, "cooldown_seconds": 0.0})
    controller, jobs = Controller(RecordingState()), LongJobs()
    steps = [controller.step(jobs, [Managed("mail", policy, mail)], 5.0).steps[0] for _ in range(3)]
    assert steps[-1].desired == left
    decision = steps[-1].decision
    assert decision is not None
    held = "held at 9 until it is known who has a job: connection refused"
    assert (held in decision.sentence) == (decision.reason == "busy_unknown") == (left == 9)
