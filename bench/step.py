"""A step of the scaler with 1,000 targets, compared with its floor: the query alone, and its JSON.

Both are CPU time, of the scaler and of a real Prometheus, in turn on the same series: of as many queues as
targets, and of ten times as many. Each step has new samples, in which jobs of every queue have ended. Of a
step, what its decisions take is printed besides: policy and guards of each target, without any I/O.
`python -m bench.step`
"""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any, Final
from unittest.mock import patch

from lab.deadline import wait_until
from lab.ports import free_port
from lab.prometheus import Prometheus, start_prometheus
from scaler import controller
from scaler.configuration import Reloader, read_scaler_settings
from scaler.decision.step import step
from scaler.prometheus.client import Server
from scaler.prometheus.exporter_series import exporter_query
from scaler.prometheus.promql import DEFAULT_QUERIES, query_text
from scaler.run import Scaler
from service.clock import Deadline
from service.garbage import YOUNG_OF_A_TARGET, GarbageCollection
from service.web.negotiate import metrics_format

TARGETS: Final = 1_000
QUEUES: Final = (1_000, 10_000)
ROUNDS, WARM = 7, 4
MAX_RATIO, MAX_PROMETHEUS_RATIO = 13.0, 2.0
_SCRAPES: Final = """
scrape_configs:
  - job_name: oxherd
    metrics_path: /metrics.txt
    scrape_interval: 12s
    scrape_timeout: 10s
    static_configs: [{{targets: ['127.0.0.1:{port}']}}]
"""
_STATES: Final = ("waiting", "prioritized", "active", "delayed", "completed", "failed", "waiting-children")
_FIGURES: Final = (
    *("bullmq_job_completed_total", "bullmq_job_failed_total", "bullmq_job_added_total"),
    *("bullmq_queue_oldest_waiting_seconds", "bullmq_queue_delayed_due", "bullmq_queue_paused"),
    "bullmq_queue_busy_seconds_total",
)
_HISTOGRAM: Final = "bullmq_job_processing_seconds"


def exposition(queues: int, number: int = 0) -> str:
    """The series that a step reads, and some beside them, as the exporter has them in a round."""
    lines = [
        "bullmq_up 1",
        'oxherd_redis_deployment_info{redis_deployment="bench"} 1',
        f"bench_round {number}",
    ]
    lines.append("process_start_time_seconds 1.7e9")
    for queue in range(queues):
        labels = f'prefix="bull",queue="queue-{queue:05d}"'
        lines += [f'bullmq_job_count{{{labels},state="{state}"}} {(queue + number) % 7}' for state in _STATES]
        ended = queue + 5 * number
        lines += [f"{name}{{{labels}}} {ended * 0.25 if name != _FIGURES[5] else 0}" for name in _FIGURES]
        for outcome in ("completed", "failed"):
            lines.append(f'{_HISTOGRAM}_sum{{{labels},outcome="{outcome}"}} {ended * 0.31}')
            lines.append(f'{_HISTOGRAM}_count{{{labels},outcome="{outcome}"}} {ended}')
    return "\n".join(lines) + "\n"


@contextmanager
def prometheus_with(queues: int, folder: Path) -> Iterator[Prometheus]:
    """A Prometheus that has scraped as many queues."""
    next_round(folder, queues, 0)
    port = free_port()
    serve = [sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1", "-d", str(folder)]
    web = subprocess.Popen(serve, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    config = folder / "prometheus.yml"
    config.write_text(_SCRAPES.format(port=port))
    try:
        with start_prometheus(config) as prometheus:
            prometheus.wait_for(f'count(bullmq_job_count{{state="active"}}) == {queues}', seconds=120)
            yield prometheus
    finally:
        web.terminate()
        web.wait(10)


def next_round(folder: Path, queues: int, number: int) -> None:
    """What the next scrape finds."""
    written = folder / "written"
    written.write_text(exposition(queues, number))
    written.rename(folder / "metrics.txt")


@contextmanager
def running_scaler(url: str, queues: int, folder: Path) -> Iterator[Scaler]:
    """A scaler of 1,000 targets, a queue each, that decides when it is woken and changes nothing."""
    targets = [
        {
            "name": f"target-{n}",
            "queues": [f"queue-{n * queues // TARGETS:05d}"],
            "processes": {"command": ["true"]},
        }
        for n in range(TARGETS)
    ]
    settings = {
        "listen": "127.0.0.1:0",
        "dry_run": True,
        "interval_seconds": 3600,
        "prometheus": {"urls": [url], "timeout_seconds": 30},
        "defaults": {"metrics_max_age_seconds": 7200},
        "targets": targets,
    }
    config = folder / "scaler.yml"
    config.write_text(json.dumps(settings))  # JSON is YAML
    reloader = Reloader(read_scaler_settings({}, config=str(config)), {}, config=str(config))
    scaler = Scaler(reloader, garbage=GarbageCollection(YOUNG_OF_A_TARGET))  # as the command has it
    scaler.start()
    try:
        yield scaler
    finally:
        scaler.stop()


@contextmanager
def timed_decisions() -> Iterator[list[float]]:
    """The seconds of CPU that each decision takes meanwhile."""
    seconds: list[float] = []

    def timed(*arguments: Any) -> Any:
        began = time.thread_time()
        try:
            return step(*arguments)
        finally:
            seconds.append(time.thread_time() - began)

    with patch.object(controller, "step", timed):
        yield seconds


def measure(queues: int) -> dict[str, tuple[float, float, float]]:
    """Milliseconds of CPU of this process and of Prometheus, and of wall time, of each part."""
    rows: dict[str, list[tuple[float, float, float]]] = {}
    with ExitStack() as stack:
        name = stack.enter_context(TemporaryDirectory())
        prometheus = stack.enter_context(prometheus_with(queues, Path(name)))
        scaler = stack.enter_context(running_scaler(prometheus.url, queues, Path(name)))
        names = [target.queues[0] for target in scaler.settings.targets]
        server = Server(prometheus.url, scaler.settings.prometheus)
        plain = exporter_query("queue", {}, names).rpartition("\nor ")[2]
        parts = {
            "floor: the selector alone, and its JSON": plain,
            "the query alone, and its JSON": exporter_query("queue", {}, names),
            "one sum a figure, by Prometheus": query_text(DEFAULT_QUERIES, {}, names),
        }
        if queues > TARGETS:
            del parts["one sum a figure, by Prometheus"]  # it takes longer than a step
        clock, decisions = _Clock(prometheus.process.pid), stack.enter_context(timed_decisions())
        wait_until(lambda: scaler.controller.last, what="the first step", seconds=60)
        for number in range(1, ROUNDS + WARM + 1):
            next_round(Path(name), queues, number)
            prometheus.wait_for(f"bench_round == {number}", seconds=120)
            taken: dict[str, tuple[float, float, float]] = {}
            for part, text in parts.items():
                clock.begin()
                server.request("query", {"query": text}, Deadline.after(30))
                taken[part] = clock.taken()
            clock.begin()
            scaler.exposition(metrics_format(None))
            taken["its /metrics"] = clock.taken()
            decisions.clear()
            clock.begin()
            _next_step(scaler)
            last = scaler.controller.last
            taken["a step"] = (*clock.taken()[:2], last.took * 1000 if last else 0.0)
            taken["of it, its decisions"] = (sum(decisions) * 1000, 0.0, 0.0)
            for part, values in taken.items() if number > WARM else ():
                rows.setdefault(part, []).append(values)
        server.close()
    return {part: _medians(values) for part, values in rows.items()}


def _medians(values: list[tuple[float, float, float]]) -> tuple[float, float, float]:
    own, prometheus, wall = (median(column) for column in zip(*values, strict=True))
    return own, prometheus, wall


def _next_step(scaler: Scaler) -> None:
    last = scaler.controller.last
    scaler.update(lambda state: state)  # it wakes the scaler
    wait_until(lambda: scaler.controller.last is not last, what="a step", seconds=60, every=0.01)


class _Clock:
    """The CPU time of this process and of another one since `begin`."""

    def __init__(self, pid: int) -> None:
        self._tasks = Path(f"/proc/{pid}/task")
        self.begin()

    def begin(self) -> None:
        self._began = self._now()

    def taken(self) -> tuple[float, float, float]:
        own, other, wall = (now - then for now, then in zip(self._now(), self._began, strict=True))
        return own * 1000, other / 1e6, wall * 1000

    def _now(self) -> tuple[float, float, float]:
        other = sum(int(task.read_text().split()[0]) for task in self._tasks.glob("*/schedstat"))
        return time.process_time(), float(other), time.perf_counter()


def main() -> int:
    """Print the results; 1 if a bound is exceeded. Bounds are ratios of medians in this run."""
    logging.disable()
    code = 0
    for queues in QUEUES:
        rows = measure(queues)
        print(f"{TARGETS} targets, {queues} queues")
        print(f"{'milliseconds':<44}{'CPU':>8}{'Prometheus':>12}{'wall':>8}")
        for part, values in rows.items():
            own, prometheus, wall = values
            print(f"{part:<44}{own:>8.1f}{prometheus:>12.1f}{wall:>8.1f}")
        floor, step = rows["floor: the selector alone, and its JSON"], rows["a step"]
        print(f"step / floor: {step[0] / floor[0]:.1f} (at most {MAX_RATIO:g})")
        print(f"Prometheus / floor: {step[1] / floor[1]:.1f} (at most {MAX_PROMETHEUS_RATIO:g})")
        code |= int(step[0] > MAX_RATIO * floor[0] or step[1] > MAX_PROMETHEUS_RATIO * floor[1])
    return code


if __name__ == "__main__":
    sys.exit(main())
