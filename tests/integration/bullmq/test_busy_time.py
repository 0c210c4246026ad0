"""The busy time of real queues, against what the workers themselves measured, and against wall time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from time import monotonic
from typing import Any

import pytest

from exporter.bullmq.bull import follow
from exporter.snapshot.queues import Events
from lab.bull import Bull
from lab.bullmq import BullMQ
from lab.deadline import wait_until
from lab.driver import Driver
from lab.redis import RedisServer
from tests.support.bullmq import Watch, WatchOf, counters, wait_for

pytestmark = pytest.mark.timeout(90)

GONE: dict[str, Any] = {"removeOnComplete": True, "removeOnFail": True}
DRIVERS: dict[str, Callable[..., Driver]] = {
    "bullmq-6": partial(BullMQ, 6),
    "bullmq-5": partial(BullMQ, 5),
    "bull-4": partial(Bull, 4),
}
HELD, SLOT_SECONDS = 4, 8.0


@pytest.fixture(scope="module", params=DRIVERS)
def library(request: pytest.FixtureRequest, server: RedisServer) -> Iterator[Driver]:
    with DRIVERS[request.param](url=server.url) as driver:
        yield driver


@pytest.fixture(autouse=True)
def _polled_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follow, "_POLL_SECONDS", 0.2)


def followed(library: Driver, server: RedisServer, watch: WatchOf, name: str) -> Watch:
    """A watch of an empty queue whose counting has begun. Its first job shows which library made it."""
    monitor = watch(server, queues=[name])
    job = library.add(name)
    monitor.read_all()
    if isinstance(library, Bull):
        library.job(name, job, "remove")
    else:
        library.queue(name, "remove", job)
    wait_until(lambda: monitor.follow() and read(monitor), what="it is followed")
    return monitor


def read(monitor: Watch) -> Events | None:
    """The events of the only queue."""
    return next(iter((monitor.follower.events() | monitor.bull.events()).values()), None)


def busy(monitor: Watch) -> float:
    monitor.follow()
    events = read(monitor)
    assert events is not None
    assert events.busy_seconds is not None
    return events.busy_seconds


def named(library: Driver, what: str) -> str:
    return f"{what}-{library.process.name.replace(' ', '-')}"


def test_it_is_the_time_that_the_workers_measured(
    library: Driver, server: RedisServer, watch: WatchOf
) -> None:
    name = named(library, "ended")
    monitor = followed(library, server, watch, name)
    before = busy(monitor)
    earlier = counters(monitor.events(name))
    worker = library.start_worker(name, concurrency=3, behaviour={"ms": 400})
    library.add_bulk(name, 12, **GONE)
    wait_for(monitor, name, earlier | {"added": earlier.get("added", 0) + 12, "started": 12, "completed": 12})
    seconds = busy(monitor) - before
    own = sum(library.durations(worker)["run"]) / 1000
    assert 0.8 < seconds / own < 1.3
    events = read(monitor)
    assert events is not None
    assert seconds == pytest.approx(events.counters.processing["completed"].total, rel=0.01)
    library.stop_worker(worker)


def test_jobs_that_still_run_are_busy(library: Driver, server: RedisServer, watch: WatchOf) -> None:
    """No attempt has ended: the histogram of run times knows nothing of them."""
    name = named(library, "held")
    monitor = followed(library, server, watch, name)
    worker = library.start_worker(name, concurrency=HELD, behaviour={"hold": True})
    library.add_bulk(name, HELD + 3, **GONE)
    library.wait_for_counts(name, {"active": HELD})
    first = wait_until(lambda: busy(monitor), what="it has begun")
    began = monotonic()
    latest = wait_until(lambda: (now := busy(monitor)) >= first + SLOT_SECONDS and now, what="slot-seconds")
    wall = monotonic() - began
    assert 0.7 < (latest - first) / (HELD * wall) < 1.3
    events = read(monitor)
    assert events is not None
    assert not any(any(histogram.counts) for histogram in events.counters.processing.values())
    wait_until(lambda: ended(library, worker, monitor, name), what="all have ended")
    seconds = wait_until(lambda: settled(monitor, library), what="it grows no more", every=0) or 0.0
    assert seconds >= latest
    library.stop_worker(worker)


def test_a_job_in_backoff_is_not_busy(library: Driver, server: RedisServer, watch: WatchOf) -> None:
    """Bull says nothing at the end of such an attempt: the number of its active jobs tells it."""
    name = named(library, "backoff")
    monitor = followed(library, server, watch, name)
    worker = library.start_worker(name, behaviour={"fail": True, "ms": 300})
    backoff = {"type": "fixed", "delay": 3_600_000}
    library.add(name, attempts=2, backoff=backoff, **GONE)
    wait_until(
        lambda: monitor.follow() and library.counts(name)["delayed"] == 1, what="the first attempt failed"
    )
    own = sum(library.durations(worker)["run"]) / 1000
    seconds = wait_until(lambda: settled(monitor, library), what="it grows no more", every=0) or 0.0
    assert seconds > own * 0.7
    if not isinstance(library, Bull):
        assert seconds < own * 1.3
    library.stop_worker(worker)


def ended(library: Driver, worker: int, monitor: Watch, name: str) -> bool:
    """Whether all jobs have; those that are held are released."""
    library.release(worker)
    return counters(monitor.events(name)).get("completed") == HELD + 3


def settled(monitor: Watch, library: Driver) -> float | None:
    """The busy time, if it is the same after the next reads; Bull's queues without messages are read less
    often."""
    before = busy(monitor)
    end = monitor.bull._poll_count + 2 * follow._QUIET_POLLS
    for _ in range(5):
        monitor.follow()
    while isinstance(library, Bull) and monitor.bull._poll_count < end:
        monitor.follow()
    return before if busy(monitor) == before else None
