"""Prometheus' delimited protobuf: messages io.prometheus.client.MetricFamily, each after its length. Pure.

Only what is exposed here is written: names, labels, numbers, and histograms in both forms. What a metric
begins with is kept as bytes by who calls, so that a sample costs one join; no library writes a part of a
message, and those that write whole ones need 2.7 MB and draw all of them again in each scrape.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import accumulate, chain
from struct import Struct
from typing import Final, Literal, TypeAlias

from service.units import readable

MetricType: TypeAlias = Literal["counter", "gauge", "untyped", "histogram"]

_TYPES: Final[dict[MetricType, int]] = {"counter": 0, "gauge": 1, "untyped": 3, "histogram": 4}
_double: Final = Struct("<d").pack
_SMALL: Final = 1 << 14
_NANOSECONDS: Final = 1_000_000_000

# Tags: the number of a field << 3 | 2 for bytes and messages, 1 for a double, 0 for an integer.
_METRIC: Final = b"\x22"  # MetricFamily.metric
_LABEL: Final = b"\x0a"  # Metric.label
_VALUES: Final[dict[MetricType, bytes]] = {"gauge": b"\x12", "counter": b"\x1a", "untyped": b"\x2a"}
_HISTOGRAM: Final = b"\x3a"  # Metric.histogram
_VALUE: Final = b"\x09"  # Gauge.value, Counter.value, Untyped.value
_COUNTER_CREATED: Final = b"\x1a"
_COUNT, _SUM, _BUCKET = b"\x08", b"\x11", b"\x1a"  # of Histogram
_CUMULATIVE, _UPPER = b"\x08", b"\x11"  # of Bucket
_SCHEMA, _ZERO_THRESHOLD, _ZERO_COUNT = b"\x28", b"\x31", b"\x38"
_SPAN, _DELTAS, _CREATED = b"\x62", b"\x6a", b"\x7a"
_OFFSET, _LENGTH = b"\x08", b"\x10"  # of BucketSpan
_LARGEST_GAP: Final = 2  # empty buckets: as deltas they are shorter than a further span


def _varint(number: int) -> bytes:
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


_VARINTS: Final = tuple(map(_varint, range(_SMALL)))


def varint(number: int) -> bytes:
    """A number from 0 on, seven bits a byte."""
    return _VARINTS[number] if number < _SMALL else _varint(number)


def label_pairs(names: Sequence[str], values: Sequence[str]) -> bytes:
    """The labels of a metric."""
    return b"".join(
        _field(_LABEL, _field(b"\x0a", name.encode()) + _field(b"\x12", readable(value).encode()))
        for name, value in zip(names, values, strict=True)
    )


def number_metric(kind: MetricType, labels: bytes, value: float, created: bytes = b"") -> bytes:
    """One metric of a family of gauges, counters or untyped numbers; `created` is of a counter."""
    inner = b"".join((_VALUE, _double(value), created))
    return b"".join(
        (_METRIC, varint(len(labels) + len(inner) + 2), labels, _VALUES[kind], varint(len(inner)), inner)
    )


def histogram_metric(labels: bytes, histogram: bytes) -> bytes:
    """One metric of a family of histograms."""
    size = varint(len(histogram))
    whole = varint(len(labels) + 1 + len(size) + len(histogram))
    return b"".join((_METRIC, whole, labels, _HISTOGRAM, size, histogram))


def counter_created(unix: float) -> bytes:
    """Since when a counter counts, for `number_metric`; that of a histogram follows in `histogram`."""
    return _field(_COUNTER_CREATED, _timestamp(unix))


def histogram_created(unix: float) -> bytes:
    """Since when a histogram counts: to be added to its other fields."""
    return _field(_CREATED, _timestamp(unix))


def count_and_sum(count: int, total: float) -> bytes:
    """The fields that each histogram has."""
    return b"".join((_COUNT, varint(count), _SUM, _double(total)))


def classic_buckets(bounds: Sequence[float], counts: Iterable[int]) -> bytes:
    """The fields of a histogram's buckets by upper bounds; the count of +Inf, which is that of all, is left
    out."""
    fields: list[bytes] = []
    for bound, cumulative in zip(bounds, accumulate(counts), strict=False):
        number = varint(cumulative)
        size = varint(len(number) + 10)
        fields += (_BUCKET, size, _CUMULATIVE, number, _UPPER, _double(bound))
    return b"".join(fields)


def native_buckets(
    schema: int, zero_threshold: float, zero_count: int, buckets: Sequence[tuple[int, int]]
) -> bytes:
    """The fields of a native histogram: `buckets` are the index and the count of each that has some, in
    ascending order, all of positive values."""
    fields = [
        *(_SCHEMA, varint(_zigzag(schema)), _ZERO_THRESHOLD, _double(zero_threshold)),
        *(_ZERO_COUNT, varint(zero_count)),
    ]
    deltas: list[int] = []
    offset, length, end, before = 0, 0, 0, 0
    for index, count in buckets:
        gap = index - end
        if length and 0 <= gap <= _LARGEST_GAP:
            if gap:
                deltas += (-before, *[0] * (gap - 1))
                before = 0
            length += gap + 1
        else:
            if length:
                fields.append(_span(offset, length))
            offset, length = gap, 1
        deltas.append(count - before)
        before, end = count, index + 1
    if length:
        fields.append(_span(offset, length))
    if deltas:
        fields.append(_field(_DELTAS, b"".join([varint(_zigzag(delta)) for delta in deltas])))
    return b"".join(fields)


def family_head(name: str, text: str, kind: MetricType) -> bytes:
    """What a family has before its metrics."""
    return b"".join(
        (_field(b"\x0a", name.encode()), _field(b"\x12", text.encode()), b"\x18", varint(_TYPES[kind]))
    )


def delimited(parts: Sequence[bytes]) -> bytes:
    """A message of these parts, after its length."""
    return b"".join(chain((varint(sum(map(len, parts))),), parts))


def _field(tag: bytes, content: bytes) -> bytes:
    return b"".join((tag, varint(len(content)), content))


def _span(offset: int, length: int) -> bytes:
    return _field(_SPAN, b"".join((_OFFSET, varint(_zigzag(offset)), _LENGTH, varint(length))))


def _zigzag(number: int) -> int:
    return number * 2 if number >= 0 else -number * 2 - 1


def _timestamp(unix: float) -> bytes:
    nanoseconds = round(unix * _NANOSECONDS)
    seconds, rest = divmod(nanoseconds, _NANOSECONDS)
    return b"".join((b"\x08", varint(seconds), b"\x10", varint(rest)))
