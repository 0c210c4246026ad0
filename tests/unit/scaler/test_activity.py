"""Jobs a minute, error rate and processing time of a target, from the totals of its samples."""

from __future__ import annotations

from typing import Any

import pytest

from scaler.activity import ACTIVITY_SECONDS, Activity, ActivityHistory, activity_between
from scaler.model import QueueSample


def sample(at: float, *, rate: float = 2.0, **changes: Any) -> QueueSample:
    """Each second `rate` jobs end, a tenth of them failed, each attempt after half a second."""
    totals: dict[str, Any] = {
        "completed": at * rate * 0.9,
        "failed": at * rate * 0.1,
        "duration_count": at * rate,
        "duration_sum": at * rate * 0.5,
    }
    return QueueSample(at, 0.0, 0.0, **(totals | changes))


def test_the_activity_of_a_minute() -> None:
    activity = activity_between(sample(100), sample(160))
    assert activity.jobs_per_minute == pytest.approx(120)
    assert activity.error_rate == pytest.approx(0.1)
    assert activity.processing_seconds == pytest.approx(0.5)


def test_what_is_not_known_is_not_zero() -> None:
    none: dict[str, Any] = {"failed": None, "duration_sum": None}
    assert activity_between(sample(0, **none), sample(60, **none)) == Activity(60, None, None, None)
    idle = activity_between(sample(60, rate=0), sample(120, rate=0))
    assert idle == Activity(60, 0.0, None, None)


def test_durations_begin_with_the_first_attempt_that_ends() -> None:
    before = sample(0, duration_count=None, duration_sum=None)
    assert activity_between(before, sample(60)).processing_seconds == pytest.approx(0.5)
    unknown: dict[str, Any] = {"completed": None, "duration_count": None, "duration_sum": None}
    assert activity_between(sample(0, **unknown), sample(60)).processing_seconds is None


def test_the_window_is_bounded() -> None:
    history = ActivityHistory()
    assert history.observe(sample(0)) is None
    assert history.observe(sample(5)) is None
    covered = [activity.seconds for at in range(10, 2000, 5) if (activity := history.observe(sample(at)))]
    assert max(covered) <= ACTIVITY_SECONDS + 15
    assert covered[-1] >= ACTIVITY_SECONDS
    assert len(history._samples) <= 22


def test_totals_that_began_anew() -> None:
    history = ActivityHistory()
    history.observe(sample(1000))
    assert history.observe(sample(1060, completed=3, failed=0, duration_count=3, duration_sum=1)) is None
    activity = history.observe(sample(1120, completed=63, failed=0, duration_count=63, duration_sum=21))
    assert activity is not None
    assert activity.jobs_per_minute == pytest.approx(60)


def test_a_first_sample_without_totals_does_not_hide_the_next_ones() -> None:
    history = ActivityHistory()
    history.observe(sample(0, completed=None, failed=None, duration_count=None, duration_sum=None))
    assert history.observe(sample(5)) is None
    activity = history.observe(sample(65))
    assert activity is not None
    assert activity.jobs_per_minute == pytest.approx(120)


def test_the_same_scrape_twice_is_no_activity() -> None:
    history = ActivityHistory()
    history.observe(sample(10))
    assert history.observe(sample(10)) is None
