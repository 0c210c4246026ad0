from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaler.targets.slots import STEADY_SECONDS, Ended, Slot, WorkerSlots, failures_after, quantile, victims

NOBODY: dict[int, bool] = {}


def pause(failures: int) -> float:
    return 10.0 * failures


def grown(count: int, at: float = 0.0) -> WorkerSlots:
    """`count` workers that started one second after another, the first at `at`."""
    slots = WorkerSlots(2.0, pause)
    slots.resize(count, at, NOBODY)
    for number in slots.due(at):
        slots.present(number)
        slots.started(number, at + number - 1)
    return slots


def test_those_that_are_asked_for_are_due_until_there_is_a_process() -> None:
    slots = WorkerSlots(2.0, pause)
    assert (slots.requested, slots.due(0), slots.next_due(0)) == (0, [], None)
    slots.resize(2, 0, NOBODY)
    assert (slots.requested, slots.due(0), slots.next_due(0)) == (2, [1, 2], 0.0)
    slots.present(1)
    assert slots.due(0) == [2]
    slots.present(2)
    assert (slots.due(0), slots.next_due(0)) == ([], None)


def test_ready_after_the_ready_time() -> None:
    slots = grown(2)
    assert [slots.ready(at) for at in (1.9, 2.0, 2.9, 3.0)] == [0, 1, 1, 2]


def test_start_times_run_from_the_wish_to_readiness() -> None:
    slots = grown(2)
    assert slots.start_seconds(1.9) is None
    assert slots.start_seconds(2.5) == 2.0
    assert slots.start_seconds(100) == 3.0


def test_a_start_that_was_noticed_late_is_measured_all_the_same() -> None:
    slots = grown(1)
    slots.ended(1, 50)
    assert slots.start_seconds(60) == 2.0


def test_a_worker_that_ends_before_it_was_ready_measures_nothing() -> None:
    slots = grown(1)
    slots.ended(1, 1.5)
    assert (slots.ready(60), slots.start_seconds(60)) == (0, None)


def test_one_that_ended_is_due_after_its_pause_and_not_before_it_is_gone() -> None:
    slots = grown(1)
    assert slots.ended(1, 5) == Ended(lived=5, failures=1, restart=10)
    assert slots.due(100) == []
    slots.gone(1, 7)
    assert [slots.due(at) for at in (14.9, 15)] == [[], [1]]
    assert slots.next_due(7) == 8
    assert slots.requested == 1


def test_a_restart_that_had_to_wait_for_remains_is_wanted_from_then_on() -> None:
    slots = grown(1)
    slots.ended(1, 5)
    slots.gone(1, 40)
    slots.present(1)
    slots.started(1, 41)
    assert slots.start_seconds(43) == 3.0


def test_short_lives_in_a_row_make_the_pause_grow_and_a_long_one_forgets_them() -> None:
    slots = WorkerSlots(2.0, pause)
    slots.resize(1, 0, NOBODY)
    at, told = 0.0, []
    for lived in (1, 1, STEADY_SECONDS, 1):
        slots.present(1)
        slots.started(1, at)
        told.append(slots.ended(1, at + lived).restart)
        slots.gone(1, at + lived)
        at += 1000
    assert told == [10, 20, 10, 20]


def test_those_that_go_are_not_ready_and_keep_their_numbers_until_they_are_gone() -> None:
    slots = grown(3)
    slots.resize(1, 100, NOBODY)
    assert (slots.requested, slots.leaving, slots.ready(100)) == (1, [2, 3], 1)
    slots.resize(2, 101, NOBODY)
    assert (slots.due(101), slots.leaving) == ([4], [2, 3])
    assert slots.ended(2, 102).restart is None
    slots.gone(2, 102)
    assert slots.leaving == [3]
    slots.resize(3, 103, NOBODY)
    assert sorted(slots.due(103)) == [2, 4]


def test_one_without_a_process_is_let_go_at_once() -> None:
    slots = grown(2)
    slots.ended(1, 5)
    slots.gone(1, 5)
    slots.resize(1, 6, NOBODY)
    assert (slots.requested, slots.leaving, slots.due(1000)) == (1, [], [])


@pytest.mark.parametrize(
    ("busy", "order"),
    [
        ({}, [5, 4, 3, 2, 1]),
        ({2: False}, [5, 2, 4, 3, 1]),
        ({1: False, 2: False}, [5, 2, 1, 4, 3]),
        ({4: True}, [5, 3, 2, 1, 4]),
        ({4: True, 3: True, 1: False}, [5, 1, 2, 4, 3]),
        ({1: True, 2: True, 3: True, 4: True}, [5, 4, 3, 2, 1]),
        ({9: False}, [5, 4, 3, 2, 1]),
    ],
)
def test_who_goes_first(busy: dict[int, bool], order: list[int]) -> None:
    """1 is the oldest; 5 has no worker just now."""
    slots = [Slot(n, 0.0, present=True, started_at=float(n)) for n in range(1, 5)]
    slots.append(Slot(5, 100.0))
    for count in range(-1, 7):
        assert [slot.number for slot in victims(slots, count, busy)] == order[: max(0, count)]


def test_failures_in_a_row() -> None:
    assert failures_after(0, 1) == 1
    assert failures_after(3, STEADY_SECONDS - 1) == 4
    assert failures_after(3, STEADY_SECONDS) == 1


@given(st.lists(st.floats(0, 1000), min_size=1))
def test_a_quantile_is_the_smallest_value_that_covers_its_part(values: list[float]) -> None:
    found = quantile(values, 0.9)
    assert found in values
    assert sum(value <= found for value in values) >= 0.9 * len(values)
    below = [value for value in values if value < found]
    assert len(below) < 0.9 * len(values)


def test_a_quantile_of_nothing_is_not_there() -> None:
    assert quantile([], 0.9) is None


@given(st.lists(st.tuples(st.integers(0, 6), st.sampled_from(["start", "end", "gone", "wait"]))))
def test_whatever_happens_there_are_as_many_as_asked_for(steps: list[tuple[int, str]]) -> None:
    """Numbers are never given twice, and who has to go is not started again."""
    slots = WorkerSlots(1.0, pause)
    present: set[int] = set()
    alive: set[int] = set()
    now = 0.0
    for count, what in steps:
        now += 7
        slots.resize(count, now, NOBODY)
        assert slots.requested == count
        due = slots.due(now)
        assert not set(due) & present
        assert not set(due) & set(slots.leaving)
        assert set(slots.leaving) <= present
        if what == "start":
            for number in due:
                slots.present(number)
                slots.started(number, now)
            present |= set(due)
            alive |= set(due)
        elif what == "end":
            for number in alive:
                slots.ended(number, now)
            alive.clear()
        elif what == "gone":
            for number in present - alive:
                slots.gone(number, now)
            present &= alive
        assert 0 <= slots.ready(now) <= count
