"""Each command of deploy/redis/exporter.acl is needed, all of them are enough, and none of them writes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from exporter.redis.collect import collect_redis
from exporter.snapshot.queues import BullMQState
from exporter.snapshot.redis import RedisState
from lab.bull import Bull
from lab.bullmq import BullMQ
from lab.cluster import LocalCluster, start_cluster
from lab.redis import RedisServer, start_redis
from service.clock import Deadline
from service.outcome import Ok, UnreadableError
from tests.support.acl import READER, rules
from tests.support.bullmq import Watch, WatchOf, names

NEEDED_ONLY_THERE = {
    **dict.fromkeys(("+subscribe", "+unsubscribe", "+psubscribe"), "bull"),
    "+cluster|info": "cluster",
    "+cluster|nodes": "cluster",
    "+select": "database",
    "+ping": "empty",
    "+asking": "a slot that is half moved",  # test_half_moved
    "+cluster|shards": "announced host names",  # test_names
    "+xlen": "large",  # only where a stream may begin with an entry of many MB
    "+client|setname": "named",  # the connection works without it, but CLIENT LIST does not say whose it is
}


def version(server: RedisServer) -> str:
    return server.facts("info", "server")["redis_version"]


def commands() -> list[str]:
    return [word for word in rules(version="7") if word.startswith("+")]


def let_in(server: RedisServer, *, but: str = "") -> None:
    """The file's user, without one command."""
    server.cli("acl", "deluser", "exporter")
    server.cli("acl", "setuser", *(word for word in rules(version=version(server)) if word != but))
    server.cli("acl", "log", "reset")


def refused(*servers: RedisServer) -> list[str]:
    """What the exporter's user was refused, as ACL LOG has it."""
    logs = [server.cli("--json", "acl", "log") for server in servers]
    return [log for log in logs if '"exporter"' in log]


def busy(bullmq: BullMQ, queue: str) -> None:
    """A queue with a scheduler, a limit that runs, and a job in each place that is looked into for more than
    its length: the delayed one is due within a minute."""
    bullmq.queue(queue, "setGlobalRateLimit", 10, 3_600_000)
    bullmq.start_worker(queue, behaviour={"hold": True})
    bullmq.add_bulk(queue, 3)
    bullmq.add(queue, delay=50_000)
    bullmq.upsert_scheduler(queue, "report", pattern="0 3 * * *")
    bullmq.wait_for_counts(queue, {"active": 1})


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with start_redis() as started, BullMQ(6, url=started.url) as bullmq:
        busy(bullmq, "mail")
        yield started


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    with start_cluster() as started, BullMQ(6, cluster=started.addresses) as bullmq:
        for queue in ("{mail}", "{images}", "{invoices}"):
            busy(bullmq, queue)
        yield started


def complaints(monitor: Watch) -> list[str]:
    """All that a whole collection says it could not read."""
    try:
        monitor.read_all()
        monitor.schedulers.read(Deadline.after(10))
        for _ in range(3):  # find the stream's end, read all streams at once, then each of its own
            monitor.follow()
        state: BullMQState = monitor.collect()
        redis: RedisState = collect_redis(monitor.deployment, Deadline.after(10))
    except UnreadableError as error:
        return [str(error)]
    problems = [*state.problems, *(why.message for why in state.unread.values())]
    problems += [sentence for queue in state.queues for sentence in queue.odd]
    problems += [f"{queue.id.name}: no age" for queue in state.queues if queue.oldest_waiting is None]
    for address, node in redis.nodes.items():
        if not isinstance(node, Ok):
            problems.append(f"{address}: {node.message}")
        elif node.value.slowlog_length is None or not node.value.commands:
            problems.append(f"{address}: read in part")
        elif redis.topology.mode == "cluster" and not node.value.cluster_info:
            problems.append(f"{address}: no CLUSTER INFO")
    return problems


def test_the_file_is_enough_in_a_cluster(cluster: LocalCluster, watch: WatchOf) -> None:
    for node in cluster.nodes:
        let_in(node)
    monitor = watch(cluster, redis=READER)
    assert complaints(monitor) == []
    assert names(monitor.collect()) == [("bull", queue) for queue in ("{images}", "{invoices}", "{mail}")]
    assert refused(*cluster.nodes) == []


def test_the_file_is_enough_for_one_server(server: RedisServer, watch: WatchOf) -> None:
    let_in(server)
    assert complaints(watch(server, redis=READER)) == []
    assert refused(server) == []


@pytest.mark.fault
@pytest.mark.parametrize("command", [word for word in commands() if word not in NEEDED_ONLY_THERE])
def test_each_command_is_needed(command: str, server: RedisServer, watch: WatchOf) -> None:
    let_in(server, but=command)
    assert complaints(watch(server, redis=READER)), command
    assert refused(server)


@pytest.mark.fault
@pytest.mark.parametrize("command", ["+cluster|info", "+cluster|nodes"])
def test_each_command_about_the_cluster_is_needed(
    command: str, cluster: LocalCluster, watch: WatchOf
) -> None:
    for node in cluster.nodes:
        let_in(node, but=command)
    assert complaints(watch(cluster, redis=READER)), command


def test_select_is_needed_for_another_database(server: RedisServer, watch: WatchOf) -> None:
    settings = {**READER, "database": 3}
    let_in(server)
    assert watch(server, redis=settings).read_all().up
    let_in(server, but="+select")
    with pytest.raises(UnreadableError, match="NOPERM"):
        watch(server, redis=settings).read_all()


def test_ping_is_needed_while_there_is_no_queue(watch: WatchOf) -> None:
    with start_redis() as empty:
        let_in(empty)
        assert watch(empty, redis=READER).read_all().queues == ()
        assert refused(empty) == []
        let_in(empty, but="+ping")
        watch(empty, redis=READER).read_all()
        assert refused(empty)


def test_zrange_is_needed_for_a_queue_of_bull_that_has_ended_all_its_jobs(watch: WatchOf) -> None:
    with start_redis() as alone, Bull(4, url=alone.url) as bull:
        bull.start_worker("jobs")
        bull.add("jobs")
        bull.wait_for_counts("jobs", {"completed": 1})
        alone.cli("del", "bull:jobs:stalled-check")
        let_in(alone)
        settings = {**READER}
        assert names(watch(alone, redis=settings, scan=True).read_all()) == [("bull", "jobs")]
        assert refused(alone) == []
    with start_redis() as alone:
        alone.cli("set", "bull:jobs:id", "1")
        alone.cli("zadd", "bull:jobs:completed", "5", "1")
        alone.cli("hset", "bull:jobs:1", "timestamp", "1", "delay", "0", "opts", "{}")
        let_in(alone)
        assert names(watch(alone, redis=READER).read_all()) == [("bull", "jobs")]
        let_in(alone, but="+zrange")
        state = watch(alone, redis=READER).read_all()
        assert "NOPERM" in next(iter(state.search.passed_over.values()))
        assert refused(alone)


def test_setname_is_needed_to_be_recognised(server: RedisServer, watch: WatchOf) -> None:
    let_in(server)
    monitor = watch(server, redis=READER)
    assert monitor.read_all().up
    assert "name=oxherd" in server.cli("client", "list")
    monitor.close()
    let_in(server, but="+client|setname")
    assert watch(server, redis=READER).read_all().up
    assert refused(server)


def test_every_command_has_its_test() -> None:
    assert set(NEEDED_ONLY_THERE) <= set(commands())
    assert not any(word.startswith("+@") for word in commands())


def test_none_of_what_was_sent_writes(server: RedisServer, watch: WatchOf) -> None:
    """By the server's own count of commands and its own word on each: COMMAND INFO's flags."""
    with start_redis() as alone:
        alone.cli("rpush", "bull:mail:wait", "1")
        alone.cli("rpush", "bull:mail:active", "2")
        alone.cli("hset", "bull:mail:meta", "opts.maxLenEvents", "10000")
        alone.cli("zadd", "bull:mail:repeat", "1795971600000", "report", "1795971600000", "old::::1000")
        alone.cli("config", "resetstat")
        monitor = watch(alone)
        monitor.read_all()
        monitor.schedulers.read(Deadline.after(10))
        monitor.follow()
        monitor.follow()
        collect_redis(monitor.deployment, Deadline.after(10))
        counted = alone.facts("info", "commandstats")
        sent = sorted({name.removeprefix("cmdstat_") for name in counted if name.startswith("cmdstat_")})
        assert {"llen", "hmget", "scan", "zcount", "xread", "lrange", "zrange", "hstrlen"} <= set(sent)
        assert "write" in alone.cli("command", "info", "rpush").split()
        for command in sent:
            flags = alone.cli("command", "info", command).split()
            assert flags, command
            assert "write" not in flags, command
