"""`python -m bench.crowd`: 10,000 queues on a cluster, 2,000 jobs a second in 500 of them, for 20 minutes.

An exporter with its defaults, a real Prometheus that scrapes it every 15 s, and a scaler of 1,000 targets in
a dry run. At the end: how long answers took of the scrape's time-out, whether each queue's counter grew by
exactly the jobs that were written, whether the exporter's memory is flat, and whether the scaler's steps fit
into their interval. Jobs are written in BullMQ's layout, as real workers would take the machine from what is
measured; the exit code is 1 if a bound is exceeded.

`--shard 1/5` measures that part of the queues alone, without the scaler: each line of the table in
docs/sharding.md is one run.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, NamedTuple

import httpx
import psutil
from prometheus_client.parser import text_string_to_metric_families

from bench.answers import TimedAnswers
from bench.crowd_jobs import Writers
from bench.programs import Program, running_scaler, status_of
from bench.queues import PREFIX
from exporter.bullmq.sharding import owns
from exporter.config.shard import UNDIVIDED, parse_shard
from exporter.snapshot.queues import QueueId
from lab.cluster import start_cluster
from lab.deadline import wait_until
from lab.prometheus import Prometheus, start_prometheus

TARGETS: Final = 1_000
INTERVAL, TIMEOUT = 15.0, 10.0
WARM_SHARE: Final = 0.25  # of the time until memory is compared
MAX_SHARE_OF_TIMEOUT: Final = 0.2
MAX_GROWTH: Final = 1.1
SCALER_INTERVAL: Final = 5.0
_SCRAPES: Final = """
scrape_configs:
  - job_name: oxherd
    scrape_interval: {interval:g}s
    scrape_timeout: {timeout:g}s
    static_configs: [{{targets: ['{address}']}}]
"""


class Look(NamedTuple):
    """One look at the running programs; `resident` in MB, `cpu` in s, of the exporter."""

    at: float
    resident: float
    cpu: float
    step_seconds: float
    missing: int


def completed(address: str) -> dict[str, float]:
    """Each queue's completed jobs, as a scrape has them now; none if there is no answer."""
    try:
        text = httpx.get(f"http://{address}/metrics", timeout=60, trust_env=False).raise_for_status().text
    except httpx.TransportError:
        return {}
    return {
        sample.labels["queue"]: sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == "bullmq_job_completed_total"
    }


def looks(
    exporter: psutil.Process, scaler: httpx.Client | None, end: float, every: float = 5.0
) -> Iterator[Look]:
    while time.monotonic() < end:
        time.sleep(every)
        view = (status_of(scaler) if scaler else None) or {}
        missing = sum(target["metrics"]["missing"] is not None for target in view.get("targets", []))
        times = exporter.cpu_times()
        yield Look(
            time.monotonic(),
            exporter.memory_info().rss / 1e6,
            times.user + times.system,
            float(view.get("step_seconds") or 0.0),
            missing,
        )


def number(prometheus: Prometheus, expression: str) -> float:
    """The value of an expression that has one."""
    ((_, value),) = prometheus.query(expression)
    return value


def verdicts(
    prometheus: Prometheus,
    answers: Sequence[float],
    seen: Sequence[Look],
    minutes: float,
    wrong: Sequence[str],
) -> Iterator[tuple[str, bool]]:
    """What was found, and whether it is in bounds. `answers`: how long each took, in seconds."""
    over = f"[{int(minutes * 60)}s]"
    with_append = number(prometheus, f"max_over_time(scrape_duration_seconds{over})")
    middle, longest = statistics.median(answers), max(answers)
    failed = number(prometheus, f"count_over_time(up{over}) - sum_over_time(up{over})")
    scrapes = number(prometheus, f"count_over_time(up{over})")
    text = f"scrapes: {scrapes:.0f}, {failed:.0f} failed; {len(answers)} answers in {middle:.2f} s, at most"
    yield (
        f"{text} {longest:.2f} of {TIMEOUT:g}; with what Prometheus does with the samples {with_append:.2f}",
        not failed and longest <= MAX_SHARE_OF_TIMEOUT * TIMEOUT,
    )
    lost = number(prometheus, "sum(bullmq_events_lost_total) or vector(0)")
    yield f"counters: {len(wrong)} queues wrong {wrong[:3]}, {lost:.0f} events lost", not wrong
    warm = [look for look in seen if look.at - seen[0].at >= WARM_SHARE * minutes * 60]
    first, last = (sum(look.resident for look in part) / len(part) for part in (warm[:5], warm[-5:]))
    yield f"resident: {first:.0f} MB, {last:.0f} MB at the end", last <= MAX_GROWTH * first
    share = (seen[-1].cpu - seen[0].cpu) / (seen[-1].at - seen[0].at)
    yield f"the exporter takes {share:.1%} of a core", True
    series = number(prometheus, "sum(scrape_samples_scraped)")
    memory = psutil.Process(prometheus.process.pid).memory_info().rss / 1e6
    yield f"series: {series:,.0f}, Prometheus {memory:.0f} MB", True
    if not any(look.step_seconds for look in seen):
        return  # no scaler
    steps = sorted(look.step_seconds for look in seen)
    yield (
        f"steps of {TARGETS} targets: {steps[len(steps) // 2]:.2f} s, {steps[-1]:.2f} s at most",
        steps[-1] <= SCALER_INTERVAL,
    )
    unseen = max(look.missing for look in warm)
    yield f"targets without a sample: {unseen} at most", unseen == 0


def settled(address: str, expected: Mapping[str, float]) -> list[str]:
    """The queues whose counter is another one than it should be, when the follower has read everything."""
    wrong: list[str] = []

    def right() -> bool:
        found = completed(address)
        wrong[:] = [
            f"{name}: {found.get(name)}, not {value:.0f}"
            for name, value in expected.items()
            if found.get(name) != value
        ]
        return not wrong

    with suppress(TimeoutError):
        wait_until(right, what="all events are read", seconds=30, every=3)
    return wrong


def scaler_settings(url: str, queues: Sequence[str]) -> dict[str, Any]:
    """1,000 targets of a queue each, the busy ones among them."""
    targets = [
        {"name": f"target-{number}", "queues": [queue], "processes": {"command": ["true"]}}
        for number, queue in enumerate(queues[:TARGETS])
    ]
    return {
        "dry_run": True,
        "interval_seconds": SCALER_INTERVAL,
        "prometheus": {"urls": [url], "timeout_seconds": 4},
        "targets": targets,
    }


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.crowd")
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--queues", type=int, default=10_000)
    parser.add_argument("--busy", type=int, default=500)
    parser.add_argument("--rate", type=int, default=2_000, help="jobs a second, of all busy queues")
    parser.add_argument("--shard", type=parse_shard, default=UNDIVIDED, help="such as 1/5")
    options = parser.parse_args(arguments)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        cluster = stack.enter_context(start_cluster())
        writers = stack.enter_context(Writers(cluster, options.queues, options.busy))
        watched = {name for name in writers.queues if owns(options.shard, QueueId(PREFIX, name))}
        settings = {"redis": {"cluster": cluster.addresses}, "log": {"level": "warning"}}
        exporter = Program("exporter", settings | {"shard": str(options.shard)}, folder)
        stack.callback(exporter.stop)
        address = exporter.address
        exporter.process.wait_for(lambda: len(completed(address)) == len(watched), seconds=180)
        answers = stack.enter_context(TimedAnswers(int(address.rpartition(":")[2])))
        scraped = f"127.0.0.1:{answers.port}"
        config = _SCRAPES.format(interval=INTERVAL, timeout=TIMEOUT, address=scraped)
        prometheus = stack.enter_context(start_prometheus(config))
        prometheus.wait_for(f"count(bullmq_job_completed_total) == {len(watched)}", seconds=90)
        scaler = None
        if not options.shard.divided:
            targets = scaler_settings(prometheus.url, writers.queues)
            scaler, _ = stack.enter_context(running_scaler(targets, folder))
        before, began, earlier = completed(address), time.monotonic(), len(answers.seconds)
        writing = threading.Thread(target=writers.steadily, args=(options.rate, options.minutes * 60))
        writing.start()
        process = psutil.Process(exporter.process.pid)
        seen = list(looks(process, scaler, began + options.minutes * 60))
        writing.join()
        rate = sum(writers.finished.values()) / (options.minutes * 60)
        wrong = settled(address, {name: value + writers.finished[name] for name, value in before.items()})
        print(
            f"{options.queues:,} queues, {rate:,.0f} jobs/s in {options.busy} of them, {options.minutes} min,"
            f" {len(watched):,} queues in shard {options.shard}"
        )
        code = 0
        for text, good in verdicts(prometheus, answers.seconds[earlier:], seen, options.minutes, wrong):
            print(("ok    " if good else "WRONG ") + text)
            code |= int(not good)
    return code


if __name__ == "__main__":
    sys.exit(main())
