"""How queues on a real server are found, under which names, and how they go away."""

from __future__ import annotations

import pytest
from prometheus_client.parser import text_string_to_metric_families

from exporter.assessment import Assessment
from exporter.config.bullmq import BullMQSettings
from exporter.config.redis import RedisSettings
from exporter.health import Health
from exporter.metrics.bullmq import FAMILIES
from exporter.metrics.render import Renderer
from exporter.snapshot.queues import QueueId
from exporter.snapshot.whole import Snapshot
from lab.bullmq import BullMQ
from lab.deadline import wait_until
from lab.pybullmq import PyBullMQ
from lab.redis import RedisServer
from lab.sentinel import SentinelSet
from service.clock import Deadline
from service.outcome import Ok, UnreadableError
from tests.support.bullmq import Watch, WatchOf, bullmq_counts, exporter_counts, names, of

HOUR_MS = 3_600_000
ODD = [
    'quo"te',
    "back\\slash",
    "new\nline",
    "Ünïcödé-队列-🚀",
    "glob*?[a-z]",
    "{tag}",
    " spaces ",
    "%s-{}-$1",
    "w",
    "x" * 500,
]


@pytest.fixture
def empty(server: RedisServer) -> RedisServer:
    server.cli("flushall")
    return server


def test_odd_names_are_read_and_counted(empty: RedisServer, watch: WatchOf) -> None:
    with BullMQ(6, url=empty.url) as bullmq:
        for count, name in enumerate(ODD, start=1):
            bullmq.add_bulk(name, count)
        bullmq.start_worker('quo"te', behaviour={"hold": True})
        bullmq.wait_for_counts('quo"te', {"active": 1})
        state = watch(empty).read_all()
        assert names(state) == sorted(("bull", name) for name in ODD)
        for name in ODD:
            assert exporter_counts(of(state, name)) == bullmq_counts(bullmq.counts(name))
        assert of(state, 'quo"te').workers == 1


def test_the_exposition_of_odd_names_parses(empty: RedisServer, watch: WatchOf) -> None:
    with BullMQ(6, url=empty.url) as bullmq:
        for name in ODD:
            bullmq.add(name)
    state = watch(empty).read_all()
    assessment = Assessment(Snapshot(0.0, bullmq=Ok(state)), Health(100, "healthy", ()))
    text = Renderer(FAMILIES).text(assessment).decode()
    families = {family.name: family for family in text_string_to_metric_families(text)}
    queues = {sample.labels["queue"] for sample in families["bullmq_queue_paused"].samples}
    assert queues == set(ODD)


def test_queues_of_several_prefixes(empty: RedisServer, watch: WatchOf) -> None:
    prefixes = ["bull", "shop:eu", "we*rd[x]?\\", "{bull}"]
    for count, prefix in enumerate(prefixes, start=1):
        with BullMQ(6, url=empty.url, prefix=prefix) as bullmq:
            bullmq.add_bulk("mail", count)
    state = watch(empty, prefixes=prefixes).read_all()
    assert names(state) == sorted((prefix, "mail") for prefix in prefixes)
    assert [of(state, "mail", prefix).jobs.waiting for prefix in prefixes] == [1, 2, 3, 4]
    for prefix in prefixes:
        alone = watch(empty, prefixes=[prefix]).read_all()
        expected = [(prefix, "mail")]
        assert names(alone) == expected


def test_version_4_may_have_colons_in_names(empty: RedisServer, watch: WatchOf) -> None:
    with BullMQ(4, url=empty.url) as bullmq:
        bullmq.add_bulk("shop:mail", 2)
        bullmq.start_worker("shop:mail", behaviour={"hold": True})
        bullmq.wait_for_counts("shop:mail", {"active": 1})
        read = watch(empty).queue("shop:mail")
        assert (read.jobs.waiting, read.jobs.active, read.workers) == (1, 1, 1)


def test_a_meta_key_alone_is_no_queue(empty: RedisServer, watch: WatchOf) -> None:
    empty.cli("hset", "bull:phantom:meta", "opts.maxLenEvents", "10000")
    monitor = watch(empty)
    state = monitor.read_all()
    assert (state.queues, state.up, state.discovered) == ((), True, True)
    empty.cli("set", "bull:phantom:id", "1")
    assert names(monitor.read_all()) == [("bull", "phantom")]


def test_a_worker_makes_a_queue_known_that_has_no_job(empty: RedisServer, watch: WatchOf) -> None:
    monitor = watch(empty, scan=False)
    with BullMQ(6, url=empty.url) as bullmq, PyBullMQ(url=empty.url) as python:
        bullmq.start_worker("hungry")
        python.start_worker("snake")
        wait_until(lambda: names(monitor.read_all()) == [("bull", "hungry")], what="Node's is known")
        # Python's worker writes its first key after half a minute: until then there is no queue.
        empty.cli("set", "bull:snake:stalled-check", "1", "px", "30000")
        wait_until(
            lambda: names(monitor.read_all()) == [("bull", "hungry"), ("bull", "snake")],
            what="both are known",
        )
        assert (monitor.queue("hungry").workers, monitor.queue("snake").workers) == (1, 1)
    wait_until(lambda: not names(monitor.read_all()), what="both are gone, as nothing of them is left")


def test_names_and_patterns_of_the_settings(empty: RedisServer, watch: WatchOf) -> None:
    with BullMQ(6, url=empty.url) as bullmq:
        for name in ("mail", "mail-bulk", "orders", "eu-orders"):
            bullmq.add(name)
        assert names(watch(empty, queues=["mail"]).read_all()) == [("bull", "mail")]
        assert names(watch(empty, queues=["mail*"]).read_all()) == [("bull", "mail"), ("bull", "mail-bulk")]
        both = watch(empty, queues=["orders", "eu-*"]).read_all()
        assert names(both) == [("bull", "eu-orders"), ("bull", "orders")]
        unlooked = watch(empty, queues=["mail"])
        assert of(unlooked.collect(), "mail").jobs.waiting == 1
        missing = watch(empty, queues=["mial"]).read_all()
        assert missing.problems == ("in the settings, but not in Redis: mial",)


def test_a_queue_that_is_obliterated_goes_away(empty: RedisServer, watch: WatchOf) -> None:
    with BullMQ(6, url=empty.url) as bullmq:
        bullmq.add_bulk("gone", 3)
        bullmq.add_bulk("kept", 3)
        monitor = watch(empty)
        assert names(monitor.read_all()) == [("bull", "gone"), ("bull", "kept")]
        bullmq.obliterate("gone")
        assert names(monitor.read_all()) == [("bull", "kept")]
        empty.cli("flushall")
        state = monitor.read_all()
        assert (state.queues, state.up) == ((), True)


def test_the_background_finds_queues_within_its_budget(empty: RedisServer, watch: WatchOf) -> None:
    """A paced search: each step is one SCAN call, and says how long to wait for the next. The first one is
    ten times as fast, with calls of the same size."""
    empty.cli("eval", "for i = 1, 20000 do redis.call('set', 'other:' .. i, i) end", "0")
    with BullMQ(6, url=empty.url) as bullmq:
        bullmq.add("mail")
    monitor = watch(empty, scan_calls_per_second=2, rescan_interval_seconds=1)
    before = calls(empty, "scan")
    assert (monitor.discovery.known().complete, monitor.collect().discovered) == (False, False)
    steps = 0
    while not monitor.discovery.known().complete:
        pause = monitor.discovery.step()
        steps += 1
        assert monitor.discovery.known().complete or pause <= 1 / 20
    assert calls(empty, "scan") - before == steps >= 20
    state = monitor.collect()
    assert (names(state), state.discovered) == ([("bull", "mail")], True)
    assert calls(empty, "scan") - before == steps
    assert 0.05 <= monitor.discovery.step() <= 60
    wait_until(lambda: monitor.discovery.step() == 1 / 2, what="a later search is at its pace")


def test_queues_appear_while_the_first_search_goes_on(empty: RedisServer, watch: WatchOf) -> None:
    """And what is not known yet is not absent: nothing says how many queues there are."""
    script = """
    for i = 1, tonumber(ARGV[1]) do
      redis.call('hset', 'bull:q' .. i .. ':meta', 'version', 'bullmq:6.7.0')
      redis.call('xadd', 'bull:q' .. i .. ':events', '*', 'event', 'added', 'jobId', 1)
      for job = 1, 100 do redis.call('set', 'bull:q' .. i .. ':' .. job, 1) end
    end
    """
    empty.cli("eval", script, "0", "600", seconds=60)
    monitor = watch(empty)
    known = []
    while not monitor.discovery.known().complete:
        monitor.discovery.step()
        state = monitor.discovery.known()
        known.append((len(state.queues), state.complete))
    numbers = [number for number, _ in known]
    assert numbers == sorted(numbers)
    assert len({*numbers} - {0, 600}) >= 2
    assert known[-1] == (600, True)
    assert all(number == 600 or not complete for number, complete in known)


def test_of_known_queues_a_round_asks_little(empty: RedisServer, watch: WatchOf) -> None:
    with BullMQ(6, url=empty.url) as bullmq:
        for number in range(20):
            bullmq.add(f"q{number}")
    monitor = watch(empty)
    monitor.read_all()
    empty.cli("config", "resetstat")
    monitor.discovery.discover_once(Deadline.after(20))
    assert calls(empty, "exists") == 1
    assert (calls(empty, "type"), calls(empty, "xread")) == (0, 0)
    with BullMQ(6, url=empty.url) as bullmq:
        bullmq.obliterate("q3")
        assert ("bull", "q3") not in names(monitor.read_all())


def calls(server: RedisServer, command: str) -> int:
    row = server.facts("info", "commandstats").get(f"cmdstat_{command}", "calls=0,")
    return int(row.partition("calls=")[2].partition(",")[0])


def test_limits_and_schedulers(empty: RedisServer, watch: WatchOf) -> None:
    monitor = watch(empty)
    with BullMQ(6, url=empty.url) as bullmq, BullMQ(5, url=empty.url) as five:
        bullmq.add("plain")
        read = monitor.queue("plain")
        assert (read.concurrency_limit, read.rate_limit_ttl, read.schedulers) == (None, None, 0)

        bullmq.set_global_concurrency("few", 3)
        bullmq.add("few")
        assert monitor.queue("few").concurrency_limit == 3

        bullmq.queue("slow", "setGlobalRateLimit", 2, HOUR_MS)
        bullmq.add("slow", delay=HOUR_MS)
        assert monitor.queue("slow").rate_limit_ttl == 0.0
        bullmq.start_worker("slow")
        bullmq.add_bulk("slow", 5)
        bullmq.wait_for_counts("slow", {"completed": 2})
        wait_until(lambda: (monitor.queue("slow").rate_limit_ttl or 0) > 3000, what="the limit holds")
        expected_ttl = bullmq.queue("slow", "getRateLimitTtl")
        assert monitor.queue("slow").rate_limit_ttl == pytest.approx(expected_ttl / 1000, abs=10)

        five.start_worker("own-limit", limiter={"max": 1, "duration": HOUR_MS})
        five.add_bulk("own-limit", 3)
        five.wait_for_counts("own-limit", {"completed": 1})
        expected_ttl = five.queue("own-limit", "getRateLimitTtl")
        assert monitor.queue("own-limit").rate_limit_ttl == pytest.approx(expected_ttl / 1000, abs=10)

        for library, queue in ((bullmq, "six"), (five, "five")):
            library.upsert_scheduler(queue, "hourly", every=HOUR_MS)
            library.upsert_scheduler(queue, "nightly", pattern="0 3 * * *")
            assert monitor.queue(queue).schedulers == 2


@pytest.mark.fault
def test_lists_of_the_wrong_type_cost_only_their_queue(empty: RedisServer, watch: WatchOf) -> None:
    with BullMQ(6, url=empty.url) as bullmq:
        bullmq.add("sound")
        bullmq.add("broken")
        monitor = watch(empty)
        monitor.read_all()
        empty.cli("del", "bull:broken:wait")
        empty.cli("mset", "bull:broken:wait", "x", "bull:broken:active", "x")
        state = monitor.collect()
    assert of(state, "sound").jobs.waiting == 1
    failed = state.unread[QueueId("bull", "broken")]
    assert (failed.kind, failed.message.split()[0]) == ("refused", "WRONGTYPE")
    assert not state.up


@pytest.mark.fault
def test_a_redis_that_dies_and_comes_back(fresh_redis: RedisServer, watch: WatchOf) -> None:
    fresh_redis.wait()
    monitor = watch(fresh_redis)
    assert monitor.read_all().up
    fresh_redis.kill()
    with pytest.raises(UnreadableError):
        monitor.collect()
    fresh_redis.restart()
    with BullMQ(6, url=fresh_redis.url) as bullmq:
        bullmq.add("mail")
        assert of(monitor.read_all(), "mail").jobs.waiting == 1
        fresh_redis.suspend()
        state = monitor.collect(seconds=1)
        fresh_redis.resume()
    assert (state.up, names(state)) == (False, [("bull", "mail")])
    assert state.unread[QueueId("bull", "mail")].kind == "timeout"


def test_a_sentinel_failover_is_followed(fresh_sentinel_set: SentinelSet) -> None:
    servers = fresh_sentinel_set
    with BullMQ(6, url=servers.master().url) as bullmq:
        bullmq.add_bulk("mail", 3)
    redis = RedisSettings(sentinels=tuple(servers.sentinel_addresses))
    monitor = Watch(redis, BullMQSettings())
    try:
        assert of(monitor.read_all(), "mail").jobs.waiting == 3
        servers.fail_over()
        monitor.deployment.refresh(Deadline.after(5))
        state = monitor.read_all()
        assert (of(state, "mail").jobs.waiting, state.up) == (3, True)
    finally:
        monitor.close()


def test_groups_of_bullmq_pro_are_told(empty: RedisServer, watch: WatchOf) -> None:
    with BullMQ(6, url=empty.url) as bullmq:
        bullmq.add("mail")
    empty.cli("lpush", "bull:mail:groups:g1", "7", "8")
    empty.cli("zadd", "bull:mail:groups", "1", "g1")
    monitor = watch(empty)
    state = monitor.read_all()
    assert of(state, "mail").jobs.waiting == 1
    assert state.problems == ("jobs in groups of BullMQ Pro are not counted: mail",)
    empty.cli("del", "bull:mail:groups")
    assert monitor.read_all().problems == ()
