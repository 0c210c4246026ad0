"""A queue with one part that cannot be read: the part is absent and named, the rest is served."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from exporter.config.settings import HealthSettings
from exporter.health import assess
from exporter.snapshot.queues import BullMQState
from exporter.snapshot.whole import Snapshot
from lab.bullmq import BullMQ
from lab.redis import RedisServer
from service.catalogs import ENGLISH
from service.outcome import Ok
from tests.support.bullmq import WatchOf, of


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
