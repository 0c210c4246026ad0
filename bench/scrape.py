"""A scrape of 1,000 queues, compared with its floor.

The floor is the minimum of an exporter in Python: the same bytes that the exporter sends, written on bare
sockets and read with hiredis, and the same lines that it serves, joined. Both are timed in turn, on one
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
from pathlib import Path
from tempfile import NamedTemporaryFile
from threading import Thread

from bench.queues import exchange, fill
from bench.recorder import Recorder
from lab.ports import free_port
from lab.redis import start_redis

QUEUES = 1_000
FEW, MANY = 25, 1_000
ROUNDS, WARM = 21, 2
MAX_RATIO, MAX_KEYS_RATIO = 3.0, 1.25
START_SECONDS = 300.0
_QUIET = "bullmq: {discovery_interval_seconds: 3600, rescan_interval_seconds: 3600}\n"


class NotFoundError(RuntimeError):
    """The exporter did not find all queues in time."""


@dataclass(frozen=True)
class Floor:
    """The requests of one scrape by connection, and the lines that it serves."""

    requests: tuple[tuple[bytes, int], ...]
    lines: tuple[bytes, ...]

    @property
    def replies(self) -> int:
        return sum(replies for _, replies in self.requests)


class Scraper:
    """One keep-alive connection to /metrics, as Prometheus uses it."""

    def __init__(self, port: int, *, gzip: bool = False) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        self._headers = {"Accept": "text/plain;version=0.0.4", "X-Prometheus-Scrape-Timeout-Seconds": "20"}
        if gzip:
            self._headers["Accept-Encoding"] = "gzip"

    def scrape(self) -> bytes:
        try:
            response = self._response()
        except (http.client.RemoteDisconnected, ConnectionResetError):  # closed while it was idle
            self._connection.close()
            response = self._response()
        body = response.read()
        if response.status != http.client.OK:
            raise RuntimeError(f"the exporter answered {response.status}: {body[:200]!r}")
        return body

    def _response(self) -> http.client.HTTPResponse:
        self._connection.request("GET", "/metrics", headers=self._headers)
        return self._connection.getresponse()


@contextmanager
def exporter(redis_port: int, *, config: str = "") -> Iterator[int]:
    """A running exporter that has discovered all queues; yields its port. `config` is YAML."""
    with exporter_of(redis_port, queues=QUEUES, config=config) as (port, _):
        yield port


@contextmanager
def exporter_of(
    redis_port: int,
    *,
    queues: int,
    config: str = "",
    folder: Path | None = None,
) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    """A running exporter, once it has discovered `queues` queues; its port and its process. `folder`: the
    working copy that it is of, this one by default."""
    port = free_port()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("REDIS_")} | {
        "REDIS_URL": f"redis://127.0.0.1:{redis_port}",
        "LOG_LEVEL": "error",
        "MALLOC_ARENA_MAX": "1",  # as image and manifests set it
    }
    python = sys.executable if folder is None else str(folder / ".venv/bin/python")
    command = [python, "-m", "exporter", "start", "--listen", f"127.0.0.1:{port}"]
    with NamedTemporaryFile("w", suffix=".yaml") as file:
        file.write(config)
        file.flush()
        process = subprocess.Popen([*command, "--config", file.name], env=environment, cwd=folder)
        try:
            _wait_for_queues(port, process, queues)
            yield port, process
        finally:
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:  # on a machine with much other load
                process.kill()
                process.wait()


def _wait_for_queues(port: int, process: subprocess.Popen[bytes], queues: int) -> None:
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until:
        if process.poll() is not None:
            raise RuntimeError(f"the exporter ended with {process.returncode}")
        try:
            if f"\nbullmq_queues {queues}".encode() in Scraper(port).scrape():
                return
        except OSError:
            pass
        time.sleep(0.2 if queues <= QUEUES else 2.0)
    raise NotFoundError(f"the exporter did not find {queues} queues in {START_SECONDS:.0f} s")


def record(redis_port: int) -> Floor:
    """Record the requests and the lines of one warm scrape, without background activity."""
    recorder = Recorder(redis_port)
    with exporter(recorder.port, config=_QUIET) as port:
        scraper = Scraper(port)
        scraper.scrape()
        recorder.clear()
        body = scraper.scrape()
        requested = tuple(
            (bytes(conversation.requested), conversation.replies())
            for conversation in recorder.conversations()
        )
    recorder.close()
    return Floor(requested, tuple(body.splitlines()))


class FloorRun:
    """The floor, on open connections that are used in parallel, like the exporter's."""

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


def main() -> int:
    """Print the results; 1 if a bound is exceeded. Bounds are ratios of medians in this run."""
    with start_redis() as small, start_redis() as large:
        fill(small.port, queues=QUEUES, jobs_per_queue=FEW)
        fill(large.port, queues=QUEUES, jobs_per_queue=MANY)
        floor, floor_of_large = record(small.port), record(large.port)
        with exporter(small.port) as port, exporter(large.port) as port_of_large:
            times = _in_turn(
                {
                    "floor: the same commands, the same text": FloorRun(small.port, floor).run,
                    "scrape": Scraper(port).scrape,
                    "scrape, gzip": Scraper(port, gzip=True).scrape,
                    f"floor, {MANY // FEW} times the job keys": FloorRun(large.port, floor_of_large).run,
                    f"scrape, {MANY // FEW} times the job keys": Scraper(port_of_large).scrape,
                }
            )
    print(f"{QUEUES} queues: {floor.replies} replies, {len(floor.lines)} lines a scrape")
    print(f"{'milliseconds, wall':<44}{'min':>8}{'median':>8}{'max':>8}")
    for name, durations in times.items():
        print(f"{name:<44}{min(durations):>8.1f}{statistics.median(durations):>8.1f}{max(durations):>8.1f}")
    bare, scrape, _, _, scrape_of_large = map(statistics.median, times.values())
    print(f"scrape / floor: {scrape / bare:.2f} (at most {MAX_RATIO:g})")
    growth = scrape_of_large / scrape
    print(f"with {MANY // FEW} times the job keys / without: {growth:.2f} (at most {MAX_KEYS_RATIO:g})")
    return int(scrape / bare > MAX_RATIO or growth > MAX_KEYS_RATIO)


def _in_turn(runs: dict[str, Callable[[], object]]) -> dict[str, list[float]]:
    """Milliseconds of each, in turn, so that a change of the machine's speed affects all."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(ROUNDS + WARM):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            if number >= WARM:
                times[name].append((time.perf_counter() - start) * 1000)
    return times
