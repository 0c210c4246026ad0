"""What is found on a real server with the default settings, and what is not taken for a queue."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from exporter.config.settings import ExporterSettings
from exporter.run import Exporter
from exporter.snapshot.queues import BullMQState, QueueId
from lab.bull import BULL_VERSIONS, Bull, BullVersion
from lab.bullmq import BullMQ
from lab.deadline import wait_until
from lab.one_node import OneNodeCluster
from lab.pybullmq import PyBullMQ
from lab.redis import RedisServer, start_redis
from tests.support.bullmq import Watch, WatchOf, names, of
from tests.support.scrapes import Values, get, scrape

OTHERS = """
hset app:users:meta version 3
set app:users:id 17
sadd app:users:active u1
hset shop:orders:meta version 1
set shop:orders:id 5
xadd shop:orders:events * type created id 5
rpush shop:orders:wait 1 2
hset session:abc:meta user 7
set user:1:id 1
set user:2:id 2
set bq:mail:id 3
hset bq:mail:jobs 1 {}
rpush bq:mail:waiting 2
rpush bq:mail:active 1
zadd bq:mail:delayed 5 3
sadd bq:mail:succeeded 1
hset rsmq:mail:Q vt 30
zadd rsmq:mail 1 m
rpush celery {}
hset _kombu.binding.celery a b
sadd queues default
rpush queue:default {}
zadd arq:queue 1 j
set arq:job:7 x
set cache:page:id text
hset cache:page:meta etag 1 opts.maxLenEvents none
rpush cache:page:active x
""".strip()


@pytest.fixture(scope="module")
def shared() -> Iterator[RedisServer]:
    with start_redis() as started:
        yield started


@pytest.fixture
def server(shared: RedisServer) -> RedisServer:
    """The module's server, with the keys of other applications only."""
    shared.cli("flushall")
    for line in OTHERS.splitlines():
        shared.cli(*line.split())
    return shared


def found(monitor: Watch) -> BullMQState:
    """What the background finds, step by step, without waiting in between."""
    while not monitor.discovery.known().complete:
        monitor.discovery.step()
    return monitor.collect()


def test_queues_of_every_prefix_are_found_by_default(server: RedisServer, watch: WatchOf) -> None:
    """Clusters' way, an application's, one with a colon, and the queue of n8n, which runs on Bull."""
    prefixes = ("bull", "{bull}", "app", "bull:production")
    for count, prefix in enumerate(prefixes, start=1):
        with BullMQ(6, url=server.url, prefix=prefix) as bullmq:
            bullmq.add_bulk("mail", count)
    with Bull(4, url=server.url) as n8n, PyBullMQ(url=server.url, prefix="snakes") as python:
        n8n.add_bulk("jobs", 5)
        python.add_bulk("mail", 6)
        state = found(watch(server))
    expected = {*((prefix, "mail") for prefix in (*prefixes, "snakes")), ("bull", "jobs")}
    assert set(names(state)) == expected
    assert [of(state, "mail", prefix).jobs.waiting for prefix in (*prefixes, "snakes")] == [1, 2, 3, 4, 6]
    assert of(state, "jobs").jobs.waiting == 5
    assert {queue.id: queue.library for queue in state.queues if queue.library != "bullmq"} == {
        QueueId("bull", "jobs"): "bull"
    }


def test_an_empty_prefix_is_one_too(server: RedisServer, watch: WatchOf) -> None:
    """BullMQ takes it, and its keys begin with a colon."""
    with BullMQ(6, url=server.url, prefix="") as bullmq:
        bullmq.add_bulk("mail", 2)
        bullmq.start_worker("mail", behaviour={"hold": True})
        bullmq.wait_for_counts("mail", {"active": 1})
        monitor = watch(server)
        found(monitor)
        mail = of(monitor.read_all(), "mail", "")
        assert (mail.jobs.waiting, mail.jobs.active, mail.workers) == (1, 1, 1)


def test_other_applications_keys_are_no_queues_and_are_named(server: RedisServer, watch: WatchOf) -> None:
    state = found(watch(server))
    assert (names(state), state.up, state.unread) == ([], True, {})
    passed_over = state.search.passed_over
    assert passed_over[QueueId("app", "users")] == "its active is a set, and that of a queue is a list"
    assert passed_over[QueueId("bq", "mail")] == "it has a key called waiting, which no queue has"
    nothing = "it has nothing that only BullMQ or Bull writes"
    for queue in (QueueId("shop", "orders"), QueueId("cache", "page")):
        assert passed_over[queue] == nothing
    assert passed_over[QueueId("user", "1")] == "it has one key, and nothing else that a queue has"
    assert (state.search.prefixes, state.search.keys) == ((), int(server.cli("dbsize")))
    assert state.search.ended_at is not None


@pytest.mark.parametrize("version", BULL_VERSIONS)
def test_bull_is_recognised_in_each_state(version: BullVersion, server: RedisServer, watch: WatchOf) -> None:
    hour = 3_600_000
    with Bull(version, url=server.url, prefix="{n8n}") as bull:
        bull.add("waiting")
        bull.add("delayed", delay=hour)
        bull.pause("paused")
        bull.add("paused")
        worker = bull.start_worker("done")
        bull.add("done")
        bull.wait_for_counts("done", {"completed": 1})
        bull.start_worker("removes")
        bull.add("removes", removeOnComplete=True)
        bull.start_worker("idle")
        monitor = watch(server)
        everything = ["delayed", "done", "idle", "paused", "removes", "waiting"]

        def all_found() -> bool:
            return names(monitor.read_all()) == [("{n8n}", name) for name in everything]

        wait_until(all_found, what="all queues of Bull")
        libraries = {queue.id.name: queue.library for queue in monitor.collect().queues}
        assert {name for name, library in libraries.items() if library == "bull"} >= set(everything) - {
            "idle"
        }
        bull.stop_worker(worker)
        assert set(names(found(watch(server)))) >= {("{n8n}", name) for name in everything if name != "idle"}


def test_settings_narrow_the_search(server: RedisServer, watch: WatchOf) -> None:
    for prefix in ("bull", "app", "bull:production"):
        with BullMQ(6, url=server.url, prefix=prefix) as bullmq:
            bullmq.add("mail")
    assert names(found(watch(server, prefixes=["app"]))) == [("app", "mail")]
    state = found(watch(server, prefixes=["bull", "bull:production"]))
    assert names(state) == [("bull", "mail"), ("bull:production", "mail")]
    assert state.search.prefixes == ("bull", "bull:production")
    assert names(found(watch(server, prefixes=["bull"]))) == [("bull", "mail"), ("bull", "production:mail")]


def test_a_foreign_key_under_a_configured_prefix_is_no_queue(server: RedisServer, watch: WatchOf) -> None:
    """It was a queue that could not be read, and made everything critical."""
    with BullMQ(6, url=server.url, prefix="app") as bullmq:
        bullmq.add("mail")
    state = found(watch(server, prefixes=["app"]))
    assert (names(state), state.up) == ([("app", "mail")], True)


def test_one_odd_key_of_a_real_queue_is_not_taken_for_another_application(
    server: RedisServer, watch: WatchOf
) -> None:
    with BullMQ(5, url=server.url, prefix="app") as bullmq:
        bullmq.add("mail")
        server.cli("del", "app:mail:completed")
        server.cli("sadd", "app:mail:completed", "x")
        state = found(watch(server))
    assert names(state) == [("app", "mail")]
    assert of(state, "mail", "app").odd


@pytest.mark.parametrize("lost", ["meta", "events", "id"])
def test_a_queue_that_lost_a_key_is_still_found(lost: str, server: RedisServer, watch: WatchOf) -> None:
    with BullMQ(6, url=server.url, prefix="app") as bullmq:
        bullmq.add_bulk("mail", 3)
        server.cli("del", f"app:mail:{lost}")
        state = found(watch(server))
    assert names(state) == [("app", "mail")]
    assert of(state, "mail", "app").library == "bullmq"


def test_a_worker_says_where_the_prefix_ends(server: RedisServer, watch: WatchOf) -> None:
    """The same keys may be `mail` under bull:shop, or an old queue called `shop:mail`."""
    with BullMQ(4, url=server.url) as bullmq:
        bullmq.add("shop:mail")
        monitor = watch(server)
        assert names(found(monitor)) == [("bull:shop", "mail")]
        worker = bullmq.start_worker("shop:mail", behaviour={"hold": True})
        wait_until(lambda: names(monitor.read_all()) == [("bull", "shop:mail")], what="its name")
        bullmq.stop_worker(worker)
        assert names(monitor.read_all()) == [("bull", "shop:mail")]


@pytest.mark.timeout(90)
def test_an_idle_worker_is_enough_and_another_clients_name_is_not(
    server: RedisServer, watch: WatchOf
) -> None:
    monitor = watch(server)
    with (
        BullMQ(6, url=server.url, prefix="app:eu") as bullmq,
        PyBullMQ(url=server.url, prefix="py") as python,
    ):
        bullmq.start_worker("hungry")
        python.start_worker("snake")
        wait_until(
            lambda: names(monitor.read_all()) == [("app:eu", "hungry"), ("py", "snake")],
            what="both are found",
            seconds=60,  # Python's worker writes its first key after 30 s
        )


def test_a_queue_that_was_only_made_is_found_with_its_first_job(server: RedisServer, watch: WatchOf) -> None:
    monitor = watch(server)
    with BullMQ(6, url=server.url, prefix="app") as bullmq:
        bullmq.counts("later")
        wait_until(lambda: server.cli("exists", "app:later:meta") == "1", what="meta")
        assert names(monitor.read_all()) == []
        bullmq.add("later")
        assert names(monitor.read_all()) == [("app", "later")]


def test_thousands_of_other_ids_cost_one_small_read_each(server: RedisServer, watch: WatchOf) -> None:
    server.cli("eval", "for i = 1, 3000 do redis.call('set', 'app:user:' .. i .. ':id', i) end", "0")
    with BullMQ(6, url=server.url, prefix="app:user") as bullmq:
        bullmq.add("mail")
    monitor = watch(server)
    server.cli("config", "resetstat")
    state = found(monitor)
    assert names(state) == [("app:user", "mail")]
    stats = server.facts("info", "commandstats")
    types = int(stats["cmdstat_type"].partition("calls=")[2].partition(",")[0])
    assert types < 1000
    assert len(state.search.passed_over) == 100
    assert len(found(monitor).search.passed_over) == 100


def test_a_cluster_of_one_node_that_takes_names_without_a_tag(server: RedisServer, watch: WatchOf) -> None:
    with OneNodeCluster(server) as cluster, BullMQ(6, url=server.url) as bullmq:
        bullmq.add_bulk("mail", 5)
        server.cli("hset", "bull:phantom:meta", "opts.maxLenEvents", "10000")
        monitor = watch(server, redis={"url": None, "cluster": [cluster.address]})
        state = found(monitor)
        assert names(state) == [("bull", "mail")]
        assert of(state, "mail").jobs.waiting == 5
        assert QueueId("bull", "phantom") in state.search.passed_over


@pytest.mark.timeout(90)
def test_a_running_exporter_has_them_all_in_the_first_minute(server: RedisServer) -> None:
    """With 100,000 other keys, and the pace of the default settings."""
    fill = "for i = 1, 100000 do redis.call('set', 'session:' .. redis.sha1hex(tostring(i)), i) end"
    server.cli("eval", fill, "0", seconds=30)
    prefixes = ("{bull}", "app", "bull:production")
    expected = {*((prefix, "mail") for prefix in prefixes), ("bull", "jobs")}
    for prefix in prefixes:
        with BullMQ(5, url=server.url, prefix=prefix) as bullmq:
            bullmq.add("mail")
    with Bull(4, url=server.url) as n8n:
        n8n.add("jobs")
    exporter = Exporter(
        ExporterSettings.model_validate({"redis": {"url": server.url}, "listen": "127.0.0.1:0"})
    )
    exporter.start()
    try:
        values: Values = {}

        def searched() -> bool:
            values.clear()
            values.update(scrape(f"http://{exporter.address}"))
            return get(values, "bullmq_queues") is not None

        wait_until(searched, what="the first search has ended", seconds=60)
    finally:
        exporter.stop()
    listed = {
        (dict(labels)["prefix"], dict(labels)["queue"])
        for name, labels in values
        if name == "bullmq_queue_paused"
    }
    assert listed == expected
    assert (get(values, "bullmq_queues"), get(values, "bullmq_up")) == (len(expected), 1)
