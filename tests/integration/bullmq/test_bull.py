"""Bull 3 and 4, BullMQ's predecessor: what we read equals what the library says."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import redis

from exporter.bullmq.bull import follow
from exporter.snapshot.queues import QueueId
from lab.bull import BULL_VERSIONS, Bull, BullVersion
from lab.bullmq import BullMQ
from lab.cluster import LocalCluster, start_cluster
from lab.deadline import wait_until
from lab.redis import RedisServer, start_redis
from tests.support.acl import READER, rules
from tests.support.bullmq import Watch, WatchOf, bullmq_counts, counters, exporter_counts, of, wait_for

pytestmark = pytest.mark.timeout(90)

HOUR_MS = 3_600_000
GONE: dict[str, Any] = {"removeOnComplete": True, "removeOnFail": True}


@pytest.fixture(scope="module", params=BULL_VERSIONS, ids=lambda version: f"bull-{version}")
def bull(request: pytest.FixtureRequest, server: RedisServer) -> Iterator[Bull]:
    with Bull(request.param, url=server.url) as driver:
        yield driver


@pytest.fixture(autouse=True)
def _polled_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follow, "_POLL_SECONDS", 0.2)


def named(bull: Bull, what: str) -> str:
    return f"{what}-{bull.version}"


def bull_counts(bull: Bull, queue: str) -> dict[str, int]:
    """getJobCounts() in the states of bullmq_job_count."""
    counts = bull.counts(queue)
    states = {state: counts[state] for state in ("active", "delayed", "completed", "failed")}
    return states | {
        "waiting": counts["waiting"] + counts["paused"],
        "prioritized": 0,
        "waiting-children": 0,
    }


def followed(bull: Bull, watch: WatchOf, server: RedisServer | LocalCluster, *queues: str) -> Watch:
    """A watch of these queues, empty and made by Bull, that receives what they publish."""
    monitor = watch(server, prefixes=[bull.prefix], queues=list(queues))
    jobs = [(queue, bull.add(queue)) for queue in queues]
    monitor.read_all()
    assert sorted(queue.name for queue in monitor.discovery.known().made_by("bull")) == sorted(queues)
    for queue, job in jobs:
        bull.job(queue, job, "remove")
    wait_until(lambda: monitor.follow() and len(monitor.bull.events()) == len(queues), what="subscribed")
    return monitor


# --- counts ---


def test_every_state_is_counted_as_bull_counts(bull: Bull, server: RedisServer, watch: WatchOf) -> None:
    queue = named(bull, "states")
    monitor = watch(server, queues=[queue])
    for count, behaviour in ((3, {}), (2, {"fail": True})):
        bull.add_bulk(queue, count)
        worker = bull.start_worker(queue, behaviour=behaviour)
        bull.wait_for_counts(queue, {"failed" if behaviour else "completed": count})
        bull.stop_worker(worker)
    bull.start_worker(queue, behaviour={"hold": True}, concurrency=2)
    bull.add_bulk(queue, 2)
    bull.wait_for_counts(queue, {"active": 2})
    bull.add_bulk(queue, 4)
    bull.add_bulk(queue, 6, priority=7)
    bull.add_bulk(queue, 5, delay=HOUR_MS)
    bull.queue(queue, "add", "tick", {}, {"repeat": {"every": HOUR_MS}})
    read = monitor.queue(queue)
    assert (read.library, read.odd) == ("bull", ())
    assert exporter_counts(read) == bull_counts(bull, queue)
    assert exporter_counts(read) == {
        "waiting": 10,
        "active": 2,
        "delayed": 6,
        "prioritized": 0,
        "waiting-children": 0,
        "completed": 3,
        "failed": 2,
    }
    assert (read.failed_last_hour, read.delayed_overdue, read.paused) == (2, 0, False)
    assert read.schedulers == bull.queue(queue, "getRepeatableCount") == 1


def test_a_paused_queue(bull: Bull, server: RedisServer, watch: WatchOf) -> None:
    queue = named(bull, "paused")
    monitor = watch(server, queues=[queue])
    bull.add_bulk(queue, 3)
    bull.pause(queue)
    bull.add_bulk(queue, 2)
    bull.add(queue, priority=1)
    read = monitor.queue(queue)
    assert (read.paused, read.jobs.waiting) == (True, 6)
    assert exporter_counts(read) == bull_counts(bull, queue)
    assert read.oldest_waiting is not None
    server.cli("del", f"bull:{queue}:meta")  # older versions of Bull write only its own key
    assert monitor.queue(queue).paused is True
    bull.resume(queue)
    read = monitor.queue(queue)
    assert (read.paused, read.jobs.waiting) == (False, 6)
    assert exporter_counts(read) == bull_counts(bull, queue)


def test_a_job_with_an_id_like_a_marker_of_bullmq_is_a_job(
    bull: Bull, server: RedisServer, watch: WatchOf
) -> None:
    queue = named(bull, "zero")
    monitor = watch(server, queues=[queue])
    bull.add(queue, jobId="0:5")
    read = monitor.queue(queue)
    assert (read.jobs.waiting, read.oldest_waiting is None) == (1, False)
    bull.pause(queue)
    assert monitor.queue(queue).jobs.waiting == 1


def test_ages(bull: Bull, server: RedisServer, watch: WatchOf) -> None:
    queue = named(bull, "aged")
    monitor = watch(server, queues=[queue])
    worker = bull.start_worker(queue, behaviour={"hold": True})
    bull.add(queue, jobId="running")
    bull.wait_for_counts(queue, {"active": 1})
    bull.add(queue, jobId="late")
    bull.add(queue, jobId="last")
    bull.add(queue, jobId="soon", delay=HOUR_MS)
    base = f"bull:{queue}:"
    for job, field, seconds in (("running", "processedOn", 90), ("late", "timestamp", 300)):
        at = int(server.cli("hget", base + job, field))
        server.cli("hset", base + job, field, at - seconds * 1000)
    read = monitor.queue(queue)
    assert read.longest_active == pytest.approx(90, abs=20)
    assert read.oldest_waiting == pytest.approx(300, abs=20)
    bull.stop_worker(worker, force=True)
    due = float(server.cli("zscore", base + "delayed", "soon"))
    server.cli("zadd", base + "delayed", int(due - (HOUR_MS - 45_000) * 4096), "soon")
    read = monitor.queue(queue)
    assert (read.delayed_overdue, read.delayed_due) == (0, 1)
    server.cli("zadd", base + "delayed", int(due - 2 * HOUR_MS * 4096), "soon")
    read = monitor.queue(queue)
    assert (read.delayed_overdue, read.delayed_due) == (1, 0)


def test_one_key_of_another_type_costs_only_its_state(
    bull: Bull, server: RedisServer, watch: WatchOf
) -> None:
    queue = named(bull, "odd")
    monitor = watch(server, queues=[queue])
    bull.add_bulk(queue, 3)
    server.cli("set", f"bull:{queue}:failed", "x")
    state = monitor.read_all()
    (read,) = state.queues
    assert (read.jobs.waiting, read.jobs.failed, read.jobs.completed, state.unread) == (3, None, 0, {})
    assert read.odd == ("failed: WRONGTYPE Operation against a key holding the wrong kind of value",)


# --- counters ---


def test_jobs_that_are_removed_as_they_complete(bull: Bull, server: RedisServer, watch: WatchOf) -> None:
    queue = named(bull, "gone")
    monitor = followed(bull, watch, server, queue)
    worker = bull.start_worker(queue, concurrency=4, behaviour={"ms": 40})
    bull.add_bulk(queue, 60, **GONE)
    events = wait_for(monitor, queue, {"added": 60, "started": 60, "completed": 60})
    assert bull.tally(worker) == {"started": 60, "returned": 60, "threw": 0}
    assert bull.counts(queue)["completed"] == 0
    assert sum(events.counters.wait.counts) == 60
    processing = events.counters.processing["completed"]
    assert sum(processing.counts) == 60
    assert 0.03 <= processing.total / 60 <= 0.2
    assert (events.lost, events.undone, events.counters.evicted) == (0, 0, 0)
    assert (events.counters.removed, "retried" in events.counters.processing) == (None, False)
    bull.stop_worker(worker)


@pytest.mark.parametrize("backoff", [{}, {"backoff": {"type": "fixed", "delay": 50}}], ids=["now", "later"])
def test_retries(bull: Bull, server: RedisServer, watch: WatchOf, backoff: dict[str, Any]) -> None:
    queue = named(bull, f"retry-{len(backoff)}")
    monitor = followed(bull, watch, server, queue)
    worker = bull.start_worker(queue, concurrency=3, behaviour={"fail_first": 2, "ms": 10})
    bull.add_bulk(queue, 10, attempts=3, **backoff, **GONE)
    bull.add_bulk(queue, 5, attempts=2, **backoff, **GONE)
    expected = {"added": 15, "started": 40, "completed": 10, "failed": 5, "retried": 25}
    events = wait_for(monitor, queue, expected)
    assert bull.tally(worker) == {"started": 40, "returned": 10, "threw": 30}
    ended = {outcome: sum(times.counts) for outcome, times in events.counters.processing.items()}
    assert ended == {"completed": 10, "failed": 5}
    assert sum(events.counters.wait.counts) == (40 if backoff else 15)
    bull.stop_worker(worker)


def test_why_jobs_failed(bull: Bull, server: RedisServer, watch: WatchOf) -> None:
    """Masked, and at the time that people have."""
    queue, begun = named(bull, "reasons"), time.time()
    monitor = followed(bull, watch, server, queue)
    worker = bull.start_worker(queue, behaviour={"fail": True})
    for reason in ("disk 7 is full", "disk 8 is full", "wrong password: hunter2"):
        bull.queue(queue, "add", "job", {"reason": reason}, GONE)
    events = wait_for(monitor, queue, {"added": 3, "started": 3, "failed": 3})
    assert events.counters.reasons is not None
    known = {reason.text: reason for reason in events.counters.reasons.known}
    assert {text: reason.labelled for text, reason in known.items()} == {
        "disk # is full": 2,
        "wrong password: <secret>": 1,
    }
    assert known["disk # is full"].job
    assert begun - 1 <= known["disk # is full"].first <= time.time() + 1
    bull.stop_worker(worker)


def test_prioritized_delayed_repeated_and_duplicated(bull: Bull, server: RedisServer, watch: WatchOf) -> None:
    queue = named(bull, "mixed")
    monitor = followed(bull, watch, server, queue)
    bull.add_bulk(queue, 5, priority=3, **GONE)
    bull.add_bulk(queue, 5, delay=300, **GONE)
    bull.add(queue, jobId="same")
    bull.add(queue, jobId="same")
    bull.add(queue, jobId="same")
    bull.queue(queue, "add", "tick", {}, {"repeat": {"every": 500, "limit": 2}})
    worker = bull.start_worker(queue, concurrency=5)
    added = 13 if bull.version == 4 else 15  # Bull 3 says nothing of the two that were not added
    events = wait_for(monitor, queue, {"added": added, "started": 13, "completed": 13})
    assert bull.tally(worker)["returned"] == 13
    assert sum(events.counters.wait.counts) == 13  # a delayed job waits from the end of its delay on
    bull.stop_worker(worker)


def test_put_back_by_hand_and_promoted(bull: Bull, server: RedisServer, watch: WatchOf) -> None:
    queue = named(bull, "hand")
    monitor = followed(bull, watch, server, queue)
    worker = bull.start_worker(queue, behaviour={"fail_first": 1})
    job = bull.add(queue)
    wait_for(monitor, queue, {"added": 1, "started": 1, "failed": 1})
    bull.job(queue, job, "retry")
    wait_for(monitor, queue, {"added": 1, "started": 2, "failed": 1, "completed": 1})
    delayed = bull.add(queue, delay=HOUR_MS)
    bull.job(queue, delayed, "promote")
    wait_for(monitor, queue, {"added": 2, "started": 3, "failed": 2, "completed": 1})
    bull.stop_worker(worker)


@pytest.mark.parametrize("version", BULL_VERSIONS)
def test_a_job_whose_worker_falls_silent(server: RedisServer, watch: WatchOf, version: BullVersion) -> None:
    queue = f"stalls-{version}"
    quick: dict[str, Any] = {"lockDuration": 300, "lockRenewTime": 100, "stalledInterval": 200}
    lost = Bull(version, url=server.url)
    try:
        monitor = followed(lost, watch, server, queue)
        lost.start_worker(queue, behaviour={"hold": True}, **quick)
        lost.add(queue, **GONE)
        wait_for(monitor, queue, {"added": 1, "started": 1})
        lost.process.kill()
    finally:
        lost.close()
    with Bull(version, url=server.url) as other:
        worker = other.start_worker(queue, **quick)
        wait_for(monitor, queue, {"added": 1, "started": 2, "completed": 1, "stalled": 1})
        assert other.tally(worker)["returned"] == 1


def test_debounced(server: RedisServer, watch: WatchOf) -> None:
    with Bull(4, url=server.url) as bull:
        monitor = followed(bull, watch, server, "twins")
        for _ in range(3):
            bull.add("twins", debounce={"id": "twin"})
        wait_for(monitor, "twins", {"added": 1, "deduplicated": 2})


def test_what_was_before_does_not_count(bull: Bull, server: RedisServer, watch: WatchOf) -> None:
    queue = named(bull, "old")
    worker = bull.start_worker(queue, concurrency=2, behaviour={"hold": True})
    bull.add_bulk(queue, 3)
    bull.wait_for_counts(queue, {"active": 2})
    wait_until(lambda: bull.tally(worker)["started"] == 2, what="the worker has published both starts")
    monitor = watch(server, queues=[queue])
    monitor.read_all()
    wait_until(lambda: monitor.follow() and monitor.bull.events(), what="subscribed")
    assert counters(wait_for(monitor, queue, {})) == {}
    bull.release(worker)
    events = wait_for(monitor, queue, {"started": 1, "completed": 2})
    assert sum(events.counters.processing["completed"].counts) == 0
    bull.stop_worker(worker)


def test_an_obliterated_queue_begins_again(bull: Bull, server: RedisServer, watch: WatchOf) -> None:
    queue = named(bull, "again")
    monitor = followed(bull, watch, server, queue)
    bull.add_bulk(queue, 4)
    wait_for(monitor, queue, {"added": 4})
    bull.pause(queue)
    bull.obliterate(queue)
    bull.add_bulk(queue, 3)
    wait_for(monitor, queue, {"added": 7})


# --- what is not received ---


def test_what_is_published_without_a_subscription_is_told(
    bull: Bull, server: RedisServer, watch: WatchOf
) -> None:
    queue = named(bull, "gap")
    monitor = followed(bull, watch, server, queue)
    worker = bull.start_worker(queue, concurrency=2)
    bull.add_bulk(queue, 4, **GONE)
    wait_for(monitor, queue, {"added": 4, "started": 4, "completed": 4})
    server.cli("client", "kill", "type", "pubsub", "skipme", "no")
    bull.add_bulk(queue, 5, **GONE)
    wait_until(lambda: bull.tally(worker)["returned"] == 9, what="nine jobs")
    monitor.follow()
    assert monitor.bull.events()[QueueId("bull", queue)].counters.completed == 4
    wait_until(lambda: monitor.events(queue).counters.added == 9, what="the subscription is there again")
    bull.add_bulk(queue, 3, **GONE)
    events = wait_for(monitor, queue, {"added": 12, "started": 7, "completed": 7})
    assert events.lost == 10  # five starts and five ends
    bull.stop_worker(worker)


def test_what_a_busy_queue_published_while_we_stood_still_is_told(
    bull: Bull, watch: WatchOf, server: RedisServer
) -> None:
    """A process that is stopped reads the queue's lengths first when it goes on, and only then sees that its
    connection is gone."""
    queue = named(bull, "standstill")
    monitor = followed(bull, watch, server, queue)
    worker = bull.start_worker(queue, concurrency=2)
    bull.add_bulk(queue, 4, **GONE)
    wait_for(monitor, queue, {"added": 4, "started": 4, "completed": 4})
    bull.add_bulk(queue, 1, **GONE)
    wait_until(lambda: bull.tally(worker)["returned"] == 5, what="one more job")
    monitor.follow()  # its messages: the queue is busy now, and is read again at the next poll
    server.cli("client", "kill", "type", "pubsub", "skipme", "no")
    bull.add_bulk(queue, 20, **GONE)
    wait_until(lambda: bull.tally(worker)["returned"] == 25, what="twenty more jobs")
    wait_until(lambda: monitor.events(queue).counters.added == 25, what="the subscription is there again")
    events = monitor.events(queue)
    assert events.counters.completed == 5
    assert events.lost == 40
    bull.stop_worker(worker)


def test_a_job_that_is_active_while_the_subscription_is_lost(
    bull: Bull, server: RedisServer, watch: WatchOf
) -> None:
    queue = named(bull, "held")
    monitor = followed(bull, watch, server, queue)
    worker = bull.start_worker(queue, behaviour={"hold": True})
    bull.add_bulk(queue, 2)
    wait_for(monitor, queue, {"added": 2, "started": 1})
    server.cli("client", "kill", "type", "pubsub", "skipme", "no")
    wait_until(lambda: monitor.follow() and monitor.bull.problem, what="the subscription is lost")
    wait_until(lambda: monitor.follow() and not monitor.bull.problem, what="subscribed again")
    bull.release(worker)
    wait_for(monitor, queue, {"added": 2, "started": 2, "completed": 1})
    bull.release(worker)
    assert wait_for(monitor, queue, {"added": 2, "started": 2, "completed": 2}).lost == 0
    bull.stop_worker(worker)


def test_a_queue_with_large_results_is_left_alone(bull: Bull, server: RedisServer, watch: WatchOf) -> None:
    large, small = named(bull, "large"), named(bull, "small")
    monitor = followed(bull, watch, server, large, small)
    worker = bull.start_worker(large, behaviour={"bytes": 300_000})
    bull.add(large, **GONE)
    wait_until(lambda: monitor.follow() and monitor.bull.unfollowed(), what="it is not followed")
    (why,) = monitor.bull.unfollowed().items()
    text = "a job returned 293 KiB, and the message of its end has all of it"
    assert why == (QueueId("bull", large), text)
    wait_until(lambda: monitor.follow() and not monitor.bull.problem, what="subscribed again")
    other = bull.start_worker(small)
    bull.add_bulk(small, 3, **GONE)
    events = wait_for(monitor, small, {"added": 3, "started": 3, "completed": 3})
    assert events.lost == 0
    state = monitor.collect()
    assert set(state.events or {}) == {QueueId("bull", small)}
    assert state.unfollowed == {QueueId("bull", large): text}
    assert {read.id.name: read.jobs.completed for read in state.queues} == {large: 0, small: 0}
    bull.stop_worker(worker)
    bull.stop_worker(other)


def test_the_size_of_kept_results_is_known_before_a_message(
    bull: Bull, server: RedisServer, watch: WatchOf
) -> None:
    queue = named(bull, "kept")
    worker = bull.start_worker(queue, behaviour={"bytes": 300_000})
    bull.add(queue)
    bull.wait_for_counts(queue, {"completed": 1})
    monitor = watch(server, queues=[queue])
    monitor.read_all()
    wait_until(lambda: monitor.follow() and monitor.bull.unfollowed(), what="it is not followed")
    assert f"bull:{queue}:completed" not in server.cli("pubsub", "channels")
    bull.stop_worker(worker)


# --- a cluster, other users, other names ---


def test_in_a_cluster(watch: WatchOf) -> None:
    with (
        start_cluster(masters=3, replicas_per_master=0) as cluster,
        Bull(4, cluster=cluster.addresses, prefix="{bull}") as bull,
    ):
        monitor = followed(bull, watch, cluster, "jobs", "mail")
        worker = bull.start_worker("jobs", concurrency=3, behaviour={"fail_first": 1})
        bull.add_bulk("jobs", 10, attempts=2, **GONE)

        def reached() -> bool:
            expected = {"added": 10, "started": 20, "completed": 10, "retried": 10}
            return counters(monitor.events("jobs", "{bull}")) == expected

        wait_until(reached, what="the counters of the workers")
        assert bull.tally(worker)["returned"] == 10
        bull.add_bulk("mail", 4)
        bull.pause("mail")
        read = monitor.queue("mail", "{bull}")
        assert (read.jobs.waiting, read.paused) == (4, True)


@pytest.mark.parametrize(
    ("prefix", "name"),
    [
        ("app:prod", "a:b"),
        ("bull", "café ☕"),
        ("b[u]ll*?^-\\", "[x-z]*?"),
        ("{bull}", "with@at"),
        ("bull", "e:\\d"),
    ],
    ids=["colon", "unicode", "glob", "at", "backslash"],
)
def test_names_and_prefixes(server: RedisServer, watch: WatchOf, prefix: str, name: str) -> None:
    with Bull(4, url=server.url, prefix=prefix) as bull:
        monitor = followed(bull, watch, server, name)
        bull.start_worker(name)
        bull.add_bulk(name, 3, **GONE)
        expected = {"added": 3, "started": 3, "completed": 3}
        wait_until(lambda: counters(monitor.events(name, prefix)) == expected, what="three jobs")
        read = of(monitor.collect(), name, prefix)
        assert exporter_counts(read) == bull_counts(bull, name)


# --- workers ---


def test_workers(bull: Bull, server: RedisServer, watch: WatchOf) -> None:
    queue = named(bull, "staffed")
    monitor = watch(server, queues=[queue])
    bull.add(queue, delay=HOUR_MS)
    assert monitor.queue(queue).workers == 0  # Bull 3 gives a producer's connections the worker's name too
    first = bull.start_worker(queue, concurrency=5)
    bull.start_worker(queue)
    wait_until(lambda: monitor.queue(queue).workers == 2, what="two workers")
    bull.queue(queue, "getWorkers")
    assert monitor.queue(queue).workers == 2
    bull.stop_worker(first)
    wait_until(lambda: monitor.queue(queue).workers == 1, what="one worker")


def test_a_worker_that_never_waits_for_a_job(bull: Bull, server: RedisServer, watch: WatchOf) -> None:
    queue = named(bull, "tireless")
    monitor = watch(server, queues=[queue])
    bull.add_bulk(queue, 400)
    worker = bull.start_worker(queue, behaviour={"ms": 5})
    bull.wait_for_counts(queue, {"active": 1})
    for _ in range(5):
        read = monitor.queue(queue)
        assert (read.workers, read.workers_unknown) == (1, "")
    assert bull.counts(queue)["waiting"] > 0
    bull.stop_worker(worker)


def test_busy_workers_in_a_cluster(watch: WatchOf) -> None:
    with (
        start_cluster(masters=3, replicas_per_master=0) as cluster,
        Bull(4, cluster=cluster.addresses, prefix="{bull}") as bull,
    ):
        monitor = watch(cluster, prefixes=["{bull}"])
        bull.add_bulk("jobs", 40)
        for _ in range(3):
            bull.start_worker("jobs", concurrency=2, behaviour={"hold": True})
        bull.wait_for_counts("jobs", {"active": 6})
        wait_until(lambda: monitor.queue("jobs", "{bull}").workers == 3, what="three busy workers")


# --- what a user of Redis may do ---


@pytest.fixture
def guarded() -> Iterator[tuple[RedisServer, Bull]]:
    """A server with a queue, to which the shipped user is let in by the test."""
    with start_redis() as started, Bull(4, url=started.url) as bull:
        bull.add("jobs", delay=HOUR_MS)
        yield started, bull


def let_in(server: RedisServer, *, but: str = "") -> None:
    version = server.facts("info", "server")["redis_version"]
    server.cli("acl", "setuser", *(word for word in rules(version=version) if word != but))


def test_the_shipped_user_may_read_all(guarded: tuple[RedisServer, Bull], watch: WatchOf) -> None:
    server, bull = guarded
    let_in(server)
    monitor = watch(server, redis=READER)
    monitor.read_all()
    wait_until(lambda: monitor.follow() and monitor.bull.events(), what="subscribed")
    bull.start_worker("jobs", behaviour={"fail_first": 1})
    bull.add_bulk("jobs", 3, attempts=2, **GONE)
    wait_for(monitor, "jobs", {"added": 3, "started": 6, "completed": 3, "retried": 3})
    state = monitor.collect()
    assert (state.unread, state.unfollowed, [queue.odd for queue in state.queues]) == ({}, {}, [()])
    assert '"exporter"' not in server.cli("--json", "acl", "log")


@pytest.mark.parametrize(
    ("missing", "why"),
    [
        ("+subscribe", "SUBSCRIBE: NOPERM"),
        ("+psubscribe", "PSUBSCRIBE: NOPERM"),
        ("&bull:*", "SUBSCRIBE: NOPERM"),
        ("&bull:*:stalled@*", "PSUBSCRIBE: NOPERM"),
    ],
)
def test_without_a_subscription_the_counters_are_absent(
    guarded: tuple[RedisServer, Bull], watch: WatchOf, missing: str, why: str
) -> None:
    server, _ = guarded
    let_in(server, but=missing)
    monitor = watch(server, redis=READER)
    monitor.read_all()
    wait_until(lambda: monitor.follow() and monitor.bull.unfollowed(), what="it is refused")
    state = monitor.collect()
    assert state.unfollowed[QueueId("bull", "jobs")].startswith(why)
    assert (state.events, state.up) == ({}, True)
    (queue,) = state.queues
    assert (queue.jobs.delayed, queue.odd) == (1, ())


def test_what_says_how_large_messages_are_is_needed(
    guarded: tuple[RedisServer, Bull], watch: WatchOf
) -> None:
    server, bull = guarded
    bull.start_worker("jobs")
    bull.add("jobs")
    bull.wait_for_counts("jobs", {"completed": 1})
    let_in(server, but="+hstrlen")
    monitor = watch(server, redis=READER)
    monitor.read_all()
    wait_until(lambda: monitor.follow() and monitor.bull.events(), what="subscribed nevertheless")
    assert '"exporter"' in server.cli("--json", "acl", "log")


# --- a reader never harms ---


def test_redis_keeps_little_for_us_whatever_jobs_return(server: RedisServer, watch: WatchOf) -> None:
    """Twenty jobs that return 4 MB each end at once, and nobody knew before how much they return."""
    megabytes: list[float] = []
    stopping = threading.Event()

    def look() -> None:
        with redis.Redis(host=server.host, port=server.port) as client:
            while not stopping.wait(0.002):
                ours = [each for each in client.client_list() if each["name"] == "oxherd"]
                megabytes.extend(int(each["omem"]) / 1e6 for each in ours)

    def read() -> None:
        while not stopping.is_set():
            monitor.follow()

    with Bull(4, url=server.url) as bull:
        monitor = followed(bull, watch, server, "huge")
        worker = bull.start_worker("huge", concurrency=20, behaviour={"hold": True, "bytes": 4_000_000})
        bull.add_bulk("huge", 20, **GONE)
        bull.wait_for_counts("huge", {"active": 20})
        threads = [threading.Thread(target=each) for each in (look, read)]
        for thread in threads:
            thread.start()
        try:
            bull.release(worker)
            bull.wait_for_counts("huge", {"active": 0}, seconds=60)
            wait_until(monitor.bull.unfollowed, what="it is not followed any more")
        finally:
            stopping.set()
            for thread in threads:
                thread.join()
    assert max(megabytes) < 8


def test_the_connection_is_kept_before_anything_is_subscribed(
    bull: Bull, server: RedisServer, watch: WatchOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a slow Redis, which did not say yet how large the messages are."""
    queue = named(bull, "slow")
    bull.add(queue, delay=HOUR_MS)
    monitor = watch(server, queues=[queue])
    monitor.read_all()
    with monkeypatch.context() as patch:
        patch.setattr(follow, "_POLL_TIMEOUT", 0.0)
        for _ in range(4):
            monitor.follow()
    assert (monitor.bull.problem, monitor.bull.events()) == ("", {})
    wait_until(lambda: monitor.follow() and monitor.bull.events(), what="subscribed")


def test_a_queue_that_moves_to_bullmq_is_read_as_bullmqs_at_once(
    bull: Bull, server: RedisServer, watch: WatchOf
) -> None:
    name = named(bull, "moving")
    bull.add_bulk(name, 3)
    monitor = watch(server)
    assert of(monitor.read_all(), name).library == "bull"
    monitor.follow()
    with BullMQ(6, url=server.url) as bullmq:
        bullmq.add_bulk(name, 4, priority=3)
        moved = of(monitor.read_all(), name)
        assert moved.library == "bullmq"
        assert exporter_counts(moved) == bullmq_counts(bullmq.counts(name))
        bullmq.start_worker(name)
        bullmq.wait_for_counts(name, {"completed": 7})
        assert monitor.events(name).counters.completed == 7


def test_workers_of_another_database_leave_no_counters(
    bull: Bull, server: RedisServer, watch: WatchOf
) -> None:
    """Redis passes what is published on to the subscribers of all databases."""
    name = named(bull, "twice")
    monitor = followed(bull, watch, server, name)
    with Bull(bull.version, url=f"{server.url.rstrip('/')}/1") as other:
        worker = other.start_worker(name)

        def elsewhere() -> bool:
            monitor.read_all()
            return bool(monitor.discovery.known().elsewhere)

        wait_until(elsewhere, what="its connection is seen")
        monitor.follow()
        other.add_bulk(name, 5)
        other.wait_for_counts(name, {"completed": 5})
        monitor.follow()
        queue = QueueId("bull", name)
        assert queue not in monitor.bull.events()
        assert "another" in monitor.bull.unfollowed()[queue]
        other.stop_worker(worker)
    wait_until(lambda: not elsewhere(), what="its connection is gone")
    wait_until(lambda: monitor.follow() and queue in monitor.bull.events(), what="it is followed again")
    assert counters(monitor.bull.events()[queue]) == {}
