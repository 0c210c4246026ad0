"""`python -m bench.cost`: CPU and memory of a scrape, at 1,000 and 10,000 queues, idle and changing.

CPU is that of the whole exporter process, by its own clock, less what it uses in the background; load on the
machine moves it by a third, so that only figures of one run are comparable. The floor of a scrape is the CPU
that the same bytes need on bare sockets, parsed with hiredis, and the same lines joined. `--beside FOLDER`
measures the exporter of another working copy in turn with this one; `--profile` prints where the time goes.
"""

from __future__ import annotations

import argparse
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final, NamedTuple

import psutil

from bench.queues import PREFIX, exchange, fill, names
from bench.scrape import FloorRun, Scraper, exporter_of, record
from bench.streams import EVENTS_A_JOB
from exporter.redis.protocol import pack
from lab.redis import RedisServer, start_redis

ROUNDS: Final = 9
BACKGROUND_SECONDS: Final = 8.0
SETTLE_SECONDS: Final = 2.0  # for the events of all queues to be read
JOBS: Final = 20
_FAST: Final = "bullmq: {scan_calls_per_second: 1000}\nredis: {timeout_seconds: 9}\n"
ROOT: Final = Path(__file__).parents[1]


class Cost(NamedTuple):
    """CPU of the exporter and of Redis for one scrape, in ms, and the bytes of its answer."""

    exporter: float
    redis: float
    size: int


class Watched:
    """An exporter that is measured."""

    def __init__(self, name: str, port: int, process: subprocess.Popen[bytes], redis: int) -> None:
        self.name = name
        self.process = psutil.Process(process.pid)
        self._pids = process.pid, redis
        self._scraper = Scraper(port, gzip=True)
        self._background = (0.0, 0.0)
        self.costs: dict[str, list[Cost]] = {}
        self.resident: dict[str, float] = {}

    def rest(self, seconds: float) -> None:
        """Measure what is used without a scrape."""
        began, before = time.monotonic(), self._clocks()
        time.sleep(seconds)
        took = time.monotonic() - began
        now = self._clocks()
        self._background = ((now[0] - before[0]) / took, (now[1] - before[1]) / took)

    def scrape(self, phase: str, *, kept: bool = True) -> None:
        began, before = time.monotonic(), self._clocks()
        size = len(self._scraper.scrape())
        time.sleep(0.05)  # threads that end after the answer belong to it
        now, took = self._clocks(), time.monotonic() - began
        used = [
            (after - first - share * took) * 1000
            for first, after, share in zip(before, now, self._background, strict=True)
        ]
        if kept:
            self.costs.setdefault(phase, []).append(Cost(used[0], used[1], size))
        self.resident[phase] = self.process.memory_info().rss / 1e6

    @property
    def background(self) -> float:
        """Share of a core without scrapes."""
        return self._background[0]

    def _clocks(self) -> tuple[float, float]:
        return cpu_seconds(self._pids[0]), cpu_seconds(self._pids[1])


def cpu_seconds(pid: int) -> float:
    """The CPU time of another process in seconds, in ns steps: `times` of psutil has steps of 10 ms."""
    return time.clock_gettime(((~pid) << 3) | 2)  # CPUCLOCK_SCHED of the process, as clock_getcpuclockid


def change(port: int, queues: Sequence[str], number: int) -> None:
    """One whole job in the event stream of each queue."""
    packed = []
    for queue in queues:
        key = f"{PREFIX}:{queue}:events"
        for event, *fields in (
            ("added", "name", "job"),
            ("waiting",),
            ("active", "prev", "waiting"),
            ("completed", "returnvalue", "null", "prev", "active"),
        ):
            packed.append(
                pack("XADD", key, "MAXLEN", "~", 1000, "*", "event", event, "jobId", f"x{number}", *fields)
            )
    with socket.create_connection(("127.0.0.1", port), timeout=60) as redis:
        for start in range(0, len(packed), 5000):
            batch = packed[start : start + 5000]
            exchange(redis, b"".join(batch), len(batch))
    assert len(packed) == EVENTS_A_JOB * len(queues)


@contextmanager
def watched(redis: RedisServer, queues: int, folders: Sequence[Path]) -> Iterator[list[Watched]]:
    """An exporter of each folder, all on one Redis."""
    with ExitStack() as stack:
        running = []
        for folder in folders:
            port, process = stack.enter_context(
                exporter_of(redis.port, queues=queues, config=_FAST, folder=folder)
            )
            name = "this" if folder == ROOT else folder.name
            running.append(Watched(name, port, process, redis.process.pid))
        yield running


def measure(queues: int, folders: Sequence[Path], rounds: int, profile: str) -> None:
    with start_redis() as redis:
        fill(redis.port, queues=queues, jobs_per_queue=JOBS)
        listed = names(queues)
        few = listed[::20]
        bare = floor(redis.port) if queues <= 1000 else None
        with watched(redis, queues, folders) as exporters:
            time.sleep(SETTLE_SECONDS * 3)
            number = 0

            def run(phase: str, changed: Sequence[str]) -> None:
                nonlocal number
                for exporter in exporters:
                    exporter.rest(BACKGROUND_SECONDS)
                for turn in range(rounds + 2):
                    if changed:
                        number += 1
                        change(redis.port, changed, number)
                        time.sleep(SETTLE_SECONDS)
                    for exporter in exporters:
                        exporter.scrape(phase, kept=turn >= 2)

            run("idle", [])
            number += 1
            change(redis.port, listed, number)
            time.sleep(SETTLE_SECONDS * 2)
            run("idle, histograms", [])
            run("5 % changing", few)
            run("all changing", listed)
            run("idle, histograms, after", [])
            _print(queues, exporters, bare)
            if profile:
                _profile(exporters[-1], profile)


def floor(port: int) -> float:
    """CPU in ms of the same bytes and lines without an exporter."""
    runs = FloorRun(port, record(port))
    used = []
    for _ in range(9):
        before = time.process_time()
        runs.run()
        used.append((time.process_time() - before) * 1000)
    return statistics.median(used)


def _print(queues: int, exporters: Sequence[Watched], bare: float | None) -> None:
    print(f"\n{queues:,} queues" + (f"; floor {bare:.1f} ms" if bare else ""))
    print(f"{'CPU of a gzip scrape, ms, median':<42}{'exporter':>10}{'Redis':>8}{'MB':>8}{'resident MB':>13}")
    for phase in exporters[0].costs:
        for each in exporters:
            costs = each.costs[phase]
            middle = [statistics.median(column) for column in zip(*costs, strict=True)]
            print(
                f"{phase + ' (' + each.name + ')':<42}{middle[0]:>10.1f}{middle[1]:>8.1f}"
                f"{middle[2] / 1e6:>8.2f}{each.resident[phase]:>13.0f}"
            )
    for each in exporters:
        print(f"background of {each.name}: {each.background:.2%} of a core")
    sys.stdout.flush()


def _profile(exporter: Watched, file: str) -> None:
    """Twenty scrapes under py-spy, as collapsed stacks."""
    command = ["py-spy", "record", "--pid", str(exporter.process.pid), "--format", "raw", "--rate", "500"]
    recorder = subprocess.Popen([*command, "--duration", "20", "--output", file])
    while recorder.poll() is None:
        exporter.scrape("profile", kept=False)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.cost")
    parser.add_argument("--queues", type=int, action="append", help="1000 and 10000 unless given")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--beside", type=Path, action="append", default=[], help="another working copy")
    parser.add_argument("--profile", default="")
    options = parser.parse_args(arguments)
    for queues in options.queues or (1_000, 10_000):
        measure(queues, [*map(Path.absolute, options.beside), ROOT], options.rounds, options.profile)
    return 0


if __name__ == "__main__":
    sys.exit(main())
