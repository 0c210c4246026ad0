"""A scrape of 1,000 queues, beside its floor.

The floor is what no exporter in Python can do without: the very bytes that the exporter sends, written on
bare sockets and read with hiredis, and the very lines that it serves, joined. Both are timed in turn, on one
Redis.
"""

from __future__ import annotations

import http.client
import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from tempfile import NamedTemporaryFile
from threading import Thread

from bench.queues import exchange, fill
from bench.recorder import Recorder
from lab.ports import free_port
from lab.redis import start_redis

QUEUES = 1_000
FEW, MANY = 25, 1_000
ROUNDS = 21
START_SECONDS = 60.0
_QUIET = "bullmq: {discovery_interval_seconds: 3600, rescan_interval_seconds: 3600}\n"


@dataclass(frozen=True)
class Floor:
    """What one scrape asks, connection by connection, and the lines it serves."""

    requests: tuple[tuple[bytes, int], ...]
    lines: tuple[bytes, ...]

    @property
    def replies(self) -> int:
        return sum(replies for _, replies in self.requests)


class Scraper:
    """One keep-alive connection to /metrics, as Prometheus holds it."""

    def __init__(self, port: int, *, gzip: bool = False) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        self._headers = {"Accept": "text/plain;version=0.0.4", "X-Prometheus-Scrape-Timeout-Seconds": "10"}
        if gzip:
            self._headers["Accept-Encoding"] = "gzip"

    def scrape(self) -> bytes:
        self._connection.request("GET", "/metrics", headers=self._headers)
        response = self._connection.getresponse()
        body = response.read()
        if response.status != http.client.OK:
            raise RuntimeError(f"the exporter answered {response.status}: {body[:200]!r}")
        return body


@contextmanager
def exporter(redis_port: int, *, config: str = "") -> Iterator[int]:
    """A running exporter that knows all queues; yields its port. `config` is YAML."""
    port = free_port()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("REDIS_")} | {
        "REDIS_URL": f"redis://127.0.0.1:{redis_port}",
        "LOG_LEVEL": "error",
    }
    command = [sys.executable, "-m", "exporter", "start", "--listen", f"127.0.0.1:{port}"]
    with NamedTemporaryFile("w", suffix=".yaml") as file:
        file.write(config)
        file.flush()
        process = subprocess.Popen([*command, "--config", file.name], env=environment)
        try:
            _wait_for_queues(port, process)
            yield port
        finally:
            process.terminate()
            process.wait(30)


def _wait_for_queues(port: int, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until:
        if process.poll() is not None:
            raise RuntimeError(f"the exporter ended with {process.returncode}")
        try:
            if f"\nbullmq_queues {QUEUES}".encode() in Scraper(port).scrape():
                return
        except OSError:
            pass
        time.sleep(0.2)
    raise RuntimeError(f"the exporter did not find {QUEUES} queues in {START_SECONDS:.0f} s")


def record(redis_port: int) -> Floor:
    """Let one warm scrape pass a relay and keep what it asked and served, and nothing of the background's."""
    recorder = Recorder(redis_port)
    with exporter(recorder.port, config=_QUIET) as port:
        scraper = Scraper(port)
        scraper.scrape()
        recorder.clear()
        body = scraper.scrape()
        asked = tuple((bytes(one.asked), one.replies()) for one in recorder.conversations())
    recorder.close()
    return Floor(asked, tuple(body.splitlines()))


class FloorRun:
    """The floor, on connections that are open already and side by side as the exporter's are."""

    def __init__(self, redis_port: int, floor: Floor) -> None:
        self._floor = floor
        self._sockets = [socket.create_connection(("127.0.0.1", redis_port), 30) for _ in floor.requests]

    def run(self) -> bytes:
        pairs = zip(self._sockets, self._floor.requests, strict=True)
        threads = [Thread(target=exchange, args=(connection, *request)) for connection, request in pairs]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return b"\n".join(self._floor.lines)


def _timed(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return (time.perf_counter() - start) * 1000


def _row(name: str, times: list[float]) -> str:
    return f"{name:<44}{min(times):>8.1f}{statistics.median(times):>8.1f}{max(times):>8.1f}"


def main() -> int:
    """Print the figures; 1 if a bound does not hold. Bounds are ratios of medians in this run."""
    with start_redis() as redis:
        fill(redis.port, queues=QUEUES, jobs_per_queue=FEW)
        floor = record(redis.port)
        print(f"{QUEUES} queues: {floor.replies} replies, {len(floor.lines)} lines a scrape")
        print(f"{'milliseconds, wall':<44}{'min':>8}{'median':>8}{'max':>8}")
        with exporter(redis.port) as port:
            bare, plain, packed = FloorRun(redis.port, floor), Scraper(port), Scraper(port, gzip=True)
            names = ("floor: the same commands, the same text", "scrape", "scrape, gzip")
            runs: tuple[Callable[[], object], ...] = (bare.run, plain.scrape, packed.scrape)
            few = _alternate(names, runs)
            fill(redis.port, queues=QUEUES, jobs_per_queue=MANY)
            many = _alternate((f"scrape with {MANY // FEW} times the job keys",), (plain.scrape,))
    to_floor = statistics.median(few[1]) / statistics.median(few[0])
    to_few = statistics.median(many[0]) / statistics.median(few[1])
    print(f"scrape / floor: {to_floor:.2f} (at most 3)")
    print(f"with {MANY // FEW} times the job keys / without: {to_few:.2f} (at most 1.25)")
    return int(to_floor > 3 or to_few > 1.25)


def _alternate(names: tuple[str, ...], runs: tuple[Callable[[], object], ...]) -> list[list[float]]:
    """Each in turn, so that a machine that changes its pace changes it for all."""
    times: list[list[float]] = [[] for _ in runs]
    for number in range(ROUNDS + 2):
        for kept, run in zip(times, runs, strict=True):
            took = _timed(run)
            if number >= 2:
                kept.append(took)
    for name, kept in zip(names, times, strict=True):
        print(_row(name, kept))
    return times
