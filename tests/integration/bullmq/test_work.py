"""Conditions of the work on queues begin and end by their real causes."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from typing import Any, Literal

import pytest

from exporter.bullmq import locks
from exporter.conditions.finding import Affected
from exporter.config.health import HealthSettings
from exporter.health import Issue, assess
from exporter.snapshot.whole import Snapshot
from lab.bull import Bull, BullVersion
from lab.bullmq import BullMQ, Version
from lab.deadline import wait_until
from lab.pybullmq import PyBullMQ
from lab.redis import RedisServer
from service.outcome import Ok
from tests.support.bullmq import WatchOf
from tests.support.work import QUICK, SHORT_LOCK, Judge, said

pytestmark = pytest.mark.timeout(90)  # they are there after seconds, and watched for some

Judging = Callable[..., Judge]


@pytest.fixture(autouse=True)
def _empty(server: RedisServer) -> None:
    server.cli("flushall")


@pytest.fixture
def judge(server: RedisServer, watch: WatchOf) -> Callable[..., Judge]:
    return lambda **settings: Judge(watch(server), **settings)


@pytest.mark.parametrize("version", [1, 3, 5, 6])
def test_all_workers_are_killed_and_come_back(server: RedisServer, judge: Judging, version: Version) -> None:
    with BullMQ(version, url=server.url) as producer, ExitStack() as undo:
        workers = undo.enter_context(BullMQ(version, url=server.url))
        workers.start_worker("mail", concurrency=2, behaviour={"hold": True}, **SHORT_LOCK)
        producer.add_bulk("mail", 5)
        producer.wait_for_counts("mail", {"active": 2})
        judging = judge()
        judging.finds_nothing(2)
        workers.process.kill()
        issue = judging.wait_for_one("queue_standing_still")
        assert (issue.severity, issue.penalty) == ("critical", 35)
        assert "mail: 3 jobs, no worker, none started for" in said(issue)
        assert [affected.subject for affected in issue.affected] == ["mail"]
        producer.start_worker("mail", behaviour={"ms": 5}, **SHORT_LOCK)
        judging.wait_for()
        producer.wait_for_counts("mail", {"completed": 5})
        judging.finds_nothing(4)


@pytest.mark.parametrize("version", [5, 6])
def test_the_jobs_of_killed_workers_fill_the_global_concurrency(
    server: RedisServer, judge: Judging, version: Version
) -> None:
    with BullMQ(version, url=server.url) as producer, ExitStack() as undo:
        producer.set_global_concurrency("mail", 1)
        workers = undo.enter_context(BullMQ(version, url=server.url))
        workers.start_worker("mail", behaviour={"hold": True}, **SHORT_LOCK)
        producer.add_bulk("mail", 5)
        producer.wait_for_counts("mail", {"active": 1})
        judging = judge()
        judging.finds_nothing(4)
        workers.process.kill()
        issue = judging.wait_for_one("queue_standing_still")
        assert "mail: 4 jobs, no worker, none started for" in said(issue)
        producer.start_worker("mail", behaviour={"ms": 5}, **SHORT_LOCK)
        judging.wait_for()
        producer.wait_for_counts("mail", {"completed": 5})


@pytest.mark.parametrize("version", [3, 6])
def test_workers_whose_process_hangs(
    server: RedisServer, judge: Judging, monkeypatch: pytest.MonkeyPatch, version: Version
) -> None:
    monkeypatch.setattr(locks, "LOOK_SECONDS", 0.5)
    with BullMQ(version, url=server.url) as producer, BullMQ(version, url=server.url) as workers:
        workers.start_worker("mail", behaviour={"ms": 1})
        producer.add("mail")
        producer.wait_for_counts("mail", {"completed": 1})
        judging = judge(queues=[{"match": "*", "no_lock_seconds": 1000}])
        judging.finds_nothing(1)
        workers.process.suspend()
        producer.add_bulk("mail", 3)
        issue = judging.wait_for_one("queue_standing_still")
        assert "1 worker of mail is connected" in said(issue)
        assert ("active without a lock: 1 |" in said(issue)) == (
            version == 3
        )  # its blocking command took one
        workers.process.resume()
        judging.wait_for()
        producer.wait_for_counts("mail", {"completed": 4})


@pytest.mark.parametrize("version", [3, 5, 6])
def test_workers_that_hang_with_many_jobs(
    server: RedisServer, judge: Judging, monkeypatch: pytest.MonkeyPatch, version: Version
) -> None:
    monkeypatch.setattr(locks, "LOOK_SECONDS", 0.5)
    monkeypatch.setattr(locks, "LOCK_SECONDS", 1.0)
    with BullMQ(version, url=server.url) as producer, BullMQ(version, url=server.url) as workers:
        workers.start_worker("mail", concurrency=50, behaviour={"hold": True}, **SHORT_LOCK)
        producer.add_bulk("mail", 57)
        producer.wait_for_counts("mail", {"active": 50})
        judging = judge()
        judging.finds_nothing(3)
        workers.process.suspend()
        early = judging.wait_for_one("active_without_lock")
        assert "mail: 50 jobs without a lock for" in said(early)
        assert "1 worker of mail is connected, takes nothing and does not renew" in said(early)
        issue = judging.wait_for_one("queue_standing_still")
        assert "mail: 7 jobs, none started for" in said(issue)
        assert "active without a lock: 50 |" in said(issue)
        assert "1 worker of mail is connected, takes nothing and does not renew" in said(issue)
        workers.process.kill()  # its connections end with it
        assert "mail: 7 jobs, no worker" in said(until_no_worker(judging))
        producer.start_worker("mail", concurrency=50, behaviour={"ms": 1}, **SHORT_LOCK)
        judging.wait_for()


def until_no_worker(judging: Judge) -> Issue:
    def told() -> Issue | None:
        issue = judging.issues().get("queue_standing_still")
        return issue if issue is not None and "no worker" in said(issue) else None

    issue = wait_until(told, what="no worker is known", seconds=30)
    assert issue is not None
    return issue


def test_an_exporter_that_starts_anew_knows_from_the_jobs_that_workers_hang(
    server: RedisServer, judge: Judging, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locks, "LOOK_SECONDS", 0.5)
    monkeypatch.setattr(locks, "LOCK_SECONDS", 1.0)
    with BullMQ(6, url=server.url) as producer, BullMQ(6, url=server.url) as workers:
        workers.start_worker("mail", concurrency=12, behaviour={"hold": True}, **SHORT_LOCK)
        producer.add_bulk("mail", 13)
        producer.wait_for_counts("mail", {"active": 12})
        workers.process.suspend()
        first, limit = judge(), QUICK["no_start_seconds"]
        age = (first.wait_for_one("queue_standing_still"), first.state.queues[0].oldest_waiting)[1]
        assert age is not None
        assert age > limit
        again = judge(thresholds={**QUICK, "no_start_seconds": age})
        told: list[set[str]] = []
        while "queue_standing_still" not in (issues := again.issues()):
            assert "queue_standing_still" in again.not_known_yet
            told.append(set(issues))
            time.sleep(0.2)
        assert told
        assert not again.not_known_yet
        assert again.state.watched_seconds < age  # by its own clock alone it would not know yet
        assert again.state.work is not None
        (work,) = again.state.work.values()
        assert work.standing_before


def test_an_exporter_that_starts_anew_says_what_one_look_says(
    server: RedisServer, watch: WatchOf, judge: Judging
) -> None:
    with BullMQ(6, url=server.url) as library:
        job = library.add("mail")
        added = int((time.time() - 700) * 1000)
        server.cli("hset", f"bull:mail:{job}", "timestamp", str(added))
        state = watch(server).read_all()
        for look in (state, replace(state, work=None)):
            health = assess(Snapshot(0.0, bullmq=Ok(look)), HealthSettings())
            assert {issue.name for issue in health.issues} == {"queue_standing_still"}


@pytest.mark.parametrize("version", [3, 4])
def test_queues_of_bull(server: RedisServer, judge: Judging, version: BullVersion) -> None:
    with Bull(version, url=server.url) as library:
        library.add_bulk("mail", 3)
        judging = judge()
        assert "mail: 3 jobs, no worker" in said(judging.wait_for_one("queue_standing_still"))
        library.start_worker("mail", behaviour={"ms": 5})
        judging.wait_for()
        judging.finds_nothing(4, meanwhile=lambda: library.add_bulk("mail", 5))


@pytest.mark.parametrize("given", [{"priority": 5}, {"delay": 100}], ids=["prioritized", "overdue"])
def test_prioritized_and_overdue_jobs_stand_too(
    server: RedisServer, judge: Judging, given: dict[str, Any]
) -> None:
    with BullMQ(6, url=server.url) as library:
        library.add_bulk("mail", 3, **given)
        judging = judge()
        assert "3 jobs, no worker" in said(judging.wait_for_one("queue_standing_still"))
        library.start_worker("mail")
        judging.wait_for()


def test_workers_that_are_connected_and_take_nothing(server: RedisServer, judge: Judging) -> None:
    with BullMQ(6, url=server.url) as library:
        library.add_bulk("mail", 3)
        idle = library.start_worker("mail", autorun=False)
        judging = judge()
        issue = judging.wait_for_one("queue_standing_still")
        assert "1 worker of mail is connected and takes nothing: restart it" in said(issue)
        library.stop_worker(idle)
        library.start_worker("mail")
        judging.wait_for()


def test_delayed_jobs_of_bullmq_1_without_a_queue_scheduler(server: RedisServer, judge: Judging) -> None:
    with BullMQ(1, url=server.url) as library:
        library.start_worker("mail", scheduler=False, behaviour={"ms": 1})
        library.add("mail", delay=200)
        judging = judge()

        def busy() -> set[str]:
            library.add("mail")
            return set(judging.issues())

        wait_until(lambda: busy() == {"delayed_overdue"}, what="delayed_overdue", seconds=20)
        issue = judging.issues()["delayed_overdue"]
        assert "QueueScheduler" in said(issue)
        assert [affected.subject for affected in issue.affected] == ["mail"]
        library.start_worker("mail")
        judging.wait_for()


def test_a_pause_that_lasts(server: RedisServer, judge: Judging) -> None:
    with BullMQ(6, url=server.url) as library:
        library.start_worker("mail")
        library.pause("mail")
        judging = judge()
        judging.finds_nothing()
        library.add("mail")
        assert "mail" in said(judging.wait_for_one("paused_long"))
        library.resume("mail")
        judging.wait_for()


@pytest.mark.parametrize("version", [5, 6, "python"])
def test_a_global_concurrency_of_0_is_a_pause(
    server: RedisServer, judge: Judging, version: Version | Literal["python"]
) -> None:
    with PyBullMQ(url=server.url) if version == "python" else BullMQ(version, url=server.url) as library:
        worker = library.start_worker("mail")
        library.add("mail")
        library.wait_for_counts("mail", {"completed": 1})
        library.set_global_concurrency("mail", 0)
        judging = judge()
        judging.finds_nothing()
        library.add_bulk("mail", 2)
        issue = judging.wait_for_one("paused_long")
        assert "mail: a global concurrency of 0 for" in said(issue)
        assert "(queue.removeGlobalConcurrency())" in said(issue)
        assert library.tally(worker)["started"] == 1
        library.queue("mail", "removeGlobalConcurrency")
        library.add("mail")
        library.wait_for_counts("mail", {"completed": 4})
        judging.wait_for()


@pytest.mark.parametrize("version", [2, 3, 6])  # 2 and 3 put a marker among the jobs that wait
def test_a_queue_without_workers_and_without_jobs(
    server: RedisServer, judge: Judging, version: Version
) -> None:
    with BullMQ(version, url=server.url) as library:
        library.add("mail", delay=60_000)
        judging = judge()
        assert "mail" in said(judging.wait_for_one("queue_without_workers"))
        library.start_worker("mail")
        judging.wait_for()


def test_no_queue_at_all(server: RedisServer, judge: Judging, watch: WatchOf) -> None:
    server.cli("set", "session:1", "x")
    judging = judge()
    issue = judging.wait_for_one("no_queue_found")
    assert "searched under any prefix; 1 key in Redis" in said(issue)
    with BullMQ(6, url=server.url) as library:
        library.start_worker("mail")
        library.add("mail")
        judging.wait_for()
        named = Judge(watch(server, queues=["mial"], prefixes=["bull"]))
        issue = named.wait_for_one("no_queue_found")
        assert "searched under bull" in said(issue)
        assert "in the settings, but not in Redis: mial" in said(issue)
        assert issue.affected == (Affected("mial", 1.0),)


@pytest.mark.parametrize("version", [3, 5, 6])
def test_a_parent_waits_for_a_child_that_failed(
    server: RedisServer, judge: Judging, version: Version
) -> None:
    with BullMQ(version, url=server.url) as library:
        library.start_worker("parent")
        worker = library.start_worker("child", behaviour={"fail": True})
        child = {"name": "c", "queueName": "child", "data": {}, "opts": {"jobId": "c"}}
        library.add_flow({"name": "p", "queueName": "parent", "data": {}, "children": [child]})
        library.wait_for_counts("child", {"failed": 1})
        judging = judge()
        text = said(judging.wait_for_one("waiting_children_long"))
        assert "parent: 1 job waits for its children, for " in text
        assert "smembers bull:parent:ID:dependencies" in text
        library.stop_worker(worker)
        library.start_worker("child")
        library.queue("child", "retryJobs") if version > 3 else library.queue("child", "remove", "c")
        library.wait_for_counts("parent", {"completed": 1})
        judging.wait_for()


def test_a_flow_whose_child_runs_is_not_judged_by_its_length_alone(
    server: RedisServer, judge: Judging
) -> None:
    with BullMQ(6, url=server.url) as library:
        library.start_worker("parent")
        library.start_worker("child", behaviour={"hold": True})
        child = {"name": "c", "queueName": "child", "data": {}}
        library.add_flow({"name": "p", "queueName": "parent", "data": {}, "children": [child]})
        judging = judge(queues=[{"match": "parent", "waiting_children_seconds": 60}])
        judging.finds_nothing()
        (parent,) = [queue for queue in judging.state.queues if queue.id.name == "parent"]
        assert 0 < (parent.longest_waiting_children or 0) < 60


def test_a_wait_over_its_limit(server: RedisServer, judge: Judging) -> None:
    with BullMQ(6, url=server.url) as library:
        worker = library.start_worker("mail", behaviour={"hold": True})
        library.add_bulk("mail", 2)
        library.wait_for_counts("mail", {"active": 1})
        judging = judge(queues=[{"match": "m*", "wait_seconds": 2}])
        assert "mail" in said(judging.wait_for_one("queue_wait_high"))
        library.release(worker)
        wait_until(lambda: library.counts("mail")["active"] == 1, what="the second job")
        judging.wait_for()


def test_one_look_only_sees_what_it_can_prove(server: RedisServer, watch: WatchOf) -> None:
    def judged() -> set[str]:
        state = replace(watch(server).read_all(), work=None)
        return {issue.name for issue in assess(Snapshot(0.0, bullmq=Ok(state)), HealthSettings()).issues}

    with BullMQ(6, url=server.url) as library:
        job = library.add("mail")
        assert judged() == set()
        added = int((time.time() - 700) * 1000)
        server.cli("hset", f"bull:mail:{job}", "timestamp", str(added))
        assert judged() == {"queue_standing_still"}
        library.pause("mail")
        assert judged() == set()
        library.resume("mail")
        library.start_worker("mail")
        assert judged() == set()
