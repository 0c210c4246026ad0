"""What only looks as if a queue stood still."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from lab.bullmq import BullMQ, Version
from lab.redis import RedisServer
from tests.support.bullmq import WatchOf
from tests.support.work import Judge

pytestmark = pytest.mark.timeout(90)  # each is watched for seconds

Judging = Callable[..., Judge]


@pytest.fixture(autouse=True)
def _empty(server: RedisServer) -> None:
    server.cli("flushall")


@pytest.fixture
def judge(server: RedisServer, watch: WatchOf) -> Callable[..., Judge]:
    return lambda **settings: Judge(watch(server), **settings)


def test_jobs_that_come_where_workers_wait_for_them_do_not_stand(server: RedisServer, judge: Judging) -> None:
    with BullMQ(6, url=server.url) as library:
        library.start_worker("mail", behaviour={"ms": 1}, concurrency=5)
        judge().finds_nothing(meanwhile=lambda: library.add_bulk("mail", 20))


def test_a_rolling_restart_of_all_workers(server: RedisServer, judge: Judging) -> None:
    with BullMQ(6, url=server.url) as library:
        worker = library.start_worker("mail", behaviour={"ms": 20})
        library.add_bulk("mail", 10)
        judging = judge()
        for _ in range(3):
            library.stop_worker(worker)
            library.add_bulk("mail", 10)
            judging.finds_nothing(1.5)
            worker = library.start_worker("mail", behaviour={"ms": 20})
            judging.finds_nothing(1.5, meanwhile=lambda: library.add_bulk("mail", 5))


def test_an_empty_and_a_new_queue(server: RedisServer, judge: Judging) -> None:
    with BullMQ(6, url=server.url) as library:
        library.start_worker("empty")
        judging = judge()
        judging.finds_nothing(3)
        library.add_bulk("new", 5)
        judging.finds_nothing(1.5)
        library.start_worker("new")
        judging.finds_nothing()


@pytest.mark.parametrize("version", [3, 6])
def test_a_pause_is_none_until_it_ends(server: RedisServer, judge: Judging, version: Version) -> None:
    with BullMQ(version, url=server.url) as library:
        library.start_worker("mail")
        library.pause("mail")
        library.add_bulk("mail", 5)
        patient = {"queues": [{"match": "*", "paused_seconds": 1000}]}
        judging = judge(**patient)
        judging.finds_nothing()
        library.resume("mail")
        judging.finds_nothing()
        assert library.counts("mail")["completed"] == 5


def test_a_rate_limit(server: RedisServer, judge: Judging) -> None:
    with BullMQ(6, url=server.url) as library:
        library.start_worker("mail", limiter={"max": 1, "duration": 9000})
        library.add_bulk("mail", 5)
        library.wait_for_counts("mail", {"completed": 1})
        judge().finds_nothing(8)


def test_a_global_concurrency(server: RedisServer, judge: Judging) -> None:
    with BullMQ(6, url=server.url) as library:
        library.set_global_concurrency("mail", 1)
        for _ in range(2):
            library.start_worker("mail", behaviour={"hold": True})
        library.add_bulk("mail", 5)
        library.wait_for_counts("mail", {"active": 1})
        judge().finds_nothing()


def test_a_parent_that_waits_for_its_children(server: RedisServer, judge: Judging) -> None:
    with BullMQ(6, url=server.url) as library:
        library.start_worker("child", behaviour={"hold": True})
        library.start_worker("parent")
        child = {"name": "c", "queueName": "child", "data": {}}
        library.add_flow({"name": "p", "queueName": "parent", "data": {}, "children": [child]})
        library.wait_for_counts("child", {"active": 1})
        judge().finds_nothing()


def test_a_queue_that_is_excluded(server: RedisServer, judge: Judging) -> None:
    with BullMQ(6, url=server.url) as library:
        library.add_bulk("nightly-report", 5)
        library.add("other", delay=60_000)
        library.start_worker("other")
        judging = judge(queues=[{"match": "nightly-*", "excluded": True}])
        judging.finds_nothing()
        assert judge().wait_for_one("queue_standing_still").affected[0].subject == ("nightly-report")


def test_delayed_jobs_behind_full_slots_are_not_overdue(server: RedisServer, judge: Judging) -> None:
    with BullMQ(6, url=server.url) as library:
        library.start_worker("mail", behaviour={"hold": True})
        library.add("mail")
        library.wait_for_counts("mail", {"active": 1})
        library.add("mail", delay=200)
        judge().finds_nothing()
