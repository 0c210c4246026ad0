"""Schedulers and repeatables of every library on one server: what is known of them."""

from __future__ import annotations

import time
from collections.abc import Callable

from lab.bullmq import BullMQ
from lab.deadline import wait_until
from lab.redis import RedisServer
from tests.support.bullmq import WatchOf
from tests.support.schedulers import (
    HOUR_MS,
    KEYED,
    Made,
    conditions,
    named,
    schedule,
    the_only,
)


def test_a_pattern(made: Made, server: RedisServer, watch: WatchOf) -> None:
    queue = named(made, "pattern")
    schedule(made, queue, pattern="0 3 * * *", tz="Asia/Jakarta")
    monitor = watch(server)
    scheduler = the_only(monitor, queue)
    assert (scheduler.name, scheduler.pattern, scheduler.timezone) == ("report", "0 3 * * *", "Asia/Jakarta")
    assert (scheduler.every, scheduler.job, scheduler.last_run) == (None, "pending", None)
    assert scheduler.next_run % 86_400 == 20 * 3600  # 3 o'clock in Jakarta
    assert 0 < scheduler.next_run - time.time() <= 86_400
    assert conditions(monitor, queue) == {}


def test_an_interval_that_runs(
    made: Made, server: RedisServer, watch: WatchOf, workers: Callable[..., int]
) -> None:
    queue = named(made, "interval")
    schedule(made, queue, every=1000)
    worker = workers(queue)
    monitor = watch(server)
    wait_until(lambda: made[1].tally(worker)["returned"] >= 3, what="three runs", seconds=15)
    scheduler = the_only(monitor, queue)
    assert (scheduler.every, scheduler.pattern, scheduler.job) == (1.0, None, "pending")
    assert scheduler.last_run is not None
    assert (
        0 < scheduler.next_run - scheduler.last_run < 2.5
    )  # the next slot, seen from when the last was taken
    assert conditions(monitor, queue) == {}


def test_what_has_ended_is_over(
    made: Made, server: RedisServer, watch: WatchOf, workers: Callable[..., int]
) -> None:
    """The member stays in the set, without a job, and nothing is wrong."""
    queue = named(made, "over")
    schedule(made, queue, "twice", every=1000, limit=2)
    schedule(made, queue, "dated", every=1000, endDate=int(time.time() * 1000) + 2500)
    monitor = watch(server)
    seen = monitor.read_schedulers(queue)
    assert {each.job for each in seen.values()} == {"pending"}
    workers(queue)

    def ended() -> bool:
        assert "scheduler_without_next" not in conditions(monitor, queue)
        return {each.job for each in monitor.read_schedulers(queue).values()} == {"over"}

    wait_until(ended, what="both are over", seconds=15)
    assert conditions(monitor, queue) == {}


def test_names_with_colons(made: Made, server: RedisServer, watch: WatchOf) -> None:
    """A key of options joined by colons is read from its end, and an id may look like such a key."""
    queue = named(made, "colons")
    schedule(made, queue, "eu:daily:report", every=HOUR_MS)
    if made[0] not in KEYED:
        schedule(made, queue, "a:b:::0 3 * * *", every=HOUR_MS)
    schedulers = watch(server).read_schedulers(queue).values()
    assert {(each.job, each.every) for each in schedulers} == {("pending", 3600.0)}


def test_the_first_run_of_immediately_is_not_late(server: RedisServer, watch: WatchOf) -> None:
    """BullMQ 3 and 4 write the start of the current interval as the next run, up to an interval ago."""
    with BullMQ(4, url=server.url) as library:
        library.queue("now", "add", "job", {}, {"repeat": {"every": 4 * HOUR_MS, "immediately": True}})
        scheduler = the_only(watch(server), "now")
        assert abs(scheduler.next_run - time.time()) < 20
