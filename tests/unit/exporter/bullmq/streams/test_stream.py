"""What a stream keeps: its commands are put together when they are sent, and its tallies are small."""

from __future__ import annotations

import tracemalloc
from typing import Final

import pytest

from exporter.bullmq.streams.events import Jobs
from exporter.bullmq.streams.stream import Stream
from exporter.redis.protocol import pack
from exporter.snapshot.queues import QueueId

_MANY: Final = 500
_MOST_BYTES: Final = 2_200  # of a stream and its jobs, before the first event


@pytest.mark.parametrize("name", ["mail", "{a}-b", "50%b %d", "größe", "\udcff"])
def test_commands(name: str) -> None:
    stream = Stream(QueueId("bull", name), Jobs(), 0.0)
    key = f"bull:{name}:"
    assert stream.memory_request == pack("MEMORY", "USAGE", key + "events", "SAMPLES", 0)
    assert stream.info_request == pack("XINFO", "STREAM", key + "events", "FULL", "COUNT", 1)
    assert stream.short_info_request == pack("XINFO", "STREAM", key + "events")
    assert stream.length_request == pack("XLEN", key + "events")
    assert stream.counts_requests == (
        pack("LLEN", key + "wait"),
        pack("LLEN", key + "paused"),
        pack("ZCARD", key + "prioritized"),
        pack("LLEN", key + "active"),
        pack("HMGET", key + "meta", "opts.maxLenEvents"),
    )
    assert stream.active_memory_request == pack("MEMORY", "USAGE", key + "active", "SAMPLES", 0)
    assert stream.active_request(measured=True) == pack("LRANGE", key + "active", 0, 999)
    assert stream.active_request(measured=False) == pack("LRANGE", key + "active", 0, 99)
    assert stream.sample_request(7) == pack("MEMORY", "USAGE", key + "events", "SAMPLES", 7)


def test_durations_that_did_not_change_are_the_same_objects() -> None:
    jobs = Jobs()
    assert jobs.counters().wait is Jobs().counters().wait, "nothing has waited: one object for all queues"
    jobs.feed([[b"1000-0", [b"event", b"waiting", b"jobId", b"1"]]])
    jobs.feed([[b"2000-0", [b"event", b"active", b"jobId", b"1"]]])
    first = jobs.counters()
    jobs.feed([[b"3000-0", [b"event", b"completed", b"jobId", b"1"]]])
    second = jobs.counters()
    assert (sum(first.wait.counts), first.wait.total) == (1, 1.0)
    assert second.wait is first.wait
    assert sum(first.processing["completed"].counts) == 0
    assert (sum(second.processing["completed"].counts), second.processing["completed"].total) == (1, 1.0)


def test_bytes_of_a_stream() -> None:
    """Python's own count of bytes, which no load changes."""
    buckets = (0.1, 1.0, 10.0)
    Stream(QueueId("bull", "first"), Jobs(buckets), 0.0)
    tracemalloc.start()
    try:
        streams = [Stream(QueueId("bull", f"queue-{number}"), Jobs(buckets), 0.0) for number in range(_MANY)]
        traced, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert traced / len(streams) < _MOST_BYTES
