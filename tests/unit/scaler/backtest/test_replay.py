from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from bench.contenders import policy_settings
from bench.scenarios import generated
from scaler.backtest.arrivals import HistoryPoint, NothingRecordedError, arrival_history
from scaler.backtest.history import group_by_queue, history_points
from scaler.backtest.replay import PolicyController, replay, simulated_load
from scaler.backtest.simulate import simulate
from scaler.config.settings import PolicySettings
from scaler.model import Observation, QueueSample
from scaler.prometheus.promql import QueueKey
from scaler.prometheus.series_identity import Labels

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
    for mode in ("advise", "shadow", "act"):
        policy = POLICY.model_copy(update={"mode": mode})
        again = replay(history, policy, interval=5.0, scrape=15.0, start=(10.0, 20.0))
        assert again == report, mode
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


def test_jobs_that_came_at_once_are_replayed_at_once() -> None:
    """A batch of 300 among two jobs a second."""
    points = record(2.0, 3.0)
    batch = [
        HistoryPoint(
            point.at,
            (point.ended or 0) + (300 if point.at >= 1800 else 0),
            point.inside,
            point.active,
            None,
            None,
            3.0,
        )
        for point in points
    ]
    load = simulated_load(arrival_history(batch, 15.0), 4)
    moments = [at for at in load.at if 1770 <= at <= 1800]
    assert max(moments.count(at) for at in moments) >= 280
    assert len(moments) - 300 == pytest.approx(60, abs=2)


def test_attempts_are_work_too() -> None:
    retried = [
        HistoryPoint(
            point.at, point.ended, point.inside, point.active, point.duration_sum, 3 * (point.ended or 0), 3.0
        )
        for point in record(2.0, 3.0)
    ]
    assert arrival_history(retried, 15.0).jobs == pytest.approx(3 * 7200)


def test_run_times_are_those_of_their_minutes() -> None:
    """Jobs of 1 s, and of 5 s from the half on."""
    total, points = 0.0, []
    for at in range(0, 3601, 15):
        total += 30.0 * (5.0 if at > 1800 else 1.0) if at else 0.0
        points.append(HistoryPoint(float(at), 2.0 * at, 6.0, 6.0, total, 2.0 * at, 3.0))
    runs = {at: run for at, _, run in arrival_history(points, 15.0).arrivals}
    assert runs[1500.0] == pytest.approx(1.0)
    assert runs[2400.0] == pytest.approx(5.0)


@pytest.mark.parametrize(("active", "limited"), [(12.0, 0.0), (4.0, 1.0)])
def test_a_limited_queue_is_told(active: float, limited: float) -> None:
    points = [
        HistoryPoint(float(at), 2.0 * at, active + 50, active, 6.0 * at, 2.0 * at, 3.0)
        for at in range(0, 600, 15)
    ]
    assert arrival_history(points, 15.0, 4).limited == limited
    assert arrival_history(points, 15.0).limited is None


@dataclass
class Recorder:
    """Keeps what a Prometheus would have recorded."""

    controller: PolicyController
    points: dict[float, HistoryPoint] = field(default_factory=dict)

    def decide(self, observation: Observation) -> int:
        sample = observation.sample
        if isinstance(sample, QueueSample):
            self.points[sample.at] = HistoryPoint(
                sample.at,
                (sample.completed or 0.0) + (sample.failed or 0.0),
                sample.waiting + sample.active,
                sample.active,
                sample.duration_sum,
                sample.duration_count,
                observation.ready,
            )
        return self.controller.decide(observation)


def test_a_replay_of_what_was_simulated_agrees_with_it() -> None:
    """In lateness within 20 %, in cost within 6 %, over two loads with an SLO that cannot be kept."""
    late = [0.0, 0.0]
    for name in ("starts of 40 s", "random levels"):
        scenario = generated(name, 5)
        settings = policy_settings(scenario, {"wait_slo_seconds": 10.0, "start_cost_seconds": 30.0})
        runs = []
        for phase in (0.1, 0.5, 0.9):
            recorder = Recorder(PolicyController(settings, 15.0))
            plant = scenario.plant(interval=15.0, scrape=15.0, phase=phase * 15.0, seed=1)
            run = simulate(scenario.load, plant, recorder, slo=10.0, until=scenario.seconds)
            runs.append((run.over, run.cost, run.worker_seconds, recorder.points))
        over, _, worker_seconds, points = max(runs, key=lambda run: run[:2])
        history = arrival_history([points[at] for at in sorted(points)], 15.0)
        again = replay(history, settings, interval=15.0, scrape=15.0, start=scenario.start)
        assert again.worker_seconds == pytest.approx(worker_seconds, rel=0.06)
        late[0] += over
        late[1] += again.over
    assert late[0] > 0.01
    assert late[1] == pytest.approx(late[0], rel=0.2)
