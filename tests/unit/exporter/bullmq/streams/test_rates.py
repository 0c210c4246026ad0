from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.bullmq.streams.events import Jobs
from exporter.bullmq.streams.rates import RateHistory
from exporter.snapshot import queues
from exporter.snapshot.histogram import Histogram, histogram_quantile
from exporter.snapshot.queues import AllRates, Events, QueueId, Rates

MAIL = QueueId("bull", "mail")
BOUNDS = (1.0, 2.0, 4.0)


def events(
    *, completed: int = 0, failed: int = 0, lost: int = 0, since: float = 5.0, waits: tuple[int, ...] = ()
) -> Events:
    """Jobs that have ended since the beginning, each after a second; `waits` fall into the buckets."""
    counters = Jobs(BOUNDS).counters()
    run = Histogram(BOUNDS, (completed, 0, 0, 0), float(completed))
    return Events(
        counters._replace(
            completed=completed,
            failed=failed,
            wait=Histogram(BOUNDS, (*waits, *[0] * (4 - len(waits))), 0.0),
            processing=dict(counters.processing) | {"completed": run},
        ),
        0,
        lost,
        0.0,
        0,
        since,
    )


def test_what_a_new_queue_counted_before_its_first_sample_is_of_this_hour() -> None:
    history = RateHistory()
    first = events(completed=3, failed=60, lost=2, since=1000.0)
    history.record(50, {MAIL: first}, unix=1015.0)
    current = rates(history, 65, first)
    assert current is not None
    assert (current.failed_last_hour, current.lost_last_hour, current.completed_last_hour) == (60, 2, 3)
    for at in range(100, 4000, 100):
        history.record(at, {MAIL: first}, unix=965.0 + at)
    current = rates(history, 4000, first)
    assert current is not None
    assert current.failed_last_hour == 0


@pytest.mark.parametrize("unix", [1000.0 + 3600, 999.0])
def test_counters_that_began_earlier_are_not_of_this_hour(unix: float) -> None:
    history = RateHistory()
    first = events(failed=60, since=1000.0)
    history.record(50, {MAIL: first}, unix=unix)
    current = rates(history, 65, first)
    assert current is not None
    assert current.failed_last_hour == 0


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
def test_a_larger_share_lies_below_no_smaller_value(counts: list[int], share: float, other: float) -> None:
    histogram = Histogram(BOUNDS, tuple(counts), 0.0)
    low, high = sorted((share, other))
    below, above = histogram_quantile(histogram, low), histogram_quantile(histogram, high)
    assert (below is None) == (above is None) == (sum(counts) == 0)
    assert below is None or above is None or 0 <= below <= above <= BOUNDS[-1]


def test_nothing_is_known_at_first() -> None:
    history = RateHistory()
    assert rates(history, 0, events()) is None
    history.record(0, {MAIL: events()})
    assert rates(history, 5, events(completed=5)) is None


def test_rates_of_what_came_since() -> None:
    history = RateHistory()
    history.record(0, {MAIL: events(completed=100, failed=7, waits=(50,))})
    current = rates(history, 60, events(completed=190, failed=17, waits=(50, 10)))
    assert current is not None
    expected = (60, 90.0, 10.0, 0.1, 1.5, 1.95, 0.5, 0.95, 10, 0, 0.0, 1.0, 90, 0, 0)
    assert tuple(current.figures().values()) == expected


def test_quantiles_are_computed_for_those_who_read_them(monkeypatch: pytest.MonkeyPatch) -> None:
    computed = []

    def counted(histogram: Histogram, share: float) -> float | None:
        computed.append(share)
        return histogram_quantile(histogram, share)

    monkeypatch.setattr(queues, "histogram_quantile", counted)
    history = RateHistory()
    history.record(0, {MAIL: events(waits=(50,))})
    moved = rates(history, 60, events(waits=(50, 10)))
    still = rates(history, 60, events(waits=(50,)))
    assert moved is not None
    assert still is not None
    assert computed == []
    assert still.wait_p95 is None
    assert computed == [], "the plots ask for it of each queue, of which most start no job"
    assert moved.wait_p95 == pytest.approx(1.95)
    assert computed == [0.95]


@pytest.mark.parametrize("missing", [{"lost": 3}, {"undone": 1}, {"gaps": 1}])
def test_no_rate_while_events_of_the_window_are_missing(missing: dict[str, int]) -> None:
    history = RateHistory()
    history.record(0, {MAIL: events(completed=100)})
    later = events(completed=190, failed=10)._replace(**missing)  # type: ignore[arg-type]
    current = rates(history, 60, later)
    assert current is not None
    assert (current.completed_per_minute, current.failed_per_minute, current.error_rate) == (None, None, None)
    assert (current.failed_last_hour, current.lost_last_hour) == (10, missing.get("lost", 0))
    for at in range(60, 500, 15):
        history.record(at, {MAIL: later})
    current = rates(history, 500, later._replace(counters=events(completed=280).counters))
    assert current is not None
    assert current.completed_per_minute is not None


def test_without_an_end_there_is_no_error_rate() -> None:
    history = RateHistory()
    history.record(0, {MAIL: events(completed=100)})
    current = rates(history, 60, events(completed=100))
    assert current is not None
    assert (current.completed_per_minute, current.error_rate, current.wait_p50, current.processing_p95) == (
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
            history.record(at, {MAIL: events(completed=minute**2, failed=minute)})
    current = rates(history, 200 * 60, events(completed=200**2, failed=200))
    assert current is not None
    assert 300 <= current.seconds < 330
    assert 60 <= current.failed_last_hour <= 62
    queue_history = history._recorded.queues[MAIL]
    assert len(queue_history.window) <= 22
    assert len(queue_history.hour) <= 32


def test_a_queue_whose_counters_restarted_has_no_rates_yet() -> None:
    history = RateHistory()
    history.record(0, {MAIL: events(completed=100)})
    restarted = events(completed=1, since=50)
    assert rates(history, 60, restarted) is None
    history.record(60, {MAIL: restarted})
    current = rates(history, 90, events(completed=2, since=50))
    assert current is not None
    assert current.completed_per_minute == 2


def test_a_removed_queue_is_forgotten() -> None:
    history = RateHistory()
    history.record(0, {MAIL: events()})
    history.record(60, {})
    assert history._recorded.queues == {}


def test_what_ended_and_stalled_in_the_last_hour() -> None:
    history = RateHistory()
    for at in range(0, 4000, 120):
        stalled = events(completed=at, failed=at // 10)
        history.record(at, {MAIL: stalled._replace(counters=stalled.counters._replace(stalled=at // 100))})
    end = events(completed=4000, failed=400)
    now = rates(history, 4000, end._replace(counters=end.counters._replace(stalled=40)))
    assert now is not None
    # The last hour, up to two minutes more.
    assert 3600 <= now.completed_last_hour <= 3720
    assert (now.failed_last_hour, now.stalled_last_hour) == (now.completed_last_hour // 10, 37)


class _Whole:
    """What `RateHistory` should say, from all samples."""

    def __init__(self) -> None:
        self.window: list[tuple[float, Events]] = []
        self.hour: list[tuple[float, Events]] = []

    def record(self, at: float, latest: Events) -> None:
        if self.window and at - self.window[-1][0] < 15:
            return
        self.window.append((at, latest))
        if not self.hour or at - self.hour[-1][0] >= 120:
            self.hour.append((at, latest))
            self.hour = self._from(self.hour, at - 3600)
        self.window = self._from(self.window, at - 300)

    @staticmethod
    def _from(samples: list[tuple[float, Events]], begin: float) -> list[tuple[float, Events]]:
        later = sum(at > begin for at, _ in samples)
        return samples[max(0, len(samples) - later - 1) :]

    def figures(self, at: float, latest: Events) -> tuple[object, ...] | None:
        began, before = self.window[0]
        if at - began < 10:
            return None
        now, first, oldest = latest.counters, before.counters, self.hour[0][1]
        wait = tuple(map(int.__sub__, now.wait.counts, first.wait.counts))
        done = now.completed - first.completed
        missing = (latest.lost, latest.undone, latest.gaps) != (before.lost, before.undone, before.gaps)
        return (
            at - began,
            None if missing else done * 60 / (at - began),
            now.failed - oldest.counters.failed,
            latest.lost - oldest.lost,
            histogram_quantile(Histogram(BOUNDS, wait, 0.0), 0.95),
            1.0 if done else None,  # each ran for a second
        )


_GROWTH = st.tuples(st.integers(0, 3), st.integers(0, 2), st.integers(0, 3), st.sampled_from([0, 0, 0, 1]))


@given(
    st.lists(st.tuples(st.floats(1, 400), st.one_of(st.none(), st.none(), _GROWTH)), min_size=1, max_size=60)
)
def test_samples_that_differ_say_the_same_as_all_samples(
    steps: list[tuple[float, tuple[int, int, int, int] | None]],
) -> None:
    history, whole = RateHistory(), _Whole()
    at, counted, latest = 0.0, (0, 0, 0, 0), events()
    for seconds, growth in steps:
        at += seconds
        if growth is not None:
            counted = tuple(map(int.__add__, counted, growth))  # type: ignore[assignment]
            completed, failed, waits, lost = counted
            latest = events(completed=completed, failed=failed, waits=(waits, waits // 2), lost=lost)
        history.record(at, {MAIL: latest})
        whole.record(at, latest)
        current = rates(history, at + 5, latest)
        expected = whole.figures(at + 5, latest)
        if current is None or expected is None:
            assert current is expected
            continue
        assert (
            current.seconds,
            current.completed_per_minute,
            current.failed_last_hour,
            current.lost_last_hour,
            current.wait_p95,
            current.processing_average,
        ) == expected


def test_a_queue_of_which_nothing_changes_costs_one_sample() -> None:
    history, still = RateHistory(), events(completed=5, waits=(3,))
    for at in range(0, 7200, 15):
        history.record(at, {MAIL: still})
    kept = history._recorded.queues[MAIL]
    assert (len(kept.window), len(kept.hour)) == (1, 1)
    current = rates(history, 7200, still)
    assert current is not None
    assert 300 <= current.seconds < 330


OTHER = QueueId("bull", "other")
jobs = st.fixed_dictionaries(
    {"completed": st.sampled_from([0, 3]), "failed": st.sampled_from([0, 2]), "lost": st.sampled_from([0, 7])}
)
looks = st.lists(
    st.tuples(
        st.dictionaries(st.sampled_from([MAIL, OTHER]), jobs),
        st.sets(st.sampled_from([MAIL, OTHER])),
        st.sampled_from(["record", "look", "record and look"]),
        st.sampled_from([3, 16, 200, 4000]),
    ),
    max_size=12,
)


@given(looks)
def test_what_is_kept_between_two_looks_changes_nothing(
    steps: list[tuple[dict[QueueId, dict[str, int]], set[QueueId], str, int]],
) -> None:
    """More jobs of some queues at each step; others begin again."""
    kept, at, recorded = RateHistory(), 100.0, list[tuple[float, dict[QueueId, Events]]]()
    current: dict[QueueId, Events] = {}
    totals: dict[QueueId, dict[str, int]] = {}
    for more, restarted, what, seconds in steps:
        at += seconds
        current = dict(current)
        for queue in restarted:
            totals.pop(queue, None)
            current.pop(queue, None)
        for queue, jobs_of_queue in more.items():
            since = current[queue].since if queue in current else at
            totals[queue] = {
                name: number + totals.get(queue, {}).get(name, 0) for name, number in jobs_of_queue.items()
            }
            total = totals[queue]
            waits = (0, total["completed"])
            current[queue] = events(
                completed=total["completed"],
                failed=total["failed"],
                lost=total["lost"],
                since=since,
                waits=waits,
            )
        if "record" in what:
            kept.record(at, current, unix=at)
            recorded.append((at, current))
        if "look" in what:
            fresh = RateHistory()
            for then, events_then in recorded:
                fresh.record(then, events_then, unix=then)
            found = kept.rates(at, current)
            assert dict(found) == dict(fresh.rates(at, current))
            assert len(found) == len([*found])
            assert AllRates(found, {}) == found
            lively = dict(found.lively())
            for queue in found.keys() - lively.keys():
                figures = found[queue].figures()
                assert figures["completed_per_minute"] == 0
                assert not any(value for name, value in figures.items() if name != "seconds")
