"""Event streams that exist and cannot be read: no counters instead of zeros, and the reason is reported."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from exporter.assessment import Assessment
from exporter.bullmq.keys import slot_of
from exporter.bullmq.streams import follow, read_round, stream
from exporter.config.health import HealthSettings
from exporter.health import assess
from exporter.metrics.render import Renderer
from exporter.snapshot.queues import BullMQState, QueueId
from exporter.snapshot.whole import Snapshot
from lab.bullmq import BullMQ
from lab.cluster import LocalCluster
from lab.redis import RedisError, RedisServer, start_redis
from service import clock
from service.catalogs import ENGLISH
from service.outcome import Ok
from tests.support.bullmq import Watch, WatchOf, wait_for, watched
from tests.support.large_streams import RawConnection

pytestmark = pytest.mark.timeout(120)

GONE: dict[str, Any] = {"removeOnComplete": True}
USER: dict[str, object] = {"username": "reader", "password": "s3cret"}


@pytest.fixture
def own() -> Iterator[RedisServer]:
    with start_redis() as started:
        started.cli("acl", "setuser", "reader", "on", ">s3cret", "~*", "+@all")
        yield started


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "_CHECK_BUSY", 0.0)
    monkeypatch.setattr(stream, "CHECK_IDLE", 0.0)
    monkeypatch.setattr(follow, "CHECK_IDLE", 0.0)


def followed(monitor: Watch, rounds: int = 4) -> BullMQState:
    for _ in range(rounds):
        monitor.follow()
    return monitor.collect()


def issue(state: BullMQState, name: str) -> str:
    """The texts of an issue; empty without it."""
    issues = {
        issue.name: issue
        for issue in assess(Snapshot(time.time(), bullmq=Ok(state)), HealthSettings()).issues
    }
    if name not in issues:
        return ""
    return " ".join(map(ENGLISH.render, (issues[name].measured, issues[name].recommendation)))


@pytest.mark.parametrize("command", ["xread", "xinfo"])
def test_a_refused_command_leaves_no_counters_until_it_is_allowed(
    own: RedisServer, watch: WatchOf, command: str
) -> None:
    own.cli("acl", "setuser", "reader", f"-{command}")
    monitor = watch(own, redis=USER, queues=["mail"])
    monitor.read_all()
    with BullMQ(6, url=own.url) as bullmq:
        bullmq.add_bulk("mail", 5)
        state = followed(monitor)
        assert state.events == {}
        assert "NOPERM" in state.unfollowed[QueueId("bull", "mail")]
        assert state.up
        text = issue(state, "events_unreadable")
        assert "mail: NOPERM" in text
        assert "acl log" in text
        own.cli("acl", "setuser", "reader", f"+{command}")
        bullmq.add_bulk("mail", 2)
        state = followed(monitor)
        assert (state.unfollowed, issue(state, "events_unreadable")) == ({}, "")
        assert QueueId("bull", "mail") in (state.events or {})


def test_what_is_refused_later_takes_the_counters_away(own: RedisServer, watch: WatchOf) -> None:
    monitor = watch(own, redis=USER, queues=["mail"])
    monitor.read_all()
    monitor.follow()
    with BullMQ(6, url=own.url) as bullmq:
        bullmq.add_bulk("mail", 5)
        wait_for(monitor, "mail", {"added": 5})
        own.cli("acl", "setuser", "reader", "-xread")
        bullmq.add_bulk("mail", 3)
        assert followed(monitor).events == {}
        own.cli("acl", "setuser", "reader", "+xread")
        events = wait_for(monitor, "mail", {"added": 8})
        assert events.lost == 0


def test_keys_that_an_acl_hides_cost_only_their_queue(own: RedisServer, watch: WatchOf) -> None:
    own.cli("acl", "setuser", "reader", "resetkeys", "%R~bull:mail:*")
    monitor = watch(own, redis=USER, prefixes=["bull"], queues=["mail", "hidden"])
    with BullMQ(6, url=own.url) as bullmq:
        bullmq.add("hidden")
        monitor.read_all()
        followed(monitor)
        bullmq.add_bulk("mail", 5)
        wait_for(monitor, "mail", {"added": 5})
        state = followed(monitor)
    assert list(state.unread) == [QueueId("bull", "hidden")]
    assert list(state.events or {}) == [QueueId("bull", "mail")]


@pytest.mark.parametrize("make", [("set", "bull:odd:events", "1"), ("rpush", "bull:odd:events", "1")])
def test_a_key_of_another_type_is_told(own: RedisServer, watch: WatchOf, make: tuple[str, ...]) -> None:
    own.cli(*make)
    monitor = watch(own, queues=["odd", "mail"])
    monitor.read_all()
    state = followed(monitor)
    assert "WRONGTYPE" in state.unfollowed[QueueId("bull", "odd")]
    assert "type bull:odd:events" in issue(state, "events_unreadable")
    own.cli("del", "bull:odd:events")
    assert followed(monitor).unfollowed == {}


def test_a_node_that_is_busy_takes_nothing_away(own: RedisServer, watch: WatchOf) -> None:
    """A script that runs too long makes every command fail with BUSY: the counters stay, the lag grows."""
    own.cli("config", "set", "busy-reply-threshold", "1")
    monitor = watched(watch, own, "mail")
    with BullMQ(6, url=own.url) as bullmq:
        bullmq.add("mail")
        wait_for(monitor, "mail", {"added": 1})
    with pytest.raises(RedisError, match="no reply"):
        own.cli("eval", "while true do end", "0", seconds=0.5)
    monitor.follow()
    monitor.follow()
    events = monitor.follower.events()
    assert events[QueueId("bull", "mail")].counters.added == 1
    assert monitor.follower.unfollowed() == {}
    own.cli("script", "kill")


def test_a_slot_that_is_half_moved_stays_followed(fresh_cluster: LocalCluster, watch: WatchOf) -> None:
    """The stream has moved, other keys of the queue have not: its owner answers ASK."""
    cluster, name = fresh_cluster, "{mail}"
    monitor = watched(watch, cluster, name)
    source = cluster.owner_of("bull:{mail}:")
    target = next(node for node in cluster.masters() if node is not source)
    slot = slot_of("bull:{mail}:")
    ids = {node: node.cli("cluster", "myid") for node in (source, target)}
    with BullMQ(6, cluster=cluster.addresses) as bullmq:
        bullmq.add_bulk(name, 5)
        wait_for(monitor, name, {"added": 5})
        target.cli("cluster", "setslot", slot, "importing", ids[source])
        source.cli("cluster", "setslot", slot, "migrating", ids[target])
        source.cli("migrate", target.host, target.port, "bull:{mail}:events", 0, 5000)
        fields = ("event", "added", "jobId", "late", "name", "x")
        _ask(target, "xadd", "bull:{mail}:events", "*", *fields)
        events = wait_for(monitor, name, {"added": 6})
        assert (events.lost, events.undone, events.gaps) == (0, 0, 0)
        assert monitor.follower.unfollowed() == {}
        for key in source.cli("cluster", "getkeysinslot", slot, 100).split():
            source.cli("migrate", target.host, target.port, key, 0, 5000)
        for node in (target, source):
            node.cli("cluster", "setslot", slot, "node", ids[target])
        bullmq.add_bulk(name, 2)
        events = wait_for(monitor, name, {"added": 8})
        assert (events.lost, events.undone, events.gaps) == (0, 0, 0)


def _ask(node: RedisServer, *command: str) -> None:
    connection = RawConnection(node)
    assert connection.ask("ASKING") == "OK"
    assert isinstance(connection.ask(*command), str)
    connection.close()


def test_streams_are_new_by_the_clock_of_redis(
    own: RedisServer, watch: WatchOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ids of events are times of Redis: a clock of ours that is wrong makes no old stream a new one."""
    real = clock.now
    for ahead in (-300.0, 300.0):
        name = f"clock-{ahead:+.0f}"
        with BullMQ(6, url=own.url) as bullmq:
            bullmq.add_bulk(f"old-{name}", 4)
            for module in (follow, read_round):
                monkeypatch.setattr(module, "now", lambda ahead=ahead: real() + ahead)
            monitor = watch(own, queues=[f"old-{name}"])
            monitor.read_all()
            assert monitor.events(f"old-{name}").counters.added == 0
            bullmq.add_bulk(f"new-{name}", 3)
            queues = [QueueId("bull", f"{age}-{name}") for age in ("old", "new")]
            monitor.follower.step(queues)
            monitor.follower.step(queues)
            assert monitor.follower.events()[queues[1]].counters.added == 3


def test_the_series_of_a_refused_stream_are_absent(own: RedisServer, watch: WatchOf) -> None:
    own.cli("acl", "setuser", "reader", "-xread")
    monitor = watch(own, redis=USER, queues=["mail"])
    monitor.read_all()
    state = followed(monitor)
    snapshot = Snapshot(time.time(), bullmq=Ok(state))
    text = Renderer().text(Assessment(snapshot, assess(snapshot, HealthSettings()))).decode()
    assert "bullmq_job_count" in text
    assert "bullmq_events_lost_total{" not in text
    assert "bullmq_job_completed_total{" not in text
