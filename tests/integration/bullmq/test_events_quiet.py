"""What Redis is asked of queues in which nothing happens, and that all that happens in them is seen."""

from __future__ import annotations

import socket

import pytest

from bench.queues import exchange
from exporter.bullmq.streams import stream
from exporter.redis.protocol import pack
from exporter.snapshot.queues import QueueId
from lab.bullmq import BullMQ
from lab.redis import RedisServer
from tests.support.bullmq import Watch, WatchOf, counters, wait_for

QUEUES = [f"quiet-{number}" for number in range(30)]


@pytest.fixture
def settled(server: RedisServer, watch: WatchOf, monkeypatch: pytest.MonkeyPatch) -> Watch:
    """A follower that has checked the streams of all queues, each with one job, and read nothing since."""
    monkeypatch.setattr(stream, "CHECK_IDLE", 0.0)
    server.cli("flushall")
    with BullMQ(6, url=server.url) as bullmq:
        for name in QUEUES:
            bullmq.add(name)
    monitor = watch(server)
    monitor.read_all()
    for _ in range(3):
        monitor.follow()
    monkeypatch.undo()
    server.cli("config", "resetstat")
    return monitor


def calls(server: RedisServer) -> dict[str, int]:
    rows = server.facts("info", "commandstats")
    return {
        name.removeprefix("cmdstat_").partition("|")[0]: int(row.partition("calls=")[2].partition(",")[0])
        for name, row in rows.items()
        if name.startswith("cmdstat_")
    }


def test_of_quiet_queues_only_lengths_are_asked(server: RedisServer, settled: Watch) -> None:
    for _ in range(4):
        settled.follow()
    asked = calls(server)
    assert asked["xlen"] == 4 * len(QUEUES)
    assert not asked.keys() & {"xread", "xinfo", "memory", "llen", "zcard"}


def test_a_job_is_counted_in_the_round_after_it(server: RedisServer, settled: Watch) -> None:
    with BullMQ(6, url=server.url) as bullmq:
        bullmq.add(QUEUES[3])
        settled.follow()
        assert counters(settled.follower.events()[_id(QUEUES[3])])["added"] == 1
        worker = bullmq.start_worker(QUEUES[3])
        wait_for(settled, QUEUES[3], {"added": 1, "started": 2, "completed": 2})
        bullmq.stop_worker(worker)
    others = {name: counters(settled.follower.events()[_id(name)]) for name in QUEUES if name != QUEUES[3]}
    assert not any(others.values())
    assert calls(server)["xread"] < len(QUEUES)


def test_an_obliterated_queue_and_its_successor_are_told_apart(server: RedisServer, settled: Watch) -> None:
    with BullMQ(6, url=server.url) as bullmq:
        bullmq.obliterate(QUEUES[5])
        settled.follow()
        events = settled.follower.events()[_id(QUEUES[5])]
        assert (events.gaps, events.lost) == (1, 0)
        bullmq.add(QUEUES[5])
        assert counters(settled.events(QUEUES[5]))["added"] == 1


def test_events_that_leave_the_length_as_it_was_are_read_after_the_scrape_that_sees_them(
    server: RedisServer, settled: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As many are trimmed as come where a stream is full: Redis trims it by whole nodes of a hundred."""
    name, key = QUEUES[7], f"bull:{QUEUES[7]}:events"
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as redis:
        pipeline(redis, [xadd(key)] * 10_100)
        settled.events(name)
        monkeypatch.setattr(stream, "CHECK_IDLE", 0.0)
        for _ in range(3):
            settled.follow()
        monkeypatch.undo()
        settled.collect()
        settled.collect()  # counted once more, now that the follower has read it all
        before, length = settled.events(name).read, server.cli("xlen", key)
        pipeline(redis, [xadd(key)] * 100)
    assert server.cli("xlen", key) == length
    settled.follow()
    assert settled.follower.events()[_id(name)].read == before
    settled.collect()
    settled.follow()
    assert settled.follower.events()[_id(name)].read == before + 100


def xadd(key: str) -> bytes:
    """An event that BullMQ may write, trimmed as it does."""
    return pack("XADD", key, "MAXLEN", "~", 10_000, "*", "event", "drained")


def pipeline(redis: socket.socket, commands: list[bytes]) -> None:
    exchange(redis, b"".join(commands), len(commands))


def _id(name: str) -> QueueId:
    return QueueId("bull", name)
