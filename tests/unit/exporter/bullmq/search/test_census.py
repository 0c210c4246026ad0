from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence

import pytest

from exporter.bullmq.keys import worker_queues
from exporter.bullmq.placement import SlotMap
from exporter.bullmq.search import census as module
from exporter.bullmq.search.census import Census
from exporter.config.bullmq import BullMQSettings
from exporter.redis.deployment import Deployment
from exporter.snapshot.queues import QueueId
from service.clock import Deadline
from service.outcome import Failed
from tests.support.key_servers import CACHE, DeploymentOf, Keys

QUEUES = [QueueId("bull", f"queue-{number}") for number in range(5)]
KNOWN = dict.fromkeys(QUEUES)
NOTHING: list[object] = [[], -2]


def connection(queue: QueueId) -> str:
    return f"bull:{b64encode(queue.name.encode()).decode()}"


class Counting:
    """A census of `QUEUES` at one server."""

    def __init__(self, deployment: Deployment, cache: Keys) -> None:
        self.cache = cache
        self.census = Census(deployment, BullMQSettings())
        self._slot_map = SlotMap(deployment.topology(Deadline.after(5)))

    def round(self, *connected: QueueId) -> list[QueueId]:
        """Those whose locks are to be read, where these have workers."""
        self.cache.clients = [connection(queue) for queue in connected]
        self.census.read_clients(self._slot_map, [CACHE], Deadline.after(5))
        return sorted(self.census.recount(QUEUES, KNOWN, cluster=False))

    def look(self, queues: Sequence[QueueId], found: object = NOTHING) -> None:
        looks = dict.fromkeys(queues, found)
        self.census.take(queues, looks, self._slot_map, Deadline.after(5))  # type: ignore[arg-type]


@pytest.fixture
def counting(cache: Keys, connect: DeploymentOf) -> Counting:
    return Counting(connect(url="redis://cache", timeout_seconds=5), cache)


def test_a_count_stands_until_connections_come_or_go(counting: Counting) -> None:
    assert counting.round(QUEUES[0]) == QUEUES[1:]
    counting.look(QUEUES[1:])
    assert counting.census.counts == dict.fromkeys(QUEUES, 0) | {QUEUES[0]: 1}
    changes = counting.census.changes
    assert counting.round(QUEUES[0]) == []
    assert counting.census.changes == changes
    assert counting.round(QUEUES[1]) == [QUEUES[0]]
    assert counting.census.counts[QUEUES[1]] == 1
    counting.look(QUEUES[:1])
    assert counting.census.counts == dict.fromkeys(QUEUES, 0) | {QUEUES[1]: 1}


def test_what_could_not_be_read_is_read_again_in_the_next_round(counting: Counting) -> None:
    counting.round()
    counting.look(QUEUES[:2], Failed("timeout", "no answer in time"))
    counting.look(QUEUES[2:])
    assert set(counting.census.unknown) == set(QUEUES[:2])
    assert counting.round() == QUEUES[:2]
    counting.look(QUEUES[:2])
    assert (counting.census.unknown, counting.round()) == ({}, [])


def test_where_no_connections_are_read_no_number_stands(counting: Counting) -> None:
    counting.round()
    counting.look(QUEUES)
    counting.cache.refused = {"CLIENT"}
    assert counting.round() == []
    assert counting.census.counts == {}
    assert set(counting.census.unknown) == set(QUEUES)
    counting.cache.refused = set()
    assert counting.round() == QUEUES, "all are read again"
    counting.look(QUEUES)
    assert counting.census.counts == dict.fromkeys(QUEUES, 0)


def test_what_is_gone_is_forgotten(counting: Counting) -> None:
    counting.round()
    counting.look(QUEUES)
    counting.census.keep_only(QUEUES[:2])
    assert set(counting.census.counts) == set(QUEUES[:2])
    counting.census.forget(QUEUES[:1])
    assert set(counting.census.counts) == {QUEUES[1]}


def test_what_a_name_means_is_worked_out_once(counting: Counting, monkeypatch: pytest.MonkeyPatch) -> None:
    """It took 0.3 s in each round of ten thousand workers."""
    asked: list[str] = []

    def counted(name: str, prefixes: Sequence[str]) -> tuple[QueueId, ...]:
        asked.append(name)
        return worker_queues(name, prefixes)

    monkeypatch.setattr(module, "worker_queues", counted)
    for _ in range(3):
        counting.round(*QUEUES[:3])
        assert counting.census.named_queues() >= set(QUEUES[:3])
    assert sorted(asked) == [connection(queue) for queue in QUEUES[:3]]
    counting.round(QUEUES[3])
    assert asked[3:] == [connection(QUEUES[3])]
