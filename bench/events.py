"""Following event streams: CPU an event, what is lost, what idle queues and waiting jobs cost.

CPU and memory are those of the whole exporter process. The floor of an event is hiredis reading the same
replies and nothing more.
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
from exporter.bullmq.events import Jobs
from exporter.redis.protocol import pack
from lab.deadline import wait_until
from lab.redis import start_redis

RATE, SECONDS = 6_000, 15.0
SHORT_STREAM = 100
IDLE_SECONDS = 30.0
WAITING, WRITTEN_AT_ONCE, PAUSE = 1_000_000, 1_000, 0.8
MOST_CPU_US, MOST_IDLE, MOST_BYTES = 4.0, 0.01, 64e6
_ONE = "bullmq: {queues: [%s], scan: false}\n"


@contextmanager
def followed(queues: int, *, most: int = 10_000) -> Iterator[tuple[list[Writer], Scraper, psutil.Process]]:
    """Queues on a Redis of their own and an exporter that follows them."""
    names = [f"queue-{number}" for number in range(queues)]
    with start_redis() as redis:
        writers = [Writer(redis.port, name, most) for name in names]
        for writer in writers:
            writer.create()
        with exporter_of(redis.port, queues=queues, config=_ONE % ", ".join(names)) as (port, process):
            scraper = Scraper(port)
            wait_until(lambda: total(scraper, "bullmq_events_read_total") is not None, what="it follows")
            yield writers, scraper, psutil.Process(process.pid)
        for writer in writers:
            writer.close()


def total(scraper: Scraper, name: str) -> int | None:
    """The sum of a counter over its queues; None without one."""
    head = f"{name}{{"
    samples = [line for line in scraper.scrape().decode().splitlines() if line.startswith(head)]
    return sum(int(float(line.rpartition(" ")[2])) for line in samples) if samples else None


def settled(scraper: Scraper, expected: int) -> tuple[int, int]:
    """How many events were read and lost, once both together are all there were."""

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
    """Microseconds an event of hiredis alone, and of the state machine behind it."""
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
    """6,000 jobs a second: CPU an event, and nothing lost."""
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
    print(f"CPU an event: {per_event:.2f} us (at most {MOST_CPU_US:g}); ", end="")
    print(f"floor, hiredis alone: {bare:.2f} us; the state machine alone: {machine:.2f} us")
    return per_event <= MOST_CPU_US and lost == 0 and read == writer.jobs * EVENTS_A_JOB


def trimmed() -> bool:
    """The same with a stream that is too short: what is lost is told exactly."""
    with followed(1, most=SHORT_STREAM) as ((writer,), scraper, _):
        first = writer.added()
        writer.steadily(RATE, 5.0)
        expected = writer.added() - first
        read, lost = settled(scraper, expected)
    print(f"maxLen {SHORT_STREAM}: {expected} events written, {read} read + {lost} lost = {read + lost}")
    return read + lost == expected and lost > 0


def idle() -> bool:
    """A thousand queues of which nothing is heard."""
    shares = {}
    for events in (False, True):
        with start_redis() as redis:
            fill(redis.port, queues=QUEUES, jobs_per_queue=2)
            config = f"bullmq: {{events: {str(events).lower()}}}\n"
            with exporter_of(redis.port, queues=QUEUES, config=config) as (_, process):
                watched = psutil.Process(process.pid)
                time.sleep(12)  # the first search, and the first look at each stream
                before = cpu(watched)
                time.sleep(IDLE_SECONDS)
                shares[events] = (cpu(watched) - before) / IDLE_SECONDS
    share = shares[True] - shares[False]
    print(
        f"{QUEUES} idle queues: {shares[True]:.2%} of a core, {shares[False]:.2%} without events: "
        f"{share:.2%} (at most {MOST_IDLE:.0%})"
    )
    return share <= MOST_IDLE


def waiting(queues: int) -> bool:
    """A million jobs that are added and wait."""
    with followed(queues) as (writers, scraper, process):
        for writer in writers:
            writer.enqueue()
        before = process.memory_info().rss
        for _ in range(WAITING // queues // WRITTEN_AT_ONCE):
            for writer in writers:
                writer.write(WRITTEN_AT_ONCE, finished=False)
            scraper.scrape()  # or the exporter closes the connection, which idles for too long
            time.sleep(PAUSE)  # what is written faster than it can be read would only be lost
        read, lost = settled(scraper, 2 * WAITING)
        grown = process.memory_info().rss - before
        forgotten = total(scraper, "bullmq_events_evicted_total")
    print(
        f"{WAITING} jobs wait in {queues} queues: {grown / 1e6:.1f} MB (at most {MOST_BYTES / 1e6:g}); "
        f"{read} events read, {lost} lost, {forgotten} jobs forgotten"
    )
    return grown <= MOST_BYTES


def main() -> int:
    """Print the figures; 1 if a bound does not hold."""
    held = [steady(), trimmed(), idle(), waiting(10)]
    return int(not all(held))


if __name__ == "__main__":
    sys.exit(main())
