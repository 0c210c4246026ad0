"""Event streams: CPU per event, lost events, the cost of idle queues and of waiting jobs.

CPU and memory are those of the whole exporter process. The floor of an event is hiredis parsing the same
replies and nothing else.
"""

from __future__ import annotations

import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import hiredis
import psutil

from bench.queues import fill
from bench.scrape import QUEUES, Scraper, exporter_of
from bench.streams import EVENTS_A_JOB, Writer
from exporter.bullmq.streams.events import Jobs
from exporter.redis.protocol import pack
from lab.deadline import wait_until
from lab.redis import start_redis

RATE, SECONDS = 6_000, 15.0
SHORT_STREAM = 100
IDLE_SECONDS = 30.0
WAITING, WRITTEN_AT_ONCE, PAUSE = 1_000_000, 1_000, 0.8
MAX_CPU_US, MAX_IDLE = 4.0, 0.01
MAX_BYTES = 80e6  # of 250,000 remembered jobs 55, and the answers of a round
_CONFIG = "bullmq: {queues: [%s], scan: false}\n"


@contextmanager
def followed(queues: int, *, most: int = 10_000) -> Iterator[tuple[list[Writer], Scraper, psutil.Process]]:
    """Queues on a separate Redis, and an exporter that follows them."""
    names = [f"queue-{number}" for number in range(queues)]
    with start_redis() as redis:
        writers = [Writer(redis.port, name, most) for name in names]
        for writer in writers:
            writer.create()
        with exporter_of(redis.port, queues=queues, config=_CONFIG % ", ".join(names)) as (port, process):
            scraper = Scraper(port)
            wait_until(
                lambda: total(scraper, "bullmq_events_lost_total") is not None,
                what="the exporter follows the streams",
            )
            yield writers, scraper, psutil.Process(process.pid)
        for writer in writers:
            writer.close()


def total(scraper: Scraper, name: str) -> int | None:
    """The sum of a counter over its queues, or what it is of all; None without a sample."""
    head = (f"{name}{{", f"{name} ")
    samples = [line for line in scraper.scrape().decode().splitlines() if line.startswith(head)]
    return sum(int(float(line.rpartition(" ")[2])) for line in samples) if samples else None


def settled(scraper: Scraper, expected: int) -> tuple[int, int]:
    """The numbers of events read and lost, once their sum is `expected`."""

    def counts() -> tuple[int, int]:
        return total(scraper, "bullmq_events_read_total") or 0, total(
            scraper, "bullmq_events_lost_total"
        ) or 0

    try:
        wait_until(
            lambda: sum(counts()) >= expected, what="all events are accounted for", seconds=25, every=0.5
        )
    except TimeoutError as error:
        print(error)
    return counts()


def cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def floor_us(port: int, queue: str) -> tuple[float, float]:
    """Microseconds per event: hiredis alone, and the state machine alone."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        command = pack("XREVRANGE", f"bull:{queue}:events", "+", "-", "COUNT", 8_000)
        connection.sendall(command)
        reader, raw = hiredis.Reader(), b""
        while True:
            raw += connection.recv(1 << 20)
            reader = hiredis.Reader()
            reader.feed(raw)
            if (entries := reader.gets()) is not False:
                break
    started = time.process_time()
    for _ in range(10):
        reader = hiredis.Reader()
        reader.feed(raw)
        entries = reader.gets()
    parsed = (time.process_time() - started) / 10
    entries.reverse()
    started = time.process_time()
    Jobs().feed(entries)
    fed = time.process_time() - started
    return parsed / len(entries) * 1e6, fed / len(entries) * 1e6


def steady() -> bool:
    """6,000 jobs a second: CPU per event, no event lost."""
    with followed(1) as ((writer,), scraper, process):
        started = time.monotonic()
        before = cpu(process)
        time.sleep(5)
        idle = (cpu(process) - before) / (time.monotonic() - started)
        first, before, start = writer.added(), cpu(process), time.monotonic()
        reached = writer.steadily(RATE, SECONDS)
        read, lost = settled(scraper, writer.added() - first)
        cpu_seconds = cpu(process) - before - idle * (time.monotonic() - start)
        bare, machine = floor_us(writer.port, writer.queue)
    per_event = cpu_seconds / read * 1e6
    print(f"{reached:.0f} jobs/s for {SECONDS:g} s: {read} events read, {lost} lost (at most 0)")
    print(f"CPU per event: {per_event:.2f} us (at most {MAX_CPU_US:g}); ", end="")
    print(f"floor, hiredis alone: {bare:.2f} us; the state machine alone: {machine:.2f} us")
    return per_event <= MAX_CPU_US and lost == 0 and read == writer.jobs * EVENTS_A_JOB


def trimmed() -> bool:
    """The same with a stream that is too short: lost events are counted exactly."""
    with followed(1, most=SHORT_STREAM) as ((writer,), scraper, _):
        first = writer.added()
        writer.steadily(RATE, 5.0)
        expected = writer.added() - first
        read, lost = settled(scraper, expected)
    print(f"maxLen {SHORT_STREAM}: {expected} events written, {read} read + {lost} lost = {read + lost}")
    return read + lost == expected and lost > 0


def idle() -> bool:
    """A thousand queues without events."""
    shares = {}
    for events in (False, True):
        with start_redis() as redis:
            fill(redis.port, queues=QUEUES, jobs_per_queue=2)
            config = f"bullmq: {{events: {str(events).lower()}}}\n"
            with exporter_of(redis.port, queues=QUEUES, config=config) as (_, process):
                watched = psutil.Process(process.pid)
                time.sleep(12)  # the first discovery, and the first read of each stream
                before = cpu(watched)
                time.sleep(IDLE_SECONDS)
                shares[events] = (cpu(watched) - before) / IDLE_SECONDS
    share = shares[True] - shares[False]
    print(
        f"{QUEUES} idle queues: {shares[True]:.2%} of a core, {shares[False]:.2%} without events: "
        f"{share:.2%} (at most {MAX_IDLE:.0%})"
    )
    return share <= MAX_IDLE


def waiting(queues: int) -> bool:
    """A million jobs that are added and wait: their memory, and that each event is read or told as lost."""
    with followed(queues) as (writers, scraper, process):
        for writer in writers:
            writer.enqueue()
        before = process.memory_info().rss
        for _ in range(WAITING // queues // WRITTEN_AT_ONCE):
            for writer in writers:
                writer.write(WRITTEN_AT_ONCE, finished=False)
            scraper.scrape()  # otherwise the exporter closes the idle connection
            time.sleep(PAUSE)  # events that are written faster than they are read would be lost
        read, lost = settled(scraper, 2 * WAITING)
        grown = process.memory_info().rss - before
        evicted = total(scraper, "bullmq_events_evicted_total")
    print(
        f"{WAITING} jobs wait in {queues} queues: {grown / 1e6:.1f} MB (at most {MAX_BYTES / 1e6:g}); "
        f"{read} events read, {lost} lost, {evicted} jobs evicted"
    )
    return grown <= MAX_BYTES and read + lost == 2 * WAITING


def main() -> int:
    """Print the results; 1 if a bound is exceeded."""
    results = [steady(), trimmed(), idle(), waiting(10)]
    return int(not all(results))


if __name__ == "__main__":
    sys.exit(main())
