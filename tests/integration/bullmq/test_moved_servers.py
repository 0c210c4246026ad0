"""Counts of queues that stood still are true after what was read of them is undone: a node has other data."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from exporter.bullmq.keys import slot_of
from exporter.bullmq.streams import read_round, reader
from exporter.bullmq.streams.quiet import REREAD
from exporter.snapshot.queues import QueueId
from lab.bullmq import BullMQ
from lab.cluster import LocalCluster
from lab.deadline import wait_until
from lab.redis import RedisServer, start_redis
from lab.sentinel import SentinelSet
from service.clock import Deadline, monotonic
from tests.support.bullmq import Watch, WatchOf, of
from tests.support.counting import stand_still
from tests.support.redis_cluster import in_step, move_slot

pytestmark = pytest.mark.timeout(180)

NAME = "still"
LATE = 2**41  # ids of a server whose clock is ahead


@pytest.fixture
def own(request: pytest.FixtureRequest) -> Iterator[RedisServer]:
    with start_redis() as started:
        yield started


def write(server: RedisServer, *, waiting: int, at: int) -> None:
    """A queue as BullMQ has it, and an event at this ms of the server's clock."""
    base = f"bull:{NAME}:"
    server.cli("hset", f"{base}meta", "opts.maxLenEvents", "10000", "version", "bullmq:6.7.0")
    server.cli("set", f"{base}id", "9")
    server.cli("del", f"{base}wait")
    if waiting:
        server.cli("rpush", f"{base}wait", *map(str, range(1, waiting + 1)))
    server.cli("xadd", f"{base}events", f"{at}-1", "event", "waiting", "jobId", "1")


@pytest.fixture
def monitor(own: RedisServer, watch: WatchOf) -> Watch:
    """One that has counted the queue, which stands still."""
    write(own, waiting=2, at=LATE)
    monitor = watch(own, queues=[NAME], prefixes=["bull"])
    stand_still(monitor)
    return monitor


def waiting(monitor: Watch, name: str = NAME) -> int | None:
    """None while its node cannot be read."""
    queue = monitor.collect().by_id.get(QueueId("bull", name))
    return None if queue is None else queue.jobs.waiting


def follow_with_a_check(monitor: Watch, patch: pytest.MonkeyPatch) -> None:
    """As a minute later."""
    later = monotonic() + REREAD + 1
    with patch.context() as context:
        for module in (reader, read_round):
            context.setattr(module, "monotonic", lambda: later)
        monitor.follow()


def test_a_restart_without_data_whose_ids_begin_again_lower(
    monitor: Watch, own: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the position that was read, XREAD would find none of the new stream's entries."""
    own.restart()
    write(own, waiting=1, at=100)
    assert waiting(monitor) == 1
    for number in (3, 4):
        write(own, waiting=number, at=100 * number)
        assert waiting(monitor) == number
    follow_with_a_check(monitor, monkeypatch)
    stand_still(monitor)
    write(own, waiting=7, at=1000)
    assert waiting(monitor) == 7


def test_a_restart_from_an_older_file(monitor: Watch, own: RedisServer) -> None:
    own.cli("save")
    write(own, waiting=5, at=LATE + 1)
    assert waiting(monitor) == 5
    own.kill()
    own.restart()
    assert waiting(monitor) == 2


def test_a_restart_as_it_was(monitor: Watch, own: RedisServer) -> None:
    own.cli("save")
    own.restart()
    assert waiting(monitor) == 2
    assert monitor.source.counted == 1


@pytest.mark.fault
def test_all_is_deleted_and_ids_begin_again_lower(
    monitor: Watch, own: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the same server, and with as many entries, only the stream's own check tells, a minute later."""
    own.cli("flushall")
    write(own, waiting=4, at=100)
    follow_with_a_check(monitor, monkeypatch)
    assert waiting(monitor) == 4
    write(own, waiting=5, at=200)
    assert waiting(monitor) == 5


def test_a_copy_of_other_data(monitor: Watch, own: RedisServer) -> None:
    """A demoted master keeps its connections, and the same run."""
    with start_redis() as other:
        write(other, waiting=9, at=100)
        own.cli("replicaof", other.host, str(other.port))
        wait_until(lambda: in_step(other, own), what="the data is copied")
        own.cli("replicaof", "no", "one")
        assert waiting(monitor) == 9
        write(own, waiting=8, at=200)
        assert waiting(monitor) == 8


def test_a_sentinel_failover_to_a_replica_that_lacks_the_last_events(
    fresh_sentinel_set: SentinelSet, watch: WatchOf
) -> None:
    servers = fresh_sentinel_set
    master = servers.master()
    settings = {"url": None, "sentinels": servers.sentinel_addresses, "sentinel_master": servers.name}
    monitor = watch(master, redis=settings, queues=[NAME], prefixes=["bull"])
    with BullMQ(6, url=master.url) as bullmq:
        bullmq.add_bulk(NAME, 5)
        wait_until(
            lambda: all(in_step(master, replica) for replica in servers.replicas()),
            what="the replicas are in step",
        )
        for replica in servers.replicas():
            replica.suspend()
        master.cli("client", "kill", "type", "replica")  # else the kernel keeps what it is sent
        bullmq.add_bulk(NAME, 3)
        stand_still(monitor)
        assert waiting(monitor) == 8
    master.kill()
    for replica in servers.servers[1:]:
        replica.resume()
    promoted = servers.wait_for_new_master(master, seconds=60)
    wait_until(lambda: _found(monitor, promoted), what="the new master is known", seconds=30)
    assert waiting(monitor) == 5
    with BullMQ(6, url=promoted.url) as bullmq:
        bullmq.add_bulk(NAME, 2)
        assert waiting(monitor) == 7
        stand_still(monitor)
        bullmq.add(NAME)
        assert waiting(monitor) == 8


def _found(monitor: Watch, master: RedisServer) -> bool:
    topology = monitor.deployment.refresh(Deadline.after(10))
    return [node.address for node in topology.masters()] == [master.address]


def test_a_cluster_whose_masters_and_slots_move(fresh_cluster: LocalCluster, watch: WatchOf) -> None:
    cluster, names = fresh_cluster, ["{mail}", "{a}", "{b}", "{c}"]
    monitor = watch(cluster, queues=names, prefixes=["bull"])
    with BullMQ(6, cluster=cluster.addresses) as bullmq:
        for name in names:
            bullmq.add_bulk(name, 4)
        stand_still(monitor)
        source = cluster.owner_of("bull:{mail}:")
        target = next(node for node in cluster.masters() if node is not source)
        move_slot(cluster, slot_of("bull:{mail}:"), source, target)
        bullmq.add("{mail}")
        assert waiting(monitor, "{mail}") == 5
        assert waiting(monitor, "{a}") == 4
        (replica,) = cluster.replicas_of(target)
        wait_until(lambda: in_step(target, replica), what="the replica is in step")
        cluster.fail_over(replica)
        bullmq.add("{mail}")
        wait_until(lambda: waiting(monitor, "{mail}") == 6, what="the promoted node is read")
        for name in names[1:]:
            bullmq.add(name)
        state = monitor.collect()
        assert {name: of(state, name).jobs.waiting for name in names} == dict.fromkeys(names, 5) | {
            "{mail}": 6
        }


@pytest.mark.usefixtures("redis_from_7")
def test_what_a_dead_master_had_not_replicated_is_not_counted(
    fresh_cluster: LocalCluster, watch: WatchOf
) -> None:
    cluster, name = fresh_cluster, "{bill}"
    monitor = watch(cluster, queues=[name], prefixes=["bull"])
    with BullMQ(6, cluster=cluster.addresses) as bullmq:
        bullmq.add_bulk(name, 5)
        owner = cluster.owner_of("bull:{bill}:")
        (replica,) = cluster.replicas_of(owner)
        wait_until(lambda: in_step(owner, replica), what="the replica is in step")
        replica.suspend()
        owner.cli("client", "kill", "type", "replica")
        bullmq.add_bulk(name, 3)
        stand_still(monitor)
        assert waiting(monitor, name) == 8
    owner.kill()
    replica.resume()
    wait_until(
        lambda: replica.facts("info", "replication")["role"] == "master",
        what="the replica has taken over",
        seconds=60,
    )
    with BullMQ(6, cluster=[node.address for node in cluster.nodes if node is not owner]) as bullmq:
        wait_until(lambda: waiting(monitor, name) == 5, what="the new master is read", seconds=30)
        bullmq.add(name)
        assert waiting(monitor, name) == 6
        stand_still(monitor)
        bullmq.add(name)
        assert waiting(monitor, name) == 7
