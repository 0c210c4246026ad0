from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.bullmq.bull.channels import (
    MAX_MESSAGE_BYTES,
    ChannelMessage,
    Confirmed,
    MessageParser,
    NotPushedError,
    Pong,
    Received,
    Refused,
    TooLargeError,
    subscribe_ends,
    subscribe_patterns,
    unsubscribe_ends,
)
from exporter.redis.protocol import pack
from exporter.snapshot.queues import QueueId


def parsed(*chunks: bytes) -> list[Received]:
    parser = MessageParser()
    return [received for chunk in chunks for received in parser.feed(chunk)]


def message(channel: str, payload: str) -> bytes:
    return pack("message", channel, payload)


ENDED = message("bull:mail:completed", '{"jobId":"7","val":"\\"done\\""}')
STARTED = pack("pmessage", "bull:*:active@*", "bull:mail:active@a-b", "7")


@pytest.mark.parametrize(
    ("channel", "payload", "kind", "job"),
    [
        ("bull:mail:completed", '{"jobId":"7","val":"null"}', "completed", b"7"),
        ("bull:mail:failed", '{"jobId":"7", "val": "job stalled more than maxStalledCount"}', "failed", b"7"),
        ("bull:mail:completed", '{"jobId":7,"val":null}', "completed", b"7"),
        ("bull:mail:completed", '{"jobId":"a\\"b\\\\c\\u00e9","val":1}', "completed", 'a"b\\cé'.encode()),
        ("bull:mail:completed", '{"jobId":"7","val":"\\"jobId\\":\\"8\\""}', "completed", b"7"),
        ("bull:mail:completed", "[]", "completed", None),
        ("bull:mail:completed", '{"jobId":"\\x"}', "completed", None),
        ("bull:mail:active@token", "repeat:1:2", "active", b"repeat:1:2"),
        ("bull:mail:waiting@token", "7", "waiting", b"7"),
        ("bull:mail:stalled@", "7", "stalled", b"7"),
        ("bull:mail:duplicated@token", "7", "duplicated", b"7"),
        ("bull:mail:debounced@token", "7", "debounced", b"7"),
    ],
)
def test_messages(channel: str, payload: str, kind: str, job: bytes | None) -> None:
    raw = message(channel, payload)
    [received] = parsed(raw)
    assert isinstance(received, ChannelMessage)
    assert received[:4] == (b"bull:mail:", kind, job, len(raw))


def test_a_prefix_and_a_name_may_have_colons() -> None:
    (received,) = parsed(message("a:b:c:d:active@t", "7"))
    assert isinstance(received, ChannelMessage)
    assert received.base == b"a:b:c:d:"


@pytest.mark.parametrize("channel", ["bull:mail:progress", "bull:mail:delayed", "news", "bull:mail:activex@"])
def test_other_channels_are_ignored(channel: str) -> None:
    assert parsed(message(channel, "7")) == []


def test_what_redis_answers() -> None:
    confirmed = b"*3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n"
    unsubscribed = b"*3\r\n$11\r\nunsubscribe\r\n$1\r\nc\r\n:0\r\n"
    pong = b"*2\r\n$4\r\npong\r\n$2\r\n12\r\n"
    assert parsed(confirmed + unsubscribed + pong + b"$1\r\n3\r\n-NOPERM no\r\n") == [
        Confirmed(b"c"),
        Pong(b"12"),
        Pong(b"3"),
        Refused("NOPERM no"),
    ]


@given(st.lists(st.sampled_from([ENDED, STARTED, b"-NOPERM no\r\n"])), st.lists(st.integers(1, 60)))
def test_bytes_may_arrive_in_any_parts(messages: list[bytes], cuts: list[int]) -> None:
    raw = b"".join(messages)
    chunks = []
    for cut in cuts:
        chunks.append(raw[:cut])
        raw = raw[cut:]
    assert parsed(*chunks, raw) == parsed(*messages)


def test_a_message_that_is_too_large_is_refused_before_it_arrives() -> None:
    announced = MAX_MESSAGE_BYTES + 1
    head = b"*3\r\n$7\r\nmessage\r\n$19\r\nbull:mail:completed\r\n$%d\r\n" % announced
    parser = MessageParser()
    received: list[Received] = []
    with pytest.raises(TooLargeError) as error:
        received.extend(parser.feed(ENDED + head))
    assert (error.value.channel, error.value.size) == (b"bull:mail:completed", announced)
    assert len(received) == 1


def test_the_largest_message_is_received() -> None:
    payload = '{"jobId":"7"}'.ljust(MAX_MESSAGE_BYTES)
    assert len(parsed(message("bull:mail:completed", payload))) == 1


@pytest.mark.parametrize("raw", [b"HTTP/1.1 400 Bad Request\r\n", b"*x\r\n", b"*1\r\n?\r\n", b"*1\r\n$x\r\n"])
def test_another_protocol(raw: bytes) -> None:
    with pytest.raises(NotPushedError):
        parsed(raw)


@pytest.mark.fault
@pytest.mark.parametrize(
    "raw",
    [
        b"*1000000\r\n" + b":1\r\n" * 100,
        b"*5\r\n" + b"$65536\r\n",
        b"+" + b"x" * 70_000,
        b"*2\r\n$" + b"9" * 70_000,
    ],
)
def test_a_message_without_end_is_not_kept_until_it_ends(raw: bytes) -> None:
    with pytest.raises(NotPushedError):
        parsed(raw)


def test_subscriptions() -> None:
    queue = QueueId("bull", "mail")
    assert subscribe_ends(queue) == (pack("SUBSCRIBE", "bull:mail:completed", "bull:mail:failed"), 2)
    assert unsubscribe_ends(queue) == pack("UNSUBSCRIBE", "bull:mail:completed", "bull:mail:failed")
    kinds = ("active", "waiting", "stalled", "duplicated", "debounced")
    assert subscribe_patterns(["b*[l]"]) == (
        pack("PSUBSCRIBE", *(f"b\\*\\[l\\]:*:{kind}@*" for kind in kinds)),
        5,
    )


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        ('{"jobId":"7","val":"disk full"}', b"disk full"),
        ('{"jobId":"7","val":"caf\\u00e9"}', "café".encode()),
        ('{"jobId":"7","val":"\\ud800"}', b"?"),
        ('{"jobId":"7","val":{"a":1}}', b""),
        ('{"jobId":"7"}', b""),
        ('["val"]', b""),
        ('{"jobId":"7","val":"cut', b""),
        ("[" * 30_000, b""),
    ],
)
def test_why_a_job_failed(payload: str, reason: bytes) -> None:
    [received] = parsed(message("bull:mail:failed", payload))
    assert isinstance(received, ChannelMessage)
    assert received.reason == reason
    [completed] = parsed(message("bull:mail:completed", payload))
    assert isinstance(completed, ChannelMessage)
    assert completed.reason == b"", "what a job returned is not read"
