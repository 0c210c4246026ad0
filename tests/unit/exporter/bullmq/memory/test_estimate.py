from __future__ import annotations

import random
from math import sqrt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.bullmq.memory.estimate import (
    TARGET,
    Estimate,
    JobSample,
    estimate,
    first_numbers,
    further_numbers,
    older_than,
    strata,
)


@given(st.integers(0, 5000), st.integers(0, 600), st.randoms(use_true_random=False))
def test_each_part_of_the_list_has_one_sample(size: int, number: int, draw: random.Random) -> None:
    ranks = strata(size, number, draw.random)
    assert len(ranks) == min(size, number)
    assert ranks == sorted(set(ranks))
    if number < size:
        assert all(
            part * size // number <= rank < (part + 1) * size // number for part, rank in enumerate(ranks)
        )
    else:
        assert ranks == list(range(size))


def test_a_draw_of_almost_one_stays_in_its_part() -> None:
    assert strata(10, 5, lambda: 1 - 1e-16) == [1, 3, 5, 7, 9]


def sampled(sizes: list[float], number: int, seed: int = 1) -> list[JobSample]:
    return [JobSample(rank, sizes[rank]) for rank in strata(len(sizes), number, random.Random(seed).random)]


def test_all_jobs_measured_are_exact() -> None:
    sizes = [float(size) for size in range(100)]
    assert estimate(100, [sampled(sizes, 10), sampled(sizes, 100)]) == Estimate(4950.0, 0.0)


def test_old_large_jobs_and_new_small_ones_are_no_error() -> None:
    sizes = [4000.0] * 5000 + [200.0] * 5000
    told = estimate(10_000, [sampled(sizes, 100)])
    assert told.total == pytest.approx(sum(sizes), rel=0.01)
    assert told.error < 0.02 * told.total
    plain = sqrt(sum((size - 2100) ** 2 for size in sizes) / 10_000 / 100) * 10_000
    assert told.error < plain / 3  # of 100 jobs drawn anywhere


def test_sizes_that_follow_nothing_have_the_error_that_they_have() -> None:
    draw = random.Random(7)
    sizes = [draw.lognormvariate(5, 1) for _ in range(20_000)]
    totals = [estimate(20_000, [sampled(sizes, 200, seed)]) for seed in range(200)]
    mean = sum(told.total for told in totals) / 200
    spread = sqrt(sum((told.total - mean) ** 2 for told in totals) / 200)
    assert mean == pytest.approx(sum(sizes), rel=0.02)
    assert sum(told.error for told in totals) / 200 == pytest.approx(spread, rel=0.2)


def test_two_passes_count_by_their_numbers() -> None:
    sizes = [1.0] * 50 + [3.0] * 50
    passes = [[JobSample(10, 1.0)], [JobSample(5, 1.0), JobSample(60, 3.0), JobSample(90, 3.0)]]
    assert estimate(100, passes).total == 200.0
    more = estimate(100, [sampled(sizes, 20), sampled(sizes, 40)])
    assert more.error < estimate(100, [sampled(sizes, 20)]).error


def test_without_a_sample_nothing_is_estimated_and_one_says_little() -> None:
    assert estimate(0, []) == Estimate(0.0, 0.0)
    assert estimate(5, [[JobSample(0, 10.0)]]) == Estimate(50.0, 50.0)


@given(st.lists(st.integers(0, 10**7), max_size=50), st.integers(100, 100_000))
def test_the_first_samples_are_at_most_as_many_as_there_may_be(sizes: list[int], most: int) -> None:
    numbers = first_numbers(sizes, most)
    assert all(0 <= number <= size for number, size in zip(numbers, sizes, strict=True))
    assert all(number > 0 for number, size in zip(numbers, sizes, strict=True) if size)
    assert sum(numbers) <= most / 2 + max(most / 4, 2 * len(sizes))


def test_further_samples_go_where_the_error_is() -> None:
    estimates = [Estimate(1000.0, 10.0), Estimate(1000.0, 100.0)]
    assert further_numbers(estimates, [10**6, 10**6], [100, 100], 10_000) == [0, 2400]  # 5 times the target
    assert further_numbers(estimates, [10**6, 10**6], [100, 100], 1000) == [0, 1000]
    assert further_numbers(estimates, [10**6, 3000], [100, 100], 10_000) == [0, 3000]  # nearly all: all
    assert further_numbers(estimates, [10**6, 100], [100, 100], 10_000) == [0, 0]  # all were measured


def test_a_small_state_may_have_a_larger_error() -> None:
    whole = Estimate(1e9, 0.0)
    small = Estimate(1e5, 5e4)
    assert further_numbers([whole, small], [10**6, 10**4], [100, 100], 10_000) == [0, 0]
    assert further_numbers([small], [10**4], [100], 10_000) != [0]
    assert small.error < TARGET * 0.02 * 1e9


@given(
    st.lists(st.tuples(st.floats(0, 1e12), st.floats(0, 1e12), st.integers(0, 10**6)), max_size=20),
    st.integers(-100, 10_000),
)
def test_further_samples_are_never_more_than_are_left(
    states: list[tuple[float, float, int]], left: int
) -> None:
    estimates = [Estimate(total, error) for total, error, _ in states]
    sizes = [size for *_, size in states]
    numbers = further_numbers(estimates, sizes, [min(size, 50) for size in sizes], left)
    assert sum(numbers) <= max(0, left)
    assert all(0 <= number <= size for number, size in zip(numbers, sizes, strict=True))


def test_what_is_older_than_the_last_jobs() -> None:
    sizes = [4000.0] * 5000 + [200.0] * 5000
    older = older_than(10_000, 1000, [sampled(sizes, 1000)])
    assert older == pytest.approx(5000 * 4000 + 4000 * 200, rel=0.01)
    assert older_than(10_000, 10_000, [sampled(sizes, 100)]) is None
    assert older_than(10_000, 1000, []) is None
