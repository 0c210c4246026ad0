"""The histograms against the workers' own clocks."""

from __future__ import annotations

import math
from itertools import accumulate
from typing import Any

from exporter.snapshot.histogram import Histogram
from lab.deadline import wait_until
from lab.driver import Driver
from lab.redis import RedisServer
from tests.support.bullmq import WatchOf, wait_for, watched

GONE: dict[str, Any] = {"removeOnComplete": True, "removeOnFail": True}
HANDLER_MS, BURST, BURSTS = 10, 5, 30
# 2 ms apart where the median is, 10 ms where the tail is: what is interpolated is that exact.
BUCKETS = [n / 1000 for n in (*range(2, 62, 2), *range(70, 240, 10))]
MEDIAN_MS, TAIL_MS = 2.0, 20.0
ATTEMPTS = 6  # a worker that was kept off the processor for a while is no disagreement


def quantile(histogram: Histogram, share: float) -> float:
    """Milliseconds, interpolated within a bucket as PromQL's histogram_quantile does."""
    rank = share * sum(histogram.counts)
    below = list(accumulate(histogram.counts))
    bucket = next(n for n, value in enumerate(below) if value >= rank)
    if bucket == len(histogram.bounds):
        return histogram.bounds[-1] * 1000
    start = histogram.bounds[bucket - 1] if bucket else 0.0
    before = below[bucket - 1] if bucket else 0
    return (start + (histogram.bounds[bucket] - start) * (rank - before) / histogram.counts[bucket]) * 1000


def exact(durations: list[float], share: float) -> float:
    return sorted(durations)[math.ceil(share * len(durations)) - 1]


def test_quantiles_are_the_workers_own(library: Driver, server: RedisServer, watch: WatchOf) -> None:
    """Bursts of five for a worker that takes one at a time: they wait for none to four of the others.

    `processedOn` is the worker's clock when it asks for the job, and its handler runs within the time that
    Redis sees: a round trip each, which is the difference that the bounds allow for.
    """
    differences: list[dict[str, tuple[float, float]]] = []
    for attempt in range(ATTEMPTS):
        differences.append(_differences(f"clock-{attempt}-{library.process.name}", library, server, watch))
        if all(median <= MEDIAN_MS and tail <= TAIL_MS for median, tail in differences[-1].values()):
            return
    raise AssertionError(differences)


def _differences(
    name: str, library: Driver, server: RedisServer, watch: WatchOf
) -> dict[str, tuple[float, float]]:
    """By how many ms the median and the 99th percentile differ."""
    name = name.replace(" ", "-")
    monitor = watch(server, queues=[name], event_buckets=BUCKETS)
    monitor.read_all()
    monitor.follow()
    worker = library.start_worker(name, behaviour={"ms": HANDLER_MS})
    for done in range(BURSTS):
        for _ in range(BURST):
            library.add(name, **GONE)
        wait_until(
            lambda: library.tally(worker)["returned"] == (done + 1) * BURST,  # noqa: B023
            what="the burst is through",
            every=0.005,
        )
    jobs = BURST * BURSTS
    counters = wait_for(monitor, name, {"added": jobs, "started": jobs, "completed": jobs}).counters
    own = library.durations(worker)
    library.stop_worker(worker)
    pairs = {"wait": counters.wait, "run": counters.processing["completed"]}
    return {
        what: (
            abs(quantile(histogram, 0.5) - exact(own[what], 0.5)),
            abs(quantile(histogram, 0.99) - exact(own[what], 0.99)),
        )
        for what, histogram in pairs.items()
    }


def test_paused_and_resumed(library: Driver, server: RedisServer, watch: WatchOf) -> None:
    name = f"paused-{library.process.name.replace(' ', '-')}"
    monitor = watched(watch, server, name)
    worker = library.start_worker(name, concurrency=2, behaviour={"ms": 20})
    library.add_bulk(name, 10, **GONE)
    library.pause(name)
    library.add_bulk(name, 10, **GONE)
    wait_until(lambda: library.counts(name)["active"] == 0, what="no job is active")
    started = library.tally(worker)["started"]
    assert started < 20
    counters = monitor.events(name).counters
    assert (counters.added, counters.started, counters.completed) == (20, started, started)
    library.resume(name)
    counters = wait_for(monitor, name, {"added": 20, "started": 20, "completed": 20}).counters
    assert library.tally(worker) == {"started": 20, "returned": 20, "threw": 0}
    assert sum(counters.wait.counts) == 20
    library.stop_worker(worker)
