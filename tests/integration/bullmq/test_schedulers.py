"""Schedulers and repeatables of every library on one server: what is known of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import httpx
import pytest
from click.testing import CliRunner

from exporter.cli import main
from exporter.commands.view_source import LocalSource
from exporter.config.settings import ExporterSettings
from exporter.configuration import read_exporter_settings
from exporter.run import Exporter
from lab.bullmq import BullMQ
from lab.cluster import LocalCluster, start_cluster
from lab.deadline import wait_until
from lab.redis import RedisServer
from tests.support.acl import READER, rules
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
from tests.support.scrapes import get, scrape


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    with start_cluster() as started:
        yield started


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


def test_in_a_cluster_each_is_read_from_its_node(cluster: LocalCluster, watch: WatchOf) -> None:
    queues = ("{mail}", "{images}", "{invoices}")
    with BullMQ(6, cluster=cluster.addresses) as library:
        for queue in queues:
            library.upsert_scheduler(queue, "report", pattern="0 3 * * *")
        monitor = watch(cluster)
        monitor.read_schedulers("{mail}")
        state = monitor.collect()
    found = {
        queue.name: tuple(each.job for each in known.schedulers) for queue, known in state.schedulers.items()
    }
    assert found == dict.fromkeys(queues, ("pending",))
    assert state.problems == ()


def test_a_user_without_the_right_is_told_so(server: RedisServer, watch: WatchOf) -> None:
    with BullMQ(6, url=server.url) as library:
        library.upsert_scheduler("secret", "report", pattern="0 3 * * *")
    version = server.facts("info", "server")["redis_version"]
    words = [word for word in rules(version=version) if word != "+hstrlen"]
    server.cli("acl", "setuser", *words)
    monitor = watch(server, redis=READER, queues=["secret"])
    assert monitor.read_schedulers("secret") == {}
    (problem,) = monitor.schedulers.problems()
    assert problem.startswith("schedulers of 1 queues are not read: secret: NOPERM")


def test_the_whole_exporter_tells_of_one_that_is_late(server: RedisServer) -> None:
    """Series, conditions and JSON say the same, from before its run until a worker has caught up."""
    settings = ExporterSettings.model_validate(
        {
            "redis": {"url": server.url},
            "bullmq": {"queues": ["told"], "schedulers": {"interval_seconds": 1}},
            "health": {"thresholds": {"scheduler_late_seconds": 1}},
            "listen": "127.0.0.1:0",
        }
    )
    exporter = Exporter(settings)
    with BullMQ(6, url=server.url) as library:
        library.upsert_scheduler("told", "report", every=2000)
        exporter.start()
        try:
            url = f"http://{exporter.address}"
            labels = {"prefix": "bull", "queue": "told", "scheduler": "report"}
            issue = {"issue": "scheduler_late", "source": "bullmq", "severity": "high"}

            def says(late: float) -> bool:
                values = scrape(url)
                return (
                    get(values, "oxherd_issue", **issue) == late
                    and get(values, "bullmq_scheduler_lateness_seconds", **labels) is not None
                )

            wait_until(lambda: says(1.0), what="it is late", seconds=15)
            values = scrape(url)
            assert get(values, "oxherd_issue_subjects", **issue) == 1
            assert (get(values, "bullmq_scheduler_lateness_seconds", **labels) or 0) > 1
            status = httpx.get(f"{url}/status.json").json()
            (queue,) = status["queues"]["queues"]
            (scheduler,) = queue["job_schedulers"]["schedulers"]
            assert scheduler["lateness"] > 1
            assert scheduler["issue"] == "scheduler_late"
            assert all("told: report: its run is" in shown for shown in shown_at(url))
            library.pause("told")
            wait_until(lambda: says(0.0), what="a paused queue has none that is late", seconds=15)
            assert (get(scrape(url), "bullmq_scheduler_lateness_seconds", **labels) or 0) > 1
            assert not any("its run is" in shown for shown in shown_at(url))
            library.resume("told")
            library.start_worker("told")
            wait_until(lambda: says(0.0), what="it has caught up", seconds=15)
        finally:
            assert exporter.stop()


def shown_at(url: str) -> tuple[str, str]:
    """The page, and `monitor queues`."""
    page = httpx.get(url, headers={"accept": "text/html"}).text
    return page, CliRunner().invoke(main, ["queues", "--url", url], env={"LC_ALL": "C"}).stdout


def test_a_command_without_an_exporter_reads_them_too(server: RedisServer) -> None:
    with BullMQ(6, url=server.url) as library:
        library.upsert_scheduler("local", "report", pattern="0 3 * * *")
    loaded = read_exporter_settings({"REDIS_URL": server.url, "BULLMQ_QUEUES": "local"})
    with LocalSource(loaded) as source:
        (queue,) = source.view()["queues"]["queues"]
    assert [each["pattern"] for each in queue["job_schedulers"]["schedulers"]] == ["0 3 * * *"]
