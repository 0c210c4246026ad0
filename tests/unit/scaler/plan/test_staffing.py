from __future__ import annotations

from math import inf
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.loads import arrivals, run_times
from scaler.plan.staffing import slots_for_jobs, slots_for_rate, workers_for


def late_share(at: list[float], runs: list[float], slots: int, slo: float) -> float:
    """Served one after the other, by whichever slot is free first."""
    free, late = [-inf] * slots, 0
    for moment, run in zip(at, runs, strict=True):
        slot = min(range(slots), key=free.__getitem__)
        begin = max(moment, free[slot])
        late += begin - moment > slo
        free[slot] = begin + run
    return late / len(at)


@pytest.mark.parametrize(
    ("at", "runs", "slo", "late", "slots"),
    [
        ([], [], 1.0, 0.01, 0),
        ([5.0], [1000.0], 1.0, 0.0, 1),
        ([0.0, 0.0, 0.0], [10.0] * 3, 0.0, 0.0, 3),
        ([0.0, 0.0, 0.0], [10.0] * 3, 10.0, 0.0, 2),
        ([0.0, 0.0, 0.0], [10.0] * 3, 20.0, 0.0, 1),
        ([0.0] * 100, [10.0] * 100, 5.0, 0.01, 99),
        ([0.0] * 100, [10.0] * 100, 5.0, 0.0, 100),
        ([float(second) for second in range(100)], [2.0] * 100, 0.0, 0.0, 2),
        ([float(second) for second in range(100)], [0.5] * 100, 0.0, 0.0, 1),
    ],
)
def test_slots_for_jobs(at: list[float], runs: list[float], slo: float, late: float, slots: int) -> None:
    assert slots_for_jobs(at, runs, slo=slo, late=late) == slots


@given(
    jobs=st.lists(
        st.tuples(st.floats(0, 100), st.floats(0.01, 200)),
        min_size=1,
        max_size=30,
    ),
    slo=st.floats(0, 60),
    late=st.sampled_from([0.0, 0.01, 0.1, 0.4]),
)
@settings(max_examples=200, deadline=None)
def test_it_is_the_fewest_that_keep_the_slo(jobs: list[tuple[float, float]], slo: float, late: float) -> None:
    at, runs = [moment for moment, _ in sorted(jobs)], [run for _, run in sorted(jobs)]
    slots = slots_for_jobs(at, runs, slo=slo, late=late)
    assert 1 <= slots <= len(jobs)
    assert late_share(at, runs, slots, slo) <= late + 1e-9
    assert slots == 1 or late_share(at, runs, slots - 1, slo) > late


@pytest.mark.parametrize(
    ("rate", "run", "slo", "late", "slots"),
    [
        (0.0, 1.0, 1.0, 0.01, 0),
        (1e12, 1e12, 1.0, 0.01, 10_000_000),
        (1.0, 0.5, 0.0, 0.51, 1),  # one slot, half busy: half of the jobs wait
        (1.0, 0.5, 0.0, 0.49, 2),
        (90.0, 1.0, 1000.0, 0.01, 91),
    ],
)
def test_slots_for_rate(rate: float, run: float, slo: float, late: float, slots: int) -> None:
    assert slots_for_rate(rate, run, slo=slo, late=late) == slots


def test_the_formula_is_near_what_jobs_take_one_by_one() -> None:
    random = Random(7)
    at = arrivals(lambda _: 6.0, 3600, random)
    served = slots_for_jobs(at, run_times(at, 4.0, random), slo=5.0, late=0.01)
    assert served <= slots_for_rate(6.0, 4.0, slo=5.0, late=0.01) <= served + 3


@pytest.mark.parametrize(("slots", "concurrency", "workers"), [(0, 4, 0), (1, 4, 1), (4, 4, 1), (5, 4, 2)])
def test_workers_for(slots: int, concurrency: int, workers: int) -> None:
    assert workers_for(slots, concurrency) == workers
