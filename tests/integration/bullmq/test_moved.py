"""Which change of a queue that stood still is seen when: each row of the table in docs/counting.md."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest

from exporter.bullmq.collect import BullMQSource
from exporter.bullmq.streams import read_round, reader
from exporter.bullmq.streams.stream import CHECK_IDLE
from exporter.config.bullmq import BullMQSettings
from exporter.snapshot.queues import BullMQState
from lab.bullmq import BullMQ
from lab.cluster import LocalCluster, start_cluster
from lab.deadline import wait_until
from lab.driver import Driver
from lab.redis import RedisServer
from service.clock import Deadline
from tests.support.bullmq import Watch, WatchOf, of
from tests.support.counting import seen_at, stand_still

pytestmark = pytest.mark.timeout(120)

HOUR_MS = 3_600_000
DOCS = Path(__file__).parents[3] / "docs/counting.md"
_NOT_COMPARED = (
    "workers",
    "workers_unknown",
    "measured_concurrency",  # of workers, which discovery counts
    "oldest_waiting",
    "longest_active",
    "longest_waiting_children",
)
Seen = Literal["collection", "lists", "discovery", "recount"]


@dataclass(frozen=True)
class Change:
    """A call, and by what it is seen; `since`, `until`: the versions of BullMQ of which that is so. `jobs`:
    without, the queue has no job before but for those of `before`."""

    act: Callable[[Driver, str], object]
    seen: Seen
    since: int = 3
    python: bool = True
    jobs: bool = True
    until: int = 99
    before: Callable[[Driver, str], object] | None = None


def schedule(driver: Driver, queue: str) -> None:
    driver.upsert_scheduler(queue, "hourly", every=HOUR_MS)


def unschedule(driver: Driver, queue: str) -> None:
    driver.queue(queue, "removeJobScheduler", "hourly")


def work(driver: Driver, queue: str) -> None:
    before = driver.counts(queue)["completed"]
    worker = driver.start_worker(queue)
    driver.wait_for_counts(queue, {"completed": before + 2})
    driver.stop_worker(worker, force=True)


def hold(driver: Driver, queue: str) -> None:
    """Workers of BullMQ 3 and 4 move a job first, and tell of it in a script after that."""
    worker = driver.start_worker(queue, behaviour={"hold": True}, concurrency=2)
    wait_until(lambda: driver.tally(worker)["started"] == 2, what="two jobs are started")


def children_of(queue: str) -> str:
    return f"{queue}-children"


def parent(driver: Driver, queue: str) -> None:
    """One that waits for a child in another queue."""
    child = {"name": "child", "queueName": children_of(queue), "data": {}}
    driver.add_flow({"name": "parent", "queueName": queue, "data": {}, "children": [child]})


def parent_of_failed(driver: Driver, queue: str) -> None:
    parent(driver, queue)
    worker = driver.start_worker(children_of(queue), behaviour={"fail": True})
    driver.wait_for_counts(children_of(queue), {"failed": 1})
    driver.stop_worker(worker, force=True)


def step(driver: Driver, queue: str) -> None:
    """A job that a worker has, which added a child."""
    driver.start_worker(queue, behaviour={"hold": True})
    driver.add(queue, jobId="step")
    driver.wait_for_counts(queue, {"active": 1})
    driver.add(children_of(queue), parent={"id": "step", "queue": f"bull:{queue}"})


def wait_for_children(driver: Driver, queue: str) -> None:
    driver.job(queue, "step", "moveToWaitingChildren", "0", {})


CHANGES = {
    "add": Change(lambda driver, queue: driver.add(queue), "collection"),
    "add to an empty queue": Change(lambda driver, queue: driver.add(queue), "collection", jobs=False),
    "addBulk": Change(lambda driver, queue: driver.add_bulk(queue, 3), "collection"),
    "add delayed": Change(lambda driver, queue: driver.add(queue, delay=HOUR_MS), "collection"),
    "add prioritized": Change(lambda driver, queue: driver.add(queue, priority=3), "collection"),
    "jobs are started": Change(hold, "collection"),
    "jobs are completed": Change(work, "collection", jobs=False),
    "pause": Change(lambda driver, queue: driver.pause(queue), "collection"),
    "resume": Change(lambda driver, queue: driver.resume(queue), "collection"),
    "promote": Change(lambda driver, queue: driver.job(queue, "later", "promote"), "collection"),
    "remove": Change(lambda driver, queue: driver.job(queue, "now", "remove"), "collection"),
    "drain": Change(lambda driver, queue: driver.drain(queue), "lists"),
    "changePriority from 0": Change(
        lambda driver, queue: driver.job(queue, "now", "changePriority", {"priority": 5}),
        "lists",
        since=4,
    ),
    "changePriority to 0": Change(
        lambda driver, queue: driver.job(queue, "urgent", "changePriority", {"priority": 0}),
        "lists",
        since=5,
    ),
    "setGlobalConcurrency": Change(
        lambda driver, queue: driver.set_global_concurrency(queue, 7), "discovery", since=5
    ),
    "setGlobalRateLimit": Change(
        lambda driver, queue: driver.queue(queue, "setGlobalRateLimit", 5, 60_000),
        "discovery",
        5,
        python=False,
    ),
    "rateLimit": Change(
        lambda driver, queue: driver.queue(queue, "rateLimit", 60_000), "discovery", 5, python=False
    ),
    "removeJobScheduler": Change(unschedule, "discovery", since=5),
    "obliterate": Change(lambda driver, queue: driver.obliterate(queue), "lists"),
    "moveToWaitingChildren": Change(
        wait_for_children, "collection", 5, python=False, jobs=False, before=step
    ),
    "moveToWaitingChildren of BullMQ 3 and 4": Change(
        wait_for_children, "lists", python=False, jobs=False, until=4, before=step
    ),
    "drain of the queue that has the last child": Change(
        lambda driver, queue: driver.drain(children_of(queue)), "lists", jobs=False, before=parent
    ),
    "clean of the queue that has the last child": Change(
        lambda driver, queue: driver.queue(children_of(queue), "clean", 0, 9, "failed"),
        "lists",
        jobs=False,
        before=parent_of_failed,
    ),
    "obliterate of the queue that has the last child": Change(
        lambda driver, queue: driver.obliterate(children_of(queue)), "lists", jobs=False, before=parent
    ),
}


WORDS = {"collection": "the next scrape", "lists": "the look at the lists", "discovery": "discovery"}


def test_the_table_in_the_docs_has_each_row() -> None:
    table = DOCS.read_text().partition("| change | seen by |")[2].partition("\n\n")[0].splitlines()[2:]
    assert table == [f"| {name} | {WORDS[change.seen]} |" for name, change in CHANGES.items()]


def prepare(driver: Driver, queue: str, *, jobs: bool, what: str) -> None:
    if (before := CHANGES[what].before) is not None:
        before(driver, queue)
        return
    if not jobs:
        driver.add_bulk(queue, 2)
        if what != "jobs are completed":
            work(driver, queue)
        return
    driver.add(queue, jobId="now")
    driver.add_bulk(queue, 3)
    driver.add(queue, jobId="later", delay=HOUR_MS)
    driver.add(queue, jobId="urgent", priority=7)
    if what == "removeJobScheduler":
        schedule(driver, queue)
    if what == "resume":
        driver.pause(queue)


def version(driver: Driver) -> int:
    return driver.version if isinstance(driver, BullMQ) else 99


@pytest.mark.parametrize("what", CHANGES)
def test_when_a_change_is_seen(
    what: str, library: Driver, server: RedisServer, watch: WatchOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    change = CHANGES[what]
    if not change.since <= version(library) <= change.until or (version(library) == 99 and not change.python):
        return  # this library has no such call, or does it otherwise
    queue = f"{what} {library.process.name}".replace(" ", "-")
    prepare(library, queue, jobs=change.jobs, what=what)
    monitor, everything = (
        watch(server, queues=[queue], prefixes=["bull"]),
        watch(server, queues=[queue], prefixes=["bull"], events=False),
    )
    stand_still(monitor)
    before = figures(monitor.collect(), queue)
    change.act(library, queue)
    truth = figures(everything.read_all(), queue)
    assert truth != before
    missed: list[dict[str, object]] = []

    def seen(state: BullMQState) -> bool:
        mine = figures(state, queue)
        missed.append({key: (value, truth[key]) for key, value in mine.items() if value != truth[key]})
        return not missed[-1]

    assert seen_at(monitor, seen, monkeypatch) == change.seen, missed


def figures(state: BullMQState, name: str) -> dict[str, object]:
    """A queue's state without what goes on with time, and without what its workers are."""
    queue = of(state, name)
    fields = queue._asdict() | {"rate_limit_ttl": queue.rate_limit_ttl and "running"}
    return {key: value for key, value in fields.items() if key not in _NOT_COMPARED}


@pytest.fixture
def queue(server: RedisServer) -> str:
    """A queue as BullMQ has it, with jobs in each of its lists."""
    name = "still"
    server.cli("flushall")
    base = f"bull:{name}:"
    server.cli("hset", f"{base}meta", "opts.maxLenEvents", "10000", "version", "bullmq:6.7.0")
    server.cli("set", f"{base}id", "9")
    for job in ("1", "2"):
        server.cli("lpush", f"{base}wait", job)
        server.cli("hset", f"{base}{job}", "timestamp", "1700000000000", "data", "{}")
    server.cli("zadd", f"{base}completed", "1700000000000", "3")
    server.cli("xadd", f"{base}events", "*", "event", "waiting", "jobId", "1")
    return name


@pytest.fixture
def monitor(queue: str, server: RedisServer, watch: WatchOf) -> Watch:
    """One that has counted the queue, which stands still."""
    monitor = watch(server, queues=[queue], prefixes=["bull"])
    stand_still(monitor)
    return monitor


def test_a_queue_that_stands_still_has_the_same_object_but_for_its_ages(
    monitor: Watch, queue: str, server: RedisServer
) -> None:
    first, second = of(monitor.collect(), queue), of(monitor.collect(), queue)
    assert first.oldest_waiting is not None
    assert first.jobs is second.jobs
    server.cli("del", f"bull:{queue}:wait")
    server.cli("xadd", f"bull:{queue}:events", "*", "event", "drained")
    stand_still(monitor)
    first = of(monitor.collect(), queue)
    assert (first.jobs.waiting, monitor.source.counted) == (0, 0)
    assert of(monitor.collect(), queue) is first


def test_ages_of_a_queue_that_stands_still_go_on(monitor: Watch, queue: str, server: RedisServer) -> None:
    first = of(monitor.collect(), queue).oldest_waiting
    time.sleep(0.3)
    last = of(monitor.collect(), queue).oldest_waiting
    assert monitor.source.counted == 0
    assert first is not None
    assert last is not None
    assert 0.2 < last - first < 20


def test_what_nobody_tells_is_counted_in_the_safety_round(
    monitor: Watch, queue: str, server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.cli("del", f"bull:{queue}:completed")  # as no version of BullMQ does
    assert seen_at(monitor, lambda state: of(state, queue).jobs.completed == 0, monkeypatch) == "recount"


def test_a_delayed_job_that_nobody_takes_becomes_overdue(
    monitor: Watch, queue: str, server: RedisServer
) -> None:
    due_ms = int(float(server.cli("time").split()[0]) * 1000) + 1500
    server.cli("zadd", f"bull:{queue}:delayed", str(due_ms * 4096), "8")
    server.cli("xadd", f"bull:{queue}:events", "*", "event", "delayed", "jobId", "8", "delay", str(due_ms))
    stand_still(monitor)
    assert of(monitor.collect(), queue).delayed_due == 1

    def overdue() -> bool:
        state = of(monitor.collect(), queue)
        assert monitor.source.counted == 0
        return (state.delayed_overdue, state.delayed_due) == (1, 0) and state.longest_overdue is not None

    wait_until(overdue, what="the job is overdue")
    assert overdue()


def test_a_rate_limit_that_ends_is_seen_at_once(monitor: Watch, queue: str, server: RedisServer) -> None:
    server.cli("set", f"bull:{queue}:limiter", "1", "px", "1500")
    server.cli("xadd", f"bull:{queue}:events", "*", "event", "waiting", "jobId", "1")
    monitor.follow()
    first = of(monitor.collect(), queue).rate_limit_ttl
    assert first
    wait_until(lambda: of(monitor.collect(), queue).rate_limit_ttl is None, what="the limit ended")


def test_a_rate_limit_that_ended_and_began_again_is_seen_by_discovery(
    monitor: Watch, queue: str, server: RedisServer
) -> None:
    """Each time that discovery looks one runs, but not the same."""
    server.cli("set", f"bull:{queue}:limiter", "1", "px", "1500")
    monitor.discovery.discover_once(Deadline.after(20))
    assert of(monitor.collect(), queue).rate_limit_ttl
    wait_until(lambda: of(monitor.collect(), queue).rate_limit_ttl is None, what="the limit ended")
    server.cli("set", f"bull:{queue}:limiter", "1", "px", "60000")
    monitor.discovery.discover_once(Deadline.after(20))
    assert of(monitor.collect(), queue).rate_limit_ttl
    monitor.discovery.discover_once(Deadline.after(20))
    monitor.collect()
    assert monitor.source.counted == 0  # the same limit as before


def test_a_queue_that_keeps_no_event_is_counted_each_time(
    queue: str, server: RedisServer, watch: WatchOf
) -> None:
    """`streams.events.maxLen: 0`: each entry is trimmed with its own XADD, and XREAD finds none."""
    base = f"bull:{queue}:"
    server.cli("hset", f"{base}meta", "opts.maxLenEvents", "0")
    server.cli("xadd", f"{base}events", "maxlen", "~", "0", "*", "event", "waiting", "jobId", "1")
    monitor = watch(server, queues=[queue], prefixes=["bull"])
    monitor.read_all()
    while monitor.follow() == 0.0:
        pass
    for job in ("4", "5"):
        server.cli("lpush", f"{base}wait", job)
        server.cli("xadd", f"{base}events", "maxlen", "~", "0", "*", "event", "waiting", "jobId", job)
        assert of(monitor.collect(), queue).jobs.waiting == int(job) - 1
        monitor.follow()


def test_another_connection_to_the_same_data_keeps_what_was_counted(
    monitor: Watch, queue: str, server: RedisServer
) -> None:
    for _ in range(2):
        monitor.deployment.renew(server.address)
        assert of(monitor.collect(), queue).jobs.completed == 1
        assert monitor.source.counted == 0


@pytest.mark.parametrize("gone", ["del", "trim", "flushall"])
def test_a_stream_that_tells_nothing_any_more(
    gone: str, monitor: Watch, queue: str, server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The follower sees that its length is another; then all is counted each time."""
    if gone == "flushall":
        server.cli("flushall")
    elif gone == "del":
        server.cli("del", f"bull:{queue}:events", f"bull:{queue}:completed")
    else:
        server.cli("del", f"bull:{queue}:completed")
        server.cli("xadd", f"bull:{queue}:events", "*", "event", "cleaned", "count", "1")
        server.cli("xtrim", f"bull:{queue}:events", "maxlen", "0")
    later = time.monotonic() + CHECK_IDLE
    with monkeypatch.context() as patch:
        for module in (reader, read_round):
            patch.setattr(module, "monotonic", lambda: later)
        monitor.follow()
    assert of(monitor.collect(), queue).jobs.completed == 0
    assert monitor.source.counted == 1


def test_without_events_all_is_counted_each_time(queue: str, server: RedisServer, watch: WatchOf) -> None:
    monitor = watch(server, queues=[queue], prefixes=["bull"], events=False)
    monitor.source = BullMQSource(monitor.deployment, monitor.discovery, BullMQSettings())
    for _ in range(3):
        assert of(monitor.read_all(), queue).jobs.waiting == 2
        assert monitor.source.counted == 1


def test_without_the_right_to_xread_all_is_counted_each_time(
    queue: str, server: RedisServer, watch: WatchOf
) -> None:
    server.cli("acl", "setuser", "narrow", "on", ">secret", "~*", "+@all", "-xread")
    url = f"redis://narrow:secret@{server.address}"
    monitor = watch(server, redis={"url": url}, queues=[queue], prefixes=["bull"])
    for _ in range(3):
        monitor.read_all()
        monitor.follow()
        assert of(monitor.collect(), queue).jobs.waiting == 2
        assert monitor.source.counted == 1


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    with start_cluster() as started:
        yield started


def test_in_a_cluster_each_slot_is_asked_and_a_role_change_has_all_counted(
    cluster: LocalCluster, watch: WatchOf
) -> None:
    names = ["{a}", "{b}", "{c}", "{d}-1", "{d}-2"]
    with BullMQ(6, cluster=cluster.addresses) as bullmq:
        for name in names:
            bullmq.add_bulk(name, 2)
        monitor = watch(cluster, queues=names, prefixes=["bull"])
        stand_still(monitor)
        bullmq.add("{d}-1")
        state = monitor.collect()
        assert {name: of(state, name).jobs.waiting for name in names} == dict.fromkeys(names, 2) | {
            "{d}-1": 3
        }
        assert monitor.source.counted == 1
    stand_still(monitor)
    replica = next(node for node in cluster.nodes if "slave" in node.cli("role"))
    replica.cli("cluster", "failover")

    def counted_all() -> bool:
        monitor.deployment.refresh(Deadline.after(10))
        return len(monitor.collect().queues) == monitor.source.counted == len(names)

    wait_until(counted_all, what="the role change has all queues counted", seconds=30)
