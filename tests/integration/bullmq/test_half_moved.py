"""A slot that is half moved: some keys of a queue are on one node, some on the other."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from exporter.bullmq.keys import slot_of
from lab.bullmq import BullMQ
from lab.cluster import LocalCluster, start_cluster
from lab.redis import RedisServer
from tests.support.acl import READER, rules
from tests.support.bullmq import WatchOf, bullmq_counts, counters, exporter_counts, names, of
from tests.support.redis_cluster import half_moved

SLOT = slot_of("bull:{mail}:")


@pytest.fixture(scope="module")
def shared() -> Iterator[LocalCluster]:
    with start_cluster(replicas_per_master=0) as started:
        for node in started.nodes:
            node.cli("acl", "setuser", *rules(version=node.facts("info", "server")["redis_version"]))
        yield started


@pytest.fixture
def pair(shared: LocalCluster) -> tuple[RedisServer, RedisServer]:
    """The owner of {mail}, and another node; the cluster is empty."""
    for node in shared.nodes:
        node.cli("flushall")
    owner = shared.owner_of("bull:{mail}:")
    return owner, next(node for node in shared.nodes if node is not owner)


@pytest.fixture
def bullmq(shared: LocalCluster) -> Iterator[BullMQ]:
    with BullMQ(6, cluster=shared.addresses) as driver:
        yield driver


@pytest.mark.parametrize("user", [{}, READER], ids=["default", "shipped-acl"])
@pytest.mark.parametrize(
    "moved",
    [("wait", "delayed"), ("meta", "events", "id"), ("id", "wait", "delayed", "meta", "events", "marker")],
    ids=["lists", "meta-and-stream", "all-but-jobs"],
)
def test_a_half_moved_queue_is_read_from_both_nodes(
    shared: LocalCluster,
    pair: tuple[RedisServer, RedisServer],
    bullmq: BullMQ,
    watch: WatchOf,
    moved: tuple[str, ...],
    user: dict[str, object],
) -> None:
    bullmq.add_bulk("{mail}", 7)
    bullmq.add("{mail}", delay=60_000)
    bullmq.add("{images}")
    running = watch(shared, redis=user)
    running.read_all()
    running.follow()
    bullmq.add("{mail}")
    expected = bullmq_counts(bullmq.counts("{mail}"))  # BullMQ's scripts fail while keys are on two nodes
    with half_moved(SLOT, *pair, *(f"bull:{{mail}}:{key}" for key in moved)):
        assert (expected["waiting"], expected["delayed"]) == (8, 1)
        started_meanwhile = watch(shared, redis=user)
        for state in (running.collect(), running.read_all(), started_meanwhile.read_all()):
            assert names(state) == [("bull", "{images}"), ("bull", "{mail}")]
            assert (state.up, state.problems) == (True, ())
            assert exporter_counts(of(state, "{mail}")) == expected
            assert of(state, "{mail}").oldest_waiting is not None
        assert counters(running.events("{mail}")) == {"added": 1}
    assert exporter_counts(of(running.read_all(), "{mail}")) == expected
    bullmq.add("{mail}")
    assert counters(running.events("{mail}")) == {"added": 2}


def test_without_the_right_to_ask_moved_and_absent_keys_are_unknown_not_zero(
    shared: LocalCluster, pair: tuple[RedisServer, RedisServer], bullmq: BullMQ, watch: WatchOf
) -> None:
    for node in shared.nodes:
        node.cli("acl", "setuser", "curious", "on", "nopass", "~*", "+@all", "-asking")
    bullmq.add("{mail}")
    bullmq.add("{mail}", delay=60_000)
    monitor = watch(shared, redis={"username": "curious", "password": "any"})
    monitor.read_all()
    with half_moved(SLOT, *pair, "bull:{mail}:delayed"):
        state = monitor.collect()
        queue = of(state, "{mail}")
        assert (queue.jobs.delayed, queue.jobs.failed, queue.paused) == (None, None, False)
        assert any("asking" in text for text in queue.odd)
        assert state.up


def test_a_target_that_hangs_costs_only_the_queue_that_moves(
    shared: LocalCluster, pair: tuple[RedisServer, RedisServer], bullmq: BullMQ, watch: WatchOf
) -> None:
    source, target = pair
    bullmq.add("{mail}")
    others = [f"{{q{number}}}" for number in range(30)]
    own = next(name for name in others if shared.owner_of(f"bull:{name}:") is source)
    bullmq.add(own)
    monitor = watch(shared, redis={"timeout_seconds": 1})
    monitor.read_all()
    with half_moved(SLOT, source, target, "bull:{mail}:wait"):
        target.suspend()
        try:
            state = monitor.collect(seconds=10)
        finally:
            target.resume()
        assert [queue.name for queue in state.unread] == ["{mail}"]
        assert of(state, own).jobs.waiting == 1
        assert monitor.collect().up


def test_a_redirection_to_a_host_name(watch: WatchOf) -> None:
    names = ["cluster-announce-hostname localhost", "cluster-preferred-endpoint-type hostname"]
    with (
        start_cluster(replicas_per_master=0, config=names) as cluster,
        BullMQ(6, cluster=cluster.addresses) as bullmq,
    ):
        bullmq.add_bulk("{mail}", 7)
        monitor = watch(cluster)
        monitor.read_all()
        source = cluster.owner_of("bull:{mail}:")
        target = next(node for node in cluster.nodes if node is not source)
        with half_moved(SLOT, source, target, "bull:{mail}:wait"):
            state = monitor.collect()
            assert of(state, "{mail}").jobs.waiting == 7
