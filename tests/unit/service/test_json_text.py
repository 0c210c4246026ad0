from __future__ import annotations

import json
import tracemalloc
from typing import Any

import pytest
from hypothesis import given

from service.json_text import json_text, read_json
from tests.support.any_json import ANY_JSON, STEERING


@pytest.mark.fault
def test_no_sign_that_steers_a_terminal_is_in_json_and_none_is_lost() -> None:
    everything = {"name": "".join(STEERING), "plain": "grüße ✉ 日本語 עברית"}
    text = json_text(everything)
    assert text.isprintable()
    assert "grüße ✉ 日本語 עברית" in text
    assert json.loads(text) == everything


@given(ANY_JSON)
def test_it_is_the_same_json(value: Any) -> None:
    text = json_text(value)
    assert text.isprintable()
    assert json.loads(text) == value


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\xff",
        b"{",
        b"NaN",
        b"[Infinity]",
        b"-Infinity",
        b"1e999",
        b"9" * 21,
        b'"\\ud800"',
        b'{"\\udc00": 1}',
        b'"\xed\xa0\x80"',
        b"[" * 100_000,
        b'{"a":' * 100_000,
    ],
)
def test_what_no_program_can_write_again_is_not_read(raw: bytes) -> None:
    with pytest.raises(ValueError):
        read_json(raw)


def test_what_is_read() -> None:
    raw = json.dumps({"a": [1, 2.5, 2**64, "é😀", None, True]}).encode()
    assert read_json(raw) == json.loads(raw)
    assert read_json(b"\xef\xbb\xbf{}") == {}


@pytest.mark.fault
@pytest.mark.parametrize("part", [b"[],", b"{},", b'"",', b"1,"])
def test_a_text_that_would_take_very_much_memory_is_not_read(part: bytes) -> None:
    raw = b"[" + part * 1_000_000 + b"0]"
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="more than 32 MiB"):
            read_json(raw, most=32 << 20)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 32 << 20
