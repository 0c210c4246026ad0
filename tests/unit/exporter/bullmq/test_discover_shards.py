"""Discovery where several exporters divide the queues."""

from __future__ import annotations

import pytest

from exporter.bullmq.discover import Discovery
from exporter.config.bullmq import BullMQSettings
from exporter.config.shard import QueueShard
from exporter.snapshot.queues import QueueId
from service.clock import Deadline
from tests.support.key_servers import DeploymentOf, Keys
from tests.support.redis_servers import World

NODE = "bull:bWFpbA=="


def look(queues: Discovery) -> list[str]:
    """Names after a complete discovery."""
    queues.discover_once(Deadline.after(5))
    return names(queues)


def names(queues: Discovery) -> list[str]:
    return [queue.name for queue in queues.known().queues]


ALL = [f"q{number}" for number in range(12)]


def shards_of(connect: DeploymentOf, count: int, **settings: object) -> list[Discovery]:
    bullmq = BullMQSettings.model_validate(settings)
    return [
        Discovery(connect(url="redis://cache"), bullmq, QueueShard(number, count))
        for number in range(1, count + 1)
    ]


def test_shards_divide_what_all_of_them_see(cache: Keys, connect: DeploymentOf, world: World) -> None:
    cache.hold(*ALL)
    cache.exist |= {f"bull:{name}:meta" for name in ("phantom", "ghost", "wraith")}
    found: list[list[str]] = []
    asked: list[set[str]] = []
    for queues in shards_of(connect, 3):
        before = len(world.commands)
        found.append(look(queues))
        asked.append({command[1] for _, command in world.commands[before:] if command[0] == "TYPE"})
    assert sorted(name for names in found for name in names) == sorted(ALL)
    assert all(found)
    confirmed = [key for _, command in world.commands if command[0] == "HMGET" for key in command[1:2]]
    assert confirmed
    assert sum(map(len, asked)) == len(set().union(*asked)), "a key that two shards have asked for"


def test_what_is_no_queue_is_named_by_one_shard(cache: Keys, connect: DeploymentOf) -> None:
    cache.hold(*ALL)
    cache.exist |= {f"bull:{name}:meta" for name in ("phantom", "ghost", "wraith")}
    shards = shards_of(connect, 3)
    for queues in shards:
        look(queues)
    passed_over = [queue.name for queues in shards for queue in queues.known().search.passed_over]
    assert sorted(passed_over) == ["ghost", "phantom", "wraith"]


def test_a_name_of_the_settings_is_found_by_one_shard_and_missed_by_none(
    cache: Keys, connect: DeploymentOf
) -> None:
    """Where the prefix is open the queue may be of another shard than the name under BullMQ's default."""
    cache.hold(*ALL, prefix="shop")
    shards = shards_of(connect, 3, queues=[*ALL, "nowhere"])
    listed: list[QueueId] = []
    for queues in shards:
        look(queues)
        listed += queues.known().queues
    assert sorted(listed) == sorted([QueueId("bull", "nowhere"), *(QueueId("shop", name) for name in ALL)]), (
        "each once, and the one that is not there under the default prefix"
    )
    problems = [problem for queues in shards for problem in queues.known().problems]
    assert problems == ["in the settings, but not in Redis: nowhere"]


def test_names_under_one_prefix_are_divided_at_once(cache: Keys, connect: DeploymentOf) -> None:
    shards = shards_of(connect, 3, queues=ALL, prefixes=["bull"])
    assert sorted(name for queues in shards for name in names(queues)) == sorted(ALL)
    assert [queues.known().complete for queues in shards] == [True] * 3


@pytest.mark.parametrize("scan", [True, False])
def test_a_shard_without_queues_knows_that_there_are_others(
    cache: Keys, connect: DeploymentOf, *, scan: bool
) -> None:
    cache.hold("mail")
    cache.clients = [NODE]
    shards = shards_of(connect, 3, scan=scan)
    for queues in shards:
        look(queues)
    empty = [queues.known() for queues in shards if not queues.known().queues]
    assert len(empty) == 2
    assert all(known.search.others and known.complete for known in empty)
    with_it = next(queues.known() for queues in shards if queues.known().queues)
    assert with_it.search.others == 0
