from __future__ import annotations

import pytest

from exporter.bullmq.bull.limits import (
    MAX_AT_ONCE_BYTES,
    MAX_BYTES_PER_SECOND,
    Outflow,
    why_too_large,
    why_too_many,
)


@pytest.mark.parametrize(
    ("octets", "active", "why"),
    [
        (500, 1000, ""),
        (65_536, 1, ""),
        (65_537, 0, "a job returned 64 KiB, and the message of its end has all of it"),
        (20_480, 52, "52 active jobs that return 20 KiB each may end at once"),
        (900, 2000, "2000 active jobs that return 900 bytes each may end at once"),
    ],
)
def test_what_is_too_large(octets: float, active: int, why: str) -> None:
    assert why_too_large(octets, active) == why


def test_what_is_too_many() -> None:
    assert why_too_many(5 * 1024 * 1024) == "the messages of jobs that end have 5120 KiB a second"


def test_what_redis_would_keep_in_a_minute_of_standstill_stays_under_8_mb() -> None:
    outflow = Outflow()
    seconds = 0
    while not outflow.is_too_much(MAX_BYTES_PER_SECOND + 10_000, 1.0):
        seconds += 1
    assert seconds == MAX_AT_ONCE_BYTES // 10_000
    assert not any(outflow.is_too_much(MAX_BYTES_PER_SECOND, 1.0) for _ in range(1000))
    assert 60 * MAX_BYTES_PER_SECOND < 8_000_000


def test_a_burst_is_read_as_it_comes() -> None:
    outflow = Outflow()
    assert not outflow.is_too_much(MAX_AT_ONCE_BYTES, 1.0)
    assert outflow.is_too_much(MAX_AT_ONCE_BYTES, 1.0)
    assert not outflow.is_too_much(MAX_AT_ONCE_BYTES, 1.0)  # the queue with most messages was given up
