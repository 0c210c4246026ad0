"""A server that answers in time, but not all the commands of a collection within one time-out."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bench.queues import fill
from exporter.bullmq.streams.protocol import MAX_STREAMS
from lab.redis import RedisServer, start_redis
from tests.support.bullmq import Watch, WatchOf
from tests.support.forwarder import Forwarder

pytestmark = pytest.mark.timeout(120)

QUEUES = 2_500
TIMEOUT = 2.0
PACE = 60_000.0  # bytes a second: all answers take twice the time-out, those of one piece a quarter of it


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with start_redis() as started:
        started.wait()
        fill(started.port, queues=QUEUES, jobs_per_queue=0)
        yield started


@pytest.fixture
def slow(server: RedisServer) -> Iterator[Forwarder]:
    with Forwarder((server.host, server.port)) as forwarder:
        yield forwarder


def monitor(watch: WatchOf, server: RedisServer, forwarder: Forwarder) -> Watch:
    """One that knows the queues."""
    url = f"redis://{forwarder.address}"
    monitor = watch(server, redis={"url": url, "timeout_seconds": TIMEOUT}, prefixes=["bull"])
    assert len(monitor.read_all().queues) == QUEUES
    return monitor


def test_a_slow_server_loses_no_counts(watch: WatchOf, server: RedisServer, slow: Forwarder) -> None:
    exporter = monitor(watch, server, slow)
    slow.pace = PACE
    state = exporter.collect(30)
    assert (len(state.queues), len(state.unread)) == (QUEUES, 0)


def test_what_has_come_is_kept(watch: WatchOf, server: RedisServer, slow: Forwarder) -> None:
    exporter = monitor(watch, server, slow)
    slow.remaining = 120_000
    state = exporter.collect(30)
    assert len(state.queues) + len(state.unread) == QUEUES
    assert state.queues
    assert {failed.kind for failed in state.unread.values()} == {"timeout"}


def test_no_command_names_more_streams_than_take_a_moment(
    watch: WatchOf, server: RedisServer, slow: Forwarder
) -> None:
    exporter = monitor(watch, server, slow)
    exporter.follow()
    calls = server.facts("info", "commandstats")
    exporter.follow()
    after = server.facts("info", "commandstats")
    assert _calls(after, "xread") - _calls(calls, "xread") == -(-QUEUES // MAX_STREAMS)


def _calls(stats: dict[str, str], command: str) -> int:
    fields = dict(part.split("=") for part in stats.get(f"cmdstat_{command}", "calls=0").split(","))
    return int(fields["calls"])
