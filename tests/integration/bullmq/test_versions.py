"""BullMQ 3, 4, 5, 6 and Python's side by side on one server: what we read equals what they say."""

from __future__ import annotations

import pytest

from lab.bullmq import BullMQ
from lab.deadline import wait_until
from lab.driver import Driver
from lab.redis import RedisServer
from tests.support.bullmq import WatchOf, bullmq_counts, exporter_counts

HOUR_MS = 3_600_000


def name_for(library: Driver, what: str) -> str:
    return f"{what}-{library.process.name.replace(' ', '-')}"


def work(library: Driver, queue: str, count: int, **behaviour: object) -> None:
    """Add jobs, let a worker end them all, and stop it."""
    state = "failed" if "fail" in behaviour else "completed"
    library.add_bulk(queue, count)
    worker = library.start_worker(queue, behaviour=behaviour)
    library.wait_for_counts(queue, {state: count})
    library.stop_worker(worker)


def test_every_state_is_counted_as_the_library_counts(
    library: Driver, server: RedisServer, watch: WatchOf
) -> None:
    queue = name_for(library, "states")
    work(library, queue, 3)
    work(library, queue, 2, fail=True)
    library.start_worker(queue, behaviour={"hold": True}, concurrency=2)
    library.add_bulk(queue, 2)
    library.wait_for_counts(queue, {"active": 2})
    library.add_bulk(queue, 4)
    library.add_bulk(queue, 5, delay=HOUR_MS)
    library.add_bulk(queue, 6, priority=7)
    child = {"name": "child", "queueName": f"{queue}-children", "data": {}}
    for _ in range(2):
        library.add_flow({"name": "parent", "queueName": queue, "data": {}, "children": [child]})
    children = bullmq_counts(library.counts(f"{queue}-children"))  # makes its meta key too, as flows do not
    monitor = watch(server)
    state = monitor.read_all()
    assert state.up
    read = next(candidate for candidate in state.queues if candidate.id.name == queue)
    expected = bullmq_counts(library.counts(queue))
    assert exporter_counts(read) == expected
    old = isinstance(library, BullMQ) and library.version == 3  # its prioritized jobs are among the waiting
    assert expected == {
        "waiting": 10 if old else 4,
        "active": 2,
        "delayed": 5,
        "prioritized": 0 if old else 6,
        "waiting-children": 2,
        "completed": 3,
        "failed": 2,
    }
    assert (read.failed_last_hour, read.delayed_overdue, read.paused) == (2, 0, False)
    assert read.workers == 1
    assert exporter_counts(monitor.queue(f"{queue}-children")) == children
    assert children["waiting"] == 2


def test_a_paused_queue_keeps_its_waiting_jobs(library: Driver, server: RedisServer, watch: WatchOf) -> None:
    queue = name_for(library, "paused")
    library.add_bulk(queue, 3)
    library.pause(queue)
    library.add_bulk(queue, 2)
    monitor = watch(server)
    read = monitor.queue(queue)
    assert (read.paused, read.jobs.waiting) == (True, 5)
    assert exporter_counts(read) == bullmq_counts(library.counts(queue))
    assert read.oldest_waiting is not None
    library.resume(queue)
    read = monitor.queue(queue)
    assert (read.paused, read.jobs.waiting) == (False, 5)
    assert exporter_counts(read) == bullmq_counts(library.counts(queue))


def test_markers_of_versions_3_and_4_are_no_jobs(
    library: Driver, server: RedisServer, watch: WatchOf
) -> None:
    queue = name_for(library, "marked")
    library.add(queue, delay=HOUR_MS)
    marked = isinstance(library, BullMQ) and library.version < 5
    assert int(server.cli("llen", f"bull:{queue}:wait")) == int(marked)
    monitor = watch(server)
    read = monitor.queue(queue)
    assert (read.jobs.waiting, read.jobs.delayed, read.oldest_waiting) == (0, 1, None)
    library.add_bulk(queue, 2)
    read = monitor.queue(queue)
    assert (read.jobs.waiting, read.jobs.delayed) == (2, 1)
    assert read.oldest_waiting is not None
    assert exporter_counts(read) == bullmq_counts(library.counts(queue))


def test_workers_are_counted_by_their_connections(
    library: Driver, server: RedisServer, watch: WatchOf
) -> None:
    queue = name_for(library, "staffed")
    monitor = watch(server)
    library.add(queue, delay=HOUR_MS)
    assert monitor.queue(queue).workers == 0
    library.start_worker(queue)
    library.start_worker(queue)
    wait_until(lambda: monitor.queue(queue).workers == 2, what="two workers")  # Python's connect later
    if isinstance(library, BullMQ) and library.version < 5:
        return  # has no names for workers
    library.start_worker(queue, name="anna")
    wait_until(lambda: monitor.queue(queue).workers == 3, what="a third, that has a name")


def test_ages(library: Driver, server: RedisServer, watch: WatchOf) -> None:
    queue = name_for(library, "aged")
    worker = library.start_worker(queue, behaviour={"hold": True})
    library.add(queue, jobId="running")
    library.wait_for_counts(queue, {"active": 1})
    library.add(queue, jobId="late")
    library.add(queue, jobId="soon", delay=HOUR_MS)
    library.add(queue, jobId="last")
    base = f"bull:{queue}:"
    started = int(server.cli("hget", base + "running", "processedOn"))
    server.cli("hset", base + "running", "processedOn", started - 90_000)
    added = int(server.cli("hget", base + "late", "timestamp"))
    server.cli("hset", base + "late", "timestamp", added - 300_000)
    read = watch(server).queue(queue)
    assert read.longest_active == pytest.approx(90, abs=20)
    assert read.oldest_waiting == pytest.approx(300, abs=20)
    library.stop_worker(worker, force=True)
    due = float(server.cli("zscore", base + "delayed", "soon"))
    assert (read.delayed_overdue, read.delayed_due) == (0, 0)
    server.cli("zadd", base + "delayed", int(due - (HOUR_MS - 45_000) * 4096), "soon")
    read = watch(server).queue(queue)
    assert (read.delayed_overdue, read.delayed_due) == (0, 1)
    server.cli("zadd", base + "delayed", int(due - 2 * HOUR_MS * 4096), "soon")
    read = watch(server).queue(queue)
    assert (read.delayed_overdue, read.delayed_due) == (1, 0)


def test_a_delayed_job_waits_from_when_it_is_due(
    library: Driver, server: RedisServer, watch: WatchOf
) -> None:
    queue = name_for(library, "due")
    library.start_worker(queue, behaviour={"hold": True})
    library.add(queue, jobId="running")
    library.wait_for_counts(queue, {"active": 1})
    library.add(queue, jobId="timer", delay=1_000)
    base = f"bull:{queue}:"
    added = int(server.cli("hget", base + "timer", "timestamp"))
    server.cli("lpush", base + "wait", "timer")  # as a worker promotes it
    server.cli("zrem", base + "delayed", "timer")
    server.cli("hset", base + "timer", "timestamp", added - HOUR_MS)
    server.cli("hset", base + "timer", "opts", f'{{"delay":{HOUR_MS - 60_000}}}')
    read = watch(server).queue(queue)
    assert read.oldest_waiting == pytest.approx(60, abs=20)


def test_a_job_put_back_by_hand_has_no_waiting_age(
    library: Driver, server: RedisServer, watch: WatchOf
) -> None:
    queue = name_for(library, "again")
    work(library, queue, 1, fail=True)
    if not isinstance(library, BullMQ) or library.version < 4:
        return  # retryJobs is of v4 and later, and the drivers cannot call a job's own methods
    library.queue(queue, "retryJobs", {"state": "failed"})
    library.wait_for_counts(queue, {"waiting": 1})
    read = watch(server).queue(queue)
    assert (read.jobs.waiting, read.oldest_waiting) == (1, None)
