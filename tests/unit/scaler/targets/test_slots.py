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


def test_a_crash_loop_lasts_until_the_worker_is_steady() -> None:
    slots = WorkerSlots(1.0, lambda failures: 2.0)
    slots.resize(1, 0.0, {})
    for number in range(5):
        assert slots.crashing(10.0 * number) == 0
        slots.mark_present(1)
        slots.mark_started(1, 10.0 * number)
        slots.mark_exited(1, 10.0 * number + 1)
        slots.mark_reaped(1, 10.0 * number + 1)
    assert slots.crashing(50.0) == 1
    slots.mark_present(1)
    slots.mark_started(1, 60.0)
    assert slots.crashing(119.0) == 1
    assert slots.crashing(120.0) == 0


@pytest.mark.fault
def test_many_workers_are_requested_in_no_more_steps_than_there_are_workers() -> None:
    class Counted(dict[int, Slot]):
        looked = 0

        def __contains__(self, key: object) -> bool:
            Counted.looked += 1
            return super().__contains__(key)

    slots = WorkerSlots(2.0, pause)
    slots._slots = Counted()
    slots.resize(10_000, 0.0, NOBODY)
    assert (len(slots.numbers), max(slots.numbers)) == (10_000, 10_000)
    assert Counted.looked <= 10_001


def test_numbers_that_became_free_are_taken_first() -> None:
    slots = grown(4)
    slots.resize(2, 10.0, {1: False, 2: True, 3: False, 4: True})
    for number in slots.leaving:
        slots.mark_exited(number, 11.0)
        slots.mark_reaped(number, 11.0)
    assert slots.numbers == [2, 4]
    slots.resize(5, 12.0, NOBODY)
    assert sorted(slots.numbers) == [1, 2, 3, 4, 5]


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


def replaced(slots: WorkerSlots, now: float, busy: dict[int, bool] = NOBODY) -> list[str]:
    """What a replacement does until it waits; workers start and exit at once, and are ready after 2 s."""
    done = []
    while (what := slots.next_replacement(now)) is not None:
        if what == "start":
            slots.start_replacement(now)
            for number in slots.due(now):
                slots.mark_present(number)
                slots.mark_started(number, now)
                done.append(f"start {number}")
        else:
            slots.retire(busy)
            for number in slots.leaving:
                slots.mark_exited(number, now)
                slots.mark_reaped(number, now)
                done.append(f"end {number}")
    return done


def test_outdated_workers_are_replaced_one_after_the_other_once_a_new_one_is_ready() -> None:
    slots = grown(3)
    slots.change(2.0, outdated=True)
    assert replaced(slots, 100) == ["start 4"]
    assert (slots.requested, slots.ready(100)) == (3, 3)
    assert replaced(slots, 101.9) == []
    assert replaced(slots, 102) == ["end 3", "start 3"]
    assert replaced(slots, 104, {1: False, 2: True}) == ["end 1", "start 1"]
    assert replaced(slots, 106) == ["end 2"]
    assert (slots.requested, slots.ready(108), slots.numbers) == (3, 3, [4, 3, 1])
    assert replaced(slots, 1000) == []


def test_the_next_is_replaced_after_the_one_before_has_gone() -> None:
    slots = grown(2)
    slots.change(2.0, outdated=True)
    replaced(slots, 100)
    slots.ready(102)
    slots.retire(NOBODY)
    assert (slots.leaving, slots.next_replacement(200)) == ([2], None)
    slots.mark_exited(2, 200)
    slots.mark_reaped(2, 200)
    assert slots.next_replacement(200) == "start"


def test_a_new_worker_that_never_gets_ready_ends_no_old_one() -> None:
    slots = grown(2)
    slots.change(2.0, outdated=True)
    replaced(slots, 100)
    for at in (101, 111, 131):
        slots.mark_exited(3, at)
        slots.mark_reaped(3, at)
        slots.mark_present(3)
        slots.mark_started(3, at)
        assert replaced(slots, at + 1) == []
    assert slots.ready(140) == 2


def test_a_worker_that_exits_is_restarted_with_the_new_settings_and_is_not_replaced() -> None:
    slots = grown(1)
    slots.change(2.0, outdated=True)
    slots.mark_exited(1, 5)
    slots.mark_reaped(1, 5)
    assert slots.next_replacement(6) is None
    assert slots.due(15) == [1]


@pytest.mark.parametrize("count", [0, 1, 2, 3, 5])
def test_a_replacement_goes_on_after_scaling(count: int) -> None:
    slots = grown(3)
    slots.change(2.0, outdated=True)
    replaced(slots, 100)
    slots.resize(count, 101, NOBODY)
    for at in range(101, 200):
        for number in slots.due(at):
            slots.mark_present(number)
            slots.mark_started(number, at)
        for number in slots.leaving:
            slots.mark_exited(number, at)
            slots.mark_reaped(number, at)
        replaced(slots, at)
        assert slots.requested == count
    assert len(slots.numbers) == slots.ready(300) == count


def test_start_times_are_kept_over_a_change_and_can_be_restored() -> None:
    slots = grown(2)
    slots.restore_start_times([30.0, 31.0])
    slots.change(5.0, outdated=True)
    assert slots.start_times(2.5) == (30.0, 31.0)
    assert slots.start_times(100) == (30.0, 31.0, 5.0, 6.0)
    assert slots.start_seconds(100) == 31.0


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
