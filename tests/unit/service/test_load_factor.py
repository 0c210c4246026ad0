from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.load_factor import DEFAULT_CAPACITY, load_factor, worker_capacity

jobs = st.integers(0, 2**53)
workers = st.integers(0, 10**6)
capacities = st.floats(1e-3, 1e6)


@pytest.mark.parametrize(
    ("jobs", "workers", "capacity", "factor"),
    [
        (20, 4, 10, 0.5),
        (100, 2, 10, 1.0),
        (0, 2, 10, 0.0),
        (5, 1, 5, 1.0),
        (3, 0, 10, 1.0),
        (0, 0, 10, 0.0),
        (1002, 2, 5, 1.0),
    ],
)
def test_load_factor(jobs: float, workers: int, capacity: float, factor: float) -> None:
    assert load_factor(jobs, workers, capacity) == factor


@given(jobs, workers, capacities)
def test_it_is_a_ratio_and_0_only_without_jobs(jobs: int, workers: int, capacity: float) -> None:
    factor = load_factor(jobs, workers, capacity)
    assert 0 <= factor <= 1
    assert (factor == 0) == (jobs == 0)


@given(jobs, jobs, workers, workers, capacities, capacities)
def test_it_grows_with_jobs_and_shrinks_with_workers_and_capacity(
    fewer: int, more: int, few: int, many: int, small: float, large: float
) -> None:
    fewer, more = sorted((fewer, more))
    few, many = sorted((few, many))
    small, large = sorted((small, large))
    assert load_factor(fewer, few, small) <= load_factor(more, few, small)
    assert load_factor(more, many, small) <= load_factor(more, few, small)
    assert load_factor(more, few, large) <= load_factor(more, few, small)


def test_the_capacity_that_is_set_counts_then_the_concurrency_then_10() -> None:
    assert worker_capacity(4, 5) == 4
    assert worker_capacity(None, 5) == 5
    assert worker_capacity(None, None) == DEFAULT_CAPACITY == 10
