from __future__ import annotations

import pytest

from exporter.redis.clocks import Clocks, parse_time, server_time
from exporter.redis.protocol import Reply, ReplyError
from exporter.snapshot.redis import Info


@pytest.mark.parametrize(
    ("text", "expected"),
    [("1795856627470303", 1795856627.470303), ("", None), ("-1", None), ("nan", None), (None, None)],
)
def test_the_clock_in_info(text: str | None, expected: float | None) -> None:
    assert server_time(Info({} if text is None else {"server_time_usec": text})) == expected


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ([b"1795856627", b"500000"], 1795856627.5),
        ([b"1795856627", b"x"], None),
        ([b"9" * 5000, b"0"], None),
        ([b"1795856627"], None),
        ([1, 2], None),
        (b"1795856627", None),
        (None, None),
        (ReplyError("NOPERM ..."), None),
    ],
)
def test_the_reply_to_time(reply: Reply, expected: float | None) -> None:
    assert parse_time(reply) == expected


def test_a_clock_goes_on_from_the_middle_of_its_exchange() -> None:
    clocks = Clocks()
    assert clocks.at("a:1", 100.0) is None
    clocks.learn("a:1", 5000.0, sent=100.0, received=100.2)
    assert clocks.at("a:1", 160.1) == pytest.approx(5060.0)


def test_a_slow_exchange_does_not_replace_a_reading() -> None:
    clocks = Clocks()
    clocks.learn("a:1", 5000.0, sent=100.0, received=104.0)  # better than none
    assert clocks.at("a:1", 102.0) == pytest.approx(5000.0)
    clocks.learn("a:1", 6000.0, sent=102.0, received=102.0)
    clocks.learn("a:1", 7000.0, sent=110.0, received=114.0)
    assert clocks.at("a:1", 112.0) == pytest.approx(6010.0)


def test_nodes_that_left_are_forgotten() -> None:
    clocks = Clocks()
    for address in ("a:1", "b:1"):
        clocks.learn(address, 1.0, 0.0, 0.0)
    clocks.forget_others(["b:1", "c:1"])
    assert (clocks.at("a:1", 0.0), clocks.at("b:1", 0.0)) == (None, 1.0)
