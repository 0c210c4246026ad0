"""Our few lines of protobuf against its own library, with what protoc generates of our .proto."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaler.keda.messages import (
    is_active_response,
    metric_spec_response,
    metrics_response,
    read_metrics_request,
    read_ref,
)
from tests.support.keda_client import generated

TEXT = st.text(max_size=300)


def ref_of(name: str, namespace: str, metadata: dict[str, str]) -> Any:
    return generated().messages.ScaledObjectRef(name=name, namespace=namespace, scalerMetadata=metadata)


@given(TEXT, TEXT, st.dictionaries(TEXT, TEXT, max_size=5), TEXT)
def test_requests_are_read_as_the_library_writes_them(
    name: str, namespace: str, metadata: dict[str, str], metric: str
) -> None:
    ref = ref_of(name, namespace, metadata)
    assert read_ref(ref.SerializeToString()) == (name, namespace, metadata)
    request = generated().messages.GetMetricsRequest(scaledObjectRef=ref, metricName=metric)
    read = read_metrics_request(request.SerializeToString())
    assert read.metric == metric
    assert read.ref == (name, namespace, metadata)


@given(st.binary(max_size=60) | st.lists(st.sampled_from([*b"\x0a\x12\x1a\x02\x01\x80ab\xff"])).map(bytes))
def test_any_bytes_are_read_as_the_library_reads_them_or_refused(raw: bytes) -> None:
    """Of groups, which proto3 does not have, the library skips what is in them; they are refused here."""
    for read, kind in ((read_ref, "ScaledObjectRef"), (read_metrics_request, "GetMetricsRequest")):
        try:
            ours: Any = read(raw)
        except ValueError:
            continue
        theirs = getattr(generated().messages, kind).FromString(raw)
        if kind == "GetMetricsRequest":
            assert ours.metric == theirs.metricName
            ours, theirs = ours.ref, theirs.scaledObjectRef
        assert ours.name == theirs.name
        assert ours.namespace == theirs.namespace
        assert dict(ours.metadata) == dict(theirs.scalerMetadata)


def test_fields_that_a_later_keda_adds_are_passed_over() -> None:
    whole = ref_of("a", "b", {"target": "mail"}).SerializeToString()
    later = b"\x20\x07" + b"\x29" + b"\0" * 8 + b"\x35" + b"\0" * 4 + b"\x3a\x02hi"
    assert read_ref(later + whole + later) == ("a", "b", {"target": "mail"})


def test_a_message_that_comes_in_parts_is_merged() -> None:
    first, second = (ref_of("", "", {key: "1"}).SerializeToString() for key in "ab")
    raw = b"".join(b"\x0a" + bytes([len(part)]) + part for part in (first, second))
    assert read_metrics_request(raw).ref.metadata == {"a": "1", "b": "1"}


@pytest.mark.parametrize(
    "raw",
    [
        b"\x0a",  # no length
        b"\x0a\x05mail",  # shorter than its length
        b"\x0a" + b"\xff" * 11,  # a number without an end
        b"\x0a\x01\xff",  # not UTF-8
        b"\x08\x01",  # a number instead of a text
        b"\x02\x00",  # field 0
        b"\x0b\x0c",  # a group
        b"\x19\0",  # a double of one byte
        b"\x1a\x02\x08\x01",  # an entry whose key is a number
    ],
)
def test_what_is_no_message_is_refused(raw: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        read_ref(raw)


@given(st.integers(0, 2**31), st.text(min_size=1, max_size=60))
def test_answers_are_what_the_library_reads(number: int, metric: str) -> None:
    messages = generated().messages
    (spec,) = messages.GetMetricSpecResponse.FromString(metric_spec_response(metric, number)).metricSpecs
    assert (spec.metricName, spec.targetSize, spec.targetSizeFloat) == (metric, number, float(number))
    (value,) = messages.GetMetricsResponse.FromString(metrics_response(metric, number)).metricValues
    assert (value.metricName, value.metricValue, value.metricValueFloat) == (metric, number, float(number))
    expected = messages.GetMetricsResponse(
        metricValues=[{"metricName": metric, "metricValue": number, "metricValueFloat": float(number)}]
    )
    assert metrics_response(metric, number) == expected.SerializeToString()


@pytest.mark.parametrize("active", [True, False])
def test_activity_is_what_the_library_reads(active: bool) -> None:  # noqa: FBT001
    message = generated().messages.IsActiveResponse(result=active)
    assert is_active_response(active=active) == message.SerializeToString()
