"""Totals of several queues, whose counters come and go."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaler.decision.policies.flow import Flow, mean_rate, update_flow
from scaler.model import Missing, QueueSample
from scaler.prometheus.promql import QueueKey
from scaler.prometheus.totals import TargetTotals, continue_totals

MAIL, POST = QueueKey("bull", "mail"), QueueKey("bull", "post")
GONE = Missing("empty", "there is no such series")
Step = dict[QueueKey, tuple[object, float | None]]


def sample(at: float, completed: float | None, inside: float = 0.0) -> QueueSample:
    """All counters of ended jobs are `completed`: each took a second."""
    ended = {"completed": completed, "added": completed}
    durations = {"duration_sum": completed, "duration_count": completed, "busy_seconds": completed}
    return QueueSample(at, 0.0, inside, failed=0.0, **ended, **durations)


def over(*steps: Step, seconds: float = 5.0) -> list[QueueSample]:
    """The samples of a target after each step, which has source and completed jobs of each queue; completed
    None: the queue is missing."""
    totals: TargetTotals | None = None
    results = []
    for number, step in enumerate(steps):
        at = 1000.0 + seconds * number
        samples: dict[QueueKey, QueueSample | Missing] = {
            key: GONE if completed is None else sample(at, completed, 1.0)
            for key, (_, completed) in step.items()
        }
        combined, totals = continue_totals(
            totals, samples, {key: source for key, (source, _) in step.items()}, at
        )
        assert isinstance(combined, QueueSample)
        results.append(combined)
    return results


def completed(samples: list[QueueSample]) -> list[float | None]:
    return [one.completed for one in samples]


def breaks(samples: list[QueueSample]) -> list[bool]:
    """Whether each sample but the first does not continue the one before."""
    return [now.created != then.created for then, now in pairwise(samples)]


def test_totals_begin_with_the_counters_and_grow_with_them() -> None:
    samples = over({MAIL: ("a", 10), POST: ("a", 5)}, {MAIL: ("a", 12), POST: ("a", 6)})
    assert completed(samples) == [15, 18]
    assert breaks(samples) == [False]


@pytest.mark.parametrize("other", [5_000_000.0, 3.0], ids=["higher", "lower"])
def test_the_counters_of_another_exporter_add_nothing_when_it_takes_over(other: float) -> None:
    samples = over({MAIL: ("a", 100)}, {MAIL: ("a", 140)}, {MAIL: ("b", other)}, {MAIL: ("b", other + 40)})
    assert completed(samples) == [100, 140, 140, 180]
    assert breaks(samples) == [False, True, False]


def test_a_counter_that_falls_adds_nothing() -> None:
    samples = over({MAIL: ("a", 100)}, {MAIL: ("a", 4)}, {MAIL: ("a", 9)})
    assert completed(samples) == [100, 100, 105]
    assert breaks(samples) == [True, False]


@pytest.mark.parametrize("listed", [True, False], ids=["missing", "not there"])
def test_a_queue_that_comes_back_adds_nothing(listed: bool) -> None:  # noqa: FBT001
    away: Step = {MAIL: ("a", 120)} | ({POST: (None, None)} if listed else {})
    samples = over(
        {MAIL: ("a", 100), POST: ("a", 50_000)},
        away,
        {MAIL: ("a", 140), POST: ("a", 50_010)},
        {MAIL: ("a", 160), POST: ("a", 50_020)},
    )
    assert completed(samples) == [50_100, 50_120, 50_140, 50_170]
    assert breaks(samples) == [False, False, False]
    assert [one.joined for one in samples] == [0, -1, 0, 0]


@pytest.mark.parametrize(("ended", "grows"), [(500_000.0, 0.0), (20.0, 20.0)], ids=["with a past", "new"])
def test_the_first_jobs_of_a_new_queue_are_work_and_a_past_is_not(ended: float, grows: float) -> None:
    samples = over(
        {MAIL: ("a", 7)}, {MAIL: ("a", 7), POST: ("a", ended)}, {MAIL: ("a", 7), POST: ("a", ended + 3)}
    )
    assert completed(samples) == [7, 7 + grows, 10 + grows]
    assert breaks(samples) == [False, False]
    assert samples[-1].joined == (1 if grows == 0 else 0)


def test_an_idle_queue_that_goes_breaks_nothing() -> None:
    idle = {POST: sample(1000, 40.0)}
    combined, totals = continue_totals(None, {MAIL: sample(1000, 7.0), **idle}, {}, 1000)
    later, _ = continue_totals(totals, {MAIL: sample(1005, 9.0)}, {}, 1005)
    assert isinstance(combined, QueueSample)
    assert isinstance(later, QueueSample)
    assert (later.completed, later.created) == (49.0, combined.created)


def test_durations_that_begin_with_the_first_attempt_break_nothing() -> None:
    first = sample(1000, 0.0)._replace(duration_sum=None, duration_count=None)
    _, totals = continue_totals(None, {MAIL: first}, {}, 1000)
    later, _ = continue_totals(totals, {MAIL: sample(1005, 2.0)}, {}, 1005)
    assert isinstance(later, QueueSample)
    assert (later.duration_count, later.created) == (2.0, 1000)


def test_without_any_known_queue_the_target_is_missing_and_its_totals_stay() -> None:
    _, totals = continue_totals(None, {MAIL: sample(1000, 7.0)}, {}, 1000)
    combined, totals = continue_totals(totals, {MAIL: GONE}, {}, 1005)
    assert combined == GONE
    later, _ = continue_totals(totals, {MAIL: sample(1010, 30_020.0)}, {}, 1010)
    assert isinstance(later, QueueSample)
    assert (later.completed, later.created) == (7.0, 1010)


# --- what the policy makes of them --------------------------------------------------------------------------


def rates(samples: list[QueueSample], flow: Flow | None = None) -> list[float]:
    """Jobs/s as each sample leaves them."""
    measured = []
    for one in samples:
        flow = update_flow(flow, one)
        assert flow is not None
        measured.append(mean_rate(flow, 30) if flow.measured else 0.0)
    return measured


def steps_of(seconds: int, *, source: str = "a", first: float = 0.0) -> list[Step]:
    """8 jobs/s that end as they come, every 5 s."""
    return [{MAIL: (source, first + 8.0 * second)} for second in range(0, seconds, 5)]


JUMPS: dict[str, list[Step]] = {
    "to an exporter with a higher counter": steps_of(60, source="b", first=5_000_160.0),
    "to an exporter with a lower counter": steps_of(60, source="b", first=1.0),
    "a state file comes back": [{MAIL: (None, None), POST: ("a", 0)}, *steps_of(60, first=30_020.0)],
    "a reset": steps_of(60, first=0.0),
}


@pytest.mark.parametrize("jump", JUMPS.values(), ids=JUMPS)
def test_a_jump_of_the_counters_changes_no_rate(jump: list[Step]) -> None:
    samples = over(*steps_of(100, first=1000.0), *jump)
    assert max(rates(samples)) <= 8.0 + 1e-6
    assert rates(samples)[-1] == pytest.approx(8.0, abs=0.5)


def test_a_queue_that_is_away_for_one_scrape_changes_no_rate() -> None:
    both: list[Step] = [
        {MAIL: ("a", 8.0 * second), POST: ("a", 50_000.0 + 2 * second)} for second in range(0, 200, 5)
    ]
    both[20] = {MAIL: both[20][MAIL], POST: (None, None)}
    measured = rates(over(*both))
    assert max(measured) <= 10.0 + 1e-6
    assert measured[-1] == pytest.approx(10.0, abs=0.5)


@pytest.mark.parametrize("every", [2, 3])
def test_a_queue_that_is_away_again_and_again_hides_no_rate_of_the_others(every: int) -> None:
    steps: list[Step] = [
        {MAIL: ("a", 8.0 * second), POST: ("a", 7.0) if second // 5 % every else (None, None)}
        for second in range(0, 200, 5)
    ]
    measured = rates(over(*steps))
    assert measured[-1] == pytest.approx(8.0, abs=0.2)
    assert max(measured) <= 8.0 + 1e-6


def test_another_exporter_of_one_queue_hides_no_rate_of_the_others() -> None:
    steps: list[Step] = [
        {MAIL: ("a", 8.0 * second), POST: ("ab"[second // 5 % 2], 9.0)} for second in range(0, 200, 5)
    ]
    assert rates(over(*steps))[-1] == pytest.approx(8.0, abs=0.2)


def test_the_jobs_of_a_queue_that_comes_and_goes_neither_came_nor_ended() -> None:
    totals: TargetTotals | None = None
    samples = []
    for number in range(40):
        at = 5.0 * number
        post = sample(at, 9.0, 5_000.0) if number % 2 else GONE
        combined, totals = continue_totals(totals, {MAIL: sample(at, 8 * at), POST: post}, {}, at)
        assert isinstance(combined, QueueSample)
        samples.append(combined)
    measured = rates(samples)
    assert measured[-1] == pytest.approx(8.0, abs=0.2)
    assert max(measured) <= 8.0 + 1e-6


@pytest.mark.parametrize("saved", [0.0, 500.0, 5_000_000.0])
def test_a_flow_that_was_saved_before_a_restart_begins_anew(saved: float) -> None:
    """The first totals after a restart are whatever the counters show."""
    flow: Flow | None = None
    for one in over(*steps_of(100, first=saved)):
        flow = update_flow(flow, one)
    after = over(*steps_of(60, first=20_000.0))
    later = [one._replace(at=one.at + 200, created=1200.0) for one in after]
    assert max(rates(later, flow)) <= 8.0 + 1e-6


@given(
    st.lists(
        st.dictionaries(
            st.sampled_from([MAIL, POST, QueueKey("bull", "third")]),
            st.tuples(st.sampled_from("ab"), st.none() | st.integers(0, 1_000_000).map(float)),
            min_size=1,
        ).filter(lambda step: any(completed is not None for _, completed in step.values())),
        min_size=1,
        max_size=12,
    )
)
def test_totals_never_fall_and_a_queue_that_did_not_continue_never_adds(steps: list[Step]) -> None:
    samples = over(*steps)
    for number, (then, now) in enumerate(pairwise(samples)):
        assert then.completed is not None
        assert now.completed is not None
        growth = now.completed - then.completed
        most = 0.0
        for key, (source, value) in steps[number + 1].items():
            source_before, before = steps[number].get(key, (None, None))
            if value is not None and before is not None and source == source_before:
                most += max(0.0, value - before)
            elif value is not None and before is None:
                most += value if value <= 100 else 0.0
        assert 0 <= growth <= most
