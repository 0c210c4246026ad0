"""What Prometheus needs for the histograms of all queues in classic form, in native form, and in both.

An exporter and a Prometheus for each form, side by side on one Redis; between two scrapes one job ends in
each queue, with times that vary. After as many scrapes: series of the head, and the resident memory as the
median of the last ones. `python -m bench.stored 1000 10000`; the Prometheus is that on PATH.
"""

from __future__ import annotations

import math
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from random import Random
from statistics import median
from tempfile import TemporaryDirectory
from typing import Final

import psutil
import yaml

from bench.programs import running_exporter
from bench.queues import PREFIX, exchange, fill, names
from exporter.redis.protocol import pack
from lab.prometheus import Prometheus, start_prometheus
from lab.redis import start_redis

FORMS: Final = ("classic", "native", "both")
JOBS_BEFORE, SCRAPES, LAST = 20, 24, 8
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


def measure(queues: int, interval: int, major: int, folder: Path) -> dict[str, tuple[float, float, float]]:
    """Of each form: series of the head, MB of resident memory, and CPU seconds a scrape."""
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
            server.wait_for(f"count(bullmq_job_started_total) == {queues}", seconds=300)
        jobs.end(JOBS_BEFORE)
        for server in servers.values():
            server.wait_for(f"sum(bullmq_job_started_total) == {queues * JOBS_BEFORE}", seconds=300)
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
            form: (
                float(server.get("status/tsdb")["headStats"]["numSeries"]),
                median(resident[form][-LAST:]),
                cpu[form] / SCRAPES,
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
        for form, (series, resident, cpu) in found.items():
            print(
                f"{form:8} {series:9,.0f} series  {resident:5.0f} MB  {cpu * 1000:5.0f} ms of CPU a scrape;"
                f"  to classic: {series / found['classic'][0]:.2f}, {resident / found['classic'][1]:.2f}"
            )


if __name__ == "__main__":
    main()
