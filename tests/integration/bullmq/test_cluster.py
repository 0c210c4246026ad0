"""Queues in a real 3+3 cluster: where they are, who works on them, and where they go."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from exporter.bullmq.keys import slot_of
from exporter.snapshot.queues import QueueId
from lab.bullmq import BullMQ
from lab.cluster import LocalCluster, start_cluster
from lab.deadline import wait_until
from lab.driver import DriverError
from lab.pybullmq import PyBullMQ
from tests.support.bullmq import WatchOf, bullmq_counts, exporter_counts, names, of
from tests.support.redis_cluster import move_slot

TAGGED = ("{mail}", "{images}", "{invoices}")  # on three different masters


@pytest.fixture(scope="module")
def shared() -> Iterator[LocalCluster]:
    with start_cluster() as started:
        yield started


@pytest.fixture
def cluster(shared: LocalCluster) -> Iterator[LocalCluster]:
    """The module's cluster, empty and well."""
    for node in shared.masters():
        node.cli("flushall")
    yield shared
    for node in shared.nodes:
        if node.process.suspended:
            node.resume()
        elif not node.process.is_running():
            node.restart()
    shared.wait_until_ok(seconds=30)


@pytest.mark.parametrize(
    "key", ["bull:{mail}:", "bull:plain:", "{bull}:x", "a{}b{c}", "{a}{b}", "ü", "{", "}{"]
)
def test_slots_are_the_servers_own(shared: LocalCluster, key: str) -> None:
    assert slot_of(key) == int(shared.nodes[0].cli("cluster", "keyslot", key))


def test_tagged_names_and_tagged_prefixes(cluster: LocalCluster, watch: WatchOf) -> None:
    with (
        BullMQ(6, cluster=cluster.addresses) as spread,
        BullMQ(5, cluster=cluster.addresses, prefix="{bull}") as together,
        PyBullMQ(cluster=cluster.addresses) as python,
    ):
        for count, queue in enumerate(TAGGED, start=1):
            spread.add_bulk(queue, count)
        together.add_bulk("one", 4)
        together.add_bulk("two", 5)
        python.add_bulk("{snakes}", 6)
        monitor = watch(cluster, prefixes=["bull", "{bull}"])
        state = monitor.read_all()
        assert state.up
        assert names(state) == sorted(
            [*(("bull", queue) for queue in (*TAGGED, "{snakes}")), ("{bull}", "one"), ("{bull}", "two")]
        )
        assert len({cluster.owner_of(f"bull:{queue}:").address for queue in TAGGED}) == 3
        for queue in TAGGED:
            assert exporter_counts(of(state, queue)) == bullmq_counts(spread.counts(queue))
        assert [of(state, queue, "{bull}").jobs.waiting for queue in ("one", "two")] == [4, 5]
        assert of(state, "{snakes}").jobs.waiting == 6


def test_workers_are_those_of_the_node_that_sees_most(cluster: LocalCluster, watch: WatchOf) -> None:
    with BullMQ(6, cluster=cluster.addresses) as bullmq, PyBullMQ(cluster=cluster.addresses) as python:
        monitor = watch(cluster)
        for queue in TAGGED:
            bullmq.start_worker(queue)
            bullmq.start_worker(queue, name="second")
            bullmq.add(queue, delay=60_000)
        python.add("{snakes}", delay=60_000)
        python.start_worker("{snakes}")
        python.start_worker("{snakes}", name="kaa")
        expected = dict.fromkeys((*TAGGED, "{snakes}"), 2)
        workers: dict[str, int | None] = {}

        def counted() -> bool:
            workers.update({queue.id.name: queue.workers for queue in monitor.read_all().queues})
            return workers == expected

        try:
            wait_until(counted, what="two workers a queue", seconds=10)
        except TimeoutError:
            assert workers == expected


def test_a_busy_python_worker_is_one(cluster: LocalCluster, watch: WatchOf) -> None:
    """Its pool at the queue's own node grows with its jobs."""
    with PyBullMQ(cluster=cluster.addresses) as python:
        python.start_worker("{snakes}", concurrency=6, behaviour={"hold": True})
        python.add_bulk("{snakes}", 8)
        python.wait_for_counts("{snakes}", {"active": 6})
        owner = cluster.owner_of("bull:{snakes}:")
        assert owner.cli("client", "list").count("name=bull:{snakes} ") > 2
        assert of(watch(cluster).read_all(), "{snakes}").workers == 1


def test_a_plain_name_is_a_phantom(cluster: LocalCluster, watch: WatchOf) -> None:
    with BullMQ(6, cluster=cluster.addresses) as bullmq:
        bullmq.add("{mail}")
        with pytest.raises(DriverError, match=r"CROSSSLOT|slot"):
            bullmq.add("plain")
        assert cluster.cli("exists", "bull:plain:meta") == "1"
        assert names(watch(cluster).read_all()) == [("bull", "{mail}")]
        named = watch(cluster, queues=["{mail}", "plain"]).read_all()
        assert names(named) == [("bull", "{mail}")]
        assert named.problems == ("in a cluster a queue's name or prefix needs a {hash tag}: plain",)


def test_a_slot_that_moves_is_followed(cluster: LocalCluster, watch: WatchOf) -> None:
    with BullMQ(6, cluster=cluster.addresses) as bullmq:
        bullmq.add_bulk("{mail}", 7)
        monitor = watch(cluster)
        assert of(monitor.read_all(), "{mail}").jobs.waiting == 7
        source = cluster.owner_of("bull:{mail}:")
        target = next(node for node in cluster.masters() if node is not source)
        move_slot(cluster, slot_of("bull:{mail}:"), source, target)
        state = monitor.collect()
        assert (of(state, "{mail}").jobs.waiting, state.up) == (7, True)
        move_slot(cluster, slot_of("bull:{mail}:"), target, source)


def test_a_failover_is_followed(cluster: LocalCluster, watch: WatchOf) -> None:
    with BullMQ(6, cluster=cluster.addresses) as bullmq:
        bullmq.add_bulk("{mail}", 7)
        monitor = watch(cluster)
        assert of(monitor.read_all(), "{mail}").jobs.waiting == 7
        owner = cluster.owner_of("bull:{mail}:")
        (replica,) = cluster.replicas_of(owner)
        cluster.fail_over(replica)
        state = monitor.collect()
        assert (of(state, "{mail}").jobs.waiting, state.up) == (7, True)


@pytest.mark.fault
def test_a_node_that_hangs_costs_only_its_queues(cluster: LocalCluster, watch: WatchOf) -> None:
    with BullMQ(6, cluster=cluster.addresses) as bullmq:
        for queue in TAGGED:
            bullmq.add(queue)
        monitor = watch(cluster, redis={"timeout_seconds": 0.5})
        assert monitor.read_all().up
        owner = cluster.owner_of("bull:{mail}:")
        owner.suspend()
        state = monitor.collect()
        lost = {queue for queue in TAGGED if cluster.owner_of(f"bull:{queue}:") is owner}
        assert {queue.name for queue in state.unread} == lost
        assert state.unread[QueueId("bull", "{mail}")].message.startswith(owner.address)
        assert {queue.id.name for queue in state.queues} == set(TAGGED) - lost
        assert not state.up


def test_a_queue_whose_slot_has_no_owner_is_unread_after_a_start_too(watch: WatchOf) -> None:
    """`CLUSTER DELSLOTS`, or a node that is lost for good: a search still shows the keys."""
    with start_cluster(replicas_per_master=0, config=["cluster-require-full-coverage no"]) as cluster:
        with BullMQ(6, cluster=cluster.addresses) as bullmq:
            for queue in TAGGED:
                bullmq.add_bulk(queue, 2)
        slot = slot_of("bull:{mail}:")
        for node in cluster.nodes:
            node.cli("cluster", "delslots", slot)
        state = watch(cluster).read_all()
        assert names(state) == sorted(("bull", queue) for queue in TAGGED)
        assert [queue.name for queue in state.unread] == ["{mail}"]
        assert not state.up
