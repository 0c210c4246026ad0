from __future__ import annotations

import pytest

from scaler.backtest.history import group_by_queue, history_points
from scaler.backtest.replay import HistoryPoint, NothingRecordedError, arrival_history, replay, simulated_load
from scaler.config.settings import PolicySettings
from scaler.prometheus.parse import Labels
from scaler.prometheus.promql import QueueKey

POLICY = PolicySettings(min_workers=1, max_workers=20, worker_concurrency=4, enabled=False)


def record(rate: float, run: float, *, seconds: int = 3600, step: int = 15) -> list[HistoryPoint]:
    """Steady, all jobs served at once."""
    return [
        HistoryPoint(float(at), rate * at, rate * run, rate * run, rate * at * run, rate * at, 3.0)
        for at in range(0, seconds + 1, step)
    ]


def test_as_many_jobs_as_were_recorded_and_as_long() -> None:
    history = arrival_history(record(2.0, 3.0), 15.0)
    assert history.jobs == pytest.approx(7200)
    assert history.worker_seconds == pytest.approx(3 * 3600)
    load = simulated_load(history, 4)
    assert len(load.at) == 7200
    assert sum(load.runs) / len(load.runs) == pytest.approx(3.0, rel=0.03)
    assert load.at == sorted(load.at)


def test_a_step_without_metrics_or_with_new_counters_brings_no_jobs() -> None:
    points = record(2.0, 3.0, seconds=150)
    lost = HistoryPoint(75.0, None, None, None, None, None, None)
    points[5] = lost
    points[9] = HistoryPoint(135.0, 0.0, 6.0, 6.0, 0.0, 0.0, 3.0)
    points[10] = HistoryPoint(150.0, 30.0, 6.0, 6.0, 90.0, 30.0, 3.0)
    assert arrival_history(points, 15.0).jobs == pytest.approx(
        30 * 7
    )  # of 10 steps, two lack an end, one has a counter reset


def test_the_run_time_is_that_of_the_hour_or_what_was_busy() -> None:
    slow = [
        HistoryPoint(point.at, point.ended, point.inside, 6.0, None, None, None) for point in record(2.0, 3.0)
    ]
    [(_, _, run), *_] = arrival_history(slow, 15.0).arrivals
    assert run == pytest.approx(3.0)


@pytest.mark.parametrize(
    "points",
    [
        [],
        [HistoryPoint(0.0, None, None, None, None, None, None)] * 3,
        [HistoryPoint(at, 5.0, 0.0, 0.0, 0.0, 0.0, 1.0) for at in (0.0, 15.0)],
    ],
)
def test_without_recorded_jobs_there_is_an_error(points: list[HistoryPoint]) -> None:
    with pytest.raises(NothingRecordedError):
        arrival_history(points, 15.0)


def test_a_policy_that_is_switched_off_is_tried_all_the_same() -> None:
    history = arrival_history(record(8.0, 3.0), 15.0)
    report = replay(history, POLICY, interval=5.0, scrape=15.0, start=(10.0, 20.0))
    assert report.over < 0.02
    assert 6 <= report.worker_seconds / 3600 <= 12  # 24 slots of work: six workers full
    again = replay(history, POLICY, interval=5.0, scrape=15.0, start=(10.0, 20.0))
    assert again == report
    worse = replay(
        history, POLICY.model_copy(update={"max_workers": 5}), interval=5.0, scrape=15.0, start=(10.0, 20.0)
    )
    assert worse.over > 0.5


def test_a_concurrency_has_to_be_known() -> None:
    history = arrival_history(record(2.0, 3.0), 15.0)
    with pytest.raises(NothingRecordedError, match="worker_concurrency"):
        replay(history, PolicySettings(), interval=5.0, scrape=15.0, start=(1.0, 2.0))


def test_many_jobs_are_thinned_as_far_as_there_are_slots() -> None:
    history = arrival_history(record(1000.0, 0.1), 15.0)
    load = simulated_load(history, 100)
    assert load.weight == pytest.approx(100 / 8)
    assert len(load.at) * load.weight == pytest.approx(history.jobs, rel=0.001)
    assert simulated_load(arrival_history(record(2.0, 3.0), 15.0), 100).weight == 1


def labels(**pairs: str) -> Labels:
    return frozenset(pairs.items())


def test_series_become_figures_by_queue_and_the_longer_of_two_counts() -> None:
    series = {
        labels(oxherd_measure="waiting", queue="mail", prefix="bull", instance="a"): [(0.0, 1.0)],
        labels(oxherd_measure="waiting", queue="mail", prefix="bull", instance="b"): [
            (0.0, 2.0),
            (15.0, 3.0),
        ],
        labels(oxherd_measure="active", queue="mail", prefix="bull"): [(0.0, 4.0), (15.0, 5.0)],
        labels(oxherd_measure="active", queue="video"): [(0.0, 9.0)],
        labels(oxherd_measure="up"): [(0.0, 1.0)],
    }
    by_queue = group_by_queue(series, "queue", "prefix", "bull")
    assert by_queue == {
        QueueKey("bull", "mail"): {"waiting": {0.0: 2.0, 15.0: 3.0}, "active": {0.0: 4.0, 15.0: 5.0}},
        QueueKey("bull", "video"): {"active": {0.0: 9.0}},
    }
    [first, second] = history_points([by_queue[QueueKey("bull", "mail")]], [0.0, 15.0])
    assert (first.inside, first.active, first.ended, second.inside) == (6.0, 4.0, None, 8.0)
    [both] = history_points(list(by_queue.values()), [0.0])
    assert (both.active, both.inside) == (13.0, None)  # video's waiting jobs are not known
    [none] = history_points([], [0.0])
    assert none.active is None
