"""Queues that change their node under load: nothing counts twice; what a dead master took along is told."""

from __future__ import annotations

import threading
from typing import Any, Self

import pytest

from exporter.bullmq.keys import slot_of
from exporter.redis.watch import FailoverWatcher
from lab.bullmq import BullMQ
from lab.cluster import LocalCluster
from lab.deadline import wait_until
from lab.sentinel import SentinelSet
from tests.support.bullmq import Watch, WatchOf, wait_for, watched
from tests.support.redis_cluster import in_step, move_slot

pytestmark = pytest.mark.timeout(120)  # up to 12 s alone, of failovers

GONE: dict[str, Any] = {"removeOnComplete": True, "removeOnFail": True}


class Following:
    """Reads in a thread of its own and notes every count of completed jobs that it could have served."""

    def __init__(self, monitor: Watch, name: str) -> None:
        self.monitor, self.name = monitor, name
        self.completed: list[int] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        while not self._stop.is_set():
            self.monitor.follow()
            for queue, events in self.monitor.follower.events().items():
                if queue.name == self.name:
                    self.completed.append(events.counters.completed)
            self._stop.wait(0.05)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(20)
        assert not self._thread.is_alive()
        assert self.completed == sorted(self.completed)


@pytest.mark.fault
def test_a_slot_migration_under_load(fresh_cluster: LocalCluster, watch: WatchOf) -> None:
    cluster, name = fresh_cluster, "{mail}"
    monitor = watched(watch, cluster, name)
    failovers = FailoverWatcher(monitor.deployment)
    failovers.step()
    source = cluster.owner_of("bull:{mail}:")
    target = next(node for node in cluster.masters() if node is not source)
    with BullMQ(6, cluster=cluster.addresses) as bullmq:
        worker = bullmq.start_worker(name, concurrency=5, behaviour={"ms": 20})
        with Following(monitor, name):
            for turn in range(6):
                bullmq.add_bulk(name, 50, **GONE)
                if turn == 2:
                    move_slot(cluster, slot_of("bull:{mail}:"), source, target)
                    failovers.step()
            wait_until(
                lambda: bullmq.tally(worker)["returned"] >= 300, what="the worker is through", seconds=60
            )
        events = wait_for(monitor, name, {"added": 300, "started": 300, "completed": 300})
        assert bullmq.tally(worker) == {"started": 300, "returned": 300, "threw": 0}
    assert (events.lost, events.undone) == (0, 0)
    failovers.step()
    assert sum(failovers.counts.values()) == 0


@pytest.mark.fault
def test_a_slot_migration_that_outlasts_the_workers_patience(
    fresh_cluster: LocalCluster, watch: WatchOf
) -> None:
    """Workers give up to end their jobs, which stall and run again: all of that is counted, nothing twice."""
    cluster, name = fresh_cluster, "{mail}"
    monitor = watched(watch, cluster, name)
    source = cluster.owner_of("bull:{mail}:")
    target = next(node for node in cluster.masters() if node is not source)
    with BullMQ(6, cluster=cluster.addresses) as bullmq:
        worker = bullmq.start_worker(
            name, concurrency=5, behaviour={"ms": 100}, lockDuration=4000, stalledInterval=1000
        )
        with Following(monitor, name):
            bullmq.add_bulk(name, 60, **GONE)
            wait_until(lambda: bullmq.tally(worker)["started"] > 5, what="the worker is at it")
            move_slot(cluster, slot_of("bull:{mail}:"), source, target, seconds=3)
            wait_until(lambda: bullmq.tally(worker)["returned"] >= 65, what="all ran", seconds=30)
        tally = bullmq.tally(worker)
        expected = {"added": 60, "started": tally["started"], "completed": 60, "stalled": 5}
        events = wait_for(monitor, name, expected)
        assert tally == {"started": 65, "returned": 65, "threw": 0}
    assert (events.lost, events.undone) == (0, 0)


def test_a_sentinel_failover(fresh_sentinel_set: SentinelSet, watch: WatchOf) -> None:
    servers, name = fresh_sentinel_set, "mail"
    sentinels = {
        "url": None,
        "sentinels": servers.sentinel_addresses,
        "sentinel_master": servers.name,
    }
    master = servers.master()
    monitor = watch(master, redis=sentinels, queues=[name])
    monitor.read_all()
    monitor.follow()
    with Following(monitor, name):
        with BullMQ(6, url=master.url) as bullmq:
            worker = bullmq.start_worker(name, concurrency=5)
            bullmq.add_bulk(name, 200, **GONE)
            wait_until(
                lambda: bullmq.tally(worker)["returned"] == 200, what="the worker is through", seconds=60
            )
        wait_until(
            lambda: all(in_step(master, replica) for replica in servers.replicas()),
            what="the replicas are in step",
        )
        promoted = servers.fail_over()
        with BullMQ(6, url=promoted.url) as bullmq:
            worker = bullmq.start_worker(name, concurrency=5)
            bullmq.add_bulk(name, 100, **GONE)
            wait_until(
                lambda: bullmq.tally(worker)["returned"] == 100, what="the worker is through", seconds=60
            )
    events = wait_for(monitor, name, {"added": 300, "started": 300, "completed": 300})
    assert (events.lost, events.undone) == (0, 0)


@pytest.mark.fault
@pytest.mark.usefixtures("redis_from_7")
def test_what_a_dead_master_had_not_replicated_is_told(fresh_cluster: LocalCluster, watch: WatchOf) -> None:
    cluster, name = fresh_cluster, "{bill}"
    monitor = watched(watch, cluster, name)
    with BullMQ(6, cluster=cluster.addresses) as bullmq:
        bullmq.add_bulk(name, 5)
        before = wait_for(monitor, name, {"added": 5})
        owner = cluster.owner_of("bull:{bill}:")
        (replica,) = cluster.replicas_of(owner)
        wait_until(lambda: in_step(owner, replica), what="the replica is in step")
        replica.suspend()
        owner.cli("client", "kill", "type", "replica")  # else the kernel keeps what it is sent
        bullmq.add_bulk(name, 3)
        events = wait_for(monitor, name, {"added": 8})
        read_more = events.read - before.read
    owner.kill()
    replica.resume()
    wait_until(
        lambda: replica.facts("info", "replication")["role"] == "master",
        what="the replica has taken over",
        seconds=60,
    )
    with BullMQ(6, cluster=[node.address for node in cluster.nodes if node is not owner]) as bullmq:
        bullmq.add_bulk(name, 2)
        events = wait_for(monitor, name, {"added": 10})
        assert (events.undone, events.lost) == (read_more, 0)
