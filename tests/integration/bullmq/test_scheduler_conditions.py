"""Each condition of schedulers begins and ends by its real cause, with every library on one server."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from exporter.health import RULES
from exporter.snapshot.queues import QueueId
from exporter.snapshot.whole import Snapshot
from lab.bull import Bull
from lab.bullmq import BullMQ
from lab.deadline import wait_until
from lab.redis import RedisServer
from service.outcome import Ok
from tests.support.bullmq import Watch, WatchOf
from tests.support.schedulers import (
    HOUR_MS,
    KEYED,
    LATER,
    LIBRARIES,
    REPEATABLE,
    SOON,
    Made,
    conditions,
    named,
    schedule,
    the_only,
    until,
)


def test_without_a_worker_it_is_late(
    made: Made, server: RedisServer, watch: WatchOf, workers: Callable[..., int]
) -> None:
    queue = named(made, "nobody")
    schedule(made, queue, every=1000)
    monitor = watch(server)
    assert conditions(monitor, queue, LATER) == {}
    late = until(monitor, queue, {"scheduler_late"})["scheduler_late"]
    assert late.startswith(f"1 scheduler is late: {queue}: report")
    assert f"No worker runs for the queue {queue}" in late
    workers(queue)
    until(monitor, queue, set())


@pytest.mark.parametrize("made", ["bull 4", "bullmq 4", "bullmq 5", "bullmq 6", "python"], indirect=True)
def test_a_worker_that_hangs_makes_it_late(made: Made, server: RedisServer, watch: WatchOf) -> None:
    """Its connection is there, and it takes nothing: the library's delayed jobs are in the past."""
    queue = named(made, "hangs")
    schedule(made, queue, every=2000)
    monitor = watch(server)
    with LIBRARIES[made[0]](server.url) as other:
        other.start_worker(queue)
        until(monitor, queue, set())
        other.process.suspend()
        try:
            late = until(monitor, queue, {"scheduler_late"}, seconds=15)["scheduler_late"]
            assert "start" in late.partition("|")[2]
        finally:
            other.process.resume()
        until(monitor, queue, set())


def test_behind_its_own_job_it_is_late(
    made: Made, server: RedisServer, watch: WatchOf, workers: Callable[..., int]
) -> None:
    """The only worker still has the job of the run before."""
    queue = named(made, "longer")
    workers(queue, hold=True)
    schedule(made, queue, every=1500)
    monitor = watch(server)
    late = until(monitor, queue, {"scheduler_late"})["scheduler_late"]
    assert f"A job of {queue} is active for" in late
    assert "should run every 1 s" in late or "should run every 2 s" in late
    workers(queue)
    until(monitor, queue, set())


def test_behind_other_jobs_it_is_late(
    made: Made, server: RedisServer, watch: WatchOf, workers: Callable[..., int]
) -> None:
    queue = named(made, "behind")
    workers(queue, hold=True)
    made[1].add_bulk(queue, 5)
    made[1].wait_for_counts(queue, {"active": 1})
    schedule(made, queue, every=1000)
    monitor = watch(server)
    late = until(monitor, queue, {"scheduler_late"})["scheduler_late"]
    assert f"wait in the queue {queue}" in late
    workers(queue)
    until(monitor, queue, set())


def test_a_pause_is_no_lateness(
    made: Made, server: RedisServer, watch: WatchOf, workers: Callable[..., int]
) -> None:
    """The job waits in the paused queue, its next run in the past; after a pause nothing is late at once."""
    queue = named(made, "paused")
    schedule(made, queue, every=1000)
    workers(queue)
    monitor = watch(server)
    until(monitor, queue, set())
    made[1].pause(queue)

    def overdue() -> bool:
        assert conditions(monitor, queue) == {}
        schedulers = monitor.collect().schedulers[QueueId("bull", queue)]
        return schedulers.now - schedulers.schedulers[0].next_run > 2.5

    wait_until(overdue, what="its run is 2.5 s in the past", seconds=12)
    made[1].resume(queue)
    for _ in range(10):
        assert conditions(monitor, queue) == {}
        time.sleep(0.2)


@pytest.mark.parametrize("made", ["bullmq 5", "bullmq 6", "python"], indirect=True)
def test_at_the_global_concurrency_a_run_waits_its_turn(
    made: Made, server: RedisServer, watch: WatchOf, workers: Callable[..., int]
) -> None:
    """Until the next run: then it is late, as the limit lets fewer jobs run than are scheduled."""
    queue = named(made, "limited")
    made[1].set_global_concurrency(queue, 1)
    workers(queue, hold=True)
    made[1].add(queue, "long")
    made[1].wait_for_counts(queue, {"active": 1})
    schedule(made, queue, "hourly", every=HOUR_MS)  # its first run is at once
    monitor = watch(server)

    def waits() -> bool:
        assert conditions(monitor, queue) == {}
        schedulers = monitor.collect().schedulers[QueueId("bull", queue)]
        return schedulers.now - schedulers.schedulers[0].next_run > 2.5

    wait_until(waits, what="its run is 2.5 s in the past", seconds=12)
    schedule(made, queue, "often", every=1500)
    late = until(monitor, queue, {"scheduler_late"})["scheduler_late"]
    assert "hourly" not in late
    made[1].set_global_concurrency(queue, 3)
    workers(queue)
    until(monitor, queue, set())


def test_its_name_does_not_change_with_a_second_prefix(server: RedisServer, watch: WatchOf) -> None:
    """An alert that named it by another name would end, and begin again; two exporters that do not know the
    prefix yet, and already, would have it named twice."""
    earlier, later = watch(server), watch(server)
    with BullMQ(6, url=server.url) as library, BullMQ(6, url=server.url, prefix="second") as other:
        library.upsert_scheduler("named", "report", every=1000)
        until(earlier, "named", {"scheduler_late"})
        before = subjects(earlier, "named")
        other.add("named")
        until(later, "named", {"scheduler_late"})
        assert {each.prefix for each in later.discovery.known().queues} >= {"bull", "second"}
        after = subjects(later, "named")
    assert before == after == {"named: report"}


def subjects(monitor: Watch, queue: str) -> set[str]:
    """What the schedulers of a queue that are late are called in series."""
    late = RULES["scheduler_late"](Snapshot(0.0, bullmq=Ok(monitor.collect())), SOON)
    affected = late.affected if late else ()
    return {each.subject for each in affected if each.queue and each.queue.name == queue}


def remove_next_job(made: Made, queue: str, server: RedisServer) -> None:
    """As people do it: by the library where it lets them, else as an eviction does, which deletes the job."""
    library, driver = made
    (job,) = server.cli("ZRANGE", f"bull:{queue}:delayed", 0, -1).split()
    if isinstance(driver, Bull):
        driver.queue(queue, "clean", 0, "delayed")
    elif library in KEYED:
        driver.queue(queue, "remove", job)
    else:
        server.cli("DEL", f"bull:{queue}:{job}")
    assert server.cli("EXISTS", f"bull:{queue}:{job}").strip() == "0"


def test_a_next_job_that_is_removed(
    made: Made, server: RedisServer, watch: WatchOf, workers: Callable[..., int]
) -> None:
    queue = named(made, "removed")
    worker = workers(queue)
    made[1].add(queue, "other")
    wait_until(lambda: made[1].tally(worker)["returned"] == 1, what="a job is done", seconds=10)
    schedule(made, queue, pattern="0 3 * * *")
    monitor = watch(server)
    assert conditions(monitor, queue) == {}
    remove_next_job(made, queue, server)
    missing = until(monitor, queue, {"scheduler_without_next"})["scheduler_without_next"]
    assert missing.startswith(f"the next job of 1 scheduler is missing: {queue}: report")
    assert ("queue.removeRepeatableByKey(" in missing) is (made[0] in KEYED)
    assert the_only(monitor, queue).job == "gone"
    schedule(made, queue, pattern="0 3 * * *")  # as the advice says
    until(monitor, queue, set())


def test_a_library_that_protects_it(made: Made, server: RedisServer, watch: WatchOf) -> None:
    """drain() leaves the next job of a scheduler; BullMQ before 5.16 and Bull remove it."""
    queue = named(made, "drained")
    made[1].add(queue, "other")
    schedule(made, queue, every=HOUR_MS)
    monitor = watch(server)
    monitor.read_schedulers(queue)
    made[1].drain(queue)
    if made[0] in KEYED:  # Bull leaves the job itself, and no list has it
        until(monitor, queue, {"scheduler_without_next"})
    else:
        assert conditions(monitor, queue).keys() <= {"scheduler_late"}  # its first run is at once


@pytest.mark.parametrize("made", REPEATABLE, indirect=True)
def test_a_changed_cron_leaves_the_old_one(made: Made, server: RedisServer, watch: WatchOf) -> None:
    driver = made[1]
    queue, pattern = named(made, "changed"), "cron" if isinstance(driver, Bull) else "pattern"
    driver.queue(queue, "add", "report", {"to": "all"}, {"repeat": {pattern: "0 3 * * *"}})
    monitor = watch(server)
    assert conditions(monitor, queue) == {}
    driver.queue(queue, "add", "report", {"to": "all"}, {"repeat": {pattern: "0 4 * * *"}})
    driver.queue(queue, "add", "report", {"to": "few"}, {"repeat": {pattern: "0 5 * * *"}})
    driver.queue(queue, "add", "other", {"to": "all"}, {"repeat": {pattern: "0 3 * * *"}})
    twice = until(monitor, queue, {"scheduler_duplicate"})["scheduler_duplicate"]
    assert "(0 3 * * *)" in twice
    assert "(0 4 * * *)" in twice
    assert "0 5" not in twice
    assert conditions(watch(server, schedulers={"changed_repeatables": False}), queue) == {}
    driver.queue(queue, "removeRepeatable", "report", {pattern: "0 3 * * *"})
    until(monitor, queue, set())


@pytest.mark.parametrize("made", REPEATABLE, indirect=True)
def test_a_changed_time_zone_leaves_the_old_one(made: Made, server: RedisServer, watch: WatchOf) -> None:
    """An application gets `tz`: what it added before runs on, hours away from it."""
    driver = made[1]
    queue, pattern = named(made, "zone"), "cron" if isinstance(driver, Bull) else "pattern"
    driver.queue(queue, "add", "report", {"to": "all"}, {"repeat": {pattern: "0 3 * * *"}})
    monitor = watch(server)
    assert conditions(monitor, queue) == {}
    zoned = {"repeat": {pattern: "0 3 * * *", "tz": "Europe/Berlin"}}
    driver.queue(
        queue, "add", "report", {"to": "few"}, {"repeat": {pattern: "0 3 * * *", "tz": "Asia/Jakarta"}}
    )
    assert conditions(monitor, queue) == {}
    driver.queue(queue, "add", "report", {"to": "all"}, zoned)
    twice = until(monitor, queue, {"scheduler_duplicate"})["scheduler_duplicate"]
    assert "(0 3 * * *)" in twice
    assert "(0 3 * * * Europe/Berlin)" in twice
    assert "Jakarta" not in twice
    driver.queue(queue, "removeRepeatable", "report", {pattern: "0 3 * * *"})
    until(monitor, queue, set())


@pytest.mark.parametrize("made", [each for each in LIBRARIES if each not in KEYED], indirect=True)
def test_two_schedulers_of_one_job(made: Made, server: RedisServer, watch: WatchOf) -> None:
    library, driver = made
    queue = named(made, "twins")

    def upsert(scheduler: str, to: str) -> None:
        template: tuple[Any, ...] = (
            ("report", {"to": to}) if library == "python" else ({"name": "report", "data": {"to": to}},)
        )
        driver.queue(queue, "upsertJobScheduler", scheduler, {"pattern": "0 3 * * *"}, *template)

    monitor = watch(server)
    for tenant in ("acme", "bits"):  # one for each tenant: the same job with other data
        upsert(tenant, tenant)
    assert conditions(monitor, queue) == {}
    upsert("acme-again", "acme")
    twice = until(monitor, queue, {"scheduler_duplicate"})["scheduler_duplicate"]
    assert twice.startswith(f"{queue}: the job report by acme (0 3 * * *); acme-again (0 3 * * *)")
    driver.queue(queue, "removeJobScheduler", "acme-again")
    until(monitor, queue, set())


def test_a_repeatable_beside_the_scheduler_that_replaced_it(server: RedisServer, watch: WatchOf) -> None:
    """After an update of BullMQ the application upserts, and nobody removes what the old one added."""
    with BullMQ(4, url=server.url) as old, BullMQ(6, url=server.url) as new:
        old.queue("replaced", "add", "report", {}, {"repeat": {"pattern": "0 3 * * *"}})
        new.upsert_scheduler("replaced", "report", pattern="0 3 * * *")
        monitor = watch(server)
        twice = until(monitor, "replaced", {"scheduler_duplicate"})["scheduler_duplicate"]
        assert "report:::: (" not in twice
        assert "report::::0 3 * * * (0 3 * * *)" in twice
