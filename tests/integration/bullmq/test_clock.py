"""Ages while the exporter's clock and that of Redis differ by minutes."""

from __future__ import annotations

import time

import pytest

from lab.bullmq import BullMQ
from lab.redis import RedisServer
from tests.support.bullmq import WatchOf, of
from tests.support.deployments import collect


def shift(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Set this process' clock."""
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + seconds)


@pytest.mark.fault
@pytest.mark.parametrize("seconds", [300.0, -300.0])
@pytest.mark.parametrize("source", ["INFO", "TIME"])
def test_our_clock_changes_no_age(
    server: RedisServer, watch: WatchOf, monkeypatch: pytest.MonkeyPatch, seconds: float, source: str
) -> None:
    server.cli("flushall")
    if source == "TIME":  # as of a server whose INFO has no clock
        monkeypatch.setattr("exporter.redis.deployment.server_time", lambda info: None)
    with BullMQ(6, url=server.url) as bullmq:
        bullmq.start_worker("mail", behaviour={"hold": True})
        bullmq.add("mail")
        bullmq.wait_for_counts("mail", {"active": 1})
        bullmq.add("mail")
        bullmq.add("mail", delay=30_000)
        bullmq.add("mail", delay=100_000)
        shift(monkeypatch, seconds)
        monitor = watch(server)
        queue = of(monitor.read_all(), "mail")
        assert (queue.delayed_overdue, queue.delayed_due) == (0, 1)
        assert queue.oldest_waiting is not None
        assert queue.oldest_waiting < 60
        assert queue.longest_active is not None
        assert queue.longest_active < 60
        # A collection that runs while our clock is set is right as well.
        shift(monkeypatch, -2 * seconds)
        queue = of(monitor.collect(), "mail")
        assert (queue.delayed_overdue, queue.delayed_due) == (0, 1)


def test_the_difference_is_a_reading(
    server: RedisServer, watch: WatchOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    deployment = watch(server).deployment
    (reading,) = collect(deployment).readings().values()
    assert reading.clock_offset == pytest.approx(0, abs=1)
    shift(monkeypatch, 300)
    (reading,) = collect(deployment).readings().values()
    assert reading.clock_offset == pytest.approx(-300, abs=1)


def test_a_server_that_shows_no_clock_is_asked_once(
    server: RedisServer, watch: WatchOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("exporter.redis.deployment.server_time", lambda info: None)
    server.cli("flushall")
    server.cli("acl", "setuser", "blind", "on", "nopass", "~*", "+@all", "-time")
    server.cli("acl", "log", "reset")
    server.cli("lpush", "bull:mail:wait", "1")
    monitor = watch(server, redis={"username": "blind", "password": "any"}, queues=["mail"])
    for _ in range(3):
        assert of(monitor.collect(), "mail").jobs.waiting == 1
    refusals = server.cli("acl", "log").splitlines()
    assert refusals[refusals.index("count") + 1] == "1"
    (reading,) = collect(monitor.deployment).readings().values()
    assert reading.clock_offset is None
