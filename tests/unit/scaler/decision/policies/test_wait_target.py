from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scaler.config.settings import PolicySettings
from scaler.decision import step as decision_step
from scaler.decision.policies.wait_target import Memory, WaitTarget
from scaler.decision.step import TargetMemory
from scaler.model import Control, Observation, Proposal, QueueSample

POLICY = WaitTarget()
SETTINGS = PolicySettings(worker_concurrency=4, max_workers=100)


def observe(
    at: float, workers: int, waiting: float, active: float, completed: float, **more: Any
) -> Observation:
    sample = QueueSample(at, waiting, active, completed=completed, failed=0.0, due=more.pop("due", None))
    return Observation(at, workers, more.pop("ready", workers), sample, more.pop("start", 25.0))


def decide(
    observation: Observation, memory: Memory, policy: PolicySettings = SETTINGS
) -> tuple[Proposal, Memory]:
    assert isinstance(observation.sample, QueueSample)
    return POLICY.decide(policy, 5.0, observation, observation.sample, memory)


def settled(rate: float, service: float, workers: int, seconds: int = 1800) -> tuple[Memory, list[Proposal]]:
    """After half an hour of a steady flow on a fixed number of workers."""
    memory, proposals = POLICY.initial_memory(), []
    for at in range(0, seconds, 5):
        proposal, memory = decide(observe(at, workers, 0, rate * service, rate * at), memory)
        proposals.append(proposal)
    return memory, proposals


def test_the_first_sample_changes_nothing() -> None:
    proposal, _ = decide(observe(0, 7, 500, 4, 0), POLICY.initial_memory())
    assert (proposal.workers, proposal.reason) == (7, "learning")


@pytest.mark.parametrize(
    ("rate", "service", "least", "most"),
    [
        (10.0, 2.0, 5, 6),  # 20 slots: 5 workers, and the scatter of what comes while one starts
        (1.0, 0.1, 1, 1),
        (4.0, 60.0, 60, 66),  # L = 240: 60 workers full
    ],
)
def test_a_steady_flow_gets_its_load_and_little_more(
    rate: float, service: float, least: int, most: int
) -> None:
    memory, workers = POLICY.initial_memory(), 80
    for at in range(0, 3600, 5):
        proposal, memory = decide(observe(at, workers, 0, rate * service, rate * at), memory)
        workers = max(1, proposal.workers)
    assert least <= workers <= most


def test_a_backlog_is_drained_within_the_slo_by_more_workers() -> None:
    memory, _ = settled(2.0, 3.0, workers=2)
    proposal, _ = decide(observe(1800, 2, 200, 8, 3600), memory)
    assert proposal.reason == "queue"
    slots = proposal.workers * 4
    assert slots * SETTINGS.wait_slo_seconds / 3.0 >= 120  # what the two workers do not start meanwhile
    assert proposal.workers <= 60


def test_the_same_backlog_of_shorter_jobs_needs_fewer() -> None:
    short, _ = settled(2.0, 0.5, workers=2)
    long, _ = settled(2.0, 3.0, workers=2)
    few, _ = decide(observe(1800, 2, 200, 8, 3600), short)
    many, _ = decide(observe(1800, 2, 200, 8, 3600), long)
    assert few.workers < many.workers


def test_a_lower_slo_asks_for_more() -> None:
    memory, _ = settled(2.0, 3.0, workers=2)
    observation = observe(1800, 2, 60, 8, 3600)
    numbers = [
        decide(observation, memory, SETTINGS.model_copy(update={"wait_slo_seconds": slo}))[0].workers
        for slo in (120.0, 30.0, 10.0, 3.0)
    ]
    assert numbers == sorted(numbers)
    assert numbers[0] < numbers[-1]


def test_more_workers_than_jobs_are_never_proposed_for_a_backlog() -> None:
    memory, _ = settled(0.01, 300.0, workers=2)
    proposal, _ = decide(observe(1800, 2, 6, 3, 18), memory)
    assert proposal.workers <= 6


def test_known_delayed_jobs_have_workers_before_they_wait() -> None:
    memory, _ = settled(2.0, 3.0, workers=2)
    without, _ = decide(observe(1800, 2, 0, 6, 3600), memory)
    due, _ = decide(observe(1800, 2, 0, 6, 3600, due=500.0), memory)
    assert due.workers > without.workers
    assert due.reason == "due"
    assert "500 more are due within 60 s" in due.sentence


def test_delayed_jobs_that_come_as_announced_prove_no_higher_rate() -> None:
    memory, _ = settled(0.2, 1.0, workers=20)
    _, memory = decide(observe(1800, 20, 0, 0, 360, due=500.0), memory)
    announced, _ = decide(observe(1805, 20, 420, 80, 361), memory)
    unannounced, _ = decide(observe(1805, 20, 420, 80, 361), settled(0.2, 1.0, workers=20)[0])
    assert announced.inputs["rate"] < unannounced.inputs["rate"] / 2
    assert announced.inputs["queue_slots"] == 0 < unannounced.inputs["queue_slots"]


def flow(seconds: int, workers: int, *, cost: float = 0.0, before: int = 10) -> list[int]:
    """Numbers of workers of a flow of 20 jobs/s that ends, every 5 s from its end on."""
    policy = SETTINGS.model_copy(update={"start_cost_seconds": cost})
    memory, _ = settled(20.0, 2.0, workers=before)
    numbers = []
    for at in range(1800, 1800 + seconds, 5):
        proposal, memory = decide(observe(at, workers, 0, 0, 36000), memory, policy)
        workers = max(1, proposal.workers)
        numbers.append(workers)
    return numbers


def test_workers_stay_for_the_cost_of_a_start() -> None:
    """For a third of the start time of 25 s and `start_cost_seconds` after the load needed them, which is a
    mean of 30 s; a backlog that was drained keeps none for so long."""
    cheap, dear = flow(300, 10), flow(300, 10, cost=120.0)
    assert cheap[-1] == dear[-1] == 1
    assert 10 <= 5 * (dear.index(1) - cheap.index(1)) - 120 + 15 <= 30
    assert next(number for number in cheap if number < 10) > 1  # it falls with the load, not at once


def test_jobs_that_become_slower_are_noticed_before_a_hundred_have_ended() -> None:
    """Run times rise from 1 s to 5 s: the slots are full, and a tenth as many jobs end."""
    memory, _ = settled(8.0, 1.0, workers=3)
    completed, waiting, asked = 8.0 * 1800, 0.0, 0
    for at in range(1800, 1830, 5):
        proposal, memory = decide(observe(at, 3, waiting, 12, completed), memory)
        completed += 12
        waiting += 5 * 8 - 12
        asked = proposal.workers
    assert asked >= 10  # 40 slots of 4


def limited(seconds: int, *, workers: int, held: float | None = None) -> list[tuple[int, str]]:
    """Two jobs/s come and run 4 s; a limit lets 1.5 a second start, or a pause none."""
    memory, _ = settled(2.0, 4.0, workers=workers)
    waiting, completed, decisions = 0.0, 3600.0, []
    for at in range(1800, 1800 + seconds, 5):
        active = 0.0 if held is not None else min(6.0, workers * 4.0)
        sample = QueueSample(
            at, waiting, active, completed=completed, failed=0.0, due=0.0, held=waiting if held else held
        )
        observation = Observation(at, workers, workers, sample, 25.0)
        proposal, memory = POLICY.decide(SETTINGS, 5.0, observation, sample, memory)
        decisions.append((proposal.workers, proposal.reason))
        workers = max(1, proposal.workers)
        waiting += 10 - active / 4 * 5
        completed += active / 4 * 5
    return decisions


def test_jobs_behind_a_rate_limit_get_no_more_workers_than_have_work() -> None:
    decisions = limited(1800, workers=3)
    assert max(number for number, _ in decisions) <= 3
    assert {reason for _, reason in decisions[-20:]} <= {"throttled", "held", "busy", "kept"}
    assert decisions[-1][0] >= 2  # six slots are busy


def test_workers_that_count_as_ready_before_they_take_jobs_are_no_limit() -> None:
    """As without a readiness probe: the first takes a job 25 s after it counts as ready."""
    memory, _ = settled(2.0, 3.0, workers=2)
    asked, memory = decide(observe(1800, 2, 200, 8, 3600), memory)
    assert asked.workers > 6
    for at in range(1805, 1830, 5):
        proposal, memory = decide(observe(at, asked.workers, 200, 8, 3600 + 2 * (at - 1800)), memory)
        assert "cap_slots" not in proposal.inputs
        assert proposal.workers > 6


def test_without_workers_enough_for_a_limit_they_are_added() -> None:
    """The limit is above what the workers do: it is no limit to them."""
    assert max(number for number, _ in limited(120, workers=1)) >= 2


def test_a_pause_that_ends_has_its_workers_at_once() -> None:
    decisions = limited(600, workers=3, held=1.0)
    assert decisions[-1] == (0, "throttled")
    memory, _ = settled(2.0, 4.0, workers=3)
    for at in range(1800, 2400, 5):
        sample = QueueSample(at, 2.0 * (at - 1800), 0, completed=3600.0, failed=0.0, held=2.0 * (at - 1800))
        _, memory = POLICY.decide(SETTINGS, 5.0, Observation(at, 3, 3, sample, 25.0), sample, memory)
    resumed = QueueSample(2400, 1190, 12, completed=3600.0, failed=0.0, held=0.0)
    proposal, _ = POLICY.decide(SETTINGS, 5.0, Observation(2400, 3, 3, resumed, 25.0), resumed, memory)
    assert proposal.workers > 10


def test_workers_that_start_are_not_sent_back_while_jobs_wait() -> None:
    memory, _ = settled(2.0, 3.0, workers=2)
    asked, memory = decide(observe(1800, 2, 200, 8, 3600), memory)
    assert asked.workers > 4
    later, _ = decide(observe(1830, asked.workers, 180, 8, 3665, ready=2), memory)
    assert (later.reason, later.workers) == ("kept", asked.workers)


def test_after_a_start_without_memory_what_is_there_counts_as_needed_just_now() -> None:
    """Five seconds without a job prove nothing."""
    memory, numbers, workers = POLICY.initial_memory(), [], 10
    for at in range(0, 120, 5):
        proposal, memory = decide(observe(at, workers, 0, 0, 5000), memory)
        workers = max(1, proposal.workers)
        numbers.append(workers)
    assert numbers[: 45 // 5] == [10] * 9
    assert numbers[-1] == 1


@pytest.mark.fault
@pytest.mark.parametrize("before", [1, 2, 60])
@pytest.mark.parametrize("gap", [170, 400, 780])
def test_jobs_that_ended_while_nobody_looked_do_not_make_a_backlog_cheap(before: int, gap: int) -> None:
    """3,600 jobs of 2 s ran while the scaler was away, and 500 wait soon after: as in a real cluster."""
    memory = POLICY.initial_memory()

    def wanted(at: float, waiting: float, active: float, ended: float) -> int:
        nonlocal memory
        times = {"duration_sum": 2.0 * ended, "duration_count": ended}
        sample = QueueSample(at, waiting, active, completed=ended, failed=0.0, **times)
        proposal, memory = decide(Observation(at, 20, 20, sample, 3.0), memory)
        return proposal.workers

    steps = [5.0 * step for step in range(before)]
    for at in steps:
        wanted(at, 0, 2, 500 + at)
    back = steps[-1] + gap
    for later in (0, 5, 10):
        wanted(back + later, 0, 2, 4100 + steps[-1] + later)
    assert wanted(back + 15, 500, 2, 4115 + steps[-1]) * 4 >= 500 * 2 / SETTINGS.wait_slo_seconds
    assert memory.run_seconds == pytest.approx(2.0, rel=0.2)


@pytest.mark.parametrize("every", [60.0, 190.0, 300.0])
def test_a_rate_is_learned_where_samples_come_rarely_beside_quick_decisions(every: float) -> None:
    policy = SETTINGS.model_copy(update={"metrics_max_age_seconds": 2 * every})
    memory, rates = POLICY.initial_memory(), []
    for at in range(0, int(3 * every) + 1, 5):
        then = at // every * every
        sample = QueueSample(then, 0, 8, completed=4.0 * then, failed=0.0)
        proposal, memory = decide(Observation(at, 3, 3, sample, 25.0), memory, policy)
        rates.append(proposal.inputs.get("rate"))
    assert rates[-1] == pytest.approx(4.0, rel=0.1)


def test_counters_of_another_exporter_are_no_burst() -> None:
    memory, before = settled(2.0, 3.0, workers=2)
    missing = QueueSample(1800, 0, 6)
    _, memory = POLICY.decide(SETTINGS, 5.0, Observation(1800, 2, 2, missing, 25.0), missing, memory)
    for at, completed in ((1805, 90_000.0), (1810, 90_010.0), (1815, 90_020.0)):
        proposal, memory = decide(observe(at, 2, 0, 6, completed), memory)
        assert proposal.workers == before[-1].workers


def test_counters_that_begin_again_change_nothing() -> None:
    memory, before = settled(2.0, 3.0, workers=2)
    for at, completed in ((1800, 0.0), (1805, 10.0), (1810, 20.0)):
        proposal, memory = decide(observe(at, 2, 0, 6, completed), memory)
        assert proposal.workers == before[-1].workers


def test_counters_that_lag_behind_the_counts_make_no_arrivals() -> None:
    """In every other sample the ended jobs are counted one sample late."""
    memory, workers, numbers = POLICY.initial_memory(), 10, []
    for step in range(720):
        lag = 10.0 if step % 2 else 0.0
        proposal, memory = decide(observe(5 * step, workers, 0, 6, max(0.0, 10.0 * step - lag)), memory)
        workers = max(1, proposal.workers)
        numbers.append(workers)
    assert set(numbers[-100:]) <= {2, 3}


def test_a_sentence_names_workers_jobs_rate_run_time_start_time_and_until_when() -> None:
    memory, _ = settled(2.0, 3.0, workers=2)
    up, memory = decide(observe(1800, 2, 200, 8, 3600), memory)
    for part in (f"{up.workers} workers", "200 wait and 8 run", "jobs/s of 3.05 s", "within 30 s", "in 30 s"):
        assert part in up.sentence
    held, _ = decide(observe(1805, up.workers, 0, 8, 3810, ready=up.workers), memory)
    assert held.reason == "held"
    assert "would do" in held.sentence
    assert "held for" in held.sentence


@pytest.mark.parametrize(
    "sample",
    [
        QueueSample(0.0, 40.0, 8.0, completed=0.0, failed=0.0),
        QueueSample(0.0, 40.0, 8.0, completed=0.0, failed=0.0, duration_sum=0.0, duration_count=0.0),
        QueueSample(0.0, 40.0, 8.0, completed=0.0, failed=0.0, busy_seconds=0.0, oldest_waiting=9.0, due=0.0),
    ],
    ids=["counts and totals", "durations", "all"],
)
def test_every_optional_input_may_be_absent(sample: QueueSample) -> None:
    memory, workers = POLICY.initial_memory(), 2
    for at in range(0, 120, 5):
        current = sample._replace(
            at=float(at),
            completed=2.0 * at,
            duration_count=None if sample.duration_count is None else 2.0 * at,
            duration_sum=None if sample.duration_sum is None else 8.0 * at,
            busy_seconds=None if sample.busy_seconds is None else 8.0 * at,
        )
        observation = Observation(at, workers, workers, current)
        proposal, memory = POLICY.decide(SETTINGS, 5.0, observation, current, memory)
        assert 2 <= proposal.workers <= 12


def test_concurrency_is_measured_where_it_is_not_given() -> None:
    policy = PolicySettings(max_workers=100)
    memory = POLICY.initial_memory()
    for at in range(0, 300, 5):
        _, memory = decide(observe(at, 3, 40, 24, 10.0 * at), memory, policy)
    assert memory.concurrency.jobs == pytest.approx(8.0, rel=0.01)


def test_jobs_of_workers_that_are_not_ready_any_more_are_not_of_those_that_are() -> None:
    """A crash, or an update of all workers at once: one of ten is ready, and 40 jobs are still active."""
    policy = PolicySettings(max_workers=100)
    memory = POLICY.initial_memory()
    for at in range(0, 300, 5):
        _, memory = decide(observe(at, 10, 5, 40, 10.0 * at), memory, policy)
    waiting, completed = 5.0, 3000.0
    for at, active in ((300, 40.0), (305, 40.0), (310, 20.0), (315, 4.0), (320, 4.0)):
        proposal, memory = decide(observe(at, 10, waiting, active, completed, ready=1), memory, policy)
        assert memory.concurrency.jobs == pytest.approx(4.0, rel=0.01)
        assert proposal.workers >= 8
        completed += active / 4 * 5
        waiting += 50 - active / 4 * 5


def test_without_counters_of_ended_jobs_each_job_gets_a_slot() -> None:
    sample = QueueSample(0.0, 30.0, 10.0)
    proposal, memory = POLICY.decide(
        SETTINGS, 5.0, Observation(0.0, 2, 2, sample), sample, POLICY.initial_memory()
    )
    assert (proposal.workers, proposal.reason) == (10, "jobs")
    assert memory.flow is None


def test_invalid_memory_is_refused_and_that_of_another_version_dropped() -> None:
    invalid: tuple[dict[str, Any], ...] = ({"flow": 3}, {"needed": "x"}, {"throttle": None})
    for data in invalid:
        with pytest.raises(ValueError, match="wait_target"):
            POLICY.load({"version": 3, **data})
    others: tuple[dict[str, Any], ...] = ({}, {"flow": {"at": 3.0}, "longer": 9.0}, {"version": 2})
    for data in others:
        assert POLICY.load(data) == POLICY.initial_memory()


@settings(max_examples=30)
@given(
    st.lists(st.tuples(st.integers(0, 80), st.integers(0, 20), st.integers(0, 60)), min_size=1, max_size=60),
    st.integers(0, 59),
)
def test_a_restart_changes_no_decision(steps: list[tuple[int, int, int]], stop: int) -> None:
    memory = restarted = POLICY.initial_memory()
    workers, completed = 3, 0.0
    for index, (waiting, active, ended) in enumerate(steps):
        completed += ended
        observation = observe(5.0 * index, workers, waiting, active, completed)
        expected, memory = decide(observation, memory)
        if index == stop:
            restarted = POLICY.load(json.loads(json.dumps(POLICY.dump(restarted))))
        proposal, restarted = decide(observation, restarted)
        assert proposal == expected
        workers = max(1, min(50, expected.workers))


@settings(max_examples=50)
@given(
    st.lists(st.tuples(st.integers(0, 80), st.integers(0, 20), st.integers(0, 60)), max_size=30),
    st.integers(0, 100),
    st.integers(1, 500),
)
def test_more_waiting_jobs_never_mean_fewer_workers(
    steps: list[tuple[int, int, int]], waiting: int, more: int
) -> None:
    memory, completed = POLICY.initial_memory(), 0.0
    for index, (queued, active, ended) in enumerate(steps):
        completed += ended
        _, memory = decide(observe(5.0 * index, 3, queued, active, completed), memory)
    at = 5.0 * len(steps)
    fewer, _ = decide(observe(at, 3, waiting, 12, completed + 3), memory)
    greater, _ = decide(observe(at, 3, waiting + more, 12, completed + 3), memory)
    assert greater.workers >= fewer.workers or "cap_slots" in greater.inputs


def test_a_paused_queue_beside_another_takes_no_workers() -> None:
    """A thousand jobs are held; those of the other queue are served as without it."""
    alone, _ = settled(2.0, 3.0, workers=2)
    beside, numbers = POLICY.initial_memory(), []
    for at in range(0, 1800, 5):
        waiting = 1003.0 if at % 20 == 0 else 1000.0
        sample = QueueSample(at, waiting, 6, completed=2.0 * at, failed=0.0, held=1000.0, oldest_waiting=at)
        observation = Observation(at, 2, 2, sample, 25.0)
        proposal, beside = POLICY.decide(SETTINGS, 5.0, observation, sample, beside)
        numbers.append(proposal.workers)
    assert set(numbers[10:]) <= {2, 3}
    burst = QueueSample(1800, 1200, 8, completed=3600.0, failed=0.0, held=1000.0, oldest_waiting=1800.0)
    more, _ = POLICY.decide(SETTINGS, 5.0, Observation(1800, 2, 2, burst, 25.0), burst, beside)
    plain, _ = decide(observe(1800, 2, 200, 8, 3600), alone)
    assert plain.workers - 2 <= more.workers <= plain.workers + 2
    assert "200 wait and 8 run (1000 more are held by a pause or a limit)" in more.sentence


def test_a_pause_is_named() -> None:
    first, then = (
        QueueSample(at, 30, 0, completed=7.0, failed=0.0, held=30.0, oldest_waiting=at) for at in (0, 5)
    )
    _, memory = POLICY.decide(
        SETTINGS, 5.0, Observation(0, 2, 2, first, 25.0), first, POLICY.initial_memory()
    )
    proposal, _ = POLICY.decide(SETTINGS, 5.0, Observation(5, 2, 2, then, 25.0), then, memory)
    assert (proposal.reason, proposal.workers) == ("throttled", 0)
    assert "30 wait and 0 run; a pause or a limit holds back all that wait" in proposal.sentence


def test_what_is_kept_is_said_to_start_only_if_it_does() -> None:
    memory, _ = settled(2.0, 3.0, workers=8)
    sample = QueueSample(1800.0, 60.0, 30.0, completed=3600.0, failed=0.0, oldest_waiting=29.0)
    observation = Observation(1800.0, 8, 8, sample, 5.0)
    proposal, _ = POLICY.decide(SETTINGS, 5.0, observation, sample, memory)
    assert proposal.reason == "kept"
    assert "start come sooner" not in proposal.sentence


@pytest.mark.parametrize(("slots", "workers"), [(8, 6), (12, 6), (8, 1), (12, 2)])
def test_workers_that_take_fewer_jobs_than_they_are_said_to_are_no_limit(slots: int, workers: int) -> None:
    """Each takes four: 8 jobs/s of 2 s need four workers. What waits beside their other slots is not held."""
    policy = PolicySettings(worker_concurrency=slots, max_workers=100)
    memory, waiting, completed, ready = POLICY.initial_memory(), 200.0, 0.0, workers
    for at in range(0, 1800, 5):
        active = min(4.0 * ready, waiting)
        proposal, memory = decide(
            observe(at, workers, waiting - active, active, completed, ready=ready), memory, policy
        )
        ready, workers = min(workers, max(1, proposal.workers)), max(1, proposal.workers)
        ended = min(active / 2 * 5, waiting + 40)
        completed += ended
        waiting += 40 - ended
    assert waiting < 100
    assert 4 <= workers <= 8


@pytest.mark.parametrize("batch", [500, 1500, 3000])
@pytest.mark.parametrize("caught", [0.2, 1.0])
def test_one_long_job_beside_batches_of_short_ones_is_not_the_run_time_of_all(
    batch: int, caught: float
) -> None:
    """Each minute a job of 55 s, and a batch of 2 ms that the two other slots finish within seconds.
    `caught`: seconds from the batch to a sample."""
    policy = PolicySettings(worker_concurrency=1, min_workers=3, max_workers=100)
    target: TargetMemory | None = None
    workers, waiting, ended, busy, numbers = 3, 0.0, 0.0, 0.0, []
    for index in range(360):
        at, long = 1000.0 + 5.0 * index, index % 12 < 11
        came = index % 12 == 3
        waiting += batch if came else 0
        done = min(waiting, (workers - 1) * (caught if came else 5.0) / 0.002)
        waiting, ended, busy = (
            waiting - done,
            ended + done + (index % 12 == 11),
            busy + done * 0.002 + 5 * long,
        )
        active = long + min(workers - 1.0, waiting)
        sample = QueueSample(
            at,
            max(0.0, waiting - (active - long)),
            active,
            completed=ended,
            failed=0.0,
            duration_count=ended,
            duration_sum=busy,
            busy_seconds=busy,
            oldest_waiting=caught if waiting else 0.0,
            due=0.0,
            held=0.0,
        )
        decision, target = decision_step.step(
            policy, 5.0, Observation(at, workers, workers, sample, 20.0), Control(), target
        )
        workers = decision.workers
        numbers.append(workers)
    assert max(numbers[120:]) <= 6
