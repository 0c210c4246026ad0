from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.bullmq.events import Jobs
from exporter.bullmq.rates import RateHistory, histogram_quantile
from exporter.snapshot import Events, Histogram, QueueId, Rates

MAIL = QueueId("bull", "mail")
BOUNDS = (1.0, 2.0, 4.0)


def told(
    *, completed: int = 0, failed: int = 0, lost: int = 0, since: float = 5.0, waits: tuple[int, ...] = ()
) -> Events:
    """Jobs that have ended since the beginning, each after a second; `waits` fall into the buckets."""
    tallies = Jobs(BOUNDS).tallies()
    run = Histogram(BOUNDS, (completed, 0, 0, 0), float(completed))
    return Events(
        tallies._replace(
            completed=completed,
            failed=failed,
            wait=Histogram(BOUNDS, (*waits, *[0] * (4 - len(waits))), 0.0),
            processing=dict(tallies.processing) | {"completed": run},
        ),
        0,
        lost,
        0.0,
        0,
        since,
    )


def rates(history: RateHistory, at: float, now: Events) -> Rates | None:
    return history.rates(at, {MAIL: now}).get(MAIL)


@pytest.mark.parametrize(
    ("counts", "share", "expected"),
    [
        ((0, 0, 0, 0), 0.5, None),
        ((4, 0, 0, 0), 0.5, 0.5),
        ((0, 2, 0, 0), 0.5, 1.5),
        ((1, 1, 0, 0), 0.5, 1.0),
        ((0, 0, 1, 0), 1.0, 4.0),
        ((0, 0, 0, 9), 0.5, 4.0),
        ((2, 0, 0, 2), 0.5, 1.0),
    ],
)
def test_quantile(counts: tuple[int, ...], share: float, expected: float | None) -> None:
    assert histogram_quantile(Histogram(BOUNDS, counts, 0.0), share) == expected


@given(st.lists(st.integers(0, 9), min_size=4, max_size=4), st.floats(0.01, 1), st.floats(0.01, 1))
def test_a_larger_share_lies_below_no_smaller_value(counts: list[int], one: float, other: float) -> None:
    histogram = Histogram(BOUNDS, tuple(counts), 0.0)
    low, high = sorted((one, other))
    below, above = histogram_quantile(histogram, low), histogram_quantile(histogram, high)
    assert (below is None) == (above is None) == (sum(counts) == 0)
    assert below is None or above is None or 0 <= below <= above <= BOUNDS[-1]


def test_nothing_is_known_at_first() -> None:
    history = RateHistory()
    assert rates(history, 0, told()) is None
    history.note(0, {MAIL: told()})
    assert rates(history, 5, told(completed=5)) is None


def test_rates_of_what_came_since() -> None:
    history = RateHistory()
    history.note(0, {MAIL: told(completed=100, failed=7, waits=(50,))})
    found = rates(history, 60, told(completed=190, failed=17, lost=3, waits=(50, 10)))
    assert found == Rates(60, 90.0, 10.0, 0.1, 1.5, 1.95, 0.5, 0.95, 10, 3)


def test_without_an_end_there_is_no_error_rate() -> None:
    history = RateHistory()
    history.note(0, {MAIL: told(completed=100)})
    found = rates(history, 60, told(completed=100))
    assert found is not None
    assert (found.completed_per_minute, found.error_rate, found.wait_p50, found.processing_p95) == (
        0,
        None,
        None,
        None,
    )


def test_of_the_last_five_minutes_and_the_last_hour() -> None:
    history = RateHistory()
    for minute in range(200):
        for second in range(0, 60, 5):
            at = minute * 60 + second
            history.note(at, {MAIL: told(completed=minute**2, failed=minute)})
    found = rates(history, 200 * 60, told(completed=200**2, failed=200))
    assert found is not None
    assert 300 <= found.seconds < 330
    assert 60 <= found.failed_last_hour <= 62
    kept = history._queues[MAIL]
    assert len(kept.window) <= 22
    assert len(kept.hour) <= 32


def test_a_queue_that_is_counted_anew_has_no_rates_yet() -> None:
    history = RateHistory()
    history.note(0, {MAIL: told(completed=100)})
    anew = told(completed=1, since=50)
    assert rates(history, 60, anew) is None
    history.note(60, {MAIL: anew})
    found = rates(history, 90, told(completed=2, since=50))
    assert found is not None
    assert found.completed_per_minute == 2


def test_a_queue_that_is_gone_is_forgotten() -> None:
    history = RateHistory()
    history.note(0, {MAIL: told()})
    history.note(60, {})
    assert history._queues == {}
