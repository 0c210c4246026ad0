"""The commands `monitor start` and `scaling start` as a person runs them, and what the scaler's log tells."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import httpx

from lab.cluster import LocalCluster
from lab.ports import free_port
from lab.process import ChildProcess
from lab.redis import RedisServer

ROOT: Final = Path(__file__).parents[1]

_SCRAPES: Final = """
scrape_configs:
  - job_name: oxherd
    scrape_interval: {interval}s
    scrape_timeout: {interval}s
    static_configs: [{{targets: {exporters}}}]
"""
_TIMES: Final = """
local times = {}
for _, id in ipairs(redis.call('zrange', KEYS[1], 0, -1)) do
  local at = redis.call('hmget', 'bull:' .. ARGV[1] .. ':' .. id, 'timestamp', 'processedOn', 'finishedOn')
  times[#times + 1] = at[1] .. ' ' .. at[2] .. ' ' .. at[3] .. ' ' .. id
end
return times
"""


def scrapes(interval: float, *exporters: str) -> str:
    """The configuration of a Prometheus that scrapes exporters (host:port) every `interval` s."""
    return _SCRAPES.format(interval=interval, exporters=json.dumps(exporters))


@dataclass(frozen=True, slots=True)
class JobTimes:
    """By BullMQ's own clock, in seconds from a beginning; `id`: the job's."""

    added: float
    taken: float
    finished: float
    id: str = ""


def job_times(redis: RedisServer | LocalCluster, queue: str, began: float) -> tuple[JobTimes, ...]:
    """Of the jobs that are completed; `began`: the unix time from which they count."""
    done = redis.cli("eval", _TIMES, 1, f"bull:{queue}:completed", queue).splitlines()
    return tuple(_times_of(line, began) for line in done)


def _times_of(line: str, began: float) -> JobTimes:
    *moments, job = line.split()
    added, taken, finished = (int(ms) / 1000 - began for ms in moments)
    return JobTimes(added, taken, finished, job)


class Program:
    """`python -m PACKAGE start` with these settings and no others; it can be started again."""

    def __init__(
        self, package: str, settings: Mapping[str, Any], folder: Path, name: str | None = None
    ) -> None:
        self.address = f"127.0.0.1:{free_port()}"
        self.log = folder / f"{name or package}.log"
        config = folder / f"{name or package}.yml"
        config.write_text(json.dumps({"listen": self.address, **settings}))  # JSON is YAML
        self._command = [sys.executable, "-m", package, "start", "--config", str(config)]
        self._name = name or package
        self.process = self._started()

    def start(self) -> None:
        """Again, after `stop`."""
        self.process = self._started()

    def stop(self, *, seconds: float = 5.0) -> None:
        """SIGTERM, and SIGKILL after `seconds`."""
        self.process.stop(seconds=seconds)

    def _started(self) -> ChildProcess:
        foreign = ("SCAL", "PROMETHEUS", "REDIS", "LOG_", "BULLMQ")
        environ = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
        environ |= {"PYTHONPATH": str(ROOT), "MALLOC_ARENA_MAX": "1"}  # as image and manifests set it
        return ChildProcess(self._command, name=self._name, log=self.log, environ=environ)


@contextmanager
def running_exporter(settings: Mapping[str, Any], folder: Path) -> Iterator[str]:
    """An exporter that has been started; its address."""
    program = Program("exporter", settings, folder)
    try:
        yield program.address
    finally:
        program.stop()


@contextmanager
def running_scaler(settings: Mapping[str, Any], folder: Path) -> Iterator[tuple[httpx.Client, Program]]:
    """A scaler that has taken a step, and a client of it."""
    program = Program("scaler", settings, folder)
    try:
        with httpx.Client(base_url=f"http://{program.address}", trust_env=False, timeout=5) as client:
            program.process.wait_for(lambda: bool((status_of(client) or {}).get("targets")))
            yield client, program
    finally:
        program.stop(seconds=45)


def status_of(client: httpx.Client) -> dict[str, Any] | None:
    """/status.json of a scaler; None if it does not answer."""
    try:
        view: dict[str, Any] = client.get("/status.json").json()
    except httpx.TransportError:
        return None
    return view


@dataclass(frozen=True, slots=True)
class WorkerRun:
    """A worker process, by the scaler's log. Unix seconds; `ended` None: it runs on; `status` as logged."""

    worker: str
    pid: int
    began: float
    ended: float | None = None
    status: str | None = None


def worker_runs(log: Path) -> list[WorkerRun]:
    """Those that have ended, in the order of their ends, then those that run."""
    running: dict[str, WorkerRun] = {}
    runs: list[WorkerRun] = []
    for line in log.read_text().splitlines():
        if not line.startswith("{"):
            continue
        event = json.loads(line)
        at = datetime.fromisoformat(event["time"]).timestamp()
        if event["event"] == "worker started":
            if event["worker"] in running:  # of a scaler that was killed: nobody saw its end
                runs.append(running[event["worker"]])
            running[event["worker"]] = WorkerRun(event["worker"], event["pid"], at)
        elif event["event"] in {"worker exited", "worker exited unexpectedly"} and event["worker"] in running:
            run = running.pop(event["worker"])
            runs.append(WorkerRun(run.worker, run.pid, run.began, at, str(event["status"])))
    return [*runs, *running.values()]
