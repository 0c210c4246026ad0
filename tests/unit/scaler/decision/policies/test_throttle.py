"""Limits and pauses that are told by metrics, seen by samples, or missed by them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import pytest

from scaler.decision.policies.flow import Flow, update_flow
from scaler.decision.policies.throttle import ReadyWorkers, Throttle, update_throttle
from scaler.model import QueueSample

INTERVAL = 5.0


@dataclass(frozen=True)
class Look:
    """One sample beside 100 waiting jobs; `busy`: slots in the mean since the last one."""

    active: float
    busy: float | None = None
    closed: float | None = 0.0
    workers: int = 6
    waiting: float = 100.0


def throttles(looks: Iterable[Look], *, slots: float, ends: bool = True) -> Iterator[tuple[Look, Throttle]]:
    """The throttle after each of the looks; `ends`: a job a second does."""
    flow: Flow | None = None
    throttle, at, busy, numbers = Throttle(), 1000.0, 0.0, [0]
    for look in looks:
        at += INTERVAL
        busy += INTERVAL * (look.active if look.busy is None else look.busy)
        sample = QueueSample(
            at,
            look.waiting,
            look.active,
            completed=at if ends else 0.0,
            failed=0.0,
            busy_seconds=busy,
            limit_seconds=look.closed,
        )
        flow = update_flow(flow, sample)
        assert flow is not None
        numbers.append(look.workers)
        ready = ReadyWorkers(min(numbers[-6:]), max(numbers[-12:]), slots)
        if flow.measured:
            throttle = update_throttle(throttle, flow, sample, ready, fresh=True)
            yield look, throttle


def last(looks: list[Look], *, slots: float = 2.0) -> Throttle:
    *_, (_, throttle) = throttles(looks, slots=slots)
    return throttle


SEEN = [Look(12.0)] * 8 + [Look(4.0, busy=9.0, closed=4.0)]
"""Six full workers of two slots, then the limit is seen closed."""


def test_one_look_is_enough_where_the_metrics_tell_of_the_limit() -> None:
    throttle = last(SEEN)
    assert throttle.cap is not None
    assert 9 < throttle.cap < 16
    assert last([*SEEN[:-1], Look(4.0)]).cap is None  # a single look that nothing tells of


def test_a_limit_that_samples_miss_is_known_from_the_time_that_slots_were_busy() -> None:
    """A limit by 10 s is closed between two samples each 5 s: all of these show full slots."""
    missed = [Look(12.0, busy=12.0), Look(12.0, busy=7.0)] * 36
    capped = last(SEEN + missed)
    assert capped.cap == pytest.approx(1.2 * 9.5 + 1, rel=0.1)
    assert last(SEEN + [Look(12.0, busy=12.0)] * 36).cap is None  # the slots were busy: no limit any more


def test_what_was_told_long_ago_keeps_no_slots_from_work() -> None:
    """The counters of busy time may be too low; after ten minutes full slots are believed."""
    assert last(SEEN + [Look(12.0, busy=7.0)] * 130).cap is None


def test_the_cap_follows_a_limit_that_is_told_down_too() -> None:
    """Few jobs run at each sample of a lump of them: what was busy in the mean counts."""
    lumps = [Look(12.0, busy=4.0, closed=3.0), Look(0.0, busy=2.0, closed=8.0)] * 20
    throttle = last(SEEN + lumps)
    assert throttle.cap == pytest.approx(1.2 * 3 + 1, rel=0.1)


def test_a_window_that_runs_while_all_slots_are_busy_is_no_limit() -> None:
    """BullMQ's window runs from its first job on, whether the limit is reached or not."""
    for window in (1.0, 60.0, 3600.0):
        for _, throttle in throttles([Look(12.0, busy=12.0, closed=window)] * 60, slots=2.0):
            assert throttle.cap is None
            assert throttle.closed == 0.0


def test_a_cap_goes_while_the_window_runs_where_all_slots_have_been_busy_for_two_minutes() -> None:
    busy = [Look(12.0, busy=12.0, closed=3000.0)]
    assert last(SEEN + busy * 20).cap is not None
    assert last(SEEN + busy * 27).cap is None


def test_a_limit_that_is_known_is_told_by_its_window_beside_slots_that_are_nearly_full() -> None:
    """After ten minutes in which no sample shows clearly free slots."""
    nearly = [Look(12.0, busy=11.0, closed=0.5)] * 130
    assert last(SEEN + nearly).cap is not None


def test_a_burst_into_a_window_that_runs_is_no_limit() -> None:
    """The slots were not busy before the jobs came, as there were none."""
    before = [Look(0.0, waiting=0.0, closed=3000.0)] * 20
    for _, throttle in throttles([*before, *[Look(12.0, busy=4.0, closed=2900.0)]], slots=2.0):
        assert throttle.closed == 0.0


def test_workers_that_have_just_started_are_no_limit_until_as_many_jobs_run_again() -> None:
    """Ten of two slots count as ready, and begin to take jobs one after the other: the window runs then."""
    begin = [Look(0.0, workers=0)] * 8
    taking = [Look(active, closed=50.0, workers=10) for active in (0.0, 0.0, 2.0, 6.0)]
    assert last([*begin, *taking]).cap is None
    held = [Look(active, closed=1.0, workers=10) for active in (1.0, 0.0, 1.0, 1.0)]
    assert last([*begin, *held]).cap is not None


@pytest.mark.parametrize("window", [60.0, 600.0, 3600.0])
def test_a_limit_that_ends_before_its_time_is_none_after_two_minutes_of_full_slots(window: float) -> None:
    closed = [Look(0.0, closed=window - INTERVAL * index) for index in range(12)]
    assert last(SEEN[:8] + closed).cap is not None
    assert last(SEEN[:8] + closed + [Look(12.0, busy=12.0)] * 20).cap is not None
    assert last(SEEN[:8] + closed + [Look(12.0, busy=12.0)] * 27).cap is None


@pytest.mark.parametrize(("window", "looks"), [(4.0, 2), (10.0, 5), (60.0, 25), (3600.0, 25)])
def test_a_limit_that_was_removed_is_none_after_two_of_its_windows(window: float, looks: int) -> None:
    """No window runs any more though jobs start in all slots: a limit would begin one with each of them."""
    closed = [*[Look(0.0, closed=window)] * 7, Look(12.0, busy=0.0, closed=window / 2)]
    full = [Look(12.0, busy=12.0, closed=None)]
    assert last(SEEN[:8] + closed + full * (looks - 1)).cap is not None
    assert last(SEEN[:8] + closed + full * looks).cap is None


def test_a_limit_whose_window_runs_now_and_then_is_one_still() -> None:
    """The slots are full whenever a sample is taken, but were not between two of them."""
    lumps = [Look(12.0, busy=9.0, closed=3.0), Look(12.0, busy=9.0, closed=None)]
    assert last(SEEN + lumps * 20).cap is not None


def test_a_limit_is_one_still_while_long_jobs_fill_the_slots() -> None:
    """No job starts, so no window of a limit that the workers have can run."""
    closed = [Look(4.0, busy=4.0, closed=10.0)] * 6
    looks = [*SEEN[:8], *closed, *[Look(12.0, busy=12.0, closed=None)] * 12]
    *_, (_, throttle) = throttles(looks, slots=2.0, ends=False)
    assert throttle.cap is not None


def test_a_limit_that_was_seen_by_a_clock_that_was_ahead_is_forgotten() -> None:
    throttle = Throttle(full=2, seen=1e6, closed=1e6, until=1e6, cap=2.0)
    sample = QueueSample(1000.0, 100.0, 12.0, completed=9.0, failed=0.0, limit_seconds=0.0)
    flow = update_flow(None, sample)
    assert flow is not None
    now = update_throttle(throttle, flow, sample, ReadyWorkers(6, 6, 2.0), fresh=True)
    assert (now.cap, now.seen, now.closed, now.until) == (None, 0.0, 0.0, 0.0)


def test_a_limit_that_looks_for_once_like_workers_that_take_less_is_one_still() -> None:
    """Twelve jobs of a limit run on six workers, then on four; for half a minute there are eight."""
    before = [Look(12.0, closed=0.5)] * 20
    fewer = [Look(12.0, closed=0.5, workers=4)] * 40
    chance = [Look(8.0, workers=4)] * 12
    for _, throttle in throttles([*before, *fewer, *chance], slots=8.0):
        assert throttle.taken is None
    assert throttle.cap is not None


def test_workers_that_take_less_are_found_beside_a_limit_too() -> None:
    """Two of eight slots each: with half the workers, half as many jobs run."""
    before = [Look(12.0, closed=0.5)] * 20
    fewer = [Look(6.0, closed=0.5, workers=3)] * 14
    found = [throttle for _, throttle in throttles([*before, *fewer], slots=8.0) if throttle.taken]
    assert found[0].taken == pytest.approx(2.0)
    assert found[0].cap is None


def test_a_worker_with_one_slot_takes_one_job() -> None:
    """Two of three run in the mean: with two workers one and a third would be as many each."""
    before = [Look(2.0, workers=4)] * 20
    fewer = [Look(1.0, workers=2)] * 40
    assert all(throttle.taken is None for _, throttle in throttles([*before, *fewer], slots=1.0))


def test_workers_that_take_less_are_found_while_more_of_them_go() -> None:
    """Two of ten slots each, of twenty workers; then five are left, and every half a minute one fewer."""
    going = [Look(2.0 * count, workers=count) for count in (5, 4, 3, 2, 1) for _ in range(7)]
    found = [throttle for _, throttle in throttles([*[Look(40.0, workers=20)] * 20, *going], slots=10.0)]
    first = next(throttle.taken for throttle in found if throttle.taken)
    assert 1 <= first <= 2


def test_a_limit_is_one_still_while_workers_go_one_by_one() -> None:
    """Twenty jobs of a limit run, on however many workers."""
    going = [Look(20.0, workers=count) for count in (15, 12, 9, 7, 5, 4, 3) for _ in range(7)]
    found = [throttle for _, throttle in throttles([*[Look(20.0, workers=20)] * 20, *going], slots=10.0)]
    assert all(throttle.taken is None for throttle in found)
