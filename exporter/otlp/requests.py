"""Points as requests of OTLP: messages ExportMetricsServiceRequest, each of a bounded size.

The only module that needs opentelemetry's package; no I/O.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple, TypeAlias

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsPartialSuccess,
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import (
    AGGREGATION_TEMPORALITY_CUMULATIVE,
    ExponentialHistogramDataPoint,
    HistogramDataPoint,
    Metric,
    NumberDataPoint,
)

from exporter.otlp.points import PushedFamily, PushedKind, PushedPoint
from exporter.snapshot.histogram import ZERO_THRESHOLD, Histogram, NativeHistogram
from service.units import readable

REQUEST_BYTES: Final = 1 << 20
"""Bytes of a request before compression: as many points as fit, or one that is larger."""

_DataPoint: TypeAlias = NumberDataPoint | HistogramDataPoint | ExponentialHistogramDataPoint

_SCOPE: Final = "oxherd"
_UNITS: Final[Mapping[str, str]] = {"_seconds": "s", "_bytes": "By"}
"""Of names that end so; Prometheus would add its suffix to others. Shares of 1 have none for that reason."""
_PER_NUMBER: Final = 40  # bytes of a point beside its attributes: two times, the value, tags and lengths
_PER_HISTOGRAM: Final = 80
_PER_MESSAGE: Final = 20  # its tag and its length, and what that adds to the lengths around it
_MOST_KNOWN: Final = 20_000  # labels that are kept
_NANOSECONDS: Final = 1_000_000_000


class PushRequest(NamedTuple):
    """The bytes of one message, and how many points it has."""

    body: bytes
    points: int


class Resource(NamedTuple):
    """Whose points these are: attributes of the exporter, and its version."""

    attributes: Mapping[str, str]
    version: str


def push_requests(
    families: Iterable[PushedFamily], resource: Resource, at: float, *, most_bytes: int = REQUEST_BYTES
) -> Iterator[PushRequest]:
    """All points with the time `at` (unix s), in as few requests as `most_bytes` allows, made one by one."""
    time = _nanoseconds(at)
    batch, attributes = _Batch(resource), _Attributes()
    for family in families:
        metric: Metric | None = None
        for point in family.points:
            labels, size = attributes.of(family.labels, point.labels)
            size += _size(point)
            if batch.points and batch.bytes + size > most_bytes:
                yield batch.request()
                batch, metric = _Batch(resource), None
            if metric is None:
                metric = batch.metric(family)
            _add(metric, family.kind, point, time).attributes.extend(labels)
            batch.points += 1
            batch.bytes += size
    if batch.points:
        yield batch.request()


class _Batch:
    """A request that is being made. `bytes` is at least what it will have."""

    def __init__(self, resource: Resource) -> None:
        self._message = ExportMetricsServiceRequest()
        of_resource = self._message.resource_metrics.add()
        of_resource.resource.attributes.extend(
            [_attribute(name, value) for name, value in resource.attributes.items()]
        )
        self._metrics = of_resource.scope_metrics.add()
        self._metrics.scope.name, self._metrics.scope.version = _SCOPE, resource.version
        self.points = 0
        self.bytes = self._message.ByteSize() + _PER_MESSAGE

    def metric(self, family: PushedFamily) -> Metric:
        metric = self._metrics.metrics.add(name=family.name, description=family.help, unit=_unit(family.name))
        self.bytes += metric.ByteSize() + _PER_MESSAGE
        return metric

    def request(self) -> PushRequest:
        return PushRequest(self._message.SerializeToString(), self.points)


def _add(metric: Metric, kind: PushedKind, point: PushedPoint, time: int) -> _DataPoint:
    """A point without attributes; one that says to count since later than now does not say since when."""
    start = _nanoseconds(point.created)
    times = {"start_time_unix_nano": start if start <= time else 0, "time_unix_nano": time}
    value = point.value
    if not isinstance(value, Histogram):
        if kind != "counter":
            return metric.gauge.data_points.add(time_unix_nano=time, as_double=value)
        metric.sum.is_monotonic = True
        metric.sum.aggregation_temporality = AGGREGATION_TEMPORALITY_CUMULATIVE
        return metric.sum.data_points.add(**times, as_double=value)
    if point.native is not None:
        metric.exponential_histogram.aggregation_temporality = AGGREGATION_TEMPORALITY_CUMULATIVE
        exponential = metric.exponential_histogram.data_points.add(**times)
        _fill_exponential(exponential, point.native, value)
        return exponential
    metric.histogram.aggregation_temporality = AGGREGATION_TEMPORALITY_CUMULATIVE
    explicit = metric.histogram.data_points.add(**times)
    _fill_explicit(explicit, value)
    return explicit


def _fill_explicit(point: HistogramDataPoint, histogram: Histogram) -> None:
    point.count, point.sum = sum(histogram.counts), histogram.total
    point.explicit_bounds.extend(histogram.bounds)
    point.bucket_counts.extend(histogram.counts)


def _fill_exponential(
    point: ExponentialHistogramDataPoint, native: NativeHistogram, histogram: Histogram
) -> None:
    """OTLP's bucket 0 begins at 1, Prometheus' ends there (Metrics Data Model, Exponential Buckets)."""
    point.count, point.sum = native.zero_count + sum(native.counts), histogram.total
    point.scale, point.zero_count, point.zero_threshold = native.schema, native.zero_count, ZERO_THRESHOLD
    point.positive.offset = native.first - 1
    point.positive.bucket_counts.extend(native.counts)


class _Attributes:
    """Labels as attributes, with their bytes. Those of a push are kept, as each queue has thirty series."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], tuple[KeyValue, int]] = {}

    def of(self, names: Sequence[str], values: Sequence[str]) -> tuple[list[KeyValue], int]:
        """To Prometheus a label that is empty is none."""
        known, attributes, size = self._known, [], 0
        for label in zip(names, values, strict=True):
            if label[1]:
                found = known.get(label)
                if found is None:
                    if len(known) >= _MOST_KNOWN:
                        known.clear()
                    attribute = _attribute(*label)
                    found = known[label] = attribute, attribute.ByteSize() + _PER_MESSAGE
                attributes.append(found[0])
                size += found[1]
        return attributes, size


def _attribute(name: str, value: str) -> KeyValue:
    return KeyValue(key=name, value=AnyValue(string_value=readable(value)))


def _size(point: PushedPoint) -> int:
    """Bytes of a point without its attributes, at least what it will have."""
    if not isinstance(point.value, Histogram):
        return _PER_NUMBER
    buckets = 10 * len(point.native.counts) if point.native else 16 * len(point.value.counts)
    return _PER_HISTOGRAM + buckets


def _unit(name: str) -> str:
    plain = name.removesuffix("_total")
    return next((unit for suffix, unit in _UNITS.items() if plain.endswith(suffix)), "")


def _nanoseconds(unix: float) -> int:
    return max(0, round(unix * _NANOSECONDS))


# --- answers ---------------------------------------------------------------------------------------------


class Rejected(NamedTuple):
    """Points that the endpoint did not take, and what it says of them; 0 and a text is a warning."""

    points: int
    message: str


def rejected_by(body: bytes) -> Rejected:
    """What an answer with a status of success says of single points. Raises ValueError if it is not OTLP."""
    try:
        partial = ExportMetricsServiceResponse.FromString(body).partial_success
    except DecodeError:
        raise ValueError("the answer is not OTLP") from None
    return Rejected(max(0, partial.rejected_data_points), partial.error_message)


def error_text(body: bytes) -> str:
    """The message of an answer without success, which is a google.rpc.Status; "" if it is none."""
    try:
        # Its code and message have the numbers and types of these two fields.
        return ExportMetricsPartialSuccess.FromString(body).error_message
    except DecodeError:
        return ""
