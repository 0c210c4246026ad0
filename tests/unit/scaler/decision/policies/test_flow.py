from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaler.decision.policies.flow import (
    Flow,
    Means,
    mean_busy,
    mean_rate,
    oldest_wait,
    proved_rate,
    run_time,
    update_flow,
)
from scaler.model import QueueSample


def sample(at: float, completed: float, waiting: float = 0, active: float = 0, **more: Any) -> QueueSample:
    return QueueSample(at, waiting, active, completed=completed, failed=more.pop("failed", 0.0), **more)


def flow_of(*samples: QueueSample) -> Flow:
    flow = None
    for each in samples:
        flow = update_flow(flow, each)
    assert flow is not None
    return flow


def test_arrivals_are_the_balance_of_the_queue() -> None:
    flow = flow_of(
        sample(0, 100), sample(10, 130, waiting=20, active=5), sample(20, 140, waiting=4, active=6)
    )
    assert (flow.last.came, flow.last.ended) == (55 + 0, 40)  # 40 ended, 10 are inside, 5 were owed
    assert mean_rate(flow, 0) == 0
    assert mean_rate(flow, 15) == mean_rate(flow, 1000) == 55 / 20


def test_attempts_count_where_they_are_more_than_jobs_that_ended() -> None:
    """Each of ten jobs failed twice before it completed, at once."""
    flow = flow_of(sample(0, 0, duration_count=0.0), sample(10, 10, duration_count=30.0))
    assert (flow.last.came, flow.last.ended) == (30, 30)


def test_jobs_that_left_without_an_end_are_owed_once() -> None:
    flow = flow_of(sample(0, 0, waiting=1000), sample(5, 0), sample(10, 50), sample(15, 100))
    assert flow.last.came == 50


def test_run_times_of_jobs_that_still_run() -> None:
    """Two slots, full for 60 s; three jobs have ended."""
    flow = flow_of(
        *(sample(at, int(at >= 20) + int(at >= 35) + int(at >= 60), active=2) for at in range(0, 61, 5))
    )
    assert run_time(flow, 0, 1.0).seconds == 120 / 3
    assert run_time(flow, 0, 1.0).error == pytest.approx(3**-0.5)


def test_a_counter_of_busy_seconds_counts_rather_than_the_active_jobs() -> None:
    """Jobs of 0.1 s: of the ten that run in each second a sample sees one or none."""
    flow = flow_of(*(sample(at, 10.0 * at, active=at % 3, busy_seconds=1.0 * at) for at in range(0, 60, 5)))
    assert run_time(flow, 10, 1.0).seconds == pytest.approx(0.1)


def test_a_counter_of_busy_seconds_that_stands_still_while_jobs_run_does_not_count() -> None:
    still = flow_of(*(sample(at, at, active=2, busy_seconds=7.0) for at in range(0, 61, 5)))
    absent = flow_of(*(sample(at, at, active=2) for at in range(0, 61, 5)))
    assert run_time(still, 0, 1.0) == run_time(absent, 0, 1.0)
    idle = flow_of(*(sample(at, at, busy_seconds=7.0) for at in range(0, 61, 5)))
    assert run_time(idle, 0, 1.0).seconds < 0.1


def test_two_scrapes_close_to_each_other_prove_no_burst() -> None:
    """By two servers: the exporter has read the queue again between them."""
    flow = flow_of(sample(0, 0), sample(5, 40), sample(10, 80), sample(10.1, 120))
    assert proved_rate(flow) < 20


def test_slower_jobs_are_proved_by_full_slots() -> None:
    steady = [sample(at, 8.0 * at, active=8) for at in range(0, 301, 5)]
    slow = [sample(at, 2400 + 1.6 * (at - 300), active=8) for at in range(305, 321, 5)]
    assert run_time(flow_of(*steady), 30, 1.0).seconds == pytest.approx(1.0)
    assert run_time(flow_of(*steady, *slow), 30, 1.0).seconds > 2.5


def test_without_an_end_the_run_time_is_what_it_was() -> None:
    assert run_time(flow_of(sample(0, 5), sample(10, 5)), 0, 7.5).seconds == 7.5


def test_one_sample_proves_two_standard_errors_less_than_it_counts() -> None:
    flow = flow_of(sample(0, 0), sample(5, 0), sample(10, 100, due=0.0))
    assert proved_rate(flow) == (100 - 20) / 5
    assert proved_rate(flow_of(sample(0, 0, due=100.0), sample(5, 100, due=0.0))) == 0


def test_the_oldest_wait_is_known_from_the_counts() -> None:
    """Ten jobs came every 5 s, and 25 of them wait."""
    flow = flow_of(*(sample(at, 0, waiting=2.0 * at) for at in range(0, 101, 5)))
    assert oldest_wait(flow, 25) == 15
    assert oldest_wait(flow, 0) == 0
    assert oldest_wait(flow, 9999) == 100


def test_the_mean_of_active_jobs_is_of_late() -> None:
    flow = flow_of(*(sample(at, 0, active=30 if at < 100 else 10) for at in range(0, 201, 5)))
    assert mean_busy(flow, 60) == 10
    assert 10 < mean_busy(flow, 150) < 30


@pytest.mark.parametrize(
    "later",
    [
        [sample(15, 0), sample(20, 10)],  # counters that began again
        [QueueSample(15, 0, 0), sample(20, 7000), sample(25, 7010)],  # another exporter
        [sample(3, 10), sample(8, 20)],  # a clock that went back
        [sample(at, 5_000_000 + 2 * at)._replace(created=14.0) for at in (15, 20)],  # totals that began again
    ],
)
def test_what_does_not_continue_is_left_out(later: list[QueueSample]) -> None:
    flow = flow_of(sample(0, 0), sample(5, 10), sample(10, 20), *later)
    assert mean_rate(flow, 1000) == 2.0
    assert flow.last.at == later[-1].at
    assert [point.at for point in flow.points] == sorted({point.at for point in flow.points})


def test_counters_that_are_missing_for_ten_minutes_are_forgotten() -> None:
    assert update_flow(flow_of(sample(0, 5)), QueueSample(700, 1, 1)) is None


@pytest.mark.parametrize("interval", [600.4, 3600.0])
def test_there_is_a_rate_at_intervals_of_more_than_what_is_remembered(interval: float) -> None:
    flow = flow_of(*(sample(at * interval, 2.0 * at * interval) for at in range(4)))
    assert flow.measured
    assert mean_rate(flow, 30) == pytest.approx(2.0)


@pytest.mark.parametrize("created", [None, 86_000.0], ids=["same counters", "after a restart"])
def test_a_memory_of_yesterday_tells_no_rate(created: float | None) -> None:
    today = sample(86_400, 90_000)._replace(created=created)
    assert not flow_of(sample(0, 0), sample(5, 10), today).measured


def test_old_points_are_few() -> None:
    flow = flow_of(*(sample(at, float(at)) for at in range(0, 7200, 5)))
    assert len(flow.points) <= 60
    assert 590 <= flow.last.at - flow.points[0].at <= 600
    assert mean_rate(flow, 300) == pytest.approx(1.0)


@given(
    st.lists(
        st.tuples(st.floats(-20, 60), st.integers(-5, 50), st.integers(0, 99), st.integers(0, 20)), min_size=2
    )
)
def test_no_history_breaks_it(steps: list[tuple[float, int, int, int]]) -> None:
    flow, at, completed = None, 0.0, 0.0
    for seconds, ended, waiting, active in steps:
        at, completed = at + seconds, max(0.0, completed + ended)
        flow = update_flow(flow, sample(at, completed, waiting, active))
        assert flow is not None
        times = [point.at for point in flow.points]
        assert times == sorted(times)
        assert all(getattr(flow.last, name) >= 0 for name in flow.last._fields if name != "at")
        if flow.measured:
            assert mean_rate(flow, 30) >= 0
            assert proved_rate(flow) >= 0
            assert run_time(flow, 30, 1.0).seconds > 0


SLOTS = Means(8.0, 2.0)


def seen(*samples: QueueSample, means: Means = SLOTS) -> Flow:
    flow = None
    for each in samples:
        flow = update_flow(flow, each, means)
    assert flow is not None
    return flow


def steady(until: int, *, every: int = 5) -> list[QueueSample]:
    return [sample(at, 4.0 * at, active=8) for at in range(0, until + 1, every)]


@pytest.mark.parametrize("jump", [2_000.0, 1e6])
def test_more_than_the_slots_can_have_done_is_not_believed(jump: float) -> None:
    before = seen(*steady(300))
    after = seen(*steady(300), *(sample(at, 4.0 * at + jump, active=8) for at in (305, 310, 315)))
    assert mean_rate(after, 30) == pytest.approx(mean_rate(before, 30), rel=0.01)
    assert run_time(after, 30, 1.0).seconds == pytest.approx(2.0, rel=0.01)


def test_what_the_next_sample_says_too_is_believed() -> None:
    """Jobs that become two hundred times shorter."""
    quick = [sample(at, 1200.0 + 800.0 * (at - 300), active=8) for at in (305, 310, 315)]
    assert mean_rate(seen(*steady(300), quick[0]), 0) == pytest.approx(4.0, rel=0.01)
    assert mean_rate(seen(*steady(300), *quick[:2]), 0) == 800
    assert run_time(seen(*steady(300), *quick), 0, 1.0).seconds == pytest.approx(0.01)


def test_a_batch_that_comes_each_minute_is_believed() -> None:
    """Two slots end 1,500 jobs of 2 ms between two samples, eleven others show nothing."""
    samples, ended = [], 0.0
    for at in range(0, 300, 5):
        ended += 1500.0 if at % 60 == 30 else 0.0
        samples.append(QueueSample(float(at), 0.0, 0.0, completed=ended, failed=0.0))
    flow: Flow | None = None
    rates = []
    for one in samples:
        flow = update_flow(flow, one, Means(2.0, 1.0))
        assert flow is not None
        rates.append(mean_rate(flow, 60) if flow.measured else 0.0)
    assert max(rates[:18]) == 0.0
    assert rates[-1] == pytest.approx(25.0, rel=0.2)


def test_two_jumps_that_differ_are_two_jumps() -> None:
    jumps = sample(305, 1e5, active=8), sample(310, 1e6, active=8), sample(315, 1e6 + 20, active=8)
    assert mean_rate(seen(*steady(300), *jumps), 10) == pytest.approx(4.0, rel=0.01)


def test_of_jobs_that_were_there_in_one_sample_only_no_trace_is_left() -> None:
    after = seen(
        *steady(300),
        sample(305, 1220, waiting=50_000, active=8),
        *(sample(at, 4.0 * at, active=8) for at in (310, 315)),
    )
    assert after.last.came <= 4 * 315
    assert proved_rate(after) < 10


@pytest.mark.fault
@pytest.mark.parametrize("seconds", [35, 100, 170, 400, 780, 3600])
@pytest.mark.parametrize("ended", [0.0, 3600.0])
def test_the_run_time_is_the_same_after_a_gap(seconds: int, ended: float) -> None:
    """Nobody looked: neither the active jobs at both ends nor a clock that was set tell what was between."""
    flow = seen(
        *steady(300), *(sample(300 + seconds + at, 1200 + ended + 4.0 * at, active=2) for at in (0, 1))
    )
    assert run_time(flow, 0, 9.0).seconds == pytest.approx(2.0, rel=0.1)


def test_after_a_gap_the_run_time_is_that_of_the_counters() -> None:
    """They say what ran between."""

    def counted(at: float, jobs: float) -> QueueSample:
        return sample(at, jobs, active=8, busy_seconds=2.0 * jobs if at <= 300 else 1.0 * jobs + 1200)

    flow = seen(*(counted(at, 4.0 * at) for at in range(0, 301, 5)), counted(400, 2000.0))
    assert run_time(flow, 0, 9.0).seconds == pytest.approx(1.0)


@pytest.mark.parametrize("before", [0, 300])
def test_without_a_counter_of_busy_seconds_the_run_times_tell_what_ran_in_a_gap(before: int) -> None:
    """From 2 s to 0.5 s; with one sample before the gap too."""

    def counted(at: float, jobs: float, seconds: float) -> QueueSample:
        return sample(at, jobs, active=1, duration_sum=seconds, duration_count=jobs)

    flow = None
    for at in range(0, before + 1, 5):
        flow = update_flow(flow, counted(at, 4.0 * at, 8.0 * at), interval=5.0)
    jobs = 4.0 * before
    flow = update_flow(flow, counted(before + 100, jobs + 400, 2 * jobs + 200), interval=5.0)
    assert flow is not None
    assert run_time(flow, 0, 9.0).seconds == pytest.approx(0.5)


@pytest.mark.parametrize("interval", [1.0, 5.0, 60.0])
def test_a_gap_after_the_first_sample_is_known_by_the_interval(interval: float) -> None:
    flow = update_flow(None, sample(0, 0, active=2), interval=interval, max_age=60.0)
    for at, jobs in ((780, 3600), (785, 3620)):
        flow = update_flow(flow, sample(at, jobs, active=8), interval=interval, max_age=60.0)
    assert flow is not None
    assert run_time(flow, 0, 9.0).seconds == pytest.approx(2.0)
    assert mean_rate(flow, 0) == pytest.approx(4.0)


@pytest.mark.parametrize("every", [60, 300, 3600])
def test_samples_that_are_always_far_apart_are_no_gaps(every: int) -> None:
    flow = seen(*(sample(at, 4.0 * at, active=8) for at in range(0, 6 * every, every)))
    assert mean_rate(flow, 30) == pytest.approx(4.0)
