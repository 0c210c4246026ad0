from __future__ import annotations

import json

import pytest

from service.json_text import TooLargeJsonError, check_json_size, parsed_size

SERIES = {
    "metric": {
        "__name__": "bullmq_job_count",
        "instance": "10.0.0.1:9877",
        "queue": "mail",
        "state": "active",
    },
    "value": [1700000000.123, "12"],
}


@pytest.mark.fault
@pytest.mark.parametrize("text", [b"[]", b"{}", b'{"a":1}', b"[[[[[[1]]]]]]"])
def test_many_small_values_are_refused_by_what_they_take(text: bytes) -> None:
    with pytest.raises(TooLargeJsonError, match="more than 1 MiB"):
        check_json_size(b"[" + b",".join([text] * 20_000) + b"]", 1 << 20)


def test_what_a_series_takes_is_a_few_times_its_bytes() -> None:
    text = json.dumps([SERIES] * 1000).encode()
    assert len(text) < parsed_size(text) < 8 * len(text)
    check_json_size(text)


def test_marks_within_a_string_are_no_values() -> None:
    name = '{["\\,' * 1000
    text = json.dumps([{"queue": name}] * 100).encode()
    assert parsed_size(text) > 4 << 20
    check_json_size(text, 4 << 20)
