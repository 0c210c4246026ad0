from __future__ import annotations

from collections.abc import Iterable

import pytest

from scaler.config.settings import PolicySettings
from scaler.decision.concurrency_check import ExcessJobs, jobs_in_excess, most_jobs, update_excess
from scaler.model import Missing, QueueSample, Workers

Look = tuple[float, Workers]


def excess_after(
    looks: Iterable[Look], *, slots: float | None = 5.0, every: float = 15.0
) -> ExcessJobs | None:
    known = None
    for number, (active, workers) in enumerate(looks):
        known = update_excess(known, QueueSample(1000 + number * every, 3.0, active), workers, slots)
    return known


TWO = Workers(2, 2)
GRACE = 30.0


def test_workers_that_run_more_jobs_than_set_for_minutes_are_noticed() -> None:
    assert jobs_in_excess(excess_after([(16.0, TWO)] * 20), GRACE) is None
    assert jobs_in_excess(excess_after([(16.0, TWO), (14.0, TWO)] * 11), GRACE) == 7.0


@pytest.mark.parametrize("active", [0.0, 9.0, 10.0, 11.0])
def test_as_many_jobs_as_set_are_no_excess_and_a_tenth_more_is_noise(active: float) -> None:
    assert excess_after([(active, TWO)] * 100) is None


def test_one_sample_with_no_excess_begins_again() -> None:
    looks = [(16.0, TWO)] * 20 + [(10.0, TWO)] + [(16.0, TWO)] * 20
    assert jobs_in_excess(excess_after(looks), GRACE) is None


def test_jobs_of_workers_that_are_leaving_are_no_excess() -> None:
    leaving = [(50.0, Workers(10, 10))] * 5 + [(50.0, TWO)] * 40
    assert jobs_in_excess(excess_after(leaving), 600.0) is None
    assert jobs_in_excess(excess_after([(50.0, Workers(10, 10))] * 5 + [(50.0, TWO)] * 50), 600.0) == 25.0


def test_the_most_workers_of_all_samples_count() -> None:
    fewer = [(25.0, Workers(4, 4))] * 10 + [(25.0, TWO)] * 12
    assert jobs_in_excess(excess_after(fewer), GRACE) == 6.25


def test_an_unknown_grace_period_is_taken_for_a_long_one() -> None:
    assert jobs_in_excess(excess_after([(16.0, TWO)] * 68), None) is None
    assert jobs_in_excess(excess_after([(16.0, TWO)] * 70), None) == 8.0


def test_workers_that_start_count_as_there() -> None:
    assert excess_after([(16.0, Workers(4, 2))] * 100) is None
    assert excess_after([(16.0, Workers(2, 4))] * 100) is None


@pytest.mark.parametrize("workers", [Workers(2, None), Workers(0, 0)])
def test_without_workers_that_are_known_nothing_is(workers: Workers) -> None:
    assert excess_after([(16.0, workers)] * 100) is None


def test_without_a_concurrency_that_is_set_there_is_no_excess() -> None:
    assert excess_after([(16.0, TWO)] * 100, slots=None) is None


def test_a_sample_that_is_read_twice_counts_once_and_a_long_gap_begins_again() -> None:
    sample = QueueSample(1000.0, 3.0, 16.0)
    known = None
    for _ in range(10):
        known = update_excess(known, sample, TWO, 5.0)
    assert known is not None
    assert known.samples == 1
    assert update_excess(known, Missing("timeout", ""), TWO, 5.0) is known
    assert jobs_in_excess(excess_after([(16.0, TWO)] * 10, every=301.0), GRACE) is None


def test_another_concurrency_begins_again() -> None:
    known = excess_after([(16.0, TWO)] * 30)
    changed = update_excess(known, QueueSample(1000 + 30 * 15, 3.0, 16.0), TWO, 6.0)
    assert changed is not None
    assert changed.samples == 1


@pytest.mark.parametrize(
    ("settings", "queues", "most"),
    [
        ({}, 3, None),
        ({"worker_concurrency": 5}, 3, 5),
        ({"worker_concurrency_per_queue": 5}, 3, 15),
        ({"worker_concurrency_per_queue": 5, "worker_concurrency": 25}, 3, 15),
        ({"worker_concurrency_per_queue": 5, "worker_concurrency": 12}, 3, 12),
    ],
)
def test_slots_of_single_queues_count_for_all_queues(
    settings: dict[str, int], queues: int, most: float | None
) -> None:
    assert most_jobs(PolicySettings.model_validate(settings), queues) == most
