"""Each cell of the table in docs/libraries.md, by a real queue of each library."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, Final

import pytest

from exporter.bullmq.bull import follow
from exporter.config.bullmq import BullMQSettings
from exporter.config.redis import RedisSettings
from exporter.snapshot.queues import Events, QueueState
from lab.bull import Bull
from lab.bullmq import BullMQ
from lab.deadline import wait_until
from lab.driver import Driver
from lab.pybullmq import PyBullMQ
from lab.redis import RedisServer
from tests.support.bullmq import Watch, of
from tests.support.libraries import FIGURES, LIBRARIES, how

pytestmark = pytest.mark.timeout(180)

HOUR_MS = 3_600_000
GONE: dict[str, Any] = {"removeOnComplete": True, "removeOnFail": True}
QUICK: dict[str, Any] = {"lockDuration": 300, "stalledInterval": 200}


@dataclass
class Observed:
    """Each figure as the exporter has it, and the truth."""

    ours: dict[str, float | None] = field(default_factory=dict)
    truth: dict[str, float] = field(default_factory=dict)


def open_driver(library: str, url: str) -> Driver:
    kind, _, version = library.partition(" ")
    if kind == "python":
        return PyBullMQ(url=url)
    return Bull(int(version), url=url) if kind == "bull" else BullMQ(int(version), url=url)  # type: ignore[arg-type]


@pytest.fixture(scope="module", params=LIBRARIES)
def library(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def observed(library: str, server: RedisServer) -> Iterator[Observed]:
    """Queues of one library, made and observed once."""
    with pytest.MonkeyPatch.context() as patch, ExitStack() as undo:
        patch.setattr(follow, "_POLL_SECONDS", 0.2)
        driver = undo.enter_context(open_driver(library, server.url))
        result = Observed()
        for look in (states, counted, stalled):
            look(driver, library, server, result, undo)
        yield result


def watching(server: RedisServer, queue: str, undo: ExitStack) -> Watch:
    monitor = Watch(
        RedisSettings.model_validate({"url": server.url}), BullMQSettings.model_validate({"queues": [queue]})
    )
    undo.callback(monitor.close)
    return monitor


def following(driver: Driver, server: RedisServer, queue: str, undo: ExitStack) -> Watch:
    """A watch whose counting has begun, of an empty queue. Its first job shows that it is one of Bull."""
    job = driver.add(queue) if isinstance(driver, Bull) else None
    monitor = watching(server, queue, undo)
    monitor.read_all()
    if job is not None:
        remove(driver, queue, job)
    wait_until(lambda: monitor.follow() and events_of(monitor), what="it is followed")
    return monitor


def events_of(monitor: Watch) -> Events | None:
    return next(iter((monitor.follower.events() | monitor.bull.events()).values()), None)


def remove(driver: Driver, queue: str, job: str) -> None:
    if isinstance(driver, Bull):
        driver.job(queue, job, "remove")
    else:
        driver.queue(queue, "remove", job)


def quick(library: str) -> dict[str, Any]:
    return QUICK | ({"lockRenewTime": 100} if library.startswith("bull ") else {})


def states(driver: Driver, library: str, server: RedisServer, result: Observed, undo: ExitStack) -> None:
    """One queue with a job in each state, by the library's own getters."""
    queue = f"states-{library.replace(' ', '-')}"
    for count, behaviour, state in ((2, {}, "completed"), (1, {"fail": True}, "failed")):
        driver.add_bulk(queue, count)
        worker = driver.start_worker(queue, behaviour=behaviour)
        driver.wait_for_counts(queue, {state: count})
        driver.stop_worker(worker)
    driver.start_worker(queue, behaviour={"hold": True}, concurrency=2)
    driver.add_bulk(queue, 2)
    driver.wait_for_counts(queue, {"active": 2})
    driver.add_bulk(queue, 3)
    driver.add(queue, priority=2)
    driver.add(queue, delay=HOUR_MS)
    schedule(driver, library, queue)
    read = of(watching(server, queue, undo).read_all(), queue)
    counts = driver.counts(queue)
    waiting = sum(counts.get(name, 0) for name in ("waiting", "wait", "paused"))
    result.truth |= {
        "waiting": waiting,
        "active": counts["active"],
        "delayed": counts["delayed"],
        "prioritized": counts.get("prioritized", 0),
        "completed kept": counts["completed"],
        "failed kept": counts["failed"],
        "schedulers": 1,
        "workers": 1,
    }
    assert (waiting + counts.get("prioritized", 0), counts["active"], counts["delayed"]) == (4, 2, 2)
    result.ours |= {
        "waiting": read.jobs.waiting,
        "active": read.jobs.active,
        "delayed": read.jobs.delayed,
        "prioritized": read.jobs.prioritized,
        "completed kept": read.jobs.completed,
        "failed kept": read.jobs.failed,
        "schedulers": read.schedulers,
        "workers": read.workers,
    }
    ages(server, queue, watching(server, queue, undo), result)
    driver.pause(queue)
    paused = of(watching(server, queue, undo).read_all(), queue)
    result.ours["paused"], result.truth["paused"] = paused.paused, driver.queue(queue, "isPaused")
    assert result.truth["paused"]


def schedule(driver: Driver, library: str, queue: str) -> None:
    if library in ("bullmq 5", "bullmq 6", "python"):
        driver.upsert_scheduler(queue, "tick", pattern="0 0 29 2 *")
    else:
        driver.queue(queue, "add", "tick", {}, {"repeat": {"every": HOUR_MS}})


def ages(server: RedisServer, queue: str, monitor: Watch, result: Observed) -> None:
    """The jobs at the heads of the lists are made 100 s older."""
    base = f"bull:{queue}:"
    fields = {"longest active": ("active", "processedOn"), "oldest waiting": ("wait", "timestamp")}
    for figure, (name, stamp) in fields.items():
        job = base + server.cli("lindex", base + name, -1)
        server.cli("hset", job, stamp, int(server.cli("hget", job, stamp)) - 100_000)
        result.truth[figure] = 100
    read: QueueState = of(monitor.read_all(), queue)
    for figure, seconds in (("oldest waiting", read.oldest_waiting), ("longest active", read.longest_active)):
        result.ours[figure] = None if seconds is None else round(seconds, -2)  # the test took some seconds


def counted(driver: Driver, library: str, server: RedisServer, result: Observed, undo: ExitStack) -> None:
    """Attempts that complete, fail and are retried, by the worker's own tally; no job is kept."""
    queue = f"counted-{library.replace(' ', '-')}"
    monitor = following(driver, server, queue, undo)
    remove(driver, queue, driver.add(queue, delay=HOUR_MS))
    driver.add(queue, delay=HOUR_MS, jobId="twice")
    driver.add(queue, delay=HOUR_MS, jobId="twice")
    worker = driver.start_worker(queue, concurrency=2, behaviour={"fail_first": 1, "ms": 40})
    driver.add_bulk(queue, 2, attempts=2, backoff={"type": "fixed", "delay": 50}, **GONE)
    driver.add_bulk(queue, 2, attempts=2, **GONE)
    driver.add_bulk(queue, 3, **GONE)
    wait_until(
        lambda: monitor.follow() and (now := events_of(monitor)) and now.counters.completed == 4
        and now.counters.failed == 3 and driver.tally(worker)["started"] == 11,
        what="all attempts are counted",
    )  # fmt: skip
    for _ in range(5):  # and nothing more
        monitor.follow()
    read = events_of(monitor)
    assert read is not None
    tally = driver.tally(worker)
    result.truth |= {
        "added": 9,
        "started": tally["started"],
        "completed": tally["returned"],
        "failed": 3,
        "retried": tally["threw"] - 3,
        "removed": 1,
        "wait time": 11,
        "run time": 7,
        "run time of retried attempts": 4,
    }
    processing = {outcome: sum(times.counts) for outcome, times in read.counters.processing.items()}
    result.ours |= {
        "added": read.counters.added,
        "started": read.counters.started,
        "completed": read.counters.completed,
        "failed": read.counters.failed,
        "retried": read.counters.retried,
        "removed": read.counters.removed,
        "wait time": sum(read.counters.wait.counts),
        "run time": processing["completed"] + processing["failed"],
        "run time of retried attempts": processing.get("retried"),
    }
    driver.stop_worker(worker)


def stalled(driver: Driver, library: str, server: RedisServer, result: Observed, undo: ExitStack) -> None:
    """A job whose worker was killed."""
    queue = f"stalled-{library.replace(' ', '-')}"
    monitor = following(driver, server, queue, undo)
    with open_driver(library, server.url) as lost:
        lost.start_worker(queue, behaviour={"hold": True}, **quick(library))
        lost.add(queue, **GONE)
        lost.wait_for_counts(queue, {"active": 1})
        lost.process.kill()
    driver.start_worker(queue, **quick(library))
    wait_until(
        lambda: monitor.follow() and (now := events_of(monitor)) and now.counters.completed == 1,
        what="another worker did it",
    )
    read = events_of(monitor)
    assert read is not None
    result.ours["stalled"], result.truth["stalled"] = read.counters.stalled, 1


@pytest.mark.parametrize("figure", FIGURES)
def test_cell(library: str, figure: str, observed: Observed) -> None:
    ours, truth, cell = observed.ours[figure], observed.truth[figure], how(library, figure)
    if cell == "unknown":
        assert ours is None
        return
    assert ours is not None
    if cell == "at most":
        assert ours > truth  # an exact figure would be called so
    elif cell == "at least":
        assert ours < truth
    else:
        assert ours == truth
    if cell == "none":
        assert ours == 0


def test_a_delayed_job_does_not_wait(library: str, server: RedisServer) -> None:
    """BullMQ 2 to 4 put a marker into the list of an empty queue to wake a worker. That of 2 is `0`, and its
    getJobCounts counts it as a job. We are right not to: no worker starts one, as is seen here."""
    queue = f"delayed-{library.replace(' ', '-')}"
    with ExitStack() as undo:
        driver = undo.enter_context(open_driver(library, server.url))
        monitor = watching(server, queue, undo)
        driver.add(queue, delay=HOUR_MS)
        marked = library in ("bullmq 2", "bullmq 3", "bullmq 4")
        assert int(server.cli("llen", f"bull:{queue}:wait")) == int(marked)
        counted = driver.counts(queue)
        own = sum(counted.get(name, 0) for name in ("waiting", "wait", "paused"))
        assert own == int(library == "bullmq 2")
        for paused in (False, True):
            read = of(monitor.read_all(), queue)
            assert (read.jobs.waiting, read.jobs.delayed, read.oldest_waiting) == (0, 1, None), paused
            if not paused:
                driver.pause(queue)
        driver.resume(queue)
        worker = driver.start_worker(queue)
        wait_until(lambda: server.cli("llen", f"bull:{queue}:wait") == "0", what="no marker is left")
        assert driver.tally(worker)["started"] == 0
        driver.stop_worker(worker)


BEHIND: Final[dict[str, tuple[dict[str, Any], ...]]] = {
    "lifo": ({"delay": HOUR_MS}, {"lifo": True}, {"lifo": True}),
    "priorities": ({"delay": HOUR_MS}, {"priority": 1}, {"priority": 5}),
    "lifo after a priority": ({"priority": 3}, {"lifo": True}),
}
"""What is added with these options, the last ones go before the marker."""


@pytest.mark.parametrize("added", BEHIND.values(), ids=BEHIND)
def test_a_marker_is_no_job_where_jobs_go_before_it(
    library: str, server: RedisServer, added: tuple[dict[str, Any], ...]
) -> None:
    """It stays in the list until a worker has taken those; getJobCounts counts it."""
    queue = f"before-{library.replace(' ', '-')}-{len(added)}-{len(added[1])}{'lifo' in added[1]}"
    ready = sum("delay" not in job for job in added)
    with ExitStack() as undo:
        driver = undo.enter_context(open_driver(library, server.url))
        monitor = watching(server, queue, undo)
        for job in added:
            driver.add(queue, **job)
        for paused in (False, True):
            jobs = of(monitor.read_all(), queue).jobs
            assert (jobs.waiting or 0) + (jobs.prioritized or 0) == ready, paused
            if not paused:
                driver.pause(queue)


@pytest.mark.parametrize("library", ["bullmq 1", "python"], scope="module")  # others refuse it, or lose it
def test_a_job_with_the_id_of_a_marker_waits(library: str, server: RedisServer) -> None:
    queue = f"zero-{library.replace(' ', '-')}"
    with ExitStack() as undo:
        driver = undo.enter_context(open_driver(library, server.url))
        driver.add(queue, jobId="0")
        monitor = watching(server, queue, undo)
        read = of(monitor.read_all(), queue)
        assert (read.jobs.waiting, read.oldest_waiting is None) == (1, False)
        worker = driver.start_worker(queue)
        driver.wait_for_counts(queue, {"completed": 1})
        driver.stop_worker(worker)
