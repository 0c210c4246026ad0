from __future__ import annotations

import logging

import pytest

from exporter.config.redis import RedisSettings
from exporter.redis.deployment import Deployment
from exporter.redis.watch import FailoverWatcher
from tests.support.redis_servers import World, answering

NAMES = ("10.0.0.1:7001", "10.0.0.2:7001", "10.0.0.3:7001")


def cluster(world: World, owner: str, epoch: int) -> None:
    """The first and the third share a shard of which `owner` is the master; the second has the rest."""
    for own in NAMES:
        lines = []
        for name in NAMES:
            ownership = {owner: (epoch, "0-8191"), NAMES[1]: (2, "8192-16383")}.get(name)
            flags, master = ("master", "-") if ownership else ("slave", owner)
            number, slots = ownership or (epoch, "")
            myself = "myself," if name == own else ""
            lines.append(f"{name} {name}@17001 {myself}{flags} {master} 0 0 {number} connected {slots}")
        world.servers[own] = answering("redis_mode:cluster\r\n", cluster_nodes="\n".join(lines).encode())


def watch(**settings: object) -> tuple[FailoverWatcher, Deployment]:
    deployment = Deployment(RedisSettings.model_validate(settings))
    return FailoverWatcher(deployment), deployment


def test_counters_begin_at_zero_and_a_failover_is_counted_and_logged_once(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    cluster(world, NAMES[0], 1)
    watcher, deployment = watch(cluster=[NAMES[1]])
    assert watcher.counts == {}
    assert 0 < watcher.step() <= 1
    before = watcher.counts
    cluster(world, NAMES[2], 3)
    watcher.step()
    watcher.step()
    deployment.close()
    assert (before, watcher.counts) == ({"0": 0, "8192": 0}, {"0": 1, "8192": 0})
    (line,) = [record for record in caplog.records if record.message == "failover detected"]
    assert {"shard": "0", "old": NAMES[0], "new": NAMES[2]}.items() <= vars(line).items()


def test_a_node_or_all_of_them_that_do_not_answer_change_nothing(world: World) -> None:
    watcher, deployment = watch(cluster=list(NAMES))
    assert (watcher.step(), watcher.counts) == (2, {})
    cluster(world, NAMES[0], 1)
    watcher.step()
    world.servers.clear()
    assert (watcher.step(), watcher.counts) == (2, {"0": 0, "8192": 0})
    cluster(world, NAMES[2], 3)
    del world.servers[NAMES[0]]
    watcher.step()
    deployment.close()
    assert watcher.counts == {"0": 1, "8192": 0}


def test_labels_of_removed_shards_go_unless_they_had_a_failover(world: World) -> None:
    cluster(world, NAMES[0], 1)
    watcher, deployment = watch(cluster=[NAMES[1]])
    watcher.step()
    cluster(world, NAMES[2], 3)
    watcher.step()
    lines = b"%s %s@1 myself,master - 0 0 9 connected 16383" % (NAMES[1].encode(), NAMES[1].encode())
    world.servers = {NAMES[1]: answering("redis_mode:cluster\r\n", cluster_nodes=lines)}
    watcher.step()
    deployment.close()
    assert watcher.counts == {"0": 1, "16383": 0}


def test_a_known_single_server_gets_no_commands(world: World) -> None:
    world.servers["cache:6379"] = answering("redis_mode:standalone\r\nrole:master\r\n")
    watcher, deployment = watch(url="redis://cache")
    watcher.step()
    commands = len(world.commands)
    assert watcher.step() == 2
    deployment.close()
    assert (len(world.commands), watcher.counts) == (commands, {})
