"""Conditions of jobs begin and end by their real causes."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import pytest

from exporter.bullmq import locks
from exporter.bullmq.streams import rates
from exporter.conditions import hanging
from exporter.conditions.finding import Affected
from exporter.config.health import HealthSettings
from exporter.snapshot.queues import QueueId
from lab.bullmq import BullMQ, Version
from lab.deadline import wait_until
from lab.redis import RedisServer
from tests.support.bullmq import WatchOf
from tests.support.work import QUICK, SHORT_LOCK, Judge, said

pytestmark = pytest.mark.timeout(90)  # rates need ten seconds

Judging = Callable[..., Judge]


@pytest.fixture(autouse=True)
def _empty(server: RedisServer) -> None:
    server.cli("flushall")


@pytest.fixture
def judge(server: RedisServer, watch: WatchOf) -> Callable[..., Judge]:
    return lambda **settings: Judge(watch(server), **settings)


@pytest.mark.parametrize("version", [5, 6])
def test_a_job_of_a_killed_worker_that_no_other_looks_for(
    server: RedisServer, judge: Judging, monkeypatch: pytest.MonkeyPatch, version: Version
) -> None:
    monkeypatch.setattr(locks, "LOOK_SECONDS", 0.5)
    monkeypatch.setattr(locks, "LOCK_SECONDS", 1.0)
    blind: dict[str, Any] = {"skipStalledCheck": True, "lockDuration": 1000}
    with BullMQ(version, url=server.url) as library, ExitStack() as undo:
        workers = undo.enter_context(BullMQ(version, url=server.url))
        workers.start_worker("mail", behaviour={"hold": True}, **blind)
        library.add("mail")
        library.wait_for_counts("mail", {"active": 1})
        judging = judge()
        judging.finds_nothing(4)
        workers.process.kill()
        library.start_worker("mail", **blind)
        issue = judging.wait_for_one("active_without_lock")
        assert "mail: 1 job without a lock for" in said(issue)
        assert "skipStalledCheck" in said(issue)
        library.start_worker("mail", **SHORT_LOCK)
        judging.wait_for()
        library.wait_for_counts("mail", {"completed": 1})


def test_a_job_that_runs_far_longer_than_the_others(server: RedisServer, judge: Judging) -> None:
    with BullMQ(6, url=server.url) as library:
        judging = judge()
        library.add("mail", delay=1)
        quick = library.start_worker("mail", behaviour={"ms": 5})
        library.wait_for_counts("mail", {"completed": 1})
        judging.issues()
        library.add_bulk("mail", 30)
        library.wait_for_counts("mail", {"completed": 31})
        library.stop_worker(quick)
        slow = library.start_worker("mail", behaviour={"hold": True})
        library.add("mail")
        issue = judging.wait_for_one("active_too_long")
        assert "mail: active for" in said(issue)
        library.release(slow)
        judging.wait_for()


def test_workers_whose_jobs_do_not_end(
    server: RedisServer, judge: Judging, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rates, "WINDOW", 10.0)
    monkeypatch.setattr(rates, "_WINDOW_STEP", 1.0)
    monkeypatch.setattr(hanging, "WINDOW", 10.0)
    quick = {**QUICK, "no_start_seconds": 2, "active_seconds": 600}
    with BullMQ(6, url=server.url) as library:
        judging = judge(thresholds=quick)
        library.add("mail", delay=1)
        worker = library.start_worker("mail", behaviour={"ms": 5})
        library.wait_for_counts("mail", {"completed": 1})
        judging.issues()
        library.add_bulk("mail", 30)
        library.wait_for_counts("mail", {"completed": 31})
        library.stop_worker(worker)
        hangs = library.start_worker("mail", behaviour={"hold": True}, concurrency=2)
        library.add_bulk("mail", 5)
        judging.finds_nothing(9)
        judging.settings = HealthSettings.model_validate({"thresholds": quick | {"active_seconds": 2}})
        issue = judging.wait_for_one("queue_standing_still")
        assert "mail: 3 jobs wait, none ends, and one is active for" in said(issue)
        assert "Restart the workers of mail" in said(issue)
        library.stop_worker(hangs)
        library.start_worker("mail")
        judging.wait_for()


def test_stalled_jobs_that_repeat(server: RedisServer, judge: Judging) -> None:
    with BullMQ(6, url=server.url) as library, ExitStack() as undo:
        workers = undo.enter_context(BullMQ(6, url=server.url))
        library.add("mail", delay=1)
        workers.start_worker("mail", concurrency=3, behaviour={"hold": True}, **SHORT_LOCK)
        library.wait_for_counts("mail", {"active": 1})
        judging = judge()
        judging.begin()
        library.add_bulk("mail", 2)
        library.wait_for_counts("mail", {"active": 3})
        workers.process.kill()
        library.start_worker("mail", behaviour={"ms": 5}, maxStalledCount=5, **SHORT_LOCK)
        issue = judging.wait_for_one("jobs_stalled")
        assert issue.affected == (Affected("mail", 3.0, QueueId("bull", "mail")),)


def test_failures_begin_and_are_outweighed(server: RedisServer, judge: Judging) -> None:
    with BullMQ(6, url=server.url) as library:
        library.add("mail", delay=1)
        failing = library.start_worker("mail", behaviour={"fail": True})
        library.wait_for_counts("mail", {"failed": 1})
        judging = judge()
        judging.begin()
        library.add_bulk("mail", 30)
        issue = judging.wait_for_one("failures_rising")
        assert "mail: 100 % of 30 jobs of the last hour; all queues: 100 % of 30 jobs" in said(issue)
        library.stop_worker(failing)
        library.start_worker("mail", concurrency=10)
        library.add_bulk("mail", 100)
        judging.wait_for()


@pytest.mark.parametrize("version", [3, 5, 6])
def test_attempts_that_are_retried_for_ever(server: RedisServer, judge: Judging, version: Version) -> None:
    """A service is down, and the jobs have attempts for a day: none fails for good."""
    again: dict[str, Any] = {"attempts": 1000, "backoff": {"type": "fixed", "delay": 300}}
    with BullMQ(version, url=server.url) as library:
        library.add("mail", delay=1)
        worker = library.start_worker("mail")
        library.wait_for_counts("mail", {"completed": 1})
        judging = judge()
        judging.begin()
        library.stop_worker(worker)
        library.start_worker("mail", behaviour={"fail": True}, concurrency=5)
        library.add_bulk("mail", 10, **again)
        issue = judging.wait_for_one("failures_rising")
        assert "mail: no job completed in the last hour, and " in said(issue)
        assert "zrange bull:mail:delayed 0 0" in said(issue)
        assert library.counts("mail")["failed"] == 0
        library.start_worker("mail", concurrency=20)
        judging.wait_for()


@pytest.mark.parametrize("keep", [True, False], ids=["kept", "removed"])
def test_failures_of_a_queue_that_was_just_created(server: RedisServer, judge: Judging, keep: bool) -> None:  # noqa: FBT001
    """They count although they were there before the exporter knew of the queue, kept or not, and the advice
    leads to their reason."""
    judging = judge(thresholds={"failed_jobs": 11, "without_workers_seconds": 60})
    judging.begin()
    with BullMQ(6, url=server.url) as library:
        library.start_worker("mail", behaviour={"fail": True}, concurrency=10)
        jobs = {} if keep else {"removeOnFail": True}
        library.add_bulk("mail", 12, **jobs)  # type: ignore[arg-type]
        wait_until(lambda: library_failed(server) == 12, what="12 jobs have failed", seconds=20)
        issue = judging.wait_for_one("failed_jobs_high")
    assert [(each.subject, each.value) for each in issue.affected] == [("mail", 12.0)]
    assert ("removeOnFail" in said(issue)) is not keep
    command = re.search(r"redis-cli [^;]*?(?=; its reason|\. To keep)", said(issue))
    assert command is not None, said(issue)
    pasted = command[0].replace("-h HOST -p PORT", f"-h {server.host} -p {server.port}")
    shown = subprocess.run(["bash", "-c", pasted], capture_output=True, text=True, check=True).stdout
    if keep:
        (job,) = shown.split()
        shown = server.cli("hget", f"bull:mail:{job}", "failedReason")
    assert "asked to fail" in shown


def library_failed(server: RedisServer) -> int:
    """How many of BullMQ's events say that a job has failed."""
    return server.cli("xrange", "bull:mail:events", "-", "+").split().count("failedReason")
