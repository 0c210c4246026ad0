"""Workers that have a job stay: for every policy, whatever would remove them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from math import ceil
from typing import Any

import pytest

from scaler.config.settings import PolicySettings
from scaler.decision.guards import apply_guards
from scaler.decision.jsonl import Session, reply_to
from scaler.decision.memory import GuardMemory
from scaler.decision.policies import POLICIES
from scaler.decision.step import record_scaling, step
from scaler.model import Control, Observation, Override, Proposal, QueueSample

EVERY_POLICY = pytest.mark.parametrize("policy", sorted(POLICIES))


@dataclass
class Lines:
    """Jobs and workers in simulated time, behind the filter; workers start in 10 s."""

    config: dict[str, Any]
    waiting: list[float] = field(default_factory=list)  # run times
    replicas: int = 1
    active: list[float] = field(default_factory=list)  # when they end
    ended: int = 0
    history: list[tuple[float, int, int]] = field(default_factory=list)  # time, replicas, active jobs
    _ready_at: list[float] = field(default_factory=lambda: [0.0])
    _session: Session = field(default_factory=Session)

    def __post_init__(self) -> None:
        _, self._session = reply_to(json.dumps({"type": "init", "config": self.config}), self._session)

    def run(self, begin: int, end: int, **more: Any) -> None:
        slots = self.config["worker_concurrency"]
        for at in range(begin, end, 5):
            self.ended += sum(end <= at for end in self.active)
            self.active = [end for end in self.active if end > at]
            ready = sum(since <= at for since in self._ready_at[: self.replicas])
            while self.waiting and len(self.active) < ready * slots:
                self.active.append(at + self.waiting.pop(0))
            message = {
                "type": "observe",
                "time": at,
                "replicas": self.replicas,
                "ready_replicas": ready,
                "waiting": len(self.waiting),
                "active": len(self.active),
                "completed_total": self.ended,
                "failed_total": 0,
            }
            reply, self._session = reply_to(json.dumps(message | more), self._session)
            assert reply is not None
            desired = reply["replicas"]
            self._ready_at = self._ready_at[:desired] + [at + 10.0] * (desired - self.replicas)
            self.replicas = desired
            self.history.append((at, desired, len(self.active)))


def never_below_the_jobs_in_hand(lines: Lines) -> bool:
    slots, before = lines.config["worker_concurrency"], 1
    for _, replicas, active in lines.history:
        if replicas < min(before, ceil(active / slots)):
            return False
        before = replicas
    return True


@EVERY_POLICY
@pytest.mark.parametrize("jobs", [5, 20, 60])
def test_jobs_of_ten_minutes_keep_their_workers_until_they_end(policy: str, jobs: int) -> None:
    config = {"policy": policy, "min_workers": 1, "max_workers": 40, "worker_concurrency": 1}
    lines = Lines(config | {"cooldown_seconds": 0}, [600.0] * jobs)
    lines.run(0, 2400)
    assert never_below_the_jobs_in_hand(lines)
    assert lines.history[-1][1] == 1


def test_jobs_of_ten_minutes_have_their_workers_before_the_first_has_ended() -> None:
    """They count as jobs of a second until they have run for longer, and the last few wait for one to end."""
    for jobs in (5, 20, 60):
        lines = Lines({"max_workers": 60, "worker_concurrency": 1}, [600.0] * jobs)
        lines.run(0, 60)
        assert lines.replicas == jobs


def test_twelve_busy_workers_stay_where_nothing_waits() -> None:
    lines = Lines({"min_workers": 1, "max_workers": 40, "worker_concurrency": 1}, [240.0] * 12, replicas=12)
    lines._ready_at = [0.0] * 12
    lines.run(0, 240)
    assert [replicas for _, replicas, _ in lines.history] == [12] * 48


@EVERY_POLICY
@pytest.mark.parametrize("changed", [{"max_workers": 4}, {"max_workers": 4, "max_step_down": 3}])
def test_a_lowered_maximum_waits_for_the_jobs_in_hand(policy: str, changed: dict[str, Any]) -> None:
    """Where more jobs come it is reached when as many have ended as were in hand."""
    sample, memory = QueueSample(0.0, 0.0, 10.0, completed=50.0, failed=0.0), GuardMemory()
    given = PolicySettings.model_validate(
        {"policy": policy, "cooldown_seconds": 0, "min_workers": 1} | changed
    )
    numbers: list[int] = []
    for at, ended in ((0.0, 50.0), (5.0, 55.0), (10.0, 59.0), (15.0, 60.0), (20.0, 61.0), (25.0, 62.0)):
        workers = numbers[-1] if numbers else 10
        sample = QueueSample(at, 40.0, 1.0 * workers, completed=ended, failed=0.0)
        decision, memory = apply_guards(
            given, Observation(at, workers, workers, sample), Proposal(10, "load", ""), Control(), memory
        )
        numbers.append(decision.workers)
        assert (decision.reason == "busy") == (at < 15)
    assert numbers == ([10, 10, 10, 7, 4, 4] if "max_step_down" in changed else [10, 10, 10, 4, 4, 4])


@EVERY_POLICY
@pytest.mark.parametrize(
    ("active", "ready", "idle", "least"),
    [
        *((3.0, 6, None, 1), (17.0, 6, None, 5), (17.0, 2, None, 5), (90.0, 6, None, 6)),
        *((6.0, 6, 0, 6), (6.0, 6, 2, 4), (6.0, 6, 6, 2), (6.0, 4, 1, 3)),
    ],
)
def test_no_more_are_removed_than_are_idle(
    policy: str, active: float, ready: int, idle: int | None, least: int
) -> None:
    """By the jobs that are active at least, and by the idle workers where their number is known."""
    given = PolicySettings.model_validate({"policy": policy, "min_workers": 1, "cooldown_seconds": 0})
    observation = Observation(0.0, 6, ready, QueueSample(0.0, 0.0, active), idle=idle)
    for most in (10, 1):
        bounded = given.model_copy(update={"max_workers": most})
        proposal = Proposal(1, "surplus", "", {"service_seconds": 1.0}, slots=4.0)
        decision, _ = apply_guards(bounded, observation, proposal, Control(), GuardMemory())
        assert (decision.workers, decision.busy) == (least, least)
        assert (decision.reason == "busy") == (least > 1)


def test_an_override_removes_workers_that_have_a_job() -> None:
    """It is a person's decision."""
    observation = Observation(0.0, 6, 6, QueueSample(0.0, 0.0, 6.0), idle=0)
    control = Control(override=Override(2, "a bad release", "ann", 0.0))
    decision, _ = apply_guards(PolicySettings(), observation, Proposal(6, "load", ""), control, GuardMemory())
    assert decision.workers == 2


@pytest.mark.parametrize(
    ("oldest", "inputs", "waiting", "expected"),
    [
        (31.0, {}, 9.0, 5),
        (29.0, {}, 9.0, 2),
        (None, {"oldest_seconds": 31.0}, 9.0, 5),
        (None, {}, 9.0, 2),
        (31.0, {}, 3.0, 3),  # beside free workers it does not wait for one: more than jobs could use go
        (31.0, {}, 0.0, 2),
        (31.0, {"cap_slots": 1.0}, 3.0, 2),  # a limit makes it wait: more workers would not help it
    ],
)
def test_nothing_is_removed_while_a_job_waits_over_the_slo(
    oldest: float | None, inputs: dict[str, float], waiting: float, expected: int
) -> None:
    sample = QueueSample(0.0, waiting, 0.0, oldest_waiting=oldest)
    decision, _ = apply_guards(
        PolicySettings(min_workers=1),
        Observation(0.0, 5, 5, sample),
        Proposal(2, "surplus", "", inputs),
        Control(),
        GuardMemory(),
    )
    assert decision.workers == expected
    assert ("over 30 s" in decision.sentence) == (expected > 2)


def test_a_lowered_maximum_counts_though_a_job_waits_over_the_slo() -> None:
    sample = QueueSample(0.0, 9.0, 2.0, oldest_waiting=99.0)
    given = PolicySettings(min_workers=1, max_workers=4)
    decision, _ = apply_guards(
        given, Observation(0.0, 9, 9, sample), Proposal(9, "queue", ""), Control(), GuardMemory()
    )
    assert decision.workers == 4


@pytest.mark.parametrize("ready", [0, 1, 4])
@pytest.mark.parametrize("start", [10.0, 60.0])
def test_workers_that_are_not_ready_for_a_minute_and_go_on_are_capacity(ready: int, start: float) -> None:
    """8 jobs/s of a second on ten workers; their probe fails, active and ended jobs go on."""
    session, numbers = Session(), []
    config = {"min_workers": 1, "max_workers": 40, "worker_concurrency": 1}
    _, session = reply_to(json.dumps({"type": "init", "config": config}), session)
    replicas = 10
    for at in range(0, 900, 5):
        flapping = 600 <= at < 660
        message = {
            "type": "observe",
            "time": at,
            "replicas": replicas,
            "ready_replicas": ready if flapping else replicas,
            "start_s": start,
            "waiting": int(at % 15 == 0),
            "active": 8,
            "completed_total": 8 * at,
            "failed_total": 0,
        }
        reply, session = reply_to(json.dumps(message), session)
        assert reply is not None
        replicas = reply["replicas"]
        numbers.append(replicas)
    assert set(numbers[100:]) == {numbers[100]}


def played_workers(samples: Iterable[QueueSample], *, workers: int, ready: int, **given: Any) -> list[int]:
    """The numbers that follow each other, of `ready` workers where there are as many."""
    memory, numbers = None, []
    for sample in samples:
        observation = Observation(sample.at, workers, min(ready, workers), sample)
        settings_given = PolicySettings.model_validate({"min_workers": 1, "cooldown_seconds": 0} | given)
        decision, memory = step(settings_given, 5.0, observation, Control(), memory)
        if decision.workers != workers:
            workers = decision.workers
            memory = record_scaling(memory, sample.at)
        numbers.append(workers)
    return numbers


def long_jobs(active: Callable[[int], float]) -> list[QueueSample]:
    """Of an hour, each alone on its worker, for half an hour; `active`: at a time (s)."""
    return [
        QueueSample(float(at), 0.0, active(at), completed=50.0, failed=0.0, busy_seconds=6.0 * at)
        for at in range(0, 1800, 5)
    ]


@EVERY_POLICY
@pytest.mark.parametrize(
    "active",
    [lambda _: 6.0, lambda at: 60.0 if at == 500 else 6.0, lambda at: 12.0 if 500 <= at < 1200 else 6.0],
    ids=["a minute not ready", "one absurd sample", "a rollout"],
)
def test_a_measured_concurrency_takes_no_worker_with_a_long_job(
    policy: str, active: Callable[[int], float]
) -> None:
    """How many jobs a worker runs is a mean of all; each of these has one, which outlasts the grace."""
    for ready in (6, 1):
        numbers = played_workers(long_jobs(active), workers=6, ready=ready, policy=policy, max_workers=12)
        assert min(numbers) == 6


def test_waiting_jobs_of_other_queues_free_no_slot_of_a_busy_one() -> None:
    """Ten workers have five slots for each of six queues; one queue fills its own."""
    samples = [
        QueueSample(
            float(at),
            250.0 if at >= 600 else 0.0,
            50.0,
            completed=0.0,
            failed=0.0,
            busy_seconds=50.0 * at,
            held=250.0 if at >= 600 else 0.0,
            largest_share=1 / 6 if at >= 600 else 1.0,
            largest_active=50.0,
        )
        for at in range(0, 1200, 5)
    ]
    numbers = played_workers(samples, workers=10, ready=10, worker_concurrency_per_queue=5, max_workers=20)
    assert min(numbers) == 10
