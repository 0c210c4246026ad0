"""The memory of queues that real libraries made, beside MEMORY USAGE of all of their keys."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner

from exporter.bullmq.memory.watch import MemoryWatch
from exporter.cli import main
from exporter.config.memory import MemorySettings
from exporter.snapshot.queues import MeasuredMemory, QueueId
from lab.bullmq import BullMQ
from lab.cluster import LocalCluster, start_cluster
from lab.deadline import wait_until
from lab.driver import Driver
from lab.redis import RedisServer, start_redis
from service.clock import Deadline, monotonic
from service.units import size
from tests.support.acl import READER, rules
from tests.support.bullmq import Watch, WatchOf
from tests.support.scrapes import get, scrape
from tests.support.system import FULL, running

pytestmark = pytest.mark.timeout(180)

FAST = MemorySettings(redis_ratio=0.1)


def measured(monitor: Watch, settings: MemorySettings = FAST) -> MeasuredMemory:
    """One survey of all queues of a deployment."""
    monitor.discovery.discover_once(Deadline.after(20))
    memory = MemoryWatch(monitor.deployment, monitor.discovery, settings)
    memory.survey_once(Deadline.after(60))
    return memory.memory()


def walked(server: RedisServer, queue: str, prefix: str = "bull") -> dict[str, int]:
    """MEMORY USAGE of each key of a queue, without sampling."""
    keys = server.cli("--scan", "--pattern", f"{prefix}:{queue}:*").split()
    return {key: int(server.cli("memory", "usage", key, "samples", 0)) for key in keys}


def jobs_of_all_sizes(library: Driver, queue: str) -> None:
    """Waiting, delayed, prioritized, completed and failed jobs with data of 10 B to 30 KB."""
    data = [{"text": "x" * size} for size in (10, 500, 3000, 30_000)] * 5
    library.start_worker(queue, concurrency=4)
    library.queue(queue, "addBulk", [{"name": "job", "data": each, "opts": {}} for each in data])
    wait_until(lambda: counts(library, queue)["completed"] == 20, what="20 jobs have ended", seconds=30)
    library.queue(queue, "pause")
    for opts in ({}, {"delay": 3_600_000}, {"priority": 3}):
        library.queue(queue, "addBulk", [{"name": "job", "data": each, "opts": opts} for each in data])


def counts(library: Driver, queue: str) -> dict[str, int]:
    found = library.counts(queue)
    return {state: int(number) for state, number in found.items()}


def test_a_queue_that_is_measured_whole_is_the_sum_of_its_keys(
    library: Driver, server: RedisServer, watch: WatchOf
) -> None:
    name = f"whole-{library.process.name.replace(' ', '-')}"
    jobs_of_all_sizes(library, name)
    queue = measured(watch(server)).queues[QueueId("bull", name)]
    keys = walked(server, name)
    assert queue.error == 0.0
    assert queue.bytes == pytest.approx(sum(keys.values()), rel=0.01)
    jobs = {state: kept.jobs for state, kept in queue.states.items() if kept.jobs}
    assert (jobs["completed"], jobs["delayed"], sum(jobs.values())) == (20, 20, 80)
    assert queue.states["events"].bytes == keys[f"bull:{name}:events"]


def test_parents_logs_and_locks_belong_to_their_jobs(server: RedisServer, watch: WatchOf) -> None:
    with BullMQ(6, url=server.url) as bullmq:
        bullmq.start_worker("held", behaviour={"hold": True})
        bullmq.add_bulk("held", 1)
        bullmq.wait_for_counts("held", {"active": 1})
        job = server.cli("lindex", "bull:held:active", "0")
        server.cli("rpush", f"bull:held:{job}:logs", *("a line" * 20 for _ in range(50)))
        active = measured(watch(server)).queues[QueueId("bull", "held")].states["active"]
        keys = walked(server, "held")
    mine = sum(size for key, size in keys.items() if key.startswith(f"bull:held:{job}"))
    assert f"bull:held:{job}:lock" in keys
    assert active.bytes == mine + keys["bull:held:active"]


def test_many_jobs_are_sampled(server: RedisServer, watch: WatchOf) -> None:
    """Old jobs are 20 times as large as new ones; what 1,000 of them keep is known too."""
    for start in range(0, 6000, 500):
        size = 4000 if start < 3000 else 200
        script = (
            "for n = tonumber(ARGV[1]), tonumber(ARGV[1]) + 499 do "
            "redis.call('HSET', 'bull:old:' .. n, 'name', 'job', 'data', string.rep('x', ARGV[2])) "
            "redis.call('ZADD', 'bull:old:completed', 1700000000000 + n, n) end"
        )
        server.cli("eval", script, 0, start, size)
    server.cli("hset", "bull:old:meta", "version", "bullmq:6.7.0")
    keys = walked_jobs(server)
    queue = measured(watch(server), MemorySettings(redis_ratio=0.1, samples=600)).queues[
        QueueId("bull", "old")
    ]
    completed = queue.states["completed"]
    assert completed.samples <= 600
    own = int(server.cli("memory", "usage", "bull:old:completed", "samples", 0))
    assert completed.bytes == pytest.approx(sum(keys) + own, rel=0.03)
    assert 0 < completed.error < 0.02 * completed.bytes
    assert completed.older == pytest.approx(sum(keys[:5000]), rel=0.05)


def walked_jobs(server: RedisServer) -> list[int]:
    """MEMORY USAGE of the 6,000 jobs of `old`, by their numbers."""
    script = (
        "local sizes = {} for n = 0, 5999 do "
        "sizes[n + 1] = redis.call('MEMORY', 'USAGE', 'bull:old:' .. n, 'SAMPLES', 0) end return sizes"
    )
    return [int(size) for size in server.cli("eval", script, 0).split()]


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    with start_cluster() as started:
        yield started


def test_each_node_of_a_cluster(cluster: LocalCluster, watch: WatchOf) -> None:
    names = ("{mail}", "{images}", "{invoices}")  # on three masters
    with BullMQ(6, cluster=cluster.addresses) as bullmq:
        for count, name in enumerate(names, start=5):
            bullmq.add_bulk(name, count)
        memory = measured(watch(cluster))
    assert set(memory.nodes) == {node.address for node in cluster.masters()}
    for name in names:
        queue = memory.queues[QueueId("bull", name)]
        owner = cluster.owner_of(f"bull:{name}:id")
        assert queue.node == owner.address
        assert queue.bytes == sum(walked(owner, name).values())
    assert (memory.pending, memory.unread) == (0, {})


@pytest.fixture(scope="module")
def guarded() -> Iterator[RedisServer]:
    """A server with the shipped user, and one that may not ask for the memory."""
    with start_redis() as server:
        version = server.facts("info", "server")["redis_version"]
        server.cli("acl", "setuser", *rules(version=version))
        without = [rule for rule in rules(version=version)[1:] if not rule.startswith("+memory")]
        server.cli("acl", "setuser", "blind", *without)
        with BullMQ(6, url=server.url) as bullmq:
            bullmq.add_bulk("mail", 10)
            yield server


def test_the_shipped_rights_are_enough(guarded: RedisServer, watch: WatchOf) -> None:
    memory = measured(watch(guarded, redis=READER))
    assert memory.queues[QueueId("bull", "mail")].bytes == sum(walked(guarded, "mail").values())
    assert memory.unread == {}


def test_refused_is_not_0(guarded: RedisServer, watch: WatchOf) -> None:
    memory = measured(watch(guarded, redis={**READER, "username": "blind"}))
    assert memory.queues == {}
    assert "NOPERM" in memory.unread[QueueId("bull", "mail")]
    assert memory.nodes  # INFO says it


def test_a_renamed_command_is_told(watch: WatchOf) -> None:
    with start_redis(config=['rename-command MEMORY ""']) as server, BullMQ(6, url=server.url) as bullmq:
        bullmq.add_bulk("mail", 10)
        memory = measured(watch(server))
        assert (memory.queues, list(memory.unread)) == ({}, [QueueId("bull", "mail")])
        assert "unknown command" in memory.unread[QueueId("bull", "mail")]


def test_a_server_that_is_gone_leaves_what_was_known_for_a_while(watch: WatchOf) -> None:
    with start_redis() as server, BullMQ(6, url=server.url) as bullmq:
        bullmq.add_bulk("mail", 10)
        monitor = watch(server, redis={"timeout_seconds": 0.5})
        monitor.discovery.discover_once(Deadline.after(20))
        memory = MemoryWatch(monitor.deployment, monitor.discovery, FAST, first_after=0.0)
        memory.survey_once(Deadline.after(20))
        before = memory.memory()
        server.kill()
        memory.survey_once(Deadline.after(5))
        assert memory.memory().queues == before.queues
        assert memory.memory().nodes == {}


def test_what_is_old_is_not_served(
    server: RedisServer, watch: WatchOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    with two_queues(server):
        monitor = watch(server)
        monitor.discovery.discover_once(Deadline.after(20))
        memory = MemoryWatch(monitor.deployment, monitor.discovery, FAST)
        memory.survey_once(Deadline.after(20))
    assert memory.memory().queues
    later = monotonic() + 10 * FAST.interval_seconds
    monkeypatch.setattr("exporter.bullmq.memory.watch.monotonic", lambda: later)
    assert memory.memory() == MeasuredMemory()


def test_a_server_that_stays_away_is_forgotten(watch: WatchOf, monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread goes on all the time."""
    with start_redis() as gone, BullMQ(6, url=gone.url) as bullmq:
        bullmq.add_bulk("mail", 3)
        monitor = watch(gone, redis={"timeout_seconds": 0.5})
        monitor.discovery.discover_once(Deadline.after(20))
        memory = MemoryWatch(monitor.deployment, monitor.discovery, FAST, first_after=0.0)
        memory.survey_once(Deadline.after(20))
        gone.kill()
        at = monotonic()
        for after, there in ((400.0, True), (800.0, True), (3000.0, False)):
            monkeypatch.setattr("exporter.bullmq.memory.watch.monotonic", lambda later=at + after: later)
            memory.step()
            memory.step()
            assert bool(memory.memory().queues) == there, after
        assert memory.memory().unread


def test_the_largest_queues_have_series(server: RedisServer, watch: WatchOf) -> None:
    server.cli("flushall")
    with two_queues(server):
        memory = measured(watch(server), MemorySettings(redis_ratio=0.1, series_queues=1))
    assert list(memory.published) == [QueueId("bull", "mail")]
    assert len(memory.queues) == 2
    assert memory.totals["waiting"] == sum(
        round(queue.states["waiting"].bytes) for queue in memory.queues.values()
    )


@contextmanager
def two_queues(server: RedisServer) -> Iterator[BullMQ]:
    with BullMQ(6, url=server.url) as bullmq:
        bullmq.add_bulk("mail", 30)
        bullmq.add_bulk("quiet", 1)
        yield bullmq


def test_without_an_exporter_the_command_measures_by_itself(server: RedisServer) -> None:
    server.cli("flushall")
    with two_queues(server):
        keys = walked(server, "mail")
        runner = CliRunner(env={"REDIS_URL": server.url})
        shown = runner.invoke(main, ["memory", "--local", "--json"])
    assert shown.exit_code == 0, shown.output
    memory = json.loads(shown.output)
    assert (memory["measured"], memory["pending"]) == (2, 0)
    assert [queue["bytes"] for queue in memory["queues"] if queue["name"] == "mail"] == [sum(keys.values())]


def test_series_page_api_and_command_say_the_same(server: RedisServer, tmp_path: Path) -> None:
    server.cli("flushall")
    server.cli("config", "set", "maxmemory", "100mb")
    settings = {"bullmq": {"memory": {"interval_seconds": 10, "redis_ratio": 0.1}}}
    with (
        two_queues(server),
        running(tmp_path, "monitor", {"REDIS_URL": server.url, "CRON_API_KEY": FULL}, settings) as program,
    ):
        wait_until(
            lambda: get(
                scrape(program.url), "bullmq_queue_memory_bytes", prefix="bull", queue="mail", state="waiting"
            ),
            what="the memory is measured",
            seconds=60,
        )
        wait_until(
            lambda: program.client.get("/status.json").json()["memory"]["measured"] == 2,
            what="both",
            seconds=30,
        )
        values = scrape(program.url)
        view = program.client.get("/status.json").json()["memory"]
        program.client.post("/sign-in", data={"key": FULL})
        page = program.client.get("/").text
        api = program.ask("queue_memory")
        shown = CliRunner(env={"COLUMNS": "200", "CRON_API_KEY": FULL}).invoke(
            main, ["memory", "--url", program.url]
        )
        keys = walked(server, "mail")
    mail = next(queue for queue in view["queues"] if queue["name"] == "mail")
    assert mail["bytes"] == sum(keys.values())
    states = {state["state"]: state["bytes"] for state in mail["states"]}
    for state, number in states.items():
        assert get(values, "bullmq_queue_memory_bytes", prefix="bull", queue="mail", state=state) == number
    assert get(values, "bullmq_queue_memory_error_bytes", prefix="bull", queue="mail") == 0
    assert get(values, "bullmq_memory_bytes", state="waiting") == view["states"]["waiting"]
    (node,) = view["nodes"]
    assert (node["max_bytes"], node["queues_bytes"]) == (100 << 20, view["bytes"])
    of_mail = size(mail["bytes"])
    assert (f'<td class="name">mail</td><td class="number">{of_mail}</td>' in page, shown.exit_code) == (
        True,
        0,
    )
    (line,) = [line for line in shown.output.splitlines() if line.strip().startswith("mail")]
    assert line.split()[1:3] == of_mail.split()
    (of_api,) = [queue for queue in api["queues"] if queue["name"] == "mail"]
    assert (of_api["bytes"], api["nodes"][0]["maxBytes"]) == (mail["bytes"], 100 << 20)
