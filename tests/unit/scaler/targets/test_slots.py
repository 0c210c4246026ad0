from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaler.targets.slots import (
    STEADY_SECONDS,
    Slot,
    WorkerExit,
    WorkerSlots,
    failures_after,
    victims,
)

NOBODY: dict[int, bool] = {}


def pause(failures: int) -> float:
    return 10.0 * failures


def grown(count: int, at: float = 0.0) -> WorkerSlots:
    """`count` workers that started one second after another, the first at `at`."""
    slots = WorkerSlots(2.0, pause)
    slots.resize(count, at, NOBODY)
    for number in slots.due(at):
        slots.mark_present(number)
        slots.mark_started(number, at + number - 1)
    return slots


def test_requested_workers_are_due_until_there_is_a_process() -> None:
    slots = WorkerSlots(2.0, pause)
    assert (slots.requested, slots.due(0), slots.next_due(0)) == (0, [], None)
    slots.resize(2, 0, NOBODY)
    assert (slots.requested, slots.due(0), slots.next_due(0)) == (2, [1, 2], 0.0)
    slots.mark_present(1)
    assert slots.due(0) == [2]
    slots.mark_present(2)
    assert (slots.due(0), slots.next_due(0)) == ([], None)


def test_ready_after_the_ready_time() -> None:
    slots = grown(2)
    assert [slots.ready(at) for at in (1.9, 2.0, 2.9, 3.0)] == [0, 1, 1, 2]


def test_start_times_run_from_the_request_to_readiness() -> None:
    slots = grown(2)
    assert slots.start_seconds(1.9) is None
    assert slots.start_seconds(2.5) == 2.0
    assert slots.start_seconds(100) == 3.0


def test_a_start_that_was_noticed_late_is_measured_all_the_same() -> None:
    slots = grown(1)
    slots.mark_exited(1, 50)
    assert slots.start_seconds(60) == 2.0


def test_a_worker_that_ends_before_it_was_ready_measures_nothing() -> None:
    slots = grown(1)
    slots.mark_exited(1, 1.5)
    assert (slots.ready(60), slots.start_seconds(60)) == (0, None)


def test_a_worker_that_exited_is_due_after_its_pause_and_not_before_it_is_reaped() -> None:
    slots = grown(1)
    assert slots.mark_exited(1, 5) == WorkerExit(uptime=5, failures=1, restart=10)
    assert slots.due(100) == []
    slots.mark_reaped(1, 7)
    assert [slots.due(at) for at in (14.9, 15)] == [[], [1]]
    assert slots.next_due(7) == 8
    assert slots.requested == 1


def test_a_restart_that_waited_for_reaping_is_due_from_then_on() -> None:
    slots = grown(1)
    slots.mark_exited(1, 5)
    slots.mark_reaped(1, 40)
    slots.mark_present(1)
    slots.mark_started(1, 41)
    assert slots.start_seconds(43) == 3.0


def test_short_runs_in_a_row_make_the_pause_grow_and_a_long_one_resets_it() -> None:
    slots = WorkerSlots(2.0, pause)
    slots.resize(1, 0, NOBODY)
    at, restarts = 0.0, []
    for uptime in (1, 1, STEADY_SECONDS, 1):
        slots.mark_present(1)
        slots.mark_started(1, at)
        restarts.append(slots.mark_exited(1, at + uptime).restart)
        slots.mark_reaped(1, at + uptime)
        at += 1000
    assert restarts == [10, 20, 10, 20]


def test_leaving_workers_are_not_ready_and_keep_their_numbers_until_they_are_reaped() -> None:
    slots = grown(3)
    slots.resize(1, 100, NOBODY)
    assert (slots.requested, slots.leaving, slots.ready(100)) == (1, [2, 3], 1)
    slots.resize(2, 101, NOBODY)
    assert (slots.due(101), slots.leaving) == ([4], [2, 3])
    assert slots.mark_exited(2, 102).restart is None
    slots.mark_reaped(2, 102)
    assert slots.leaving == [3]
    slots.resize(3, 103, NOBODY)
    assert sorted(slots.due(103)) == [2, 4]


def test_a_slot_without_a_process_is_removed_at_once() -> None:
    slots = grown(2)
    slots.mark_exited(1, 5)
    slots.mark_reaped(1, 5)
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
def test_the_order_of_termination(busy: dict[int, bool], order: list[int]) -> None:
    """1 is the oldest; 5 has no worker just now."""
    slots = [Slot(n, 0.0, present=True, started_at=float(n)) for n in range(1, 5)]
    slots.append(Slot(5, 100.0))
    for count in range(-1, 7):
        assert [slot.number for slot in victims(slots, count, busy)] == order[: max(0, count)]


def test_failures_in_a_row() -> None:
    assert failures_after(0, 1) == 1
    assert failures_after(3, STEADY_SECONDS - 1) == 4
    assert failures_after(3, STEADY_SECONDS) == 1


@given(st.lists(st.tuples(st.integers(0, 6), st.sampled_from(["start", "end", "gone", "wait"]))))
def test_there_are_always_as_many_as_requested(steps: list[tuple[int, str]]) -> None:
    """Numbers are never given twice, and leaving workers are not started again."""
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
                slots.mark_present(number)
                slots.mark_started(number, now)
            present |= set(due)
            alive |= set(due)
        elif what == "end":
            for number in alive:
                slots.mark_exited(number, now)
            alive.clear()
        elif what == "gone":
            for number in present - alive:
                slots.mark_reaped(number, now)
            present &= alive
        assert 0 <= slots.ready(now) <= count
