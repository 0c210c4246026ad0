from __future__ import annotations

import json
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.bullmq.tallies.native_tally import MAX_BUCKETS, SCHEMA, NativeTally
from exporter.snapshot.histogram import ZERO_THRESHOLD

durations = st.lists(st.integers(-5, 50) | st.integers(0, 10**7) | st.integers(0, 1 << 62), max_size=400)


def tallied(times: list[int]) -> NativeTally:
    tally = NativeTally()
    for ms in times:
        tally.add(ms)
    return tally


@given(durations)
def test_each_duration_is_between_the_bounds_of_its_bucket(times: list[int]) -> None:
    histogram = tallied(times).histogram()
    growth = 2 ** (1 / (1 << histogram.schema))
    expected = Counter[int]()
    for ms in times:
        if ms < 1:
            continue
        (index,) = (
            index
            for index, _ in histogram.buckets
            if growth ** (index - 1) * (1 + 1e-12) < ms / 1000 <= growth**index * (1 + 1e-12)
        )
        expected[index] += 1
    assert dict(histogram.buckets) == expected
    assert histogram.zero_count == sum(ms < 1 for ms in times)
    assert tallied(times).total() == len(times)


@pytest.mark.parametrize("exponent", range(-3, 20))
def test_a_power_of_two_is_the_upper_bound_of_its_bucket(exponent: int) -> None:
    ms = int(2**exponent * 1000)
    assert tallied([ms]).histogram().buckets == [(exponent << SCHEMA, 1)]
    assert tallied([ms + 1]).histogram().buckets == [((exponent << SCHEMA) + 1, 1)]


def test_no_bucket_is_below_the_zero_threshold() -> None:
    index = tallied([1]).histogram().first
    assert 2 ** ((index - 1) / (1 << SCHEMA)) == ZERO_THRESHOLD


def test_too_many_buckets_reduce_the_schema() -> None:
    times = [int(1.05**step) for step in range(1, 700)]
    seen = NativeTally()
    schemas = []
    for ms in times:
        seen.add(ms)
        schemas.append(seen.histogram().schema)
        assert sum(count > 0 for count in seen.histogram().counts) <= MAX_BUCKETS
    assert schemas[0] == SCHEMA
    assert schemas[-1] < SCHEMA
    assert schemas == sorted(schemas, reverse=True)
    assert seen.histogram() == tallied(times[::-1]).histogram()
    assert seen.total() == len(times)


def test_the_largest_of_all_has_a_bound_too() -> None:
    everything = tallied([1 << power for power in range(63)] + list(range(5000)))
    assert len(everything.histogram().counts) <= 64 << SCHEMA
    assert everything.histogram().schema >= 0


@given(durations, durations)
def test_goes_on_from_its_dump(before: list[int], after: list[int]) -> None:
    restored = NativeTally.restored(json.loads(json.dumps(tallied(before).dump())))
    assert restored.histogram() == tallied(before).histogram()
    whole = tallied(before)
    for ms in after:
        restored.add(ms)
        whole.add(ms)
    assert restored.histogram() == whole.histogram()


@pytest.mark.parametrize(
    "dumped",
    [
        [],
        [3],
        [4, 0, 0],
        [-1, 0, 0],
        [3, -1, 0],
        [3, 0, 0, -1],
        [3, 0, 0, 1 << 70],
        [3, 0, 0, *[1] * (MAX_BUCKETS + 1)],
        [3, 0, 0, *[0] * 10_000],
        ["a", 0, 0],
        None,
    ],
)
def test_anything_else_is_refused(dumped: list[int]) -> None:
    with pytest.raises((ValueError, TypeError, OverflowError)):
        NativeTally.restored(dumped)


def test_what_was_read_does_not_change() -> None:
    tally = tallied([10])
    before = tally.histogram()
    tally.add(10)
    assert before.buckets != tally.histogram().buckets
