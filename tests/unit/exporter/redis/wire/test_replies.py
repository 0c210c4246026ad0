from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.redis.protocol import ReplyError
from exporter.redis.wire.replies import OWN_BYTES, NotRedisError, ReplyReader, TooLargeReplyError
from exporter.redis.wire.room import ReplyRoom

CHUNK = 1 << 16


def chunks(raw: bytes, size: int = CHUNK) -> Iterator[bytes]:
    return (raw[at : at + size] for at in range(0, len(raw), size))


def read(raw: bytes, reader: ReplyReader | None = None, size: int = CHUNK) -> list[object]:
    reader = reader or ReplyReader()
    return [reply for chunk in chunks(raw, size) for reply in reader.feed(chunk)]


def test_replies_of_each_kind() -> None:
    replies = read(b"+OK\r\n:7\r\n$3\r\nabc\r\n$-1\r\n*2\r\n:1\r\n*0\r\n-ERR no\r\n")
    assert replies[:-1] == [b"OK", 7, b"abc", None, [1, []]]
    assert isinstance(replies[-1], ReplyError)


@given(
    st.recursive(
        st.integers(0, 99) | st.binary(max_size=30) | st.none(), lambda inner: st.lists(inner, max_size=5)
    ),
    st.integers(1, 40),
)
def test_bytes_may_arrive_in_any_parts_although_all_are_counted(reply: object, size: int) -> None:
    reader = ReplyReader(max_parts=1000)
    reader._lines = 1001  # as after so many lines: from here on it counts exactly
    assert read(packed(reply), reader, size) == [reply]


def packed(reply: object) -> bytes:
    match reply:
        case None:
            return b"$-1\r\n"
        case int():
            return b":%d\r\n" % reply
        case bytes():
            return b"$%d\r\n%b\r\n" % (len(reply), reply)
        case list():
            return b"*%d\r\n" % len(reply) + b"".join(map(packed, reply))
    raise TypeError


@pytest.mark.fault
@pytest.mark.parametrize(
    "raw",
    [
        b"*1000000000\r\n",
        b"*2400000\r\n*2400000\r\n",
        b"%1000000000\r\n",
        b"*1000\r\n" * 3000,
        b"*999999\r\n" + b"*0\r\n" * 600_000,
        b"*999999\r\n" + b"*1\r\n*0\r\n" * 600_000,
        b"*999999\r\n" + b"-\r\n" * 600_000,
        b":1\r\n$2\r\n**\r\n*99000000\r\n",
    ],
)
def test_arrays_that_would_take_much_more_than_their_bytes_are_refused_before_they_are_made(
    raw: bytes,
) -> None:
    with pytest.raises(TooLargeReplyError, match="parts"):
        read(raw)


@pytest.mark.fault
def test_arrays_within_arrays_without_end_are_refused() -> None:
    with pytest.raises((NotRedisError, TooLargeReplyError)):
        read(b"*1\r\n" * 100_000)


@pytest.mark.fault
def test_a_text_that_looks_like_a_huge_array_is_a_text() -> None:
    text = b"x\r\n*1000000000\r\n*1000000000\r\n" * 1000
    assert read(packed([text, 1])) == [[text, 1]]


def test_a_text_of_many_lines_is_one_part() -> None:
    text = b"\r\n-" * 2_600_000
    assert read(packed(text)) == [text]


def test_a_line_without_end_costs_no_more_than_its_bytes() -> None:
    def seconds(size: int) -> float:
        reader = ReplyReader(max_parts=2)
        reader._lines = 3  # from here on it counts exactly
        begun = time.process_time()
        for chunk in chunks(b":1\r\n:1\r\n+" + b"x" * size):
            reader.feed(chunk)
        return time.process_time() - begun

    few, many = (min(seconds(size) for _ in range(3)) for size in (2 << 20, 16 << 20))
    assert many < 32 * few  # eight times as many bytes; looked at from their begin each time it would be 64


@pytest.mark.fault
def test_a_text_without_end_is_refused_at_the_limit_of_bytes() -> None:
    reader = ReplyReader(max_bytes=1 << 20)
    with pytest.raises(TooLargeReplyError, match="more than 1 MiB"):
        read(b"$4000000000\r\n" + b"x" * (2 << 20), reader)


def test_each_request_has_all_the_bytes_and_parts() -> None:
    reader = ReplyReader(max_bytes=100, max_parts=10)
    for _ in range(5):
        assert read(packed([b"x" * 50, *range(8)]), reader) == [[b"x" * 50, *range(8)]]
        reader.request_done()


def test_what_is_no_reply() -> None:
    with pytest.raises(NotRedisError):
        read(b"HTTP/1.1 400 Bad Request\r\n")


ENDLESS_TEXT, ENDLESS_LISTS = (b"$4000000000\r\n", b"x" * CHUNK), (b"*400000\r\n", b"*0\r\n" * (CHUNK // 4))


@pytest.mark.fault
@pytest.mark.parametrize(("head", "again"), [ENDLESS_TEXT, ENDLESS_LISTS])
def test_endless_replies_on_many_connections_have_one_bound(head: bytes, again: bytes) -> None:
    room = ReplyRoom(16 << 20)
    readers = {ReplyReader(room=room) for _ in range(20)}
    for reader in readers:
        reader.feed(head)
    most = 0
    while readers and most < 64 << 20:
        for reader in list(readers):
            try:
                reader.feed(again)
            except TooLargeReplyError:
                readers.discard(reader)
            most = max(most, room.taken, sum(each._bytes for each in readers) - 20 * OWN_BYTES)
    del reader
    assert most <= 16 << 20
    assert room.taken == 0


@pytest.mark.fault
def test_the_largest_of_many_replies_has_to_go_and_the_others_are_read() -> None:
    room = ReplyRoom(16 << 20)
    evil, ours = ReplyReader(room=room), ReplyReader(room=room)
    evil.feed(b"$4000000000\r\n" + bytes(7 << 20))
    assert ours.feed(packed(bytes(2 << 20))) == [bytes(2 << 20)]
    with pytest.raises(TooLargeReplyError, match="14 MiB, and others are large too"):
        evil.feed(b"x")
    ours.request_done()
    del evil
    assert room.taken == 0


def test_what_is_small_takes_nothing_of_the_room() -> None:
    room = ReplyRoom(0)
    assert read(packed(bytes(OWN_BYTES // 2 - 100)), ReplyReader(room=room))


def test_memory_is_given_back_once_after_much_of_the_room_was_taken() -> None:
    room = ReplyRoom(100)
    assert room.hold(1, 12)
    room.give_back(1)
    assert not room.was_emptied()
    assert room.hold(1, 40)
    assert room.hold(2, 40)
    room.give_back(1)
    assert not room.was_emptied()
    room.give_back(2)
    assert room.was_emptied()
    assert not room.was_emptied()
