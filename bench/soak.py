"""Minutes under load: real BullMQ jobs at a steady rate, and the exporter's memory every ten seconds.

`python -m bench.soak --minutes 10 --rate 2000`; the exit code is 1 if memory grows after the first minute, or
a counter differs from the worker's own count.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psutil

from bench.scrape import Scraper, exporter_of
from lab.bullmq import BullMQ
from lab.deadline import wait_until
from lab.redis import start_redis

QUEUE = "soak"
EVERY, BATCHES_A_SECOND = 10.0, 4
SETTLED = 60.0  # seconds after which memory must not grow
SECONDS_TO_READ = 12.0  # so that lost events are counted too
MAX_GROWTH = 128 * 1024.0  # bytes a minute, 0.2 % of all
_REMOVED: dict[str, Any] = {"removeOnComplete": True, "removeOnFail": True}


def slope(points: Sequence[tuple[float, float]]) -> float:
    """The least-squares slope: units of the second value per unit of the first."""
    return statistics.linear_regression(*zip(*points, strict=True)).slope


def value(text: str, name: str) -> int:
    """The sample of a counter of the queue."""
    head = f'{name}{{prefix="bull",queue="{QUEUE}"}} '
    (line,) = (line for line in text.splitlines() if line.startswith(head))
    return int(float(line.rpartition(" ")[2]))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.soak")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--rate", type=int, default=2000, help="jobs a second")
    options = parser.parse_args(arguments)
    if options.minutes < (SETTLED + 3 * EVERY) / 60:
        parser.error("--minutes: at least 1.5")
    with start_redis() as redis, TemporaryDirectory() as folder:
        config = f"bullmq: {{queues: [{QUEUE}], state_file: {Path(folder) / 'state'}}}\n"
        with (
            BullMQ(6, url=redis.url) as producer,
            BullMQ(6, url=redis.url) as consumer,
            exporter_of(redis.port, queues=1, config=config) as (port, process),
        ):
            return _run(producer, consumer, Scraper(port), psutil.Process(process.pid), options)


def _run(
    producer: BullMQ, consumer: BullMQ, scraper: Scraper, process: psutil.Process, options: argparse.Namespace
) -> int:
    worker = consumer.start_worker(QUEUE, concurrency=100)
    batch = options.rate // BATCHES_A_SECOND
    started = time.monotonic()
    points: list[tuple[float, float]] = []
    added = 0
    while (elapsed := time.monotonic() - started) < options.minutes * 60:
        producer.add_bulk(QUEUE, batch, **_REMOVED)
        added += batch
        if elapsed >= len(points) * EVERY:
            scraper.scrape()
            points.append((elapsed, float(process.memory_info().rss)))
            print(f"{elapsed:6.0f} s  {added:>9} jobs  {points[-1][1] / 1e6:6.1f} MB", flush=True)
        time.sleep(max(0.0, added / options.rate - (time.monotonic() - started)))
    duration = time.monotonic() - started

    wait_until(
        lambda: consumer.tally(worker)["returned"] >= added,
        what="the worker has finished all jobs",
        seconds=60,
    )
    time.sleep(SECONDS_TO_READ)
    text = scraper.scrape().decode()
    own = consumer.tally(worker)["returned"]
    completed, lost = value(text, "bullmq_job_completed_total"), value(text, "bullmq_events_lost_total")
    later = [point for point in points if point[0] >= SETTLED]
    growth = slope(later) * 60
    sizes = [size / 1e6 for _, size in later]
    print(
        f"{added / duration:.0f} jobs/s for {duration / 60:.1f} min; "
        f"completed: worker {own}, exporter {completed}"
    )
    print(f"events lost: {lost}")
    print(
        f"resident after the first minute, min / median / max: {min(sizes):.1f} / "
        f"{statistics.median(sizes):.1f} / {max(sizes):.1f} MB, "
        f"{growth / 1024:+.1f} kB a minute (at most {MAX_GROWTH / 1024:g})"
    )
    return int(growth > MAX_GROWTH or completed != own or own != added or lost > 0)


if __name__ == "__main__":
    sys.exit(main())
