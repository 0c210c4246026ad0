"""Real failovers, each counted exactly once, and what only looks like one."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import pytest

from exporter.config.settings import ExporterSettings
from exporter.redis.watch import FailoverWatcher
from exporter.run import Exporter
from lab.cluster import LocalCluster
from lab.deadline import wait_until
from lab.redis import RedisServer
from lab.sentinel import SentinelSet
from service.threads import Supervised
from tests.support.deployments import Connect
from tests.support.scrapes import get, scrape

pytestmark = pytest.mark.timeout(120)  # up to 19 s alone, of votes and node time-outs

QUIET_SECONDS = 4  # in which a watch that counts twice, or something that is none, would have: it is measured

VOTE_SECONDS = (
    4  # within two node time-outs of a shard's last vote, Redis refuses the next and says so to nobody
)

Counts = Callable[[], dict[str, int]]


@contextmanager
def watching(connect: Connect, **settings: object) -> Iterator[Counts]:
    """A watch in its own thread, from its first sight on."""
    watch = FailoverWatcher(connect(**settings))
    thread = Supervised("watch", watch.step, max_age=10)
    thread.start()
    try:
        wait_until(lambda: watch.counts, what="a first sight")
        yield lambda: dict(watch.counts)
    finally:
        assert thread.stop()
        assert thread.restarts == 0


def settle(counts: Counts, total: int) -> dict[str, int]:
    """Wait for so many failovers, and a while longer for one too many."""
    wait_until(lambda: sum(counts().values()) >= total, what=f"{total} failovers", seconds=60)
    time.sleep(QUIET_SECONDS)
    assert sum(counts().values()) == total
    return {shard: count for shard, count in counts().items() if count}


def settled(counts: Counts, watched: SentinelSet) -> int:
    """How many failovers the sentinels made, when all have been counted and none too many."""
    wait_until(
        lambda: sum(counts().values()) >= watched.switches() > 0, what="every switch counted", seconds=60
    )
    time.sleep(QUIET_SECONDS)
    assert counts() == {watched.name: watched.switches()}
    return watched.switches()


def shard_of(cluster: LocalCluster, master: RedisServer) -> str:
    return str(
        next(member.slots[0].start for member in cluster.members() if member.address == master.address)
    )


def pair(cluster: LocalCluster, number: int) -> tuple[RedisServer, RedisServer, str]:
    """A master, its replica and its shard."""
    master = cluster.masters()[number]
    return master, cluster.replicas_of(master)[0], shard_of(cluster, master)


def test_by_hand_there_and_back(cluster: LocalCluster, connect: Connect) -> None:
    master, replica, shard = pair(cluster, 0)
    with watching(connect, cluster=[cluster.nodes[-1].address]) as counts:
        assert sorted(counts()) == ["0", "10922", "5461"]
        assert settle(counts, 0) == {}
        cluster.fail_over(replica)
        assert settle(counts, 1) == {shard: 1}
        cluster.wait_until_ok(seconds=30)
        cluster.fail_over(master)
        assert settle(counts, 2) == {shard: 2}


def test_a_take_over_without_a_vote(cluster: LocalCluster, connect: Connect) -> None:
    _, replica, shard = pair(cluster, 1)
    with watching(connect, cluster=cluster.addresses) as counts:
        replica.cli("cluster", "failover", "takeover")
        assert settle(counts, 1) == {shard: 1}


def test_all_shards_at_once(cluster: LocalCluster, connect: Connect) -> None:
    pairs = [pair(cluster, number) for number in range(3)]
    with watching(connect, cluster=cluster.addresses) as counts:
        for _, replica, _ in pairs:
            replica.cli("cluster", "failover", "takeover")
        assert settle(counts, 3) == {shard: 1 for _, _, shard in pairs}


def test_by_death_and_the_old_master_comes_back(cluster: LocalCluster, connect: Connect) -> None:
    master, _, shard = pair(cluster, 2)
    time.sleep(VOTE_SECONDS)
    with watching(connect, cluster=cluster.addresses) as counts:
        master.kill()
        assert settle(counts, 1) == {shard: 1}
        master.restart()
        cluster.wait_until_ok(seconds=30)
        assert settle(counts, 1) == {shard: 1}


@pytest.mark.fault
def test_a_master_that_hangs_and_wakes_with_its_old_view(cluster: LocalCluster, connect: Connect) -> None:
    master, _, shard = pair(cluster, 2)
    time.sleep(VOTE_SECONDS)
    with watching(connect, cluster=cluster.addresses) as counts:
        master.suspend()
        assert settle(counts, 1) == {shard: 1}
        master.resume()
        assert settle(counts, 1) == {shard: 1}


def test_a_watch_that_saw_nothing_in_between(cluster: LocalCluster, connect: Connect) -> None:
    _, replica, shard = pair(cluster, 0)
    watch = FailoverWatcher(connect(cluster=cluster.addresses))
    watch.step()
    replica.cli("cluster", "failover", "takeover")
    cluster.wait_until_ok(seconds=30)
    for _ in range(3):
        watch.step()
    assert {name: count for name, count in watch.counts.items() if count} == {shard: 1}


def test_slots_that_move_are_none(cluster: LocalCluster, connect: Connect) -> None:
    giver, taker = cluster.masters()[:2]
    slots = next(member.slots[0] for member in cluster.members() if member.address == giver.address)
    ids = {node.address: node.cli("cluster", "myid") for node in (giver, taker)}
    with watching(connect, cluster=cluster.addresses) as counts:
        for source, target in ((giver, taker), (taker, giver)):
            for slot in slots[:5]:
                target.cli("cluster", "setslot", slot, "importing", ids[source.address])
                source.cli("cluster", "setslot", slot, "migrating", ids[target.address])
                for node in (target, source):
                    node.cli("cluster", "setslot", slot, "node", ids[target.address])
            owned = next(member.slots for member in cluster.members() if member.address == target.address)
            assert any(slots[0] in part for part in owned)
            assert settle(counts, 0) == {}
            assert len(counts()) == 3


def test_restarts_and_bumped_epochs_are_none(cluster: LocalCluster, connect: Connect) -> None:
    master = cluster.masters()[0]
    with watching(connect, cluster=cluster.addresses) as counts:
        master.kill()
        master.restart()
        cluster.masters()[1].cli("cluster", "bumpepoch")
        cluster.wait_until_ok(seconds=30)
        assert settle(counts, 0) == {}
        assert cluster.masters()[0] is master


def test_sentinel(fresh_sentinel_set: SentinelSet, connect: Connect) -> None:
    watched = fresh_sentinel_set
    settings = {"sentinels": watched.sentinel_addresses, "sentinel_master": watched.name}
    with watching(connect, **settings) as counts:
        # On a busy machine sentinels may fail over by themselves: they know how often they did.
        assert counts() == {watched.name: watched.switches()}
        watched.fail_over()
        assert settled(counts, watched) >= 1
        dead = watched.master()
        dead.kill()
        watched.wait_for_new_master(dead, seconds=30)
        after = settled(counts, watched)
        assert after >= 2
        dead.restart()
        assert settled(counts, watched) >= after


def test_the_whole_exporter_tells(cluster: LocalCluster) -> None:
    _, replica, shard = pair(cluster, 0)
    settings = ExporterSettings.model_validate(
        {"listen": "127.0.0.1:0", "redis": {"cluster": cluster.addresses}}
    )
    name = "redis_cluster_failovers_total"
    with ExitStack() as undo:
        exporter = Exporter(settings)
        exporter.start()
        undo.callback(exporter.stop)
        url = f"http://{exporter.address}"
        wait_until(lambda: get(scrape(url), name, shard=shard) == 0, what="the counter at 0", every=0.1)
        replica.cli("cluster", "failover", "takeover")
        wait_until(lambda: get(scrape(url), name, shard=shard) == 1, what="the counter at 1", every=0.1)
        assert "watch" in {thread.name for thread in threading.enumerate()}
        assert exporter.why_not_ready() == []
