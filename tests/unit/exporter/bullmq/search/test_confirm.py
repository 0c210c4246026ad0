from __future__ import annotations

import pytest

from exporter.bullmq.placement import SlotMap
from exporter.bullmq.search.confirm import Confirmation
from exporter.redis.deployment import Deployment
from exporter.snapshot.queues import QueueId
from service.clock import Deadline
from tests.support.key_servers import HALVES, DeploymentOf, Keys
from tests.support.redis_servers import World

NAMES = [f"{{queue-{number:03d}}}" for number in range(250)]
QUEUES = tuple(QueueId("bull", name) for name in NAMES)


class Confirmed:
    """The confirmation of a deployment, and how many EXISTS it sends."""

    def __init__(self, deployment: Deployment, world: World) -> None:
        self.confirmation = Confirmation(deployment)
        self._slot_map = SlotMap(deployment.topology(Deadline.after(5)))
        self._world = world
        self.silent: set[str] = set()

    def gone(self, queues: tuple[QueueId, ...] = QUEUES) -> list[QueueId]:
        return list(self.confirmation.gone(0, queues, self.silent, self._slot_map, Deadline.after(5)))

    def asked(self) -> list[int]:
        """How many keys each command of a further confirmation names, which finds all."""
        sent = len(self._world.commands)
        assert self.gone() == []
        return [len(command) - 1 for _, command in self._world.commands[sent:] if command[0] == "EXISTS"]


@pytest.fixture
def one(cache: Keys, connect: DeploymentOf, world: World) -> Confirmed:
    cache.hold(*NAMES)
    return Confirmed(connect(url="redis://cache", timeout_seconds=5), world)


def test_a_command_asks_for_a_hundred_queues(one: Confirmed) -> None:
    assert one.asked() == [100, 100, 50]
    assert one.asked() == [100, 100, 50]


def test_those_without_keys_are_gone(one: Confirmed, cache: Keys) -> None:
    cache.exist -= {f"bull:{name}:{key}" for name in (NAMES[3], NAMES[222]) for key in ("id", "meta")}
    assert one.gone() == [QUEUES[3], QUEUES[222]]
    assert one.gone(QUEUES[4:200]) == []


def test_a_queue_without_the_key_that_nearly_all_have_is_asked_for_by_itself(
    one: Confirmed, cache: Keys
) -> None:
    cache.exist -= {f"bull:{NAMES[7]}:id"}
    cache.exist |= {f"bull:{NAMES[7]}:wait"}
    assert one.gone() == []
    assert one.asked() == [100, 100, 49, 1, 11, 4]
    cache.exist |= {f"bull:{NAMES[7]}:id"}
    one.gone()
    assert one.asked() == [100, 100, 50]
    cache.exist -= {f"bull:{NAMES[7]}:{key}" for key in ("id", "wait")}
    assert one.gone() == [QUEUES[7]]


def test_what_is_refused_is_not_gone(one: Confirmed, cache: Keys) -> None:
    cache.refused = {"EXISTS"}
    assert one.gone() == []
    assert "NOPERM" in str(one.confirmation.refused)


def test_in_a_cluster_each_queue_is_asked_for_at_its_node(
    halves: dict[str, Keys], connect: DeploymentOf, world: World
) -> None:
    for server in halves.values():
        server.hold(*NAMES)
    confirmed = Confirmed(connect(cluster=list(HALVES), timeout_seconds=5), world)
    assert confirmed.asked() == [1] * 250
    first, second = halves.values()
    first.exist.clear()
    gone = confirmed.gone()
    assert 0 < len(gone) < 250
    second.exist.clear()
    assert sorted(confirmed.gone()) == list(QUEUES)


def test_a_node_that_does_not_answer_has_its_queues_still(
    halves: dict[str, Keys], connect: DeploymentOf, world: World
) -> None:
    for server in halves.values():
        server.hold(*NAMES)
    confirmed = Confirmed(connect(cluster=list(HALVES), timeout_seconds=5), world)
    del world.servers[next(iter(HALVES))]
    list(halves.values())[1].exist.clear()
    gone = confirmed.gone()
    assert 0 < len(gone) < 250
    assert confirmed.silent == set(), "it refuses at once, and may be back"


def test_a_node_that_was_late_is_not_asked(
    halves: dict[str, Keys], connect: DeploymentOf, world: World
) -> None:
    for server in halves.values():
        server.hold(*NAMES)
    confirmed = Confirmed(connect(cluster=list(HALVES), timeout_seconds=5), world)
    confirmed.silent = {next(iter(HALVES))}
    assert 0 < len(confirmed.asked()) < 250
