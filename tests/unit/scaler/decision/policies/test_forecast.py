from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaler.decision.policies.forecast import Flow, update_flow
from scaler.model import QueueSample

HORIZON = 45.0


def learned(samples: Iterable[QueueSample]) -> Flow:
    flow = None
    for sample in samples:
        flow = update_flow(flow, sample, HORIZON)
    assert flow is not None
    return flow


def steady(rate: float, service: float, seconds: int = 1800, step: int = 5) -> list[QueueSample]:
    """As many jobs come as go, and none waits."""
    return [
        QueueSample(float(at), 0.0, rate * service, completed=rate * at, failed=0.0)
        for at in range(0, seconds, step)
    ]


@pytest.mark.parametrize(("rate", "service"), [(2.0, 3.0), (0.05, 600.0), (100.0, 0.01), (0.02, 2000.0)])
def test_a_steady_flow_is_known_as_it_is(rate: float, service: float) -> None:
    flow = learned(steady(rate, service, seconds=7200))
    assert flow.rate == pytest.approx(rate, rel=1e-3)
    assert flow.service == pytest.approx(service, rel=0.03)
    assert flow.error == pytest.approx(0.0, abs=1e-6)
    assert flow.peak == pytest.approx(rate, rel=1e-6)


def test_nothing_is_known_without_totals_or_after_one_sample() -> None:
    assert update_flow(None, QueueSample(0.0, 5.0, 5.0), HORIZON) is None
    first = update_flow(None, QueueSample(0.0, 5.0, 5.0, completed=9.0, failed=1.0), HORIZON)
    assert first is not None
    assert first.level is None


def test_a_sample_without_totals_is_passed_over_but_not_for_ever() -> None:
    before = learned(steady(2.0, 3.0))
    assert update_flow(before, QueueSample(1800.0, 0.0, 6.0), HORIZON) == before
    assert update_flow(before, QueueSample(2200.0, 0.0, 6.0), HORIZON) is None


def test_waiting_jobs_are_arrivals_though_none_ends() -> None:
    flow = learned(
        [QueueSample(0.0, 0.0, 0.0, completed=0.0, failed=0.0), QueueSample(5.0, 50.0, 0.0, 0.0, 0.0)]
    )
    assert flow.level == 10.0


def test_failed_jobs_have_ended_too() -> None:
    flow = learned([QueueSample(0.0, 0.0, 0.0, 0.0, 0.0), QueueSample(5.0, 0.0, 0.0, 10.0, 20.0)])
    assert flow.level == 6.0


def test_a_queue_that_was_drained_by_hand_has_no_negative_arrivals() -> None:
    flow = learned([QueueSample(0.0, 500.0, 0.0, 0.0, 0.0), QueueSample(5.0, 0.0, 0.0, 0.0, 0.0)])
    assert flow.level == 0.0


def test_a_counter_reset_is_not_a_rate() -> None:
    before = learned(steady(2.0, 3.0))
    after = update_flow(before, QueueSample(1800.0, 0.0, 6.0, completed=3.0, failed=0.0), HORIZON)
    assert after is not None
    assert (after.level, after.service) == (before.level, before.service)
    later = update_flow(after, QueueSample(1805.0, 0.0, 6.0, completed=13.0, failed=0.0), HORIZON)
    assert later is not None
    assert later.rate == pytest.approx(2.0, rel=1e-3)


@pytest.mark.parametrize("at", [1795.0, 1700.0, 0.0])
def test_a_sample_of_the_past_moves_nothing(at: float) -> None:
    before = learned(steady(2.0, 3.0))
    after = update_flow(before, QueueSample(at, 0.0, 6.0, completed=10000.0, failed=0.0), HORIZON)
    assert after is not None
    assert after.rate == before.rate


def test_windows_of_a_rising_flow_are_the_errors_of_its_forecasts() -> None:
    quiet = steady(1.0, 1.0, seconds=900)
    completed = quiet[-1].completed or 0.0
    loud = [
        QueueSample(900.0 + at, 0.0, 3.0, completed=completed + 3.0 * (at + 5), failed=0.0)
        for at in range(0, 600, 5)
    ]
    flow = learned([*quiet, *loud])
    assert flow.tried
    assert flow.peak == pytest.approx(3.0, rel=0.01)
    assert 0.2 < flow.error < 2.1


def test_an_untried_forecast_is_taken_to_be_wrong_by_half() -> None:
    flow = learned(steady(2.0, 3.0, seconds=60))
    assert not flow.tried
    assert flow.error > 0.4


def test_the_first_jobs_to_end_are_not_taken_for_all() -> None:
    """100 jobs of 30 s began at once: as one ends after 20 s, 2,000 busy slot-seconds are not its own."""
    samples = [
        QueueSample(at, 0.0, 100.0 if at < 20 else 99.0, completed=float(at >= 20), failed=0.0)
        for at in (0.0, 5.0, 10.0, 15.0, 20.0)
    ]
    assert learned(samples).service == pytest.approx(40.0, rel=0.1)


def test_the_windows_of_one_hour_are_remembered() -> None:
    flow = learned(steady(2.0, 3.0, seconds=3 * 3600))
    assert flow.at - flow.windows[0].end <= 3600 + HORIZON
    assert len(flow.windows) <= 3600 / HORIZON + 2


@given(
    st.lists(
        st.tuples(st.floats(0.1, 400), st.integers(0, 500), st.integers(0, 50), st.integers(-20, 500)),
        max_size=40,
    )
)
def test_no_sequence_of_samples_makes_it_negative(steps: list[tuple[float, int, int, int]]) -> None:
    flow, at, completed = None, 0.0, 0.0
    for seconds, waiting, active, ended in steps:
        at, completed = at + seconds, max(0.0, completed + ended)
        flow = update_flow(flow, QueueSample(at, waiting, active, completed, 0.0), HORIZON)
        assert flow is not None
        assert flow.rate >= 0
        assert flow.service > 0
        assert flow.error >= 0
        assert flow.peak >= 0
        assert replace(flow) == flow
