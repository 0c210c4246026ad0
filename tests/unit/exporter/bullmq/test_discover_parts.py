"""Discovery of many queues, of which each step takes a part."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from exporter.bullmq.discover import Discovery
from exporter.config.bullmq import BullMQSettings
from exporter.redis.protocol import Reply
from exporter.snapshot.queues import QueueId
from service.outcome import UnreadableError
from tests.support.key_servers import HALVES, Clock, DeploymentOf, Keys
from tests.support.redis_servers import World

EVERY = [f"queue-{number:04d}" for number in range(3_000)]
INTERVAL, PAUSE = 10.0, 0.05


@pytest.fixture
def discovery(cache: Keys, connect: DeploymentOf, clock: Clock) -> Discovery:
    """One that has found all queues; a new round is about to begin."""
    cache.hold(*EVERY)
    settings = {"discovery_interval_seconds": INTERVAL, "rescan_interval_seconds": 3600}
    found = Discovery(
        connect(url="redis://cache", timeout_seconds=5), BullMQSettings.model_validate(settings)
    )
    for _ in steps(found, clock, 2 * INTERVAL):
        pass
    assert len(found.known().queues) == len(EVERY)
    assert found.known().complete
    return found


def steps(discovery: Discovery, clock: Clock, seconds: float) -> Iterator[None]:
    """The steps that are taken in so much time."""
    until = clock.now + seconds
    while clock.now < until:
        clock.now += min(discovery.step(), until - clock.now)
        yield


def sent(world: World, since: int, verb: str, key: str) -> list[str]:
    """The queues of the keys of this name, in commands since then."""
    return [
        word.split(":")[1]
        for _, command in world.commands[since:]
        if command[0] == verb
        for word in command[1:]
        if word.endswith(f":{key}")
    ]


def at_node(
    world: World, address: str, seconds: float, discovery: Discovery, clock: Clock
) -> list[tuple[str, ...]]:
    """The EXISTS that are sent to a node in so much time."""
    since = len(world.commands)
    for _ in steps(discovery, clock, seconds):
        pass
    return sorted(
        command for node, command in world.commands[since:] if node == address and command[0] == "EXISTS"
    )


def test_in_an_interval_all_are_confirmed_and_a_third_is_read(
    discovery: Discovery, clock: Clock, world: World
) -> None:
    since, most = len(world.commands), 0
    for _ in range(3):
        first = before = len(world.commands)
        for _ in steps(discovery, clock, INTERVAL):
            most = max(most, len(world.commands) - before)
            before = len(world.commands)
        assert sorted(sent(world, first, "EXISTS", "id")) == EVERY
    assert sorted(sent(world, since, "PTTL", "limiter")) == EVERY
    assert sorted(sent(world, since, "PTTL", "stalled-check")) == EVERY
    assert most < 250 * 10, "commands in one step"


@pytest.mark.parametrize("name", [EVERY[0], EVERY[1234], EVERY[-1]])
@pytest.mark.parametrize("later", [0.0, 3.3, 9.7])
def test_one_of_many_that_vanishes_is_gone_an_interval_later(
    name: str, later: float, discovery: Discovery, cache: Keys, clock: Clock
) -> None:
    list(steps(discovery, clock, later))
    cache.exist = {key for key in cache.exist if name not in key}
    list(steps(discovery, clock, INTERVAL + 3 * PAUSE))
    known = discovery.known()
    gone = QueueId("bull", name)
    assert len(known.queues) == len(EVERY) - 1
    assert gone not in {*known.queues, *known.libraries, *known.settings, *(known.workers or ())}


def test_what_is_set_for_one_of_many_is_seen_within_three_intervals(
    discovery: Discovery, cache: Keys, clock: Clock
) -> None:
    mail = QueueId("bull", EVERY[99])
    before = discovery.known().settings
    cache.replies["ZCARD", "bull:queue-0099:repeat"] = 4
    list(steps(discovery, clock, 3 * INTERVAL + 3 * PAUSE))
    after = discovery.known().settings
    assert {queue for queue in after if after[queue] != before[queue]} == {mail}


def test_what_did_not_change_is_the_same_object(discovery: Discovery, clock: Clock) -> None:
    """Readers compare ten thousand queues only where it is another."""
    before = discovery.known()
    list(steps(discovery, clock, INTERVAL))
    after = discovery.known()
    assert after.workers_at > before.workers_at
    assert after.queues is before.queues
    assert after.workers is before.workers
    assert after.settings is before.settings
    assert after.libraries is before.libraries
    assert after.own is before.own


def test_where_many_connections_go_their_locks_are_read_at_once(
    discovery: Discovery, cache: Keys, clock: Clock, world: World
) -> None:
    """No longer than it takes, and before the others: until then the old count stands."""
    named = EVERY[:600]
    cache.clients = [f"bull:{name}" for name in named]
    list(steps(discovery, clock, INTERVAL))
    workers = discovery.known().workers or {}
    assert sum(workers.values()) == 600
    cache.clients = []
    since, looked = len(world.commands), 0.0
    for _ in steps(discovery, clock, INTERVAL):
        looked += PAUSE
        if set(named) <= set(sent(world, since, "PTTL", "stalled-check")):
            break
    assert looked <= 6 * PAUSE
    list(steps(discovery, clock, 3 * PAUSE))
    assert set((discovery.known().workers or {}).values()) == {0}


def test_a_node_that_hangs_costs_its_time_out_once_in_a_round(
    halves: dict[str, Keys], connect: DeploymentOf, clock: Clock, world: World
) -> None:
    """Else a round of many parts would take a minute, also for the queues of the others."""
    names = [f"{{{name}}}" for name in EVERY]
    for server in halves.values():
        server.hold(*names)
    late, other = HALVES
    settings = BullMQSettings(discovery_interval_seconds=INTERVAL, rescan_interval_seconds=3600)
    queues = Discovery(connect(cluster=[late, other], timeout_seconds=5), settings)
    for _ in steps(queues, clock, 2 * INTERVAL):
        pass
    assert set((queues.known().workers or {}).values()) == {0}
    server, others = halves[late], at_node(world, other, INTERVAL, queues, clock)

    def hangs(command: tuple[str, ...]) -> Reply:
        if command[0] in {"EXISTS", "HMGET"}:
            raise UnreadableError("timeout", "no answer in time")
        return server(command)

    world.servers[late] = hangs
    since = len(world.commands)
    assert at_node(world, other, INTERVAL, queues, clock) == others
    asked = [command[0] for address, command in world.commands[since:] if address == late]
    assert 0 < asked.count("EXISTS") <= 2000
    assert asked.count("HMGET") == 0
    unknown = queues.known().workers_unknown
    assert 0 < len(unknown) < len(names)
    assert all("could not be read" in why for why in unknown.values())
