from __future__ import annotations

import pytest

from exporter.bullmq.streams.protocol import StreamInfo, entries_of, stream_info
from exporter.redis.protocol import Reply, ReplyError

ENTRY: list[Reply] = [b"5-1", [b"event", b"added"]]
COMMON: list[Reply] = [b"length", 2, b"radix-tree-keys", 1, b"last-generated-id", b"7-0", b"entries-added", 9]


NO_ID: list[Reply] = [[b"x", []]]


@pytest.mark.parametrize("end", [[b"entries", [ENTRY]], [b"first-entry", ENTRY, b"last-entry", ENTRY]])
def test_both_forms(end: list[Reply]) -> None:
    info = stream_info([*COMMON, *end])
    assert info == StreamInfo(True, 2, 1, b"7-0", b"5-1", 9, 10)


@pytest.mark.parametrize("end", [[b"entries", []], [b"first-entry", None]])
def test_a_stream_without_entries(end: list[Reply]) -> None:
    info = stream_info([b"length", 0, b"last-generated-id", b"7-0", *end])
    assert isinstance(info, StreamInfo)
    assert (info.first, info.added, info.complete) == (None, None, False)


def test_no_stream_is_no_error_and_an_error_is() -> None:
    assert stream_info(ReplyError("ERR no such key")) == StreamInfo(added=0)
    refused = ReplyError("NOPERM no")
    assert stream_info(refused) is refused


@pytest.mark.parametrize(
    "reply",
    [
        *(None, 3, b"text", [b"length"], [b"length", b"x"], [*COMMON[2:]], [*COMMON, b"entries", NO_ID]),
        [b"length", 2, b"last-generated-id", 1 << 40],
        [b"length", b"2", b"last-generated-id", b"7-0"],
        [b"length", 2, b"last-generated-id", b"7-0", b"entries-added", b"9"],
        [b"length", 2, b"last-generated-id", b"9" * 400],
    ],
)
def test_what_makes_no_sense_is_an_error(reply: Reply) -> None:
    assert isinstance(stream_info(reply), ReplyError)


def test_the_entries_of_each_stream() -> None:
    assert entries_of(None) == {}
    assert entries_of([[b"a", [ENTRY, ENTRY]], [b"b", []]]) == {b"a": [ENTRY, ENTRY], b"b": []}
    refused = ReplyError("WRONGTYPE no")
    assert entries_of(refused) is refused


@pytest.mark.parametrize(
    "reply",
    [
        *(1, b"text", [1], [[b"a"]], [[b"a", 1]], [[b"a", None]], [[b"a", [1]]], [[b"a", [[]]]]),
        *([[b"a", [[b"5-1"]]]], [[b"a", [[b"5-1", None]]]]),
        *([[b"a", [[b"x", []]]]], [[b"a", [[5, []]]]], [[b"a", [ENTRY, [b"9" * 400, []], ENTRY]]]),
    ],
)
def test_an_answer_of_xread_that_makes_no_sense_is_an_error(reply: Reply) -> None:
    assert isinstance(entries_of(reply), ReplyError)
