"""The messages of externalscaler.proto, read and written without a library of protobuf. Pure.

Two small messages are read and three are written. Generated code would need protobuf's library, 2.7 MB, in
the scaler; in the tests it is what this module is compared with.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from struct import Struct
from typing import Final, NamedTuple

from service.web.protobuf import varint

_double: Final = Struct("<d").pack
_LONGEST_VARINT: Final = 10  # bytes, of 64 bits
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5  # wire types; groups are not of proto3
_LARGEST_FIELD: Final = (1 << 29) - 1

_NAME, _NAMESPACE, _METADATA = 1, 2, 3  # of ScaledObjectRef
_KEY, _VALUE = 1, 2  # of an entry of its map
_REF, _METRIC = 1, 2  # of GetMetricsRequest


class ScaledObjectRef(NamedTuple):
    """A ScaledObject, and the metadata of its trigger."""

    name: str
    namespace: str
    metadata: Mapping[str, str]


class MetricsRequest(NamedTuple):
    """GetMetricsRequest: the value of which metric is asked for, of which ScaledObject."""

    ref: ScaledObjectRef
    metric: str


def read_ref(message: bytes) -> ScaledObjectRef:
    """A ScaledObjectRef. Raises ValueError: these bytes are none."""
    name, namespace, metadata = "", "", dict[str, str]()
    for number, value in _fields(message):
        if number == _NAME:
            name = _text(value)
        elif number == _NAMESPACE:
            namespace = _text(value)
        elif number == _METADATA:
            key, text = _entry(value)
            metadata[key] = text
    return ScaledObjectRef(name, namespace, metadata)


def read_metrics_request(message: bytes) -> MetricsRequest:
    """A GetMetricsRequest. Raises ValueError: these bytes are none."""
    refs, metric = list[bytes](), ""
    for number, value in _fields(message):
        if number == _REF:
            refs.append(_content(value))
        elif number == _METRIC:
            metric = _text(value)
    return MetricsRequest(
        read_ref(b"".join(refs)), metric
    )  # parts of a message that is sent twice are merged


def is_active_response(*, active: bool) -> bytes:
    """An IsActiveResponse."""
    return b"\x08\x01" if active else b""


def metric_spec_response(metric: str, target: int) -> bytes:
    """A GetMetricSpecResponse with one metric and its target, in the old field and the new one."""
    return _of_metric(metric, target)


def metrics_response(metric: str, value: int) -> bytes:
    """A GetMetricsResponse with one value, from 0 on, in the old field and the new one."""
    return _of_metric(metric, value)


def _of_metric(metric: str, number: int) -> bytes:
    """MetricSpec and MetricValue have the same fields. A number of 0 is not written: it is the default."""
    numbers = b"".join((b"\x10", varint(number), b"\x19", _double(number))) if number else b""
    inner = _field(b"\x0a", metric.encode()) + numbers
    return _field(b"\x0a", inner)


def _field(tag: bytes, content: bytes) -> bytes:
    return b"".join((tag, varint(len(content)), content))


def _entry(value: bytes | None) -> tuple[str, str]:
    key, text = "", ""
    for number, part in _fields(_content(value)):
        if number == _KEY:
            key = _text(part)
        elif number == _VALUE:
            text = _text(part)
    return key, text


def _content(value: bytes | None) -> bytes:
    if value is None:
        raise ValueError("a number where a text or a message should be")
    return value


def _text(value: bytes | None) -> str:
    try:
        return _content(value).decode()
    except UnicodeDecodeError:
        raise ValueError("a text that is not UTF-8") from None


def _fields(message: bytes) -> Iterator[tuple[int, bytes | None]]:
    """The number of each field, and its content; None: it is a number. Those that are not known are among
    them. Raises ValueError."""
    at = 0
    while at < len(message):
        tag, at = _read_varint(message, at)
        number, kind = tag >> 3, tag & 7
        if not 1 <= number <= _LARGEST_FIELD:
            raise ValueError("a field without a valid number")
        value: bytes | None = None
        if kind == _VARINT:
            _, at = _read_varint(message, at)
        elif kind in {_FIXED64, _FIXED32}:
            at += 8 if kind == _FIXED64 else 4
        elif kind == _BYTES:
            size, at = _read_varint(message, at)
            value, at = message[at : at + size], at + size
        else:
            raise ValueError("a field of an unknown type")
        if at > len(message):
            raise ValueError("the message ends within a field")
        yield number, value


def _read_varint(message: bytes, at: int) -> tuple[int, int]:
    """The number, and where the next field begins."""
    number = 0
    for index, byte in enumerate(message[at : at + _LONGEST_VARINT]):
        number |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            return number, at + index + 1
    raise ValueError("a number without an end")
