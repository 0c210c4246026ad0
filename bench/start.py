"""`python -m bench.start`: CPU and time until the exporter listens, and until all queues are in a scrape.

CPU is that of the process by its own clock. The floor of listening is a Python that imports what no exporter
of this kind can be without: hiredis, pydantic, uvicorn, prometheus_client, psutil, PyYAML, click. The floor
of a first scrape is one client that goes through the keys with SCAN as fast as Redis answers. `--beside
FOLDER` measures another working copy in turn with this one.
"""

from __future__ import annotations

import argparse
import http.client
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from bench.programs import ROOT
from bench.queues import connected, exchange, fill
from bench.scrape import NotFoundError
from bench.watched import cpu_seconds
from exporter.bullmq.search.scan import KEYS_PER_CALL
from exporter.redis.protocol import pack
from lab.ports import free_port
from lab.redis import start_redis

QUEUES: Final = (10, 1_000, 10_000)
JOBS: Final = 15
ROUNDS: Final = 3
MAX_RATIO: Final = 3.0
"""CPU until it listens, to that of the imports alone."""
SECONDS: Final = 90.0
_LOOK_SECONDS, _SAME = 0.2, 4
_IMPORTS: Final = "import hiredis, pydantic, uvicorn, prometheus_client, psutil, yaml, click, ssl"
_NEEDLESS: Final = ("REDIS_", "EXPORTER_", "BULLMQ_", "PYTHONDONTWRITEBYTECODE")


class Start(NamedTuple):
    """Seconds of CPU until it listened, and until all queues were in a scrape, the first one; the same in
    time."""

    listening_cpu: float
    scraped_cpu: float
    listening: float
    scraped: float


def imports() -> float:
    """CPU seconds of a Python that only imports; bytecode is there, as in an installed package."""
    command = [sys.executable, "-c", f"import time\n{_IMPORTS}\nprint(time.process_time())"]
    return float(subprocess.run(command, env=_environment(), check=True, capture_output=True).stdout)


def search(port: int) -> float:
    """CPU seconds of a client that sends one SCAN after the other."""
    before = time.process_time()
    with connected(port) as connection:
        cursor = b"0"
        while True:
            (reply,) = exchange(
                connection, pack("SCAN", cursor, "MATCH", "*:[im]*[da]", "COUNT", KEYS_PER_CALL), 1
            )
            assert isinstance(reply, list)
            cursor = reply[0]
            if cursor == b"0":
                return time.process_time() - before


def start(redis_port: int, queues: int, folder: Path) -> Start:
    """One start of the working copy in this folder, with the default settings. Raises NotFoundError."""
    with connected(redis_port) as connection:
        exchange(connection, pack("CONFIG", "RESETSTAT"), 1)
    with _running(redis_port, folder) as (port, pid, began):
        until = time.monotonic() + SECONDS
        while _status(port, "/healthz") is None:
            _check(until)
            time.sleep(0.005)
        listening = time.monotonic() - began, cpu_seconds(pid)
        expected = f"\nbullmq_queues {queues}".encode()
        _wait_for_search(redis_port, until)
        while expected not in (_status(port, "/metrics") or b""):
            _check(until)
            time.sleep(_LOOK_SECONDS)
        return Start(listening[1], cpu_seconds(pid), listening[0], time.monotonic() - began)


def _wait_for_search(redis_port: int, until: float) -> None:
    """Until no SCAN is sent any more. Scrapes meanwhile would be most of what the start costs."""
    calls: list[bytes] = []
    with connected(redis_port) as connection:
        while len(calls) < _SAME or calls[-1] == b"" or len(set(calls[-_SAME:])) > 1:
            _check(until)
            time.sleep(_LOOK_SECONDS / _SAME)
            (info,) = exchange(connection, pack("INFO", "commandstats"), 1)
            assert isinstance(info, bytes)
            calls.append(info.partition(b"cmdstat_scan:calls=")[2].partition(b",")[0])


def _check(until: float) -> None:
    if time.monotonic() > until:
        raise NotFoundError(f"not all queues were in a scrape within {SECONDS:.0f} s")


def _status(port: int, path: str) -> bytes | None:
    try:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        connection.request("GET", path)
        return connection.getresponse().read()
    except OSError:
        return None


@contextmanager
def _running(redis_port: int, folder: Path) -> Iterator[tuple[int, int, float]]:
    port = free_port()
    environment = _environment() | {
        "REDIS_URL": f"redis://127.0.0.1:{redis_port}",
        "LOG_LEVEL": "error",
        "MALLOC_ARENA_MAX": "1",  # as image and manifests set it
    }
    began = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", "exporter", "start", "--listen", f"127.0.0.1:{port}"],
        env=environment,
        cwd=folder,
    )
    try:
        yield port, process.pid, began
    finally:
        process.terminate()
        process.wait(30)


def _environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_NEEDLESS)}
    return kept | {"PYTHONPYCACHEPREFIX": os.environ.get("PYTHONPYCACHEPREFIX", "/tmp/oxherd-bench-start")}  # noqa: S108


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the figures; 1 if a bound is exceeded."""
    parser = argparse.ArgumentParser(prog="python -m bench.start")
    parser.add_argument("--queues", type=int, action="append")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--beside", type=Path, action="append", default=[], help="another working copy")
    options = parser.parse_args(arguments)
    folders = [*map(Path.absolute, options.beside), ROOT]
    ratio = 0.0
    for queues in options.queues or QUEUES:
        with start_redis() as redis:
            fill(redis.port, queues=queues, jobs_per_queue=JOBS)
            floors: list[tuple[float, float]] = []
            runs: dict[str, list[Start]] = {}
            for number in range(options.rounds + 1):  # the first writes the bytecode
                floor = imports(), search(redis.port)
                if number:
                    floors.append(floor)
                for folder in folders:
                    run = start(redis.port, queues, folder)
                    if number:
                        runs.setdefault("this" if folder == ROOT else folder.name, []).append(run)
        imported, searched = (statistics.median(column) for column in zip(*floors, strict=True))
        print(f"\n{queues:,} queues; median of {options.rounds}")
        print(f"{'':<16}{'listening: CPU s':>18}{'time s':>10}{'all queues: CPU s':>20}{'time s':>10}")
        print(f"{'floor':<16}{imported:>18.2f}{'':>10}{imported + searched:>20.2f}")
        for name, starts in runs.items():
            middle = Start(*(statistics.median(column) for column in zip(*starts, strict=True)))
            print(
                f"{name:<16}{middle.listening_cpu:>18.2f}{middle.listening:>10.2f}"
                f"{middle.scraped_cpu:>20.2f}{middle.scraped:>10.2f}"
            )
            if name == "this":
                ratio = max(ratio, middle.listening_cpu / imported)
        sys.stdout.flush()
    print(f"listening / imports: {ratio:.2f} (at most {MAX_RATIO:g})")
    return int(ratio > MAX_RATIO)


if __name__ == "__main__":
    sys.exit(main())
