"""Start times of pods: which pods count, and which only look as if they had just started."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaler.kube.objects import Pod
from scaler.kube.start_times import MAX_START_SECONDS, MAX_START_TIMES, StartTimes


def pods(ready: Mapping[str, float | None], created: Mapping[str, float] | None = None) -> list[Pod]:
    """By name: the seconds that the API shows until the pod became ready last; None: it is not ready."""
    return [
        Pod(name, seconds is not None, False, seconds, 0, (created or {}).get(name, float(number)))
        for number, (name, seconds) in enumerate(ready.items())
    ]


def test_pods_of_a_scale_out_count_once_when_they_are_ready() -> None:
    times = StartTimes()
    times.scaled(1, 3, 1, 0.0)
    assert not times.due(3, 1, 5.0)
    assert times.due(3, 2, 10.0)
    times.learn(pods({"a": 400.0, "b": 6.0, "c": None}), 2, 10.0)
    assert times.due(3, 3, 15.0)
    times.learn(pods({"a": 400.0, "b": 6.0, "c": 12.0}), 3, 15.0)
    assert times.seconds == (6.0, 12.0)
    assert times.quantile == 12.0
    assert not times.due(3, 3, 20.0)


def test_a_probe_that_fails_once_long_after_the_start_does_not_count() -> None:
    times = StartTimes()
    times.scaled(2, 3, 2, 0.0)
    assert times.due(3, 3, 5.0)
    times.learn(pods({"a": 900.0, "b": 900.0, "c": 3.0}), 3, 5.0)
    for ready in (2, 3):
        assert not times.due(3, ready, 2940.0)
    assert times.seconds == (3.0,)


def test_other_pods_that_come_back_while_one_is_awaited_do_not_count() -> None:
    times = StartTimes()
    times.scaled(2, 3, 2, 0.0)
    assert not times.due(3, 0, 5.0)
    assert times.due(3, 2, 10.0)
    times.learn(pods({"a": 2940.0, "b": 2941.0, "c": None}), 2, 10.0)
    assert not times.seconds
    assert times.due(3, 3, 15.0)
    times.learn(pods({"a": 2940.0, "b": 2941.0, "c": 13.0}), 3, 15.0)
    assert times.seconds == (13.0,)


def test_a_pod_that_a_quota_keeps_away_leaves_the_old_ones_alone() -> None:
    times = StartTimes()
    times.scaled(2, 4, 1, 0.0)
    assert times.due(4, 2, 10.0)
    times.learn(pods({"a": 900.0, "b": 905.0}), 2, 10.0)
    assert not times.seconds


def test_a_pod_that_was_ready_when_nobody_looked_for_long_does_not_count() -> None:
    """It may have lost its readiness and got it back."""
    times = StartTimes()
    times.scaled(1, 2, 1, 0.0)
    assert times.due(2, 2, 500.0)
    times.learn(pods({"a": 900.0, "b": 490.0}), 2, 500.0)
    assert not times.seconds


@pytest.mark.fault
def test_a_pod_whose_first_readiness_another_ones_loss_hid_does_not_count_when_it_comes_back() -> None:
    """One gets ready while another loses its readiness: as many are ready as before. Then all lose it."""
    times = StartTimes()
    times.scaled(1, 3, 1, 0.0)
    assert times.due(3, 2, 5.0)
    times.learn(pods({"a": 900.0, "b": 3.0, "c": None}), 2, 5.0)
    for at in range(10, 300, 5):
        assert not times.due(3, 2, float(at)), "c is ready, and a is not"
    assert not times.due(3, 0, 300.0)
    assert times.due(3, 3, 305.0)
    times.learn(pods({"a": 1200.0, "b": 303.0, "c": 303.0}), 3, 305.0)
    assert times.seconds == (3.0,)


def test_a_pod_that_still_starts_after_others_lost_their_readiness_counts() -> None:
    times = StartTimes()
    times.scaled(2, 3, 2, 0.0)
    for ready in (2, 0):
        assert not times.due(3, ready, 5.0)
    assert times.due(3, 2, 10.0)
    times.learn(pods({"a": 900.0, "b": 905.0, "c": None}), 2, 10.0)
    assert times.due(3, 3, 40.0)
    times.learn(pods({"a": 900.0, "b": 905.0, "c": 38.0}), 3, 40.0)
    assert times.seconds == (38.0,)


def test_pods_of_others_do_not_count() -> None:
    times = StartTimes()
    assert not times.due(5, 5, 0.0)
    times.scaled(5, 2, 5, 0.0)
    assert not times.due(2, 5, 5.0)
    times.scaled(2, 4, 2, 10.0)
    assert not times.due(7, 7, 15.0), "somebody has asked for seven"
    assert not times.due(4, 4, 20.0)


def test_a_slow_start_is_capped() -> None:
    times = StartTimes()
    times.scaled(0, 1, 0, 0.0)
    for at in range(0, 900, 30):
        assert not times.due(1, 0, float(at))
    assert times.due(1, 1, 900.0)
    times.learn(pods({"a": 895.0}), 1, 900.0)
    assert times.seconds == (MAX_START_SECONDS,)


def test_the_newest_pods_are_those_that_were_asked_for() -> None:
    times = StartTimes()
    times.scaled(2, 3, 2, 0.0)
    assert times.due(3, 3, 5.0)
    created = {"z": 1.0, "a": 900.0, "y": 2.0}
    times.learn(pods({"z": 700.0, "a": 4.0, "y": 800.0}, created), 3, 5.0)
    assert times.seconds == (4.0,)


@given(st.lists(st.floats() | st.integers() | st.booleans() | st.text(max_size=2) | st.none(), max_size=80))
def test_what_is_restored_is_valid_whatever_was_kept(seconds: list[object]) -> None:
    times = StartTimes()
    times.restore(seconds)
    assert len(times.seconds) <= MAX_START_TIMES
    assert all(0 <= value <= MAX_START_SECONDS for value in times.seconds)
    again = StartTimes()
    again.restore(times.seconds)
    assert again.seconds == times.seconds
