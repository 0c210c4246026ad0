"""Jobs whose locks ran out: they wait again, and the workers that had them may still run them."""

from __future__ import annotations

from itertools import pairwise

import pytest

from scaler.config.settings import PolicySettings
from scaler.decision.guards import apply_guards
from scaler.decision.memory import GuardMemory
from scaler.decision.policies import POLICIES
from scaler.decision.step import TargetMemory, record_scaling, step
from scaler.model import Control, Missing, Observation, Proposal, QueueSample
from scaler.prometheus.promql import QueueKey
from scaler.prometheus.totals import TargetTotals, continue_totals

WORKERS, RUN = 9, 240.0
QUEUE, OTHER = QueueKey("bull", "minutes"), QueueKey("bull", "seconds")


def numbers(policy: str, *, known: bool) -> list[int]:
    """The workers of a queue of jobs of 240 s: nine run, then seven of them stall, of which a pair is taken
    by workers that have just become free. `known`: whether it is counted."""
    settings = PolicySettings.model_validate(
        {"policy": policy, "worker_concurrency": 1, "max_workers": WORKERS, "wait_slo_seconds": 30}
    )
    memory: TargetMemory | None = None
    workers, seen = WORKERS, list[int]()
    for at in range(0, 1200, 5):
        stalled = at >= 900
        waiting, active = (7, 2) if stalled else (0, WORKERS)
        completed = WORKERS * (min(at, 900) // RUN)
        unseen = 7.0 if stalled and known else 0.0
        sample = QueueSample(at, waiting, active, completed=completed, failed=0.0, unseen=unseen)
        sample = sample._replace(duration_sum=completed * RUN, duration_count=completed)
        busy = WORKERS * min(at, 900) + 2.0 * max(0, at - 900)
        sample = sample._replace(busy_seconds=busy, oldest_waiting=at - 900.0 if stalled else None)
        observation = Observation(float(at), workers, workers, sample, 5.0, grace_seconds=30.0)
        memory = _stepped(settings, observation, memory, seen)
        workers = seen[-1]
    return seen


def _stepped(
    settings: PolicySettings, observation: Observation, memory: TargetMemory | None, seen: list[int]
) -> TargetMemory:
    decision, memory = step(settings, 5.0, observation, Control(), memory)
    seen.append(decision.workers)
    if decision.workers != observation.workers:
        memory = record_scaling(memory, observation.time, decision.workers)
    return memory


@pytest.mark.fault
@pytest.mark.parametrize("policy", sorted(POLICIES))
def test_the_workers_that_may_still_run_them_stay(policy: str) -> None:
    assert min(numbers(policy, known=True)) == WORKERS


def test_jobs_that_wait_beside_workers_without_any_are_those_of_a_limit() -> None:
    """What the same figures mean where nothing stalled."""
    assert min(numbers("wait_target", known=False)) < WORKERS


@pytest.mark.parametrize(
    ("jobs", "unseen", "occupied", "least", "most"),
    [(8, 40.0, 0, WORKERS, WORKERS + 1), (9, 7.0, 7, WORKERS + 7, WORKERS + 9)],
    ids=["killed again and again", "standing still"],
)
def test_more_workers_are_for_the_jobs_that_wait(
    jobs: int, unseen: float, occupied: int, least: int, most: int
) -> None:
    """Workers that were killed run nothing any more: a new one would be taken for busy with their jobs.
    `occupied`: slots that have a job that stalled."""
    settings = PolicySettings(worker_concurrency=1, max_workers=60, wait_slo_seconds=30)
    memory: TargetMemory | None = None
    workers, seen, busy = WORKERS, list[int](), 0.0
    for at in range(0, 600, 5):
        active = min(jobs, workers - occupied)
        busy += active * 5.0
        done = busy // RUN
        sample = QueueSample(at, jobs - active, active, completed=done, failed=0.0, unseen=unseen)
        sample = sample._replace(duration_sum=done * RUN, duration_count=done, busy_seconds=busy)
        observation = Observation(float(at), workers, workers, sample, 5.0, grace_seconds=30.0)
        memory = _stepped(settings, observation, memory, seen)
        workers = seen[-1]
    assert least <= seen[-1] <= most


def test_a_worker_that_may_still_run_one_has_a_job() -> None:
    settings = PolicySettings(worker_concurrency=1, max_workers=WORKERS)
    sample = QueueSample(1000.0, 0.0, 2.0, completed=9.0, failed=0.0)
    for unseen, least in ((0.0, 2), (4.0, 6), (70.0, WORKERS)):
        known = sample._replace(unseen=unseen)
        observation = Observation(1000.0, WORKERS, WORKERS, known)
        proposal = Proposal(1, "surplus", "one is enough")
        decision, _ = apply_guards(settings, observation, proposal, Control(), GuardMemory(), sample=known)
        assert decision.busy == least


@pytest.mark.parametrize("policy", sorted(POLICIES))
def test_the_sentence_tells_them_from_those_that_run(policy: str) -> None:
    settings = PolicySettings.model_validate({"policy": policy, "worker_concurrency": 1, "max_workers": 60})
    memory: TargetMemory | None = None
    said = []
    for at, unseen in ((0.0, 7.0), (5.0, 7.0), (10.0, 0.0)):
        sample = QueueSample(at, 5.0, 2.0, completed=9.0, failed=0.0, unseen=unseen)
        observation = Observation(at, WORKERS, WORKERS, sample, 5.0)
        decision, memory = step(settings, 5.0, observation, Control(), memory)
        said.append((decision.inputs["active"], decision.inputs.get("stalled"), decision.sentence))
    assert [figures[:2] for figures in said[1:]] == [(2.0, 7.0), (2.0, None)]
    assert "7 stalled and may still run" in said[1][2]
    assert "stalled" not in said[2][2]
    if policy == "wait_target":
        assert "5 wait, 2 run, 7 stalled and may still run, " in said[1][2]
        assert "5 wait and 2 run, " in said[2][2]


def test_a_worker_that_may_still_run_one_is_not_said_to_have_a_job() -> None:
    settings = PolicySettings(worker_concurrency=1, min_workers=1, max_workers=WORKERS)
    for unseen, said in (
        (0.0, "2 stay, each has a job"),
        (4.0, "a job, or one that stalled and may still run"),
    ):
        sample = QueueSample(1000.0, 0.0, 2.0, completed=9.0, failed=0.0, unseen=unseen)
        observation = Observation(1000.0, WORKERS, WORKERS, sample)
        proposal = Proposal(1, "surplus", "one is enough")
        decision, _ = apply_guards(settings, observation, proposal, Control(), GuardMemory(), sample=sample)
        assert decision.notes[-1].endswith(said)


@pytest.mark.parametrize("policy", sorted(POLICIES))
def test_a_limit_of_jobs_at_once_does_not_count_them(policy: str) -> None:
    """BullMQ lets others start in their stead."""
    settings = PolicySettings.model_validate({"policy": policy, "worker_concurrency": 1, "max_workers": 60})
    memory: TargetMemory | None = None
    seen = list[int]()
    for at in range(0, 60, 5):
        sample = QueueSample(
            at, 30.0, 2.0, completed=9.0, failed=0.0, duration_sum=9 * RUN, duration_count=9.0
        )
        sample = sample._replace(busy_seconds=2.0 * at, concurrency_limit=float(WORKERS), unseen=7.0)
        memory = _stepped(settings, Observation(float(at), WORKERS, WORKERS, sample, 5.0), memory, seen)
    assert max(seen) == {"threshold": WORKERS + 1, "wait_target": WORKERS + 7}[policy]


def test_to_a_maximum_that_was_lowered_their_workers_go_with_the_others() -> None:
    settings = PolicySettings(worker_concurrency=1, max_workers=3)
    sample = QueueSample(1000.0, 7.0, 0.0, completed=9.0, failed=0.0, unseen=7.0)
    proposal = Proposal(3, "surplus", "three are enough")
    memory, stay = GuardMemory(), list[int]()
    for ended in (9.0, 15.0, 16.0):
        known = sample._replace(completed=ended)
        observation = Observation(1000.0, WORKERS, WORKERS, known)
        decision, memory = apply_guards(settings, observation, proposal, Control(), memory, sample=known)
        stay.append(decision.workers)
    assert stay == [7, 7, 3]


def busy_of(settings: PolicySettings, sample: QueueSample, *, ready: int, slots: float = 1.0) -> int:
    observation = Observation(1000.0, WORKERS, ready, sample)
    proposal = Proposal(1, "surplus", "one is enough", slots=slots)
    decision, _ = apply_guards(settings, observation, proposal, Control(), GuardMemory(), sample=sample)
    return decision.workers


def test_a_worker_that_stood_still_and_is_not_ready_goes_on_with_its_job() -> None:
    sample = QueueSample(1000.0, 0.0, 2.0, completed=9.0, failed=0.0, unseen=7.0)
    assert busy_of(PolicySettings(worker_concurrency=1), sample, ready=2) == WORKERS
    assert busy_of(PolicySettings(worker_concurrency=1), sample._replace(unseen=0.0), ready=2) == 2


def test_they_have_workers_where_the_slots_are_those_of_single_queues() -> None:
    sample = QueueSample(1000.0, 0.0, 3.0, completed=9.0, failed=0.0, largest_active=2.0, unseen=4.0)
    settings = PolicySettings(worker_concurrency_per_queue=1)
    assert busy_of(settings, sample, ready=WORKERS) == 6
    assert busy_of(settings, sample._replace(unseen=0.0), ready=WORKERS) == 2


@pytest.mark.parametrize(
    ("sample", "slots", "running"),
    [
        (QueueSample(0.0, 5.0, 2.0), 9.0, 2.0),
        (QueueSample(0.0, 5.0, 2.0, unseen=3.0), 9.0, 5.0),
        (QueueSample(0.0, 5.0, 2.0, unseen=30.0), 9.0, 9.0),
        (QueueSample(0.0, 5.0, 12.0, unseen=3.0), 9.0, 12.0),  # workers that terminate have some
    ],
)
def test_no_more_run_than_there_are_slots(sample: QueueSample, slots: float, running: float) -> None:
    assert sample.running(slots) == running


def unseen_after(seconds: float, run: float, *counts: tuple[float, float]) -> list[float | None]:
    """Of a queue whose jobs run so long, and of another one: so many stalled so far, at each look."""
    totals: TargetTotals | None = None
    found = []
    for number, pair in enumerate(counts):
        at = 1000.0 + number * seconds
        samples = {
            key: QueueSample(at, 1.0, 1.0, completed=10.0, failed=0.0, stalled=count)
            for key, count in zip((QUEUE, OTHER), pair, strict=True)
        }
        samples[QUEUE] = samples[QUEUE]._replace(duration_sum=10 * run, duration_count=10.0)
        combined, totals = continue_totals(totals, samples, dict.fromkeys(samples, "a"), at)
        assert isinstance(combined, QueueSample)
        found.append(combined.unseen)
    return found


def test_they_count_for_twice_the_run_time_of_their_queue() -> None:
    counts = [(5.0, 0.0), (9.0, 2.0), (9.0, 2.0), (9.0, 2.0), (9.0, 2.0), (9.0, 2.0)]
    assert unseen_after(100.0, 150.0, *counts) == [0.0, 6.0, 6.0, 4.0, 0.0, 0.0]


@pytest.mark.parametrize(("run", "seconds"), [(0.01, 120.0), (1e9, 3600.0)])
def test_for_two_minutes_at_least_and_for_an_hour_at_most(run: float, seconds: float) -> None:
    counts = [(0.0, 0.0), *[(3.0, 0.0)] * 4]
    found = unseen_after(seconds / 2, run, *counts)
    assert found[1:] == [3.0, 3.0, 0.0, 0.0]


@pytest.mark.parametrize(
    ("gap", "source", "unseen"), [(60.0, "a", 7.0), (60.0, "b", 0.0), (4000.0, "a", 0.0)]
)
@pytest.mark.parametrize("others", [(), (OTHER,)], ids=["alone", "beside another"])
def test_those_of_an_outage_in_which_nothing_could_be_read_count_too(
    gap: float, source: str, unseen: float, others: tuple[QueueKey, ...]
) -> None:
    """Redis was away for a minute, and with it the locks and the metrics."""
    totals: TargetTotals | None = None
    lost = Missing("empty", "bull:minutes: Redis does not answer")
    combined: QueueSample | Missing = lost
    for at, stalled in ((0.0, 2.0), (5.0, None), (10.0, None), (gap, 9.0), (gap + 5.0, 9.0)):
        sample = QueueSample(at, 1.0, 1.0, completed=10.0, failed=0.0, stalled=stalled)
        samples: dict[QueueKey, QueueSample | Missing] = dict.fromkeys(others, sample._replace(stalled=0.0))
        samples[QUEUE] = lost if stalled is None else sample
        sources = dict.fromkeys(samples, "a" if at < gap else source)
        combined, totals = continue_totals(totals, samples, sources, at)
    assert isinstance(combined, QueueSample)
    assert combined.unseen == unseen


def test_the_counter_of_another_exporter_says_nothing() -> None:
    totals: TargetTotals | None = None
    found = []
    for at, (source, stalled) in enumerate((("a", 1.0), ("b", 900.0), ("b", 901.0), ("b", 4.0))):
        sample = QueueSample(float(at), 1.0, 1.0, completed=10.0, failed=0.0, stalled=stalled)
        combined, totals = continue_totals(totals, {QUEUE: sample}, {QUEUE: source}, float(at))
        assert isinstance(combined, QueueSample)
        found.append(combined.unseen or 0.0)
    assert [after - before for before, after in pairwise(found)] == [0.0, 1.0, 0.0]


def test_those_of_before_a_restart_count_until_their_time() -> None:
    sample = QueueSample(1000.0, 1.0, 1.0, completed=10.0, failed=0.0, stalled=9.0)
    known = ((990.0, 2.0), (1060.0, 5.0), (1e9, 3.0))  # over, running, of another clock
    first, totals = continue_totals(None, {QUEUE: sample}, {QUEUE: "a"}, 1000.0, stalled=known)
    assert isinstance(first, QueueSample)
    later = sample._replace(at=1070.0)
    second, _ = continue_totals(totals, {QUEUE: later}, {QUEUE: "a"}, 1070.0)
    assert isinstance(second, QueueSample)
    assert (first.unseen, second.unseen) == (5.0, 0.0)


def test_entries_of_an_hour_of_stalls_are_few() -> None:
    totals: TargetTotals | None = None
    for at in range(0, 7200, 5):
        sample = QueueSample(float(at), 1.0, 1.0, completed=10.0, failed=0.0, stalled=float(at))
        sample = sample._replace(duration_sum=1e9, duration_count=10.0)
        _, totals = continue_totals(totals, {QUEUE: sample}, {QUEUE: "a"}, float(at))
    assert totals is not None
    assert len(totals.stalled) <= 362
