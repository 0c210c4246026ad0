"""Counters and durations from the event streams, against what the workers themselves counted."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import httpx
import pytest

from exporter.bullmq.streams import rates, stream
from exporter.config.settings import ExporterSettings
from exporter.run import Exporter
from exporter.snapshot.histogram import Histogram
from exporter.snapshot.queues import OwnCounts, QueueId
from lab.bullmq import VERSIONS, BullMQ, Version
from lab.cluster import LocalCluster, start_cluster
from lab.deadline import wait_until
from lab.driver import Driver
from lab.pybullmq import PyBullMQ
from lab.redis import RedisServer, server_version, start_redis
from tests.support.bullmq import WatchOf, counters, wait_for, watched
from tests.support.redis_cluster import in_step

pytestmark = pytest.mark.timeout(120)  # up to 6 s alone, of a failover

GONE: dict[str, Any] = {"removeOnComplete": True, "removeOnFail": True}
RETRIES: dict[str, dict[str, Any]] = {"now": {}, "later": {"backoff": {"type": "fixed", "delay": 50}}}


def quantile(histogram: Histogram, share: float) -> tuple[float, float]:
    """The bounds of the bucket in which that share of all lies."""
    bounds = (0.0, *histogram.bounds, float("inf"))
    below = 0
    for n, count in enumerate(histogram.counts):
        below += count
        if below >= share * sum(histogram.counts) > 0:
            return bounds[n], bounds[n + 1]
    raise AssertionError(histogram)


def test_jobs_that_are_removed_as_they_complete(library: Driver, server: RedisServer, watch: WatchOf) -> None:
    name = f"gone-{library.process.name.replace(' ', '-')}"
    monitor = watched(watch, server, name)
    worker = library.start_worker(name, concurrency=4, behaviour={"ms": 40})
    library.add_bulk(name, 60, **GONE)
    events = wait_for(monitor, name, {"added": 60, "started": 60, "completed": 60})
    assert library.tally(worker) == {"started": 60, "returned": 60, "threw": 0}
    assert library.counts(name)["completed"] == 0
    assert sum(events.counters.wait.counts) == 60
    processing = events.counters.processing["completed"]
    assert sum(processing.counts) == 60
    assert 0.035 <= processing.total / 60 <= 0.1
    assert quantile(processing, 0.5) == (0.025, 0.1)
    assert (events.lost, events.counters.evicted) == (0, 0)
    library.stop_worker(worker)


def test_retries_at_once_and_with_backoff(library: Driver, server: RedisServer, watch: WatchOf) -> None:
    for kind, opts in RETRIES.items():
        name = f"retry-{kind}-{library.process.name.replace(' ', '-')}"
        monitor = watched(watch, server, name)
        worker = library.start_worker(name, concurrency=3, behaviour={"fail_first": 2, "ms": 10})
        library.add_bulk(name, 10, attempts=3, **opts, **GONE)
        library.add_bulk(name, 5, attempts=2, **opts, **GONE)
        expected = {"added": 15, "started": 40, "completed": 10, "failed": 5, "retried": 25}
        events = wait_for(monitor, name, expected)
        assert library.tally(worker) == {"started": 40, "returned": 10, "threw": 30}
        processing = events.counters.processing
        assert {outcome: sum(histogram.counts) for outcome, histogram in processing.items()} == {
            "completed": 10,
            "failed": 5,
            "retried": 25,
        }
        assert sum(events.counters.wait.counts) == 40
        library.stop_worker(worker)


def test_prioritized_delayed_and_removed(library: Driver, server: RedisServer, watch: WatchOf) -> None:
    name = f"mixed-{library.process.name.replace(' ', '-')}"
    monitor = watched(watch, server, name)
    library.add_bulk(name, 5, priority=3, **GONE)
    library.add_bulk(name, 5, delay=300, **GONE)
    job = library.add(name, delay=3_600_000)
    library.queue(name, "remove", job)
    worker = library.start_worker(name, concurrency=5)
    events = wait_for(monitor, name, {"added": 11, "started": 10, "completed": 10, "removed": 1})
    assert library.tally(worker)["returned"] == 10
    # a delayed job waits from the end of its delay on
    assert sum(events.counters.wait.counts) == 10
    library.stop_worker(worker)


def test_a_flow(library: Driver, server: RedisServer, watch: WatchOf) -> None:
    name = f"flow-{library.process.name.replace(' ', '-')}"
    monitor = watched(watch, server, name)
    worker = library.start_worker(name, behaviour={"ms": 5})
    children = [{"name": "child", "queueName": name, "data": {}} for _ in range(3)]
    library.add_flow({"name": "parent", "queueName": name, "data": {}, "children": children})
    events = wait_for(monitor, name, {"added": 4, "started": 4, "completed": 4})
    assert library.tally(worker)["returned"] == 4
    assert sum(events.counters.wait.counts) == 4
    library.stop_worker(worker)


@pytest.mark.parametrize("version", [*VERSIONS, "python"])
def test_a_job_whose_worker_falls_silent(
    server: RedisServer, watch: WatchOf, version: Version | Literal["python"]
) -> None:
    def library() -> Driver:
        return PyBullMQ(url=server.url) if version == "python" else BullMQ(version, url=server.url)

    name = f"stalls-{version}"
    monitor = watched(watch, server, name)
    quick: dict[str, Any] = {"lockDuration": 300, "stalledInterval": 200}
    lost = library()
    try:
        lost.start_worker(name, behaviour={"hold": True}, **quick)
        lost.add(name, **GONE)
        wait_for(monitor, name, {"added": 1, "started": 1})
        lost.process.kill()
    finally:
        lost.close()
    with library() as other:
        worker = other.start_worker(name, **quick)
        expected = {"added": 1, "started": 2, "completed": 1, "stalled": 1}
        events = wait_for(monitor, name, expected)
        assert other.tally(worker)["returned"] == 1
        assert sum(events.counters.processing["retried"].counts) == 0


def test_deduplicated(server: RedisServer, watch: WatchOf) -> None:
    monitor = watched(watch, server, "twins")
    with BullMQ(6, url=server.url) as bullmq:
        for _ in range(3):
            bullmq.add("twins", deduplication={"id": "twin"})
        wait_for(monitor, "twins", {"added": 1, "deduplicated": 2})


def test_what_was_before_does_not_count(server: RedisServer, watch: WatchOf) -> None:
    with BullMQ(6, url=server.url) as bullmq:
        worker = bullmq.start_worker("old", concurrency=2, behaviour={"hold": True})
        bullmq.add_bulk("old", 3, attempts=2, backoff={"type": "fixed", "delay": 60_000})
        bullmq.wait_for_counts("old", {"active": 2})
        monitor = watched(watch, server, "old")
        assert counters(monitor.events("old")) == {}
        bullmq.release(worker)
        events = wait_for(monitor, "old", {"started": 1, "completed": 2})
        assert sum(events.counters.processing["completed"].counts) == 0
        assert events.lost == 0


def test_a_queue_that_is_new_is_read_from_its_beginning(server: RedisServer, watch: WatchOf) -> None:
    monitor = watch(server)
    with BullMQ(6, url=server.url) as bullmq:
        bullmq.add_bulk("fresh", 7)
        monitor.read_all()
        wait_for(monitor, "fresh", {"added": 7})


def test_what_is_trimmed_unread_is_told_exactly(
    server: RedisServer, watch: WatchOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before Redis 7, which counts no entries, at least one lost event is reported each time."""
    monkeypatch.setattr(stream, "_CHECK_BUSY", 0.0)
    monkeypatch.setattr(stream, "CHECK_IDLE", 0.0)
    monitor = watched(watch, server, "cut")
    with BullMQ(6, url=server.url) as bullmq:
        bullmq.add_bulk("cut", 10)
        wait_for(monitor, "cut", {"added": 10})
        bullmq.add_bulk("cut", 100)
        server.cli("xtrim", "bull:cut:events", "maxlen", 30)
        events = monitor.events("cut")
        assert (counters(events), events.read) == ({"added": 25}, 50)
        if server_version() < (7, 0):
            assert 0 < events.lost <= 170
            return
        assert events.lost == 170
        server.cli("xtrim", "bull:cut:events", "maxlen", 0)
        bullmq.add_bulk("cut", 50)
        server.cli("xtrim", "bull:cut:events", "maxlen", 0)
        events = monitor.events("cut")
        assert (events.read, events.lost) == (50, 270)
        bullmq.add_bulk("cut", 2)
        events = monitor.events("cut")
        assert (events.read, events.lost) == (54, 270)


@pytest.mark.parametrize("how", ["obliterate", "flushall", "del"])
def test_a_stream_that_vanishes_is_no_error(
    watch: WatchOf, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "_CHECK_BUSY", 0.0)
    monkeypatch.setattr(stream, "CHECK_IDLE", 0.0)
    with start_redis() as own:
        own.wait()
        monitor = watched(watch, own, "mail")
        with BullMQ(6, url=own.url) as bullmq:
            bullmq.add_bulk("mail", 5)
            wait_for(monitor, "mail", {"added": 5})
            if how == "obliterate":
                bullmq.obliterate("mail")
            else:
                own.cli(*(["flushall"] if how == "flushall" else ["del", "bull:mail:events"]))
            assert counters(monitor.events("mail")) == {"added": 5}
            bullmq.add_bulk("mail", 3)
            events = wait_for(monitor, "mail", {"added": 8})
            assert (events.read, events.lost) == (16, 0)


def test_counters_of_a_queue_that_is_gone_go_too(watch: WatchOf) -> None:
    with start_redis() as own:
        own.wait()
        with BullMQ(6, url=own.url) as bullmq:
            bullmq.add("mail")
            monitor = watch(own)
            monitor.read_all()
            monitor.follow()
            assert QueueId("bull", "mail") in monitor.follower.events()
            bullmq.obliterate("mail")
            monitor.read_all()
            monitor.follow()
            assert monitor.follower.events() == {}


@pytest.mark.fault
def test_a_key_that_is_no_stream_costs_only_its_queue(watch: WatchOf) -> None:
    with start_redis() as own:
        own.wait()
        own.cli("set", "bull:odd:events", "1")
        monitor = watched(watch, own, "odd", "mail", "late")
        with BullMQ(6, url=own.url) as bullmq:
            bullmq.add("mail")
            wait_for(monitor, "mail", {"added": 1})
            assert QueueId("bull", "odd") not in monitor.follower.events()
            own.cli("set", "bull:late:events", "1")  # one that was a stream, or none yet, when it was begun
            monitor.follow()
            bullmq.add("mail")
            wait_for(monitor, "mail", {"added": 2})


def test_the_whole_program_serves_them(server: RedisServer) -> None:
    given = {"listen": "127.0.0.1:0", "redis": {"url": server.url}}
    program = Exporter(ExporterSettings.model_validate({**given, "bullmq": {"queues": ["served"]}}))
    without = Exporter(
        ExporterSettings.model_validate({**given, "bullmq": {"queues": ["served"], "events": False}})
    )
    program.start()
    without.start()
    labels = '{prefix="bull",queue="served"}'
    try:
        with BullMQ(6, url=server.url) as bullmq:
            scrape(program, expected=f"bullmq_job_added_total{labels} 0.0")
            bullmq.start_worker("served", concurrency=10)
            bullmq.add_bulk("served", 500, **GONE)
            text = scrape(program, expected=f"bullmq_job_completed_total{labels} 500.0")
            assert f"bullmq_job_wait_seconds_count{labels} 500.0" in text
            assert f"bullmq_events_lost_total{labels} 0.0" in text
        assert "bullmq_events" not in scrape(without, expected="bullmq_job_count")
        port = server.url.rsplit(":", 1)[1]
        assert {"follower", f"follower 127.0.0.1:{port}"} <= {task.name for task in program.about().tasks}
        assert "follower" not in {task.name for task in without.about().tasks}
    finally:
        assert program.stop()
        assert without.stop()


def scrape(program: Exporter, *, expected: str) -> str:
    """/metrics once it has this text in it."""

    def matching_text() -> str | None:
        text = httpx.get(f"http://{program.address}/metrics").text
        return text if expected in text else None

    text = wait_until(matching_text, what=expected, seconds=60)
    assert text is not None
    return text


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    with start_cluster(masters=3, replicas_per_master=1) as started:
        yield started


TAGGED = ("{mail}", "{print}", "{bill}")


@pytest.mark.fault
def test_in_a_cluster_through_a_failover(cluster: LocalCluster, watch: WatchOf) -> None:
    monitor = watched(watch, cluster, *TAGGED)
    with BullMQ(6, cluster=cluster.addresses) as bullmq:
        workers = {name: bullmq.start_worker(name, concurrency=3) for name in TAGGED}
        for name in TAGGED:
            bullmq.add_bulk(name, 20, **GONE)
        for name in TAGGED:
            wait_for(monitor, name, {"added": 20, "started": 20, "completed": 20})
        owner = cluster.owner_of("bull:{mail}:")
        (replica,) = cluster.replicas_of(owner)
        cluster.fail_over(replica)
        for name in TAGGED:
            bullmq.add_bulk(name, 20, **GONE)
        for name in TAGGED:
            events = wait_for(monitor, name, {"added": 40, "started": 40, "completed": 40})
            assert events.lost == 0
            assert bullmq.tally(workers[name])["returned"] == 40


@pytest.mark.fault
def test_in_a_cluster_through_the_death_of_a_master(cluster: LocalCluster, watch: WatchOf) -> None:
    monitor = watched(watch, cluster, "{bill}")
    with PyBullMQ(cluster=cluster.addresses) as python:
        python.start_worker("{bill}", concurrency=2)
        before = counters(monitor.events("{bill}"))
        python.add_bulk("{bill}", 10, **GONE)
        wait_for(monitor, "{bill}", {"added": 10, "started": 10, "completed": 10})
    assert before == {}
    owner = cluster.owner_of("bull:{bill}:")
    (replica,) = cluster.replicas_of(owner)
    wait_until(lambda: in_step(owner, replica), what="the replica is in step")
    owner.kill()
    wait_until(
        lambda: monitor.events("{bill}").lag < 0.5 and cluster.owner_of("bull:{bill}:") is replica,
        what="the new owner is followed",
        seconds=60,
    )
    with BullMQ(6, cluster=[node.address for node in cluster.nodes if node is not owner]) as bullmq:
        bullmq.start_worker("{bill}", concurrency=2)
        bullmq.add_bulk("{bill}", 10, **GONE)
        events = wait_for(monitor, "{bill}", {"added": 20, "started": 20, "completed": 20})
        assert events.lost == 0


@pytest.mark.parametrize("version", [5, 6])
def test_bullmqs_own_counts_beside_ours(server: RedisServer, watch: WatchOf, version: int) -> None:
    name, plain = f"own-{version}", f"own-none-{version}"
    monitor = watched(watch, server, name, plain)
    with BullMQ(version, url=server.url) as bullmq:  # type: ignore[arg-type]
        workers = [
            bullmq.start_worker(name, behaviour={"fail_first": 1}, metrics={"maxDataPoints": 60}),
            bullmq.start_worker(plain),
        ]
        bullmq.add_bulk(name, 7, attempts=2, **GONE)
        bullmq.add_bulk(name, 3, **GONE)
        bullmq.add_bulk(plain, 4, **GONE)
        wait_for(monitor, name, {"added": 10, "started": 17, "completed": 7, "failed": 3, "retried": 7})
        wait_for(monitor, plain, {"added": 4, "started": 4, "completed": 4})
        own = monitor.read_all().own
        assert own[QueueId("bull", name)] == OwnCounts(bullmq.tally(workers[0])["returned"], 3, 10)
        assert own[QueueId("bull", plain)] == OwnCounts(None, None, 4)
        for worker in workers:
            bullmq.stop_worker(worker)
        bullmq.obliterate(name)
        assert QueueId("bull", name) not in monitor.read_all().own


def test_rates_are_told_where_streams_are_followed(
    server: RedisServer, watch: WatchOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rates, "_MIN_SECONDS", 0.1)
    monitor = watched(watch, server, "rated")
    with BullMQ(6, url=server.url) as bullmq:
        bullmq.start_worker("rated", concurrency=5, behaviour={"ms": 20})
        bullmq.add_bulk("rated", 30, **GONE)
        wait_for(monitor, "rated", {"added": 30, "started": 30, "completed": 30})
        queue_rates = monitor.collect().rates[QueueId("bull", "rated")]
    assert queue_rates.completed_per_minute == pytest.approx(30 * 60 / queue_rates.seconds)
    assert (queue_rates.error_rate, queue_rates.lost_last_hour) == (0, 0)
    assert queue_rates.processing_p50 is not None
    assert 0.005 <= queue_rates.processing_p50 <= 0.1


def test_a_drained_queue_leaves_nothing_behind(
    library: Driver, server: RedisServer, watch: WatchOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "CHECK_IDLE", 0.0)
    name = f"drained-{library.process.name.replace(' ', '-')}"
    monitor = watched(watch, server, name)
    library.add_bulk(name, 50)
    wait_for(monitor, name, {"added": 50})
    (followed,) = monitor.follower._streams.values()
    assert followed.jobs.remembered == 50
    library.drain(name)
    library.add(name)
    library.start_worker(name)
    events = wait_for(monitor, name, {"added": 51, "started": 1, "completed": 1})
    wait_until(lambda: monitor.events(name).counters.evicted == 50, what="what was drained is forgotten")
    assert followed.jobs.remembered == 0
    assert events.lost == 0
