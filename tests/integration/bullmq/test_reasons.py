"""Why jobs fail, by real workers that throw: counted by the reason, and no secret of it goes anywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lab.bullmq import BullMQ
from lab.deadline import wait_until
from lab.driver import Driver
from lab.redis import RedisServer
from tests.support.bullmq import WatchOf, wait_for, watched
from tests.support.system import FULL, running

pytestmark = pytest.mark.timeout(180)

SECRETS = ("hunter2", "sk_live_4eC39HqLyjWDarjtT1zdp7dc", "bob@example.com", "4111111111111111", "10.9.8.7")
REASONS = (
    "cannot log in with password: hunter2",
    "POST https://bob:hunter2@pay.example.com/v1/charge?key=hunter2 failed with status code 402",
    "the service refused sk_live_4eC39HqLyjWDarjtT1zdp7dc",
    "cannot mail bob@example.com",
    'bad order {"card": "4111111111111111"}',
    "connect ECONNREFUSED 10.9.8.7:6379",
)
COUNTED = {
    "cannot log in with password: <secret>",
    "POST https://pay.example.com/… failed with status code 402",
    "the service refused <secret>",
    "cannot mail <mail>",
    "bad order {…}",
    "connect ECONNREFUSED <ip>:#",
}


def ended(count: int) -> dict[str, int]:
    """The counters after so many jobs failed in their only attempt."""
    return dict.fromkeys(("added", "started", "failed"), count)


def fail_each(library: Driver, queue: str, reasons: list[str], **opts: Any) -> None:
    """A job for each reason, whose worker throws it."""
    jobs = [{"name": "job", "data": {"reason": reason}, "opts": opts} for reason in reasons]
    library.start_worker(queue, concurrency=8, behaviour={"fail": True})
    library.queue(queue, "addBulk", jobs)


@pytest.mark.parametrize("opts", [{}, {"removeOnFail": True}], ids=["kept", "removed"])
def test_jobs_are_counted_by_their_reason(
    library: Driver, server: RedisServer, watch: WatchOf, opts: dict[str, Any]
) -> None:
    name = f"reasons-{len(opts)}-{library.process.name.replace(' ', '-')}"
    monitor = watched(watch, server, name)
    fail_each(library, name, [f"row {n} of file-{n} is bad" for n in range(30)] + ["disk full"] * 10, **opts)
    reasons = wait_for(monitor, name, ended(40)).counters.reasons
    assert reasons is not None
    assert {reason.text: reason.labelled for reason in reasons.known} == {
        "row # of file-# is bad": 30,
        "disk full": 10,
    }
    assert reasons.other == 0
    first = reasons.known[0]
    assert (first.jobs, bool(first.job)) == (30, True)
    assert 0 <= first.last - first.first < 60


def test_an_attempt_that_is_retried_is_no_failure(
    library: Driver, server: RedisServer, watch: WatchOf
) -> None:
    name = f"retried-{library.process.name.replace(' ', '-')}"
    monitor = watched(watch, server, name)
    library.start_worker(name, behaviour={"fail_first": 2})
    library.add_bulk(name, 5, attempts=3)
    events = wait_for(monitor, name, {"added": 5, "started": 15, "completed": 5, "retried": 10})
    assert events.counters.reasons is not None
    assert events.counters.reasons.known == ()


def test_thousands_of_reasons_stay_under_their_cap(server: RedisServer, watch: WatchOf) -> None:
    with BullMQ(6, url=server.url) as bullmq:
        monitor = watch(server, queues=["many-reasons"], failed_reasons=5)
        monitor.read_all()
        monitor.follow()
        words = [f"no {''.join(chr(97 + int(digit)) for digit in f'{n:04}')} here" for n in range(5000)]
        fail_each(bullmq, "many-reasons", words)
        counters = wait_for(monitor, "many-reasons", ended(5000), seconds=60).counters
        assert counters.reasons is not None
        labelled = [reason.labelled for reason in counters.reasons.known if reason.labelled is not None]
        assert len(labelled) == 5
        assert sum(labelled) + counters.reasons.other == 5000
        assert len(counters.reasons.known) <= 50


def settings(server: RedisServer, state: Path) -> dict[str, Any]:
    return {
        "redis": {"url": server.url},
        "bullmq": {"queues": ["pay"], "scan": False, "state_file": str(state)},
        "log": {"level": "debug"},
    }


def series(reason: str) -> str:
    return f'bullmq_job_failed_reasons_total{{prefix="bull",queue="pay",reason="{reason}"}}'


@pytest.mark.fault
def test_no_secret_of_a_reason_goes_anywhere(server: RedisServer, tmp_path: Path) -> None:
    """Metrics, page, JSON, API, log, state file; and counting goes on after a restart."""
    state, keys = tmp_path / "state", {"CRON_API_KEY": FULL}
    with BullMQ(6, url=server.url) as bullmq:
        bullmq.counts("pay")
        with running(tmp_path, "monitor", keys, settings(server, state)) as program:
            failed = 'bullmq_job_failed_total{prefix="bull",queue="pay"}'
            wait_until(lambda: failed in program.samples(), what="it is followed", seconds=60)
            fail_each(bullmq, "pay", list(REASONS))
            wait_until(lambda: program.samples()[failed] == 6, what="all are counted", seconds=60)
            assert {text: program.samples()[series(text)] for text in COUNTED} == dict.fromkeys(COUNTED, 1.0)
            [queue] = program.ask("queue_metrics")["queues"]
            assert {reason["reason"] for reason in queue["failedReasons"]} == COUNTED
            paths = ("/metrics", "/status.json", "/api/monitoring?action=queue_metrics")
            texts = {path: program.client.get(path).text for path in paths} | {"page": program.page()}
        assert "&lt;secret&gt;" in texts["page"]
        texts |= {"state file": state.read_text(), "log": program.log.read_text()}
        assert "<secret>" in texts["state file"]
        for where, text in texts.items():
            assert not [secret for secret in SECRETS if secret in text], where
        with running(tmp_path, "monitor", keys, settings(server, state)) as program:
            wait_until(lambda: series("other") in program.samples(), what="the state is read", seconds=60)
            assert program.samples()[series("bad order {…}")] == 1


def test_it_can_be_switched_off(server: RedisServer, watch: WatchOf) -> None:
    with BullMQ(6, url=server.url) as bullmq:
        monitor = watch(server, queues=["off-reasons"], failed_reasons=0)
        monitor.read_all()
        monitor.follow()
        fail_each(bullmq, "off-reasons", ["disk full"])
        assert wait_for(monitor, "off-reasons", ended(1)).counters.reasons is None
