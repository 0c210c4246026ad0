"""How many workers there are, and what is said where Redis does not tell."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial

import pytest

from exporter.bullmq.clients import client_names, count_workers
from exporter.bullmq.keys import worker_queues
from exporter.snapshot.queues import QueueId, QueueState
from lab.bull import Bull
from lab.bullmq import BullMQ, Nameless, Version
from lab.cluster import LocalCluster, start_cluster
from lab.deadline import wait_until
from lab.redis import RedisServer, start_redis
from tests.support.bullmq import Watch, WatchOf

NAMELESS = "no connection has the queue's name"


@pytest.fixture(scope="module")
def shared() -> Iterator[RedisServer]:
    with start_redis() as started:
        yield started


@pytest.fixture
def server(shared: RedisServer) -> RedisServer:
    shared.cli("flushall")
    return shared


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    with start_cluster(replicas_per_master=0) as started:
        yield started


def doubt(queue: QueueState) -> bool:
    return queue.workers is None and queue.workers_unknown.startswith(NAMELESS)


def wait_for_workers(monitor: Watch, queue: str, workers: int | None) -> QueueState:
    states: list[QueueState] = []

    def reached() -> bool:
        states[:] = [monitor.queue(queue)]
        return states[0].workers == workers

    wait_until(reached, what=f"{workers} workers of {queue}", seconds=20)
    return states[0]


def test_workers_of_another_database_do_not_count(server: RedisServer, watch: WatchOf) -> None:
    with BullMQ(6, url=server.url) as here, BullMQ(6, url=f"{server.url}/1") as there:
        there.add("mail", delay=60_000)
        for _ in range(3):
            here.start_worker("mail")
        there.add_bulk("mail", 7)
        monitor = watch(server, redis={"url": f"{server.url}/1"})
        assert monitor.queue("mail").workers == 0
        assert wait_for_workers(watch(server), "mail", 3).jobs.waiting == 0
        there.start_worker("mail", behaviour={"hold": True})
        wait_for_workers(monitor, "mail", 1)


@pytest.mark.parametrize("name", ["worker 1", "wörker", "a\nb"])
def test_a_name_that_redis_refuses_leaves_the_number_unknown(
    name: str, server: RedisServer, watch: WatchOf
) -> None:
    with BullMQ(6, url=server.url) as bullmq:
        worker = bullmq.start_worker("mail", name=name, behaviour={"hold": True})
        bullmq.add_bulk("mail", 2)
        bullmq.wait_for_counts("mail", {"active": 1})
        busy = watch(server).queue("mail")
        assert doubt(busy)
        assert "1 worker or more holds locks" in busy.workers_unknown
        bullmq.release(worker)


def test_an_idle_worker_without_a_name_is_not_counted_as_none(server: RedisServer, watch: WatchOf) -> None:
    with BullMQ(6, url=server.url) as bullmq:
        bullmq.add("mail")
        bullmq.start_worker("mail", name="worker 1", stalledInterval=2000)
        bullmq.wait_for_counts("mail", {"completed": 1})
        monitor = watch(server)
        for _ in range(5):
            assert doubt(monitor.queue("mail"))


@pytest.mark.parametrize("name", ["plain-1", "host:8080:w:x", None])
def test_other_names_are_counted(name: str | None, server: RedisServer, watch: WatchOf) -> None:
    with BullMQ(6, url=server.url) as bullmq:
        bullmq.add("mail")
        bullmq.start_worker("mail", name=name)
        wait_for_workers(watch(server), "mail", 1)


def test_when_the_last_worker_stops_there_are_none(server: RedisServer, watch: WatchOf) -> None:
    """Its stalled-check is still there for a while, and the locks of a process that was killed too."""
    monitor = watch(server)
    with BullMQ(6, url=server.url) as bullmq:
        worker = bullmq.start_worker("mail")
        bullmq.add("mail")
        bullmq.wait_for_counts("mail", {"completed": 1})
        wait_for_workers(monitor, "mail", 1)
        bullmq.stop_worker(worker)
        wait_for_workers(monitor, "mail", 0)
        assert int(server.cli("pttl", "bull:mail:stalled-check")) > 0
        assert monitor.queue("mail").workers == 0


def test_jobs_that_a_dead_worker_left_have_no_worker(server: RedisServer, watch: WatchOf) -> None:
    with BullMQ(6, url=server.url) as bullmq:
        bullmq.start_worker("mail", behaviour={"hold": True}, concurrency=3, lockDuration=1500)
        bullmq.add_bulk("mail", 5)
        bullmq.wait_for_counts("mail", {"active": 3})
        monitor = watch(server)
        assert monitor.queue("mail").workers == 1
        bullmq.process.kill()
    state = wait_for_workers(monitor, "mail", 0)
    assert state.jobs.active == 3


def test_a_prefix_with_colons(server: RedisServer, watch: WatchOf) -> None:
    with BullMQ(5, url=server.url, prefix="bull:production:eu") as bullmq:
        bullmq.add("mail")
        for name in (None, "anna"):
            bullmq.start_worker("mail", name=name)
        monitor = watch(server)
        wait_until(lambda: monitor.queue("mail", "bull:production:eu").workers == 2, what="two workers")


def test_workers_of_bull(server: RedisServer, watch: WatchOf) -> None:
    with Bull(4, url=server.url) as bull, Bull(3, url=server.url) as three:
        bull.add("jobs")
        bull.start_worker("jobs")
        three.start_worker("jobs")
        wait_for_workers(watch(server), "jobs", 2)


@pytest.mark.parametrize("version", [4, "5.0", "5.53"])
def test_versions_that_lose_their_names_in_a_cluster(
    version: Version | Nameless, cluster: LocalCluster, watch: WatchOf
) -> None:
    queue = f"{{q-{version}}}"
    with BullMQ(version, cluster=cluster.addresses) as bullmq:
        for _ in range(2):
            bullmq.start_worker(queue, behaviour={"hold": True})
        bullmq.add_bulk(queue, 3)
        bullmq.wait_for_counts(queue, {"active": 2})
        busy = watch(cluster).queue(queue)
        assert doubt(busy)
        assert "2 workers or more hold locks" in busy.workers_unknown
        assert busy.jobs.active == 2


def test_busy_workers_in_a_cluster_are_counted_by_their_locks(cluster: LocalCluster, watch: WatchOf) -> None:
    with BullMQ(5, cluster=cluster.addresses) as bullmq:
        bullmq.add_bulk("{busy}", 2000)  # a worker that finds a job never waits at the queue's own node
        workers = 0
        # Each worker connects to some of the nodes: more of them, until no node has the names of all.
        while workers < 8 or named_at_one_node(cluster, "{busy}") == workers:
            bullmq.start_worker("{busy}", concurrency=2, behaviour={"ms": 300})
            workers += 1
        bullmq.wait_for_counts("{busy}", {"active": 2 * workers})
        monitor = watch(cluster)
        looks = [monitor.queue("{busy}").workers for _ in range(10)]
    # A worker between two jobs holds no lock for a moment: the number is "at least".
    assert set(looks) <= {workers - 1, workers}
    assert looks.count(workers) > 5


def named_at_one_node(cluster: LocalCluster, queue: str) -> int:
    """Workers by the names of connections, at the node that has most of them."""
    nodes = [client_names(node.cli("client", "list").encode()) for node in cluster.nodes]
    return count_workers(
        nodes, partial(worker_queues, prefixes=()), {QueueId("bull", queue)}, cluster=True
    ).get(QueueId("bull", queue), 0)


@contextmanager
def connected(server: RedisServer, count: int, name: bytes) -> Iterator[None]:
    """So many idle connections with this name."""
    with ExitStack() as undo:
        for _ in range(count):
            undo.enter_context(socket.create_connection((server.host, server.port))).sendall(
                b"CLIENT SETNAME " + name + b"\r\n"
            )
        wait_until(lambda: int(server.facts("info", "clients")["connected_clients"]) > count, what="all")
        yield


def sent(server: RedisServer) -> int:
    return int(server.facts("info", "stats")["total_net_output_bytes"])


@pytest.mark.fault
@pytest.mark.parametrize(("count", "length", "read"), [(4000, 10, True), (4000, 2500, False)])
def test_a_client_list_that_would_be_long_is_not_asked_for(
    count: int,
    length: int,
    read: bool,  # noqa: FBT001
    server: RedisServer,
    watch: WatchOf,
) -> None:
    """Redis would hold the whole answer for us: 10 MB here."""
    with BullMQ(6, url=server.url) as bullmq, connected(server, count, b"n" * length):
        bullmq.add("mail")
        bullmq.start_worker("mail")
        bullmq.wait_for_counts("mail", {"completed": 1})
        for monitor in (watch(server), watch(server)):
            before = sent(server)
            for _ in range(2):
                state = monitor.queue("mail")
                if read:
                    assert state.workers == 1
                else:
                    assert state.workers is None
                    assert "MB long: it is not read" in state.workers_unknown
                assert state.jobs.completed == 1
            assert sent(server) - before < 8 << 20
