"""What Prometheus needs for the histograms of all queues in classic form, in native form, and in both.

An exporter and a Prometheus for each form, side by side on one Redis; between two scrapes one job ends in
each queue, with times that vary. After as many scrapes: series of the head, what the heap holds after a
collection of garbage, and the most resident memory, which goes up and down with those collections.
`python -m bench.stored 1000 10000`; the Prometheus is that on PATH.
"""

from __future__ import annotations

import math
import re
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Final, NamedTuple

import httpx
import psutil
import yaml

from bench.programs import running_exporter
from bench.queues import PREFIX, exchange, fill, names
from exporter.redis.protocol import pack
from lab.prometheus import Prometheus, start_prometheus
from lab.redis import start_redis

FORMS: Final = ("classic", "native", "both")
JOBS_BEFORE, SCRAPES = 20, 16
_BATCH: Final = 5_000
_MEDIAN_MS, _SIGMA = (400, 150), 1.2  # of waiting and running: 98 % within a factor of 16


class Jobs:
    """Writes events of jobs into the streams of all queues; an exporter takes their times from the ids."""

    def __init__(self, port: int, queues: int) -> None:
        self._port, self._random = port, Random(1)
        self._time = dict.fromkeys(names(queues), int(time.time() * 1000))
        self._number = 1_000_000

    def end(self, jobs: int) -> None:
        """So many jobs in each queue."""
        commands = [command for queue in self._time for _ in range(jobs) for command in self._job(queue)]
        with socket.create_connection(("127.0.0.1", self._port), timeout=60) as connection:
            for first in range(0, len(commands), _BATCH):
                batch = commands[first : first + _BATCH]
                exchange(connection, b"".join(batch), len(batch))

    def _job(self, queue: str) -> Iterator[bytes]:
        self._number += 1
        before = (0, *(int(self._random.lognormvariate(math.log(ms), _SIGMA)) for ms in _MEDIAN_MS))
        ends = (("waiting",), ("active", "prev", "waiting"), ("completed", "prev", "active"))
        for ms, (event, *more) in zip(before, ends, strict=True):
            self._time[queue] += ms + 1
            at = f"{self._time[queue]}-0"
            yield pack("XADD", f"{PREFIX}:{queue}:events", at, "event", event, "jobId", self._number, *more)


def config_of(address: str, form: str, interval: int, major: int) -> str:
    classic = {}
    if form == "both":
        classic = {"always_scrape_classic_histograms" if major > 2 else "scrape_classic_histograms": True}
    job = {"job_name": "oxherd", "static_configs": [{"targets": [address]}], **classic}
    times = {"scrape_interval": f"{interval}s", "scrape_timeout": f"{interval}s"}
    return yaml.safe_dump({"global": times, "scrape_configs": [job]})


class Stored(NamedTuple):
    """Series of the head, MB of the heap in use, the most MB of resident memory, ms of CPU a scrape."""

    series: float
    heap: float
    resident: float
    cpu: float


def heap_of(server: Prometheus) -> float:
    """MB in use after a collection of garbage."""
    httpx.get(f"{server.url}/debug/pprof/heap?gc=1", timeout=60, trust_env=False).raise_for_status()
    text = httpx.get(f"{server.url}/metrics", timeout=60, trust_env=False).text
    found = re.search(r"^go_memstats_heap_alloc_bytes (\S+)$", text, re.MULTILINE)
    assert found is not None
    return float(found[1]) / 1e6


def measure(queues: int, interval: int, major: int, folder: Path) -> dict[str, Stored]:
    with ExitStack() as stack:
        redis = stack.enter_context(start_redis())
        fill(redis.port, queues=queues, jobs_per_queue=20)
        jobs, servers = Jobs(redis.port, queues), dict[str, Prometheus]()
        for form in FORMS:
            settings = {
                "redis": {"url": redis.url, "timeout_seconds": 10},
                "host": {"enabled": False},
                "bullmq": {"histograms": form},
            }
            (folder / form).mkdir(exist_ok=True)
            address = stack.enter_context(running_exporter(settings, folder / form))
            config = config_of(address, form, interval, major)
            flags = ["--enable-feature=native-histograms"]
            servers[form] = stack.enter_context(start_prometheus(config, flags=flags))
        for server in servers.values():
            server.wait_for(f"count(bullmq_job_started_total) == {queues}", seconds=900)
        jobs.end(JOBS_BEFORE)
        for server in servers.values():
            server.wait_for(f"sum(bullmq_job_started_total) == {queues * JOBS_BEFORE}", seconds=900)
        resident: dict[str, list[float]] = {form: [] for form in FORMS}
        processes = {form: psutil.Process(server.process.pid) for form, server in servers.items()}
        began = {form: sum(process.cpu_times()[:2]) for form, process in processes.items()}
        for number in range(1, SCRAPES + 1):
            due = time.monotonic() + interval
            jobs.end(1)
            time.sleep(max(0.0, due - time.monotonic()))
            for form, process in processes.items():
                resident[form].append(process.memory_info().rss / 1e6)
            print(f"  {number}: " + ", ".join(f"{form} {resident[form][-1]:.0f} MB" for form in FORMS))
        cpu = {form: sum(process.cpu_times()[:2]) - began[form] for form, process in processes.items()}
        for server in servers.values():
            total = queues * (JOBS_BEFORE + SCRAPES)
            server.wait_for(f"sum(bullmq_job_started_total) == {total}", seconds=120)
        return {
            form: Stored(
                float(server.get("status/tsdb")["headStats"]["numSeries"]),
                heap_of(server),
                max(resident[form]),
                cpu[form] / SCRAPES * 1000,
            )
            for form, server in servers.items()
        }


def major_version() -> int:
    with start_prometheus("{}") as server:
        text: str = server.get("status/buildinfo")["version"]
    print(f"Prometheus {text}")
    return int(text.partition(".")[0])


def main() -> None:
    major = major_version()
    for queues in map(int, sys.argv[1:] or ["1000"]):
        interval = 5 if queues <= 1000 else 15
        print(f"{queues} queues, every {interval} s, {SCRAPES} scrapes")
        with TemporaryDirectory() as folder:
            found = measure(queues, interval, major, Path(folder))
        for form, stored in found.items():
            ratios = (value / reference for value, reference in zip(stored, found["classic"], strict=True))
            print(
                f"{form:8} {stored.series:9,.0f} series, heap {stored.heap:5.0f} MB, resident at most "
                f"{stored.resident:5.0f} MB, {stored.cpu:5.0f} ms of CPU a scrape; to classic: "
                + ", ".join(f"{ratio:.2f}" for ratio in ratios)
            )


if __name__ == "__main__":
    main()
