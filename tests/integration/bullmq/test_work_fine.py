"""What only looks as if a queue stood still; more of it in tests/e2e/test_no_false_alarm.py."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from lab.bullmq import BullMQ
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


def test_a_pause_is_none_until_it_ends(server: RedisServer, judge: Judging) -> None:
    with BullMQ(3, url=server.url) as library:
        library.start_worker("mail")
        library.pause("mail")
        library.add_bulk("mail", 5)
        patient = {"queues": [{"match": "*", "paused_seconds": 1000}]}
        judging = judge(**patient)
        judging.finds_nothing()
        library.resume("mail")
        judging.finds_nothing()
        assert library.counts("mail")["completed"] == 5


def test_a_queue_that_is_excluded(server: RedisServer, judge: Judging) -> None:
    with BullMQ(6, url=server.url) as library:
        library.add_bulk("nightly-report", 5)
        library.add("other", delay=60_000)
        library.start_worker("other")
        judging = judge(queues=[{"match": "nightly-*", "excluded": True}])
        judging.finds_nothing()
        assert judge().wait_for_one("queue_standing_still").affected[0].subject == ("nightly-report")
