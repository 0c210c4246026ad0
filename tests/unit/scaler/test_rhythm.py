from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scaler.rhythm import Rhythm, next_step


def ages(
    *, scrape: float, interval: float, readable_after: float = 0.2, steps: int = 60, missed: int = 0
) -> tuple[list[float], list[float]]:
    """The ages of the metrics at each step, and the times of the steps, with scrapes at 3, 3 + scrape ..."""
    now, rhythm = 1000.0, Rhythm()
    seen, times = [], []
    for _ in range(steps):
        count = int((now - 3 - readable_after) // scrape)
        if missed and count % missed == 0:
            count -= 1
        at = 3 + count * scrape
        seen.append(now - at)
        times.append(now)
        pause, rhythm = next_step(rhythm, at, interval, now)
        now += pause
    return seen, times


@pytest.mark.parametrize(
    ("scrape", "interval", "oldest"),
    [
        (5.0, 5.0, 0.6),
        (15.0, 15.0, 0.6),
        (2.0, 5.0, 0.6),
        (1.0, 5.0, 0.6),
        (15.0, 5.0, 10.6),
        (5.0, 60.0, 0.6),
    ],
)
def test_decisions_follow_the_scrapes(scrape: float, interval: float, oldest: float) -> None:
    seen, times = ages(scrape=scrape, interval=interval)
    assert max(seen[10:]) <= oldest
    steps = (times[-1] - times[10]) / (len(times) - 11)
    assert interval * 0.6 <= steps <= interval * 1.2


def test_samples_that_arrive_late_are_waited_for() -> None:
    seen, _ = ages(scrape=5.0, interval=5.0, readable_after=1.4)
    assert max(seen[10:]) <= 2.0


def test_a_scrape_that_is_missed_now_and_then_changes_little() -> None:
    seen, times = ages(scrape=5.0, interval=5.0, missed=7)
    assert sum(age < 1 for age in seen[10:]) > len(seen[10:]) / 2
    assert (times[-1] - times[10]) / (len(times) - 11) < 6


@pytest.mark.parametrize("newest", [None, 990.0])
def test_until_the_scrapes_are_known_the_interval_counts(newest: float | None) -> None:
    assert next_step(Rhythm(), newest, 7.0, 1000.0)[0] == 7.0


def test_a_clock_that_went_back_starts_over() -> None:
    pause, rhythm = next_step(Rhythm(at=1000.0, period=5.0), 400.0, 5.0, 401.0)
    assert (pause, rhythm.at, rhythm.period) == (5.0, 400.0, None)


@settings(max_examples=300)
@given(
    st.lists(st.one_of(st.none(), st.floats(0, 2000)), max_size=30),
    st.floats(1, 3600),
    st.lists(st.floats(0, 100), min_size=30, max_size=30),
)
def test_the_pause_is_always_near_the_interval(
    newest: list[float | None], interval: float, gaps: list[float]
) -> None:
    rhythm, now = Rhythm(), 1000.0
    for at, gap in zip(newest, gaps, strict=False):
        now += gap
        pause, rhythm = next_step(rhythm, at, interval, now)
        assert 0 < pause <= 2 * interval
