"""Decodes Prometheus' delimited protobuf by the protobuf library, with the fields of client_model's
metrics.proto, and expands histograms as Prometheus does."""

from __future__ import annotations

from collections.abc import Iterator
from math import inf
from typing import Any, Final

from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from prometheus_client.utils import floatToGoString

ACCEPT: Final = (
    "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited,"
    "application/openmetrics-text;version=1.0.0;q=0.8,application/openmetrics-text;version=0.0.1;q=0.75,"
    "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)
"""What Prometheus 2.42 sends with --enable-feature=native-histograms."""

_PACKAGE: Final = "io.prometheus.client"
_MESSAGES: Final = {
    "Timestamp": "1 int64 seconds, 2 int32 nanos",
    "LabelPair": "1 string name, 2 string value",
    "Gauge": "1 double value",
    "Counter": "1 double value, 3 Timestamp created_timestamp",
    "Untyped": "1 double value",
    "Bucket": "1 uint64 cumulative_count, 2 double upper_bound",
    "BucketSpan": "1 sint32 offset, 2 uint32 length",
    "Histogram": "1 uint64 sample_count, 2 double sample_sum, 3 *Bucket bucket, 5 sint32 schema, "
    "6 double zero_threshold, 7 uint64 zero_count, 12 *BucketSpan positive_span, "
    "13 *sint64 positive_delta, 15 Timestamp created_timestamp",
    "Metric": "1 *LabelPair label, 2 Gauge gauge, 3 Counter counter, 5 Untyped untyped, "
    "7 Histogram histogram",
    "MetricFamily": "1 string name, 2 string help, 3 int32 type, 4 *Metric metric",
}
_KINDS: Final = ("counter", "gauge", "summary", "untyped", "histogram")


def _class_of_families() -> Any:
    file = FileDescriptorProto(name="metrics.proto", package=_PACKAGE, syntax="proto2")
    for message, fields in _MESSAGES.items():
        described = file.message_type.add(name=message)
        for text in fields.split(", "):
            number, kind, name = text.split()
            repeated, kind = kind.startswith("*"), kind.removeprefix("*")
            field = described.field.add(name=name, number=int(number))
            field.label = (
                FieldDescriptorProto.LABEL_REPEATED if repeated else FieldDescriptorProto.LABEL_OPTIONAL
            )
            if kind in _MESSAGES:
                field.type, field.type_name = FieldDescriptorProto.TYPE_MESSAGE, f".{_PACKAGE}.{kind}"
            else:
                field.type = getattr(FieldDescriptorProto, f"TYPE_{kind.upper()}")
    pool = DescriptorPool()
    pool.Add(file)
    return GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.MetricFamily"))


_FAMILY: Final = _class_of_families()


def decoded(body: bytes) -> list[Any]:
    """The families. Fails for what is not wholly of fields that are known."""
    families = []
    while body:
        size = shift = place = 0
        while True:
            size |= (body[place] & 0x7F) << shift
            place, shift = place + 1, shift + 7
            if body[place - 1] < 0x80:
                break
        message, body = body[place : place + size], body[place + size :]
        assert len(message) == size
        family = _FAMILY.FromString(message)
        known = family.ByteSize()
        family.DiscardUnknownFields()
        assert family.ByteSize() == known
        families.append(family)
    return families


Key = tuple[str, frozenset[tuple[str, str]]]


def samples(body: bytes) -> dict[Key, float]:
    """Each sample as in text; of native histograms only _count and _sum."""
    return dict(each for family in decoded(body) for each in _samples(family))


def kinds(body: bytes) -> dict[str, str]:
    """The type of each family by its name."""
    return {family.name: _KINDS[family.type] for family in decoded(body)}


def _samples(family: Any) -> Iterator[tuple[Key, float]]:
    kind = _KINDS[family.type]
    for metric in family.metric:
        labels = frozenset((pair.name, pair.value) for pair in metric.label)
        value = getattr(metric, kind)
        if kind != "histogram":
            yield (family.name, labels), value.value
            continue
        yield (f"{family.name}_count", labels), value.sample_count
        yield (f"{family.name}_sum", labels), value.sample_sum
        for bucket in value.bucket:
            bound = {("le", floatToGoString(bucket.upper_bound))}  # type: ignore[no-untyped-call]
            yield (f"{family.name}_bucket", labels | bound), bucket.cumulative_count
        if value.bucket and value.bucket[-1].upper_bound != inf:
            yield (f"{family.name}_bucket", labels | {("le", "+Inf")}), value.sample_count


def native_buckets(histogram: Any) -> dict[int, int]:
    """The count of each bucket of a native histogram by its index, also of empty ones in its spans."""
    counts: dict[int, int] = {}
    index = count = 0
    deltas = iter(histogram.positive_delta)
    for span in histogram.positive_span:
        index += span.offset
        for _ in range(span.length):
            count += next(deltas)
            counts[index] = count
            index += 1
    assert not list(deltas)
    return counts
