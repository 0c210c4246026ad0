"""The user of deploy/redis/exporter.acl, which can only read, is enough for all that the exporter asks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from exporter.config.health import HealthSettings
from exporter.health import assess
from exporter.redis.collect import collect_redis
from exporter.redis.protocol import ReplyError, pack_request
from exporter.snapshot.queues import QueueId
from exporter.snapshot.whole import Snapshot
from lab.bullmq import BullMQ
from lab.redis import RedisError, RedisServer, start_redis
from service.catalogs import ENGLISH
from service.clock import Deadline
from service.outcome import Failed, Ok
from tests.support.acl import ACL, READER, rules
from tests.support.bullmq import WatchOf, names, of

SOON_MS = 50_000
READS = {
    "ping",
    "info",
    "cluster|nodes",
    "slowlog|len",
    "client|setname",
    "client|list",
    "auth",
    "scan",
    "exists",
    "type",
    "get",
    "pttl",
    "hmget",
    "llen",
    "lindex",
    "zcard",
    "zcount",
    "zrange",
    "lrange",
    "xread",
    "xinfo|stream",
    "memory|usage",
    "xlen",
    "time",
}


@pytest.fixture(scope="module")
def guarded() -> Iterator[RedisServer]:
    """A server with that user, a queue in use, and a key of someone else's."""
    with start_redis() as server:
        server.wait()
        server.cli("acl", "setuser", *rules(version=server.facts("info", "server")["redis_version"]))
        server.cli("set", "secret", "42")
        with BullMQ(6, url=server.url) as bullmq:
            bullmq.start_worker("mail", behaviour={"hold": True})
            bullmq.add_bulk("mail", 3)
            bullmq.add("mail", delay=SOON_MS)
            bullmq.wait_for_counts("mail", {"active": 1})
            yield server


def test_all_that_the_exporter_reads_is_allowed(guarded: RedisServer, watch: WatchOf) -> None:
    monitor = watch(guarded, redis=READER)
    monitor.read_all()
    monitor.follow()
    monitor.follow()
    state = monitor.collect()
    assert (state.unread, state.problems, names(state)) == ({}, (), [("bull", "mail")])
    assert state.events is not None
    assert state.events[QueueId("bull", "mail")].lag < 5
    mail = of(state, "mail")
    assert (mail.jobs.waiting, mail.jobs.active, mail.jobs.delayed, mail.workers) == (2, 1, 1, 1)
    assert None not in (mail.oldest_waiting, mail.longest_active)
    (node,) = collect_redis(monitor.deployment, Deadline.after(10)).nodes.values()
    assert isinstance(node, Ok)
    assert None not in (node.value.slowlog_length, node.value.maxclients)
    assert node.value.commands


def test_nothing_else_is(guarded: RedisServer, watch: WatchOf) -> None:
    refused = [
        ("SET", "bull:mail:meta", "1"),
        ("DEL", "bull:mail:meta"),
        ("LPUSH", "bull:mail:wait", "1"),
        ("HSET", "bull:mail:meta", "paused", "1"),
        ("EVAL", "return 1", "0"),
        ("GET", "secret"),
        ("LLEN", "other:mail:wait"),
        ("CONFIG", "GET", "*"),
        ("CLIENT", "KILL", "ID", "1"),
        ("FLUSHALL",),
        ("ACL", "LIST"),
        ("MONITOR",),
        ("KEYS", "*"),
    ]
    monitor = watch(guarded, redis=READER)
    (outcome,) = monitor.deployment.execute(
        {guarded.address: pack_request(refused)}, Deadline.after(5), pool="t"
    ).values()
    assert isinstance(outcome, Ok)
    codes = [reply.code if isinstance(reply, ReplyError) else reply for reply in outcome.value]
    assert codes == ["NOPERM"] * len(refused)


def test_the_exporter_only_ever_sends_reads(guarded: RedisServer, watch: WatchOf) -> None:
    """Counted by the server itself, for a user of our own that nobody else uses."""
    with start_redis() as server:
        server.wait()
        for key, value in (("id", "3"), ("limiter", "1")):
            server.cli("set", f"bull:mail:{key}", value)
        server.cli("rpush", "bull:mail:wait", "1", "0:1700000000000")
        server.cli("hset", "bull:mail:1", "timestamp", "1")
        server.cli("zadd", "bull:mail:delayed", "1", "2")
        server.cli("zadd", "bull:mail:failed", "1", "3")
        server.cli("hset", "bull:mail:meta", "paused", "1", "opts.maxLenEvents", "10000")
        server.cli("config", "resetstat")
        before = server.cli("info", "replication")
        monitor = watch(server)
        monitor.read_all()
        monitor.follow()
        monitor.follow()
        collect_redis(monitor.deployment, Deadline.after(10))
        assert server.cli("info", "replication") == before
        sent = {
            name.removeprefix("cmdstat_")
            for name in server.facts("info", "commandstats")
            if name.startswith("cmdstat_")
        }
        reads = READS | {read.partition("|")[0] for read in READS}  # 6.2 does not count subcommands
        assert sent - {"config", "config|resetstat"} <= reads
        assert {"scan", "zcount", "hmget", "lindex", "xread", "lrange"} <= sent


def test_an_acl_for_another_prefix_leaves_the_queue_unread(guarded: RedisServer, watch: WatchOf) -> None:
    version = guarded.facts("info", "server")["redis_version"]
    shop_rules = [word.replace("bull:", "shop:") for word in rules(version=version)]
    guarded.cli("acl", "setuser", "shop", *shop_rules[1:])
    monitor = watch(guarded, redis={**READER, "username": "shop"}, queues=["mail"])
    state = monitor.read_all()
    failed = state.unread[QueueId("bull", "mail")]
    assert isinstance(failed, Failed)
    assert (failed.kind, failed.message.startswith("NOPERM")) == ("refused", True)
    assert not state.up
    assert any("NOPERM" in problem for problem in state.problems)


def test_without_client_list_workers_are_unknown(guarded: RedisServer, watch: WatchOf) -> None:
    version = guarded.facts("info", "server")["redis_version"]
    guarded.cli(
        "acl", "setuser", "blind", *[rule for rule in rules(version=version)[1:] if "|list" not in rule]
    )
    state = watch(guarded, redis={**READER, "username": "blind"}).read_all()
    assert of(state, "mail").workers is None
    assert [problem.partition(":")[0] for problem in state.problems] == ["CLIENT LIST"]
    assert state.up


def test_without_scan_named_queues_are_read(guarded: RedisServer, watch: WatchOf) -> None:
    version = guarded.facts("info", "server")["redis_version"]
    bare = [rule for rule in rules(version=version)[1:] if rule not in ("+scan", "+client|list")]
    guarded.cli("acl", "setuser", "bare", *bare)
    user: dict[str, object] = {**READER, "username": "bare"}
    named = watch(guarded, redis=user, queues=["mail"]).read_all()
    assert (of(named, "mail").jobs.active, named.up) == (1, True)
    searching = watch(guarded, redis=user).read_all()
    assert (searching.queues, searching.discovered) == ((), False)
    assert any(problem.startswith("SCAN") for problem in searching.problems)
    assert not searching.up
    (issue,) = assess(Snapshot(0.0, bullmq=Ok(searching)), HealthSettings()).issues
    assert (issue.name, "NOPERM" in ENGLISH.render(issue.measured)) == ("queue_system_down", True)
    assert "exporter.acl" in ENGLISH.render(issue.recommendation)


def test_redis_starts_with_the_file_and_lets_nobody_in(guarded: RedisServer, tmp_path: Path) -> None:
    file = ACL
    if guarded.facts("info", "server")["redis_version"].startswith("6."):
        file = tmp_path / "exporter.acl"
        file.write_text(ACL.read_text().replace("%R~", "~"))  # as its comment says
    with start_redis(config=[f"include {file}"]) as server:
        server.wait()
        assert "user exporter off" in server.cli("acl", "list")
        for password in ("", "off", "resetpass", "DIGEST", "s3cret"):
            with pytest.raises(RedisError, match="WRONGPASS"):
                server.cli("auth", "exporter", password)


def test_the_shipped_list_and_a_queue_under_another_prefix(watch: WatchOf) -> None:
    """The right to read bull:* is not enough: nothing readable is not nothing there."""
    with start_redis() as server, BullMQ(6, url=server.url, prefix="jobs") as bullmq:
        bullmq.add_bulk("mail", 500)
        server.cli("acl", "setuser", *rules(version=server.facts("info", "server")["redis_version"]))
        mail = QueueId("jobs", "mail")
        for settings in ({"prefixes": ["jobs"]}, {}):
            monitor = watch(server, redis=READER, **settings)
            states = [monitor.read_all() for _ in range(3)]
            assert [(state.up, list(state.unread)) for state in states] == [(False, [mail])] * 3
            assert "NOPERM" in states[0].unread[mail].message
            health = assess(Snapshot(0.0, bullmq=Ok(states[0])), HealthSettings())
            assert [issue.name for issue in health.issues] == ["queue_system_down"]

        with BullMQ(6, url=server.url) as other:
            other.add("reports")
        state = watch(server, redis=READER).read_all()
        assert (names(state), state.up, list(state.search.refused)) == ([("bull", "reports")], True, [mail])
        health = assess(Snapshot(0.0, bullmq=Ok(state)), HealthSettings())
        assert [issue.name for issue in health.issues] == ["candidates_refused"]
        narrowed = watch(server, redis=READER, prefixes=["bull"]).read_all()
        assert (narrowed.up, dict(narrowed.search.refused)) == (True, {})


def test_other_applications_counters_are_no_refused_queues(watch: WatchOf) -> None:
    with start_redis() as server, BullMQ(6, url=server.url) as bullmq:
        bullmq.add("mail")
        for number in range(50):
            server.cli("set", f"app:user:{number}:id", str(number))
        server.cli("acl", "setuser", *rules(version=server.facts("info", "server")["redis_version"]))
        state = watch(server, redis=READER).read_all()
        assert (state.up, dict(state.search.refused), state.problems) == (True, {}, ())


def test_neither_exists_nor_type_leaves_queues_unread(watch: WatchOf) -> None:
    with start_redis() as server, BullMQ(6, url=server.url) as bullmq:
        bullmq.add("mail")
        bare = [
            rule
            for rule in rules(version=server.facts("info", "server")["redis_version"])
            if rule not in ("+exists", "+type")
        ]
        server.cli("acl", "setuser", *bare)
        monitor = watch(server, redis=READER)
        for _ in range(3):
            state = monitor.read_all()
            assert (state.up, list(state.unread)) == (False, [QueueId("bull", "mail")])
            assert any("NOPERM" in problem for problem in state.problems)
