from __future__ import annotations

import json
from typing import Any

import pytest

from scaler.config.settings import PolicySettings
from scaler.decision.guards import apply_guards
from scaler.decision.memory import GuardMemory, dump_guards, load_guards, record_change
from scaler.model import Control, Decision, Missing, Observation, Override, Proposal, QueueSample

GONE = Missing("unreachable", "Prometheus does not answer")


def policy(**keys: Any) -> PolicySettings:
    return PolicySettings.model_validate({"min_workers": 1, "max_workers": 10, **keys})


def decide(
    settings: PolicySettings,
    workers: int,
    proposed: int | None,
    *,
    at: float = 0.0,
    waiting: float = 5.0,
    sample: QueueSample | Missing | None = None,
    control: Control = Control(),  # noqa: B008  # frozen
    memory: GuardMemory = GuardMemory(),  # noqa: B008  # frozen
    unknown: Missing | None = None,
) -> tuple[Decision, GuardMemory]:
    sample = sample or QueueSample(at, waiting, 0.0)
    observation = Observation(at, workers, workers, sample, unknown=unknown)
    proposal = None if proposed is None else Proposal(proposed, "burst", "it comes thick and fast")
    return apply_guards(settings, observation, proposal, control, memory)


def over(settings: PolicySettings, proposals: list[tuple[float, int]], workers: int) -> list[int]:
    """The workers after each proposal, each decision applied before the next."""
    memory, numbers = GuardMemory(), []
    for at, proposed in proposals:
        decision, memory = decide(settings, workers, proposed, at=at, memory=memory)
        if decision.workers != workers:
            memory, workers = record_change(memory, at), decision.workers
        numbers.append(workers)
    return numbers


def test_a_proposal_within_the_bounds_is_the_decision() -> None:
    decision, _ = decide(policy(), 3, 5)
    assert (decision.workers, decision.proposed, decision.reason) == (5, 5, "burst")
    assert (decision.sentence, decision.notes) == ("it comes thick and fast", ())
    assert decision.conditions == {"Active"}


@pytest.mark.parametrize(
    ("proposed", "expected", "reason"), [(11, 10, "max"), (10, 10, "burst"), (0, 1, "min"), (1, 1, "burst")]
)
def test_the_bounds_come_last(proposed: int, expected: int, reason: str) -> None:
    decision, _ = decide(policy(), 3, proposed)
    assert (decision.workers, decision.reason) == (expected, reason)
    assert ("AtMax" in decision.conditions) == (proposed > 10)
    assert decision.sentence.startswith("it comes thick and fast")


@pytest.mark.parametrize(
    ("oldest", "settings", "told"),
    [(45.0, {}, True), (29.0, {}, False), (None, {}, False), (45.0, {"max_workers": 10}, False)],
)
def test_a_maximum_that_nobody_chose_is_told_where_jobs_wait_because_of_it(
    oldest: float | None, settings: dict[str, Any], *, told: bool
) -> None:
    sample = QueueSample(0.0, 90.0, 10.0, oldest_waiting=oldest)
    observation = Observation(0.0, 10, 10, sample)
    proposal = Proposal(14, "queue", "14 workers")
    decision, _ = apply_guards(PolicySettings(**settings), observation, proposal, Control(), GuardMemory())
    assert decision.workers == 10
    assert ("the default, and jobs wait over 30 s: set it" in decision.sentence) == told


def test_missing_metrics_hold() -> None:
    decision, memory = decide(policy(), 3, None, sample=GONE)
    assert (decision.workers, decision.proposed, decision.reason) == (3, None, "metrics_missing")
    assert "MetricsStale" in decision.conditions
    assert "Prometheus does not answer" in decision.sentence
    assert memory.failures == 1
    assert decide(policy(), 3, 3, memory=memory)[1].failures == 0


@pytest.mark.parametrize(("proposed", "expected", "reason"), [(2, 3, "metrics_missing"), (5, 5, "burst")])
def test_beside_unknown_queues_the_known_ones_scale_out_and_never_in(
    proposed: int, expected: int, reason: str
) -> None:
    decision, memory = decide(policy(), 3, proposed, unknown=GONE)
    assert (decision.workers, decision.reason) == (expected, reason)
    assert "MetricsStale" in decision.conditions
    assert "as not all is known: Prometheus does not answer" in decision.sentence
    assert memory.failures == 1
    assert decide(policy(), 3, proposed, memory=memory)[1].failures == 0


def test_known_jobs_start_the_first_worker_beside_a_queue_that_never_had_a_job() -> None:
    decision, _ = decide(policy(min_workers=0), 0, 0, waiting=1800.0, unknown=Missing("empty", "no series"))
    assert (decision.workers, decision.reason) == (1, "first_job")


def test_unknown_queues_are_not_idle() -> None:
    settings = policy(min_workers=0, scale_to_zero_after_seconds=10, cooldown_seconds=0)
    memory = GuardMemory()
    for at in (0.0, 20.0, 40.0):
        decision, memory = decide(settings, 1, 0, at=at, waiting=0.0, memory=memory, unknown=GONE)
        assert decision.workers == 1
    decision, memory = decide(settings, 1, 0, at=45.0, waiting=0.0, memory=memory)
    assert (decision.workers, decision.reason) == (1, "not_idle_yet")


def test_the_fallback_is_the_least_beside_unknown_queues() -> None:
    settings = policy(fallback_workers=6, fallback_after_failures=2)
    memory = decide(settings, 3, 4, unknown=GONE)[1]
    assert decide(settings, 3, 4, memory=memory, unknown=GONE)[0].workers == 6
    assert decide(settings, 3, 8, memory=memory, unknown=GONE)[0].workers == 8


def test_the_maximum_counts_beside_unknown_queues() -> None:
    decision, _ = decide(policy(max_workers=10), 2, 828, unknown=GONE)
    assert (decision.workers, "AtMax" in decision.conditions) == (10, True)
    decision, _ = decide(policy(max_workers=10), 15, 828, unknown=GONE)
    assert decision.workers == 15


def test_missing_metrics_never_scale_in_even_over_the_maximum() -> None:
    decision, _ = decide(policy(), 15, None, sample=GONE)
    assert decision.workers == 15
    assert decide(policy(), 0, None, sample=GONE)[0].workers == 1  # up to min_workers is not scaling in


@pytest.mark.parametrize(("current", "expected"), [(2, [2, 2, 6, 6]), (8, [8, 8, 8, 8])])
def test_the_fallback_counts_after_so_many_failures(current: int, expected: list[int]) -> None:
    settings = policy(fallback_workers=6, fallback_after_failures=3)
    memory, numbers = GuardMemory(), []
    for _ in range(4):
        decision, memory = decide(settings, current, None, sample=GONE, memory=memory)
        numbers.append(decision.workers)
    assert numbers == expected


@pytest.mark.parametrize(
    ("at", "stale"), [(100.0, False), (39.0, True), (40.0, False), (111.0, True), (109.0, False)]
)
def test_metrics_too_old_or_of_the_future_are_none(at: float, stale: bool) -> None:  # noqa: FBT001
    settings = policy(metrics_max_age_seconds=60)
    decision, _ = decide(settings, 3, None if stale else 5, at=100.0, sample=QueueSample(at, 0.0, 0.0))
    assert ("MetricsStale" in decision.conditions) == stale


def test_a_pause_and_a_switch_hold_whatever_is_proposed() -> None:
    for settings, control in ((policy(), Control(paused=True)), (policy(enabled=False), Control())):
        for workers in (3, 15):
            decision, _ = decide(settings, workers, 8, control=control)
            assert decision.workers == workers
            assert "Paused" in decision.conditions


def test_an_override_counts_over_metrics_and_cooldown_within_the_bounds() -> None:
    memory = GuardMemory(changed_at=0.0)
    for workers, expected in ((50, 10), (4, 4)):
        control = Control(override=Override(workers, "a sale", "ann", 0.0))
        for sample in (None, GONE):
            proposed = None if sample else 8
            settings = policy(cooldown_seconds=300)
            decision, _ = decide(settings, 9, proposed, at=1.0, sample=sample, control=control, memory=memory)
            assert decision.workers == expected
            assert "Overridden" in decision.conditions
            assert f"override of {workers} by ann: a sale" in decision.sentence


def test_a_pause_takes_precedence_over_an_override() -> None:
    control = Control(paused=True, override=Override(4, "a sale", "ann", 0.0))
    assert decide(policy(), 9, 8, control=control)[0].workers == 9


def test_the_last_worker_goes_only_after_a_while_without_jobs() -> None:
    settings, memory = policy(min_workers=0, scale_to_zero_after_seconds=100), GuardMemory()
    numbers = []
    for at, waiting in ((0, 1), (10, 0), (100, 0), (109, 0), (110, 0)):
        decision, memory = decide(settings, 1, 0, at=float(at), waiting=waiting, memory=memory)
        numbers.append(decision.workers)
    assert numbers == [1, 1, 1, 1, 0]
    assert decide(policy(min_workers=1), 1, 0, at=1e6, waiting=0)[0].workers == 1


def test_the_first_job_starts_a_worker_at_once() -> None:
    settings = policy(min_workers=0, cooldown_seconds=300, stabilization_up_seconds=300)
    memory = GuardMemory(changed_at=0.0, lows=((0.0, 0),))
    decision, _ = decide(settings, 0, 0, at=1.0, waiting=1, memory=memory)
    assert (decision.workers, decision.reason) == (1, "first_job")
    assert decide(settings, 0, 0, at=1.0, waiting=0, memory=memory)[0].workers == 0


def test_a_cooldown_begins_with_a_change_that_was_applied() -> None:
    settings = policy(cooldown_seconds=60)
    _, memory = decide(settings, 3, 5, at=0.0)
    assert (
        decide(settings, 3, 5, at=5.0, memory=memory)[0].workers == 5
    )  # it could not be applied: proposed again
    memory = record_change(memory, 5.0)
    held, _ = decide(settings, 5, 9, at=64.9, memory=memory)
    assert (held.workers, held.reason) == (5, "cooldown")
    assert "60 of 60 s" in held.sentence
    assert decide(settings, 5, 9, at=65.0, memory=memory)[0].workers == 9
    assert decide(settings, 5, 9, at=1.0, memory=memory)[0].workers == 9  # a clock that went back


@pytest.mark.parametrize(("name", "seconds"), [("threshold", 300), ("wait_target", 0)])
def test_the_cooldown_of_each_policy(name: str, seconds: float) -> None:
    held = decide(policy(policy=name), 3, 5, at=299.0, memory=GuardMemory(changed_at=0.0))[0]
    assert held.workers == (3 if seconds else 5)


def test_down_only_to_the_highest_proposal_of_the_window() -> None:
    proposals = [(0.0, 8), (10.0, 3), (60.0, 5), (101.0, 3), (161.0, 3)]
    assert over(policy(stabilization_down_seconds=100), proposals, 8) == [8, 8, 8, 5, 3]
    assert over(policy(), proposals, 8) == [8, 3, 5, 3, 3]


def test_up_only_to_the_lowest_proposal_of_the_window() -> None:
    proposals = [(0.0, 2), (10.0, 9), (60.0, 6), (101.0, 9), (161.0, 9)]
    assert over(policy(stabilization_up_seconds=100), proposals, 2) == [2, 2, 2, 6, 9]


def test_the_memory_of_proposals_stays_small() -> None:
    settings, memory = policy(stabilization_down_seconds=3600, stabilization_up_seconds=3600), GuardMemory()
    for step in range(2000):
        _, memory = decide(settings, 5, (step * 7) % 9, at=5.0 * step, memory=memory)
    assert len(memory.highs) < 12
    assert len(memory.lows) < 12


def test_steps_are_limited_both_ways() -> None:
    settings = policy(max_step_up=2, max_step_down=1)
    assert decide(settings, 3, 9)[0].workers == 5
    assert decide(settings, 9, 2)[0].workers == 8
    assert decide(settings, 9, 2)[0].reason == "step_limit"


@pytest.mark.fault
@pytest.mark.parametrize(
    ("oldest", "waiting", "held", "expected"),
    [
        (510.0, 1809.0, 0.0, 13),
        (29.0, 1809.0, 0.0, 10),  # within the SLO
        (510.0, 12.0, 0.0, 12),  # beyond what all jobs could use
        (510.0, 1809.0, 1809.0, 10),  # a pause holds them
        (None, 1809.0, 0.0, 10),
    ],
)
def test_nothing_is_scaled_in_while_a_job_waits_over_the_slo(
    oldest: float | None, waiting: float, held: float, expected: int
) -> None:
    """Whatever the policy believes that fewer would do: workers that hang take no job."""
    sample = QueueSample(0.0, waiting, 0.0, oldest_waiting=oldest, held=held)
    decision, _ = decide(policy(max_workers=20, wait_slo_seconds=30), 13, 10, sample=sample)
    assert decision.workers == expected
    assert (decision.reason == "late") == (expected > 10)


def test_memory_is_json_and_back_and_foreign_data_are_refused() -> None:
    memory = GuardMemory(1.0, ((0.0, 8), (5.0, 3)), ((5.0, 3),), 2, 4.0)
    assert load_guards(json.loads(json.dumps(dump_guards(memory)))) == memory
    for data in ({"highs": 3}, {"failures": "x"}, {"changed_at": "now"}):
        with pytest.raises(ValueError, match="guards"):
            load_guards(data)


def test_a_lowered_maximum_is_reached_by_steps_but_an_override_at_once() -> None:
    settings = policy(max_workers=4, max_step_down=2)
    memory, numbers, workers = GuardMemory(), [], 9
    for at in (0.0, 5.0, 10.0, 15.0):
        decision, memory = decide(settings, workers, 20, at=at, memory=memory)
        workers = decision.workers
        numbers.append(workers)
        assert decision.reason == "max"
    assert numbers == [7, 5, 4, 4]
    control = Control(override=Override(6, "a sale", "ann", 0.0))
    assert decide(settings, 9, 9, control=control)[0].workers == 4


@pytest.mark.parametrize("limits", [{"max_step_up": 2}, {"max_step_up": 2, "cooldown_seconds": 1}, {}])
def test_a_sample_is_acted_on_once(limits: dict[str, Any]) -> None:
    settings, memory, workers, numbers = policy(**limits), GuardMemory(), 2, []
    for at, scraped in ((5.0, 0.0), (10.0, 0.0), (15.0, 0.0), (60.0, 60.0), (65.0, 60.0)):
        proposed = 9 if at < 10 or limits else 8 - int(at)
        decision, memory = decide(
            settings, workers, proposed, at=at, sample=QueueSample(scraped, 50.0, 0.0), memory=memory
        )
        if decision.workers != workers:
            memory, workers = record_change(memory, at), decision.workers
        numbers.append(workers)
    assert numbers == ([4, 4, 4, 6, 6] if limits else [9, 9, 9, 1, 1])


def test_a_sample_that_was_acted_on_still_bars_no_bound_and_no_first_job() -> None:
    memory = GuardMemory(changed_at=0.0, sampled=0.0, acted_on=0.0)
    busy = QueueSample(0.0, 5.0, 0.0)
    assert decide(policy(), 12, 12, sample=busy, memory=memory)[0].workers == 10
    assert decide(policy(min_workers=0), 0, 0, sample=busy, memory=memory)[0].workers == 1


@pytest.mark.parametrize("figure", ["at", "waiting", "active", "completed", "oldest_waiting", "busy_seconds"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_figure_that_is_no_number_makes_the_sample_missing(figure: str, value: float) -> None:
    sample = QueueSample(**({"at": 0.0, "waiting": 5.0, "active": 1.0} | {figure: value}))
    assert "MetricsStale" in decide(policy(), 3, None, sample=sample)[0].conditions


def test_a_queue_of_jobs_that_no_sample_shows_is_not_idle() -> None:
    """They are done between two samples: only the totals grow."""
    settings, memory = policy(min_workers=0, scale_to_zero_after_seconds=10), GuardMemory()
    numbers = []
    for at in range(0, 80, 5):
        sample = QueueSample(float(at), 0.0, 0.0, completed=min(55.0, at), failed=0.0)
        decision, memory = decide(settings, 1, 0, at=float(at), sample=sample, memory=memory)
        numbers.append(decision.workers)
    assert set(numbers[:12]) == {1}
    assert numbers[-1] == 0


def test_a_decision_says_for_how_long_no_job_has_needed_a_worker() -> None:
    settings, memory, seconds = policy(min_workers=0), GuardMemory(), []
    for at, waiting in ((0.0, 1.0), (5.0, 0.0), (15.0, 0.0), (20.0, 2.0), (25.0, 0.0)):
        decision, memory = decide(settings, 1, 0, at=at, waiting=waiting, memory=memory)
        seconds.append(decision.idle_seconds)
    assert seconds == [None, 0.0, 10.0, None, 0.0]
    decision, memory = decide(settings, 1, None, at=30.0, sample=GONE, memory=memory)
    assert decision.idle_seconds is None
    unknown = Missing("empty", "queue b has no metrics")
    decision, memory = decide(settings, 1, 0, at=35.0, waiting=0.0, memory=memory, unknown=unknown)
    assert decision.idle_seconds is None
