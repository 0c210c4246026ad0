"""A queue with one part that cannot be read: the part is absent and named, the rest is served."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from exporter.assessment import Assessment
from exporter.config.health import HealthSettings
from exporter.health import assess
from exporter.metrics.render import Renderer
from exporter.snapshot.queues import BullMQState
from exporter.snapshot.whole import Snapshot
from lab.bullmq import BullMQ
from lab.deadline import wait_until
from lab.redis import RedisServer
from service.catalogs import ENGLISH
from service.outcome import Ok
from tests.support.bullmq import WatchOf, bullmq_counts, of, wait_for, watched


def issues(state: BullMQState) -> dict[str, str]:
    health = assess(Snapshot(0.0, bullmq=Ok(state)), HealthSettings())
    return {issue.name: ENGLISH.render(issue.measured) for issue in health.issues}


@pytest.fixture
def bullmq(server: RedisServer) -> Iterator[BullMQ]:
    server.cli("flushall")
    with BullMQ(5, url=server.url) as bullmq:
        bullmq.add_bulk("mail", 4)
        bullmq.add_bulk("other", 2)
        yield bullmq


def test_an_unlimited_concurrency_is_no_limit(bullmq: BullMQ, server: RedisServer, watch: WatchOf) -> None:
    server.cli(
        "hset", "bull:mail:meta", "concurrency", "Infinity"
    )  # what setGlobalConcurrency(Infinity) writes
    state = watch(server).read_all()
    mail = of(state, "mail")
    assert (mail.jobs.waiting, mail.concurrency_limit, mail.odd) == (4, None, ())
    assert state.up
    assert not issues(state)


def test_half_a_job_at_once(bullmq: BullMQ, server: RedisServer, watch: WatchOf) -> None:
    bullmq.queue("mail", "setGlobalConcurrency", 2.5)
    state = watch(server).read_all()
    assert (of(state, "mail").jobs.waiting, of(state, "mail").concurrency_limit) == (4, None)
    assert (of(state, "other").jobs.waiting, of(state, "other").odd) == (2, ())
    assert state.up
    assert issues(state) == {"queue_partly_unread": "mail: concurrency: '2.5' is not a whole number"}


@pytest.mark.fault
@pytest.mark.parametrize(
    "name", ["completed", "failed", "delayed", "prioritized", "repeat", "waiting-children"]
)
def test_a_foreign_key_costs_its_own_figure(
    name: str, bullmq: BullMQ, server: RedisServer, watch: WatchOf
) -> None:
    monitor = watch(server)
    monitor.read_all()
    server.cli("set", f"bull:mail:{name}", "not BullMQ's")
    state = monitor.collect()
    mail = of(state, "mail")
    figure = mail.schedulers if name == "repeat" else getattr(mail.jobs, name.replace("-", "_"))
    assert (mail.jobs.waiting, figure) == (4, None)
    assert state.up
    assert list(issues(state)) == ["queue_partly_unread"]
    assert f"mail: {name}: WRONGTYPE" in issues(state)["queue_partly_unread"]


@pytest.mark.parametrize("meta", ["max", "limiter"])
def test_an_odd_rate_limit_costs_its_own_figure(
    meta: str, bullmq: BullMQ, server: RedisServer, watch: WatchOf
) -> None:
    server.cli("hset", "bull:mail:meta", "max", "1e3" if meta == "max" else "3", "duration", "1000")
    server.cli("set", "bull:mail:limiter", "0.5" if meta == "limiter" else "1", "px", "60000")
    state = watch(server).read_all()
    assert (of(state, "mail").jobs.waiting, of(state, "mail").rate_limit_ttl) == (4, None)
    assert list(issues(state)) == ["queue_partly_unread"]


@pytest.mark.fault
@pytest.mark.parametrize("key", ["id", "metrics:completed"])
def test_a_number_of_thousands_of_digits_costs_its_own_figure(
    key: str, bullmq: BullMQ, server: RedisServer, watch: WatchOf
) -> None:
    digits = "9" * 5000
    if key == "id":
        server.cli("set", "bull:mail:id", digits)
    else:
        server.cli("hset", f"bull:mail:{key}", "count", digits)
    state = watch(server).read_all()
    assert (of(state, "mail").jobs.waiting, of(state, "other").jobs.waiting) == (4, 2)
    own = state.own.get(of(state, "mail").id)
    assert own is None or (own.ids if key == "id" else own.completed) is None


@pytest.mark.fault
@pytest.mark.parametrize("moment", ["nan", "Infinity", "-inf", "1e400"])
def test_a_moment_that_is_none_gives_no_age(
    moment: str, bullmq: BullMQ, server: RedisServer, watch: WatchOf
) -> None:
    """`timestamp: new Date("no date").getTime()` is NaN, and the library writes it."""
    oldest = server.cli("lindex", "bull:mail:wait", -1)
    server.cli("hset", f"bull:mail:{oldest}", "timestamp", moment)
    server.cli("rpush", "bull:mail:active", "odd")
    server.cli("hset", "bull:mail:odd", "processedOn", moment)
    mail = watch(server).queue("mail")
    assert (mail.oldest_waiting, mail.longest_active) == (None, None)


@pytest.mark.fault
def test_a_limit_of_thousands_of_digits_leaves_the_events_of_its_node_followed(
    bullmq: BullMQ, server: RedisServer, watch: WatchOf
) -> None:
    """Whoever writes `meta` may write it. BullMQ adds no job there then; those of all others are counted."""
    monitor = watched(watch, server, "mail", "other")
    server.cli("hset", "bull:mail:meta", "opts.maxLenEvents", "9" * 5000)
    server.cli("xadd", "bull:mail:events", "*", "event", "drained")
    time.sleep(1.1)  # then the limit of a stream that is in use is read
    bullmq.add_bulk("other", 3)
    wait_for(monitor, "other", {"added": 3})
    assert monitor.events("mail").max_length is None


@pytest.mark.fault
@pytest.mark.parametrize("digits", [25, 400, 5000])
def test_a_concurrency_of_many_digits_costs_its_own_figure(
    digits: int, bullmq: BullMQ, server: RedisServer, watch: WatchOf
) -> None:
    """Above 308 digits it is no number that a series can show: /metrics would have nothing at all."""
    server.cli("hset", "bull:mail:meta", "concurrency", "9" * digits)
    state = watch(server).read_all()
    assert (of(state, "mail").jobs.waiting, of(state, "mail").concurrency_limit) == (4, None)
    assert list(issues(state)) == ["queue_partly_unread"]
    snapshot = Snapshot(0.0, bullmq=Ok(state))
    text = Renderer().text(Assessment(snapshot, assess(snapshot, HealthSettings()))).decode()
    assert 'bullmq_job_count{prefix="bull",queue="mail",state="waiting"} 4' in text


@pytest.mark.fault
@pytest.mark.parametrize("text", ["-3", "+3", " 3", "1_0", "2.5"])
def test_a_concurrency_that_is_no_whole_number_costs_its_own_figure(
    text: str, bullmq: BullMQ, server: RedisServer, watch: WatchOf
) -> None:
    server.cli("hset", "bull:mail:meta", "concurrency", text)
    state = watch(server).read_all()
    assert (of(state, "mail").jobs.waiting, of(state, "mail").concurrency_limit) == (4, None)
    assert list(issues(state)) == ["queue_partly_unread"]


ABSURD: list[tuple[str, ...]] = [
    ("x", "y"),
    ("event", ""),
    ("event", "active"),
    ("event", "completed", "jobId"),
    ("event", "completed", "jobId", ""),
    ("event", "nothing", "jobId", "1"),
    ("EVENT", "active", "jobId", "1"),
    ("jobId", "1", "event", "active"),
    ("event", "event", "event", "event"),
    ("event", "active", "event", "completed", "jobId", "1", "jobId", "2"),
    ("event", "waiting", "jobId", "x" * 100_000),
    ("event", "progress", "jobId", "1", "data", "x" * 120_000),
    ("event", "active", "jobId", "\r\n$-1\r\n", "prev", "\u202e\u00b2"),
    ("event", "delayed", "jobId", "1", "delay", "9" * 400),
    ("event", "stalled"),
    ("event", "drained", "", ""),
    ("", ""),
    tuple(f"{number}" for number in range(5_000)),
    ("event", "waiting", "jobId", "1", "prev", "active", "prev", "active"),
]
"""Entries that no library writes, each as its fields and values."""


@pytest.mark.fault
def test_absurd_event_entries_change_no_other_figure(
    bullmq: BullMQ, server: RedisServer, watch: WatchOf
) -> None:
    monitor = watched(watch, server, "mail", "other")
    worker = bullmq.start_worker("mail", concurrency=2)
    bullmq.queue("mail", "drain")
    for fields in ABSURD:
        if len(fields) % 2:
            fields = (*fields, "")  # noqa: PLW2901  # XADD takes pairs
        server.cli("xadd", "bull:mail:events", "*", *fields)
        bullmq.add_bulk("mail", 3, removeOnComplete=True)
    wait_until(
        lambda: not any(bullmq_counts(bullmq.counts("mail"))[state] for state in ("waiting", "active")),
        what="the worker is through",
    )
    after = monitor.events("mail")
    assert after.lost == 0
    assert after.counters.added == 3 * len(ABSURD)
    absurd = sum(fields[:2] == ("event", "completed") for fields in ABSURD)
    assert after.counters.completed == bullmq.tally(worker)["returned"] + absurd
    bullmq.add_bulk("other", 2)
    wait_for(monitor, "other", {"added": 2})


@pytest.mark.fault
def test_the_clock_of_redis_that_was_ahead_costs_no_event(
    bullmq: BullMQ, server: RedisServer, watch: WatchOf
) -> None:
    """After an id of the future Redis goes on with the same ms and the next number, until that has come."""
    monitor = watched(watch, server, "other")
    bullmq.start_worker("other")
    bullmq.add_bulk("other", 15, removeOnComplete=True)
    future = 1000 * (int(server.cli("time").split()[0]) + 3600)
    server.cli("xadd", "bull:other:events", f"{future}-0", "event", "drained")
    bullmq.add_bulk("other", 16, removeOnComplete=True)
    wait_until(lambda: bullmq.counts("other").get("active", 0) == 0, what="the worker is through")
    events = wait_for(monitor, "other", {"added": 31, "started": 33, "completed": 33})
    assert (events.lost, events.undone) == (0, 0)
