"""The lab drives every BullMQ library with the same verbs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeAlias

import pytest

from lab.bullmq import VERSIONS, BullMQ
from lab.cluster import LocalCluster
from lab.driver import Driver, DriverError
from lab.pybullmq import PyBullMQ
from lab.redis import RedisServer

Start: TypeAlias = Callable[..., Driver]

LIBRARIES: dict[str, Start] = {
    **{f"v{version}": lambda version=version, **address: BullMQ(version, **address) for version in VERSIONS},
    "python": PyBullMQ,
}


@pytest.fixture(params=LIBRARIES)
def start(request: pytest.FixtureRequest) -> Start:
    return LIBRARIES[request.param]


@pytest.fixture
def bullmq(start: Start, fresh_redis: RedisServer) -> Iterator[Driver]:
    with start(url=fresh_redis.url) as driver:
        yield driver


def test_jobs_go_through_their_states(bullmq: Driver) -> None:
    bullmq.add_bulk("mail", 3)
    bullmq.add("mail", delay=60_000)
    assert bullmq.counts("mail")["waiting"] == 3
    assert bullmq.counts("mail")["delayed"] == 1

    holder = bullmq.start_worker("mail", concurrency=2, behaviour={"hold": True})
    bullmq.wait_for_counts("mail", {"active": 2})
    assert bullmq.release(holder) == 2
    bullmq.wait_for_counts("mail", {"completed": 2, "active": 1})
    bullmq.stop_worker(holder)
    assert bullmq.counts("mail")["completed"] == 3

    bullmq.start_worker("mail", behaviour={"fail": True})
    bullmq.add("mail")
    bullmq.wait_for_counts("mail", {"failed": 1})

    bullmq.pause("mail")
    bullmq.add("mail")
    counts = bullmq.counts("mail")
    assert counts["waiting"] + counts.get("paused", 0) >= 1

    bullmq.obliterate("mail")
    assert not any(bullmq.counts("mail").values())


def test_a_parent_waits_for_its_child(bullmq: Driver) -> None:
    child = {"name": "child", "queueName": "children", "data": {}}
    bullmq.add_flow({"name": "parent", "queueName": "parents", "data": {}, "children": [child]})
    assert bullmq.counts("parents")["waiting-children"] == 1
    assert bullmq.counts("children")["waiting"] == 1


def test_a_worker_completes_a_job_in_a_cluster(start: Start, redis_cluster: LocalCluster) -> None:
    with start(cluster=redis_cluster.addresses[:1]) as bullmq:
        bullmq.add_bulk("{tagged}", 2)
        bullmq.start_worker("{tagged}", behaviour={"ms": 1})
        bullmq.wait_for_counts("{tagged}", {"completed": 2})
        bullmq.obliterate("{tagged}")


def test_the_error_has_the_librarys_message(bullmq: Driver) -> None:
    with pytest.raises(DriverError, match=r"noSuchMethod|is not a function"):
        bullmq.queue("mail", "noSuchMethod")


def test_schedulers_and_global_concurrency(fresh_redis: RedisServer) -> None:
    with BullMQ(6, url=fresh_redis.url) as bullmq:
        bullmq.upsert_scheduler("mail", "hourly", every=3_600_000)
        bullmq.set_global_concurrency("mail", 7)
        assert bullmq.queue("mail", "getJobSchedulersCount") == 1
        assert bullmq.queue("mail", "getGlobalConcurrency") == 7
