"""A stream that is another one now is no failover; where events are missing, no rate is shown."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from typing import Any

import pytest

from exporter.bullmq.streams import rates, stream
from exporter.config.health import HealthSettings
from exporter.health import assess
from exporter.snapshot.queues import QueueId, Rates
from exporter.snapshot.whole import Snapshot
from lab.bullmq import BullMQ
from lab.deadline import wait_until
from lab.redis import RedisServer, start_redis
from service.catalogs import ENGLISH
from service.outcome import Ok
from tests.support.bullmq import Watch, WatchOf, wait_for, watched
from tests.support.large_streams import add_completed

pytestmark = pytest.mark.timeout(120)

MAIL = QueueId("bull", "mail")
KEY = "bull:mail:events"
GONE: dict[str, Any] = {"removeOnComplete": True}


@pytest.fixture
def own() -> Iterator[RedisServer]:
    with start_redis() as started:
        yield started


@pytest.fixture
def quick_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "_CHECK_BUSY", 0.0)
    monkeypatch.setattr(stream, "CHECK_IDLE", 0.0)


@pytest.fixture
def quick_rates(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rates, "_WINDOW_STEP", 0.0)
    monkeypatch.setattr(rates, "_MIN_SECONDS", 0.0)
    monkeypatch.setattr(rates, "_HOUR_STEP", 0.0)


def test_a_deleted_stream_is_no_failover(own: RedisServer, watch: WatchOf) -> None:
    """Deleted under load, with the usual time between two looks at the stream's own counts."""
    monitor = watched(watch, own, "mail")
    with BullMQ(6, url=own.url) as bullmq:
        worker = bullmq.start_worker("mail", concurrency=5)
        jobs = 0
        for turn in range(60):
            bullmq.add_bulk("mail", 4, **GONE)
            jobs += 4
            monitor.follow()
            if turn % 12 == 11:
                own.cli("del", KEY)
        wait_until(lambda: bullmq.tally(worker)["returned"] == jobs, what="all jobs")
        wait_until(lambda: monitor.events("mail").gaps >= 1, what="it is reported", seconds=30)
        events = monitor.events("mail")
    assert events.undone == 0
    assert events.counters.completed <= jobs


@pytest.mark.parametrize("read_before", [True, False], ids=["read between", "unread between"])
def test_what_the_new_stream_lost_is_counted_at_least(
    own: RedisServer, watch: WatchOf, quick_checks: None, *, read_before: bool
) -> None:
    monitor = watched(watch, own, "mail")
    add_completed(own, "mail", [60] * 40)
    assert monitor.events("mail").read == 40
    if read_before:
        add_completed(own, "mail", [60] * 5)
        assert monitor.events("mail").read == 45
    own.cli("del", KEY)
    add_completed(own, "mail", [60] * 30)
    own.cli("xtrim", KEY, "maxlen", 10)
    events = monitor.events("mail")
    assert (events.undone, events.lost, events.gaps) == (0, 20, 1)
    add_completed(own, "mail", [60] * 5)
    events = monitor.events("mail")
    assert (events.read, events.lost, events.gaps) == (15 + (45 if read_before else 40), 20, 1)


@pytest.mark.fault
@pytest.mark.parametrize("quick", [True, False], ids=["looked at", "not looked at"])
def test_a_stream_written_anew_with_earlier_ids_is_lost_as_far_as_it_is_unread(
    own: RedisServer, watch: WatchOf, monkeypatch: pytest.MonkeyPatch, *, quick: bool
) -> None:
    """As after a flush with the clock of Redis set back: after three times with later ids."""
    if quick:
        monkeypatch.setattr(stream, "_CHECK_BUSY", 0.0)
        monkeypatch.setattr(stream, "CHECK_IDLE", 0.0)
    monitor = watched(watch, own, "mail")
    for turn in range(3):
        own.cli("del", KEY)
        add_completed(own, "mail", [60] * 50)
        assert monitor.events("mail").read == 50 * (turn + 1)
    own.cli("del", KEY)
    for number in range(10):
        own.cli("xadd", KEY, f"{1_500_000_000_000 + number}-0", "event", "completed", "jobId", number)
    wait_until(lambda: monitor.events("mail").lost == 10, what="they are told as lost", seconds=30)
    add_completed(own, "mail", [60] * 2)
    wait_until(lambda: monitor.events("mail").read == 152, what="what comes is counted", seconds=30)
    events = monitor.events("mail")
    assert (events.lost, events.undone, events.counters.completed) == (10, 0, 152)


def test_a_deletion_right_after_the_first_events_is_told(own: RedisServer, watch: WatchOf) -> None:
    """Before the stream's own counts were looked at once."""
    monitor = watched(watch, own, "mail")
    add_completed(own, "mail", [60] * 3)
    assert monitor.events("mail").read == 3
    own.cli("del", KEY)
    wait_until(lambda: monitor.events("mail").gaps == 1, what="it is reported", seconds=30)


def test_a_stream_that_another_one_replaced(own: RedisServer, watch: WatchOf, quick_checks: None) -> None:
    monitor = watched(watch, own, "mail")
    add_completed(own, "mail", [60] * 40)
    assert monitor.events("mail").read == 40
    add_completed(own, "other", [60] * 7)
    own.cli("rename", "bull:other:events", KEY)
    add_completed(own, "mail", [60] * 3)
    events = monitor.events("mail")
    assert (events.undone, events.gaps) == (0, 1)
    before = events.read
    add_completed(own, "mail", [60] * 4)
    events = monitor.events("mail")
    assert (events.read - before, events.undone, events.gaps) == (4, 0, 1)


def test_a_stream_trimmed_to_nothing_is_the_same_stream(
    own: RedisServer, watch: WatchOf, quick_checks: None
) -> None:
    monitor = watched(watch, own, "mail")
    for kept in (10, 0, 10, 0):
        add_completed(own, "mail", [60] * 10)
        own.cli("xtrim", KEY, "maxlen", kept)
        monitor.events("mail")
    events = monitor.events("mail")
    assert (events.read, events.lost, events.undone, events.gaps) == (20, 20, 0, 0)


def test_a_stream_that_others_use_too(own: RedisServer, watch: WatchOf, quick_checks: None) -> None:
    """Entries that are not BullMQ's, a group that reads and deletes: nothing is lost or undone by them."""
    monitor = watched(watch, own, "mail")
    own.cli("xgroup", "create", KEY, "audit", "$", "mkstream")
    with BullMQ(6, url=own.url) as bullmq:
        bullmq.add_bulk("mail", 5)
        own.cli("xadd", KEY, "*", "note", "of somebody else")
        own.cli("xadd", KEY, "*", "event", "invented", "jobId", "1")
        wait_for(monitor, "mail", {"added": 5})
        reply = own.cli("xreadgroup", "group", "audit", "one", "count", "4", "streams", KEY, ">")
        ids = [line.strip('"') for line in reply.splitlines() if line.strip('"').count("-") == 1]
        own.cli("xdel", KEY, *ids)
        bullmq.add_bulk("mail", 5)
        events = wait_for(monitor, "mail", {"added": 10})
    assert ids
    assert (events.read, events.lost, events.undone, events.gaps) == (22, 0, 0, 0)


def test_no_rate_where_events_were_lost(
    own: RedisServer, watch: WatchOf, quick_checks: None, quick_rates: None
) -> None:
    monitor = watched(watch, own, "mail")
    add_completed(own, "mail", [60] * 10)
    monitor.events("mail")
    add_completed(own, "mail", [60] * 10)
    whole = rates_of(monitor)
    assert (whole.completed_per_minute or 0) > 0
    own.cli("hset", "bull:mail:meta", "opts.maxLenEvents", 10)
    add_completed(own, "mail", [60] * 4000)
    own.cli("xtrim", KEY, "maxlen", 10)
    with_loss = rates_of(monitor)
    assert with_loss.lost_last_hour == 3990
    assert (with_loss.completed_per_minute, with_loss.failed_per_minute, with_loss.error_rate) == (None,) * 3
    snapshot = Snapshot(time.time(), bullmq=Ok(monitor.collect()))
    (issue,) = [found for found in assess(snapshot, HealthSettings()).issues if found.name == "events_lost"]
    advice = ENGLISH.render(issue.recommendation)
    assert "keeps 10 events (opts.maxLenEvents of bull:mail:meta)" in advice
    assert re.search(r"it needs \d+,000: .*maxLen: \d+000}", advice)
    assert "CPU" not in advice


def rates_of(monitor: Watch) -> Rates:
    events = {MAIL: monitor.events("mail")}
    monitor.follow()
    return monitor.follower.rates(events)[MAIL]


def test_a_deleted_stream_takes_the_rate_away(
    own: RedisServer, watch: WatchOf, quick_checks: None, quick_rates: None
) -> None:
    """How many events it had at its end, nobody knows."""
    monitor = watched(watch, own, "mail")
    add_completed(own, "mail", [60] * 10)
    assert rates_of(monitor).completed_per_minute is not None
    own.cli("del", KEY)
    monitor.events("mail")
    assert rates_of(monitor).completed_per_minute is None
