"""The protobuf library reads back what was written."""

from __future__ import annotations

from itertools import accumulate
from math import isnan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.web.protobuf import (
    MetricType,
    classic_buckets,
    count_and_sum,
    counter_created,
    delimited,
    family_head,
    histogram_created,
    histogram_metric,
    label_pairs,
    native_buckets,
    number_metric,
    varint,
)
from tests.support import metric_families
from tests.support.metric_families import decoded

text = st.text(st.characters(codec="utf-8"), max_size=200)
counts = st.integers(0, 1 << 63)
unix = st.integers(1, 1 << 42).map(lambda ms: ms / 1000)


@given(
    text,
    text,
    st.sampled_from(["counter", "gauge", "untyped"]),
    st.lists(st.tuples(text, st.floats()), max_size=5),
)
def test_numbers(name: str, words: str, kind: MetricType, rows: list[tuple[str, float]]) -> None:
    metrics = [
        number_metric(kind, label_pairs(("queue", "b"), (value, "")), number) for value, number in rows
    ]
    (family,) = decoded(delimited([family_head(name, words, kind), *metrics]))
    assert (family.name, family.help) == (name, words)
    assert metric_families.kinds(delimited([family_head(name, words, kind)])) == {name: kind}
    for metric, (value, number) in zip(family.metric, rows, strict=True):
        assert [(pair.name, pair.value) for pair in metric.label] == [("queue", value), ("b", "")]
        read = getattr(metric, kind).value
        assert read == number or (isnan(read) and isnan(number))


@given(unix)
def test_creation_times(since: float) -> None:
    counter = number_metric("counter", b"", 1, counter_created(since))
    histogram = histogram_metric(b"", count_and_sum(1, 2.5) + histogram_created(since))
    for kind, metric in (("counter", counter), ("histogram", histogram)):
        (family,) = decoded(delimited([family_head("a", "A.", "counter"), metric]))
        created = getattr(family.metric[0], kind).created_timestamp
        assert created.seconds + created.nanos / 1e9 == pytest.approx(since, abs=1e-6)
        assert 0 <= created.nanos < 10**9


@given(st.lists(st.tuples(st.floats(allow_nan=False), st.integers(0, 1 << 50)), max_size=20), counts)
def test_classic_buckets(buckets: list[tuple[float, int]], above: int) -> None:
    bounds, numbers = [bound for bound, _ in buckets], [*(count for _, count in buckets), above % (1 << 50)]
    fields = count_and_sum(sum(numbers), -1.5) + classic_buckets(bounds, numbers)
    (family,) = decoded(delimited([histogram_metric(label_pairs(("a",), ("b",)), fields)]))
    histogram = family.metric[0].histogram
    assert (histogram.sample_count, histogram.sample_sum) == (sum(numbers), -1.5)
    assert [bucket.upper_bound for bucket in histogram.bucket] == bounds
    assert [bucket.cumulative_count for bucket in histogram.bucket] == list(accumulate(numbers))[:-1]


@given(
    st.integers(-4, 8),
    st.integers(0, 1 << 40),
    st.dictionaries(st.integers(-600, 600) | st.integers(-5, 5), st.integers(1, 1 << 40)),
)
def test_native_buckets(schema: int, zero: int, buckets: dict[int, int]) -> None:
    fields = native_buckets(schema, 0.25, zero, sorted(buckets.items()))
    (family,) = decoded(delimited([histogram_metric(b"", fields)]))
    histogram = family.metric[0].histogram
    assert (histogram.schema, histogram.zero_threshold, histogram.zero_count) == (schema, 0.25, zero)
    read = metric_families.native_buckets(histogram)
    assert {index: count for index, count in read.items() if count} == buckets
    assert len(read) <= 3 * len(buckets)
    assert all(span.offset > 2 for span in histogram.positive_span[1:])  # else a gap costs less than a span


@given(counts)
def test_varint(number: int) -> None:
    encoded = varint(number)
    assert sum((byte & 0x7F) << 7 * place for place, byte in enumerate(encoded)) == number
    assert all(byte & 0x80 for byte in encoded[:-1])
    assert encoded[-1] < 0x80
