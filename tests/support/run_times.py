"""Queues whose jobs ran for known times, exporters with each form of histogram that know them, and a
Prometheus that scraped those. `python -m tests.support.run_times` records what that on PATH answers."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from math import ceil
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
import redis
import yaml

from exporter.config.settings import ExporterSettings
from exporter.run import Exporter
from lab.deadline import wait_until
from lab.prometheus import Prometheus, start_prometheus
from lab.redis import RedisServer, start_redis
from scaler.prometheus.exporter_series import exporter_query
from scaler.prometheus.histogram import run_time_query

RECORDED: Final = Path(__file__).parents[1] / "fixtures" / "prometheus"
FORMS: Final = ("classic", "native", "both")
RUNS: Final[Mapping[str, Sequence[int]]] = {
    "mail": [0] * 10 + [30] * 700 + [90] * 90 + [3_000] * 40,
    "video": [45_000] * 50 + [70_000] * 20 + [400_000] * 3,
}
"""The run times of the jobs of each queue, in ms; every tenth job fails."""
ATTEMPTS: Final = sum(map(len, RUNS.values()))
"""In a round, of all queues."""
BOUNDS: Final = (0.1, 1.0, 10.0, 60.0, 300.0)
ROUNDS: Final = 2
_SPAN_MS: Final = 3_600_000


@dataclass(frozen=True, slots=True)
class RunTimeWorld:
    """The addresses of the exporters, by form; the jobs of one round are done."""

    redis: RedisServer
    exporters: Mapping[str, str]

    @property
    def rounds(self) -> int:
        """How many there were."""
        return counted(self.exporters["classic"]) // ATTEMPTS

    def run(self) -> None:
        """All jobs once more, and wait until each exporter has counted them."""
        rounds = self.rounds
        run_jobs(self.redis, rounds)
        for address in self.exporters.values():
            wait_until(partial(has_counted, address, (rounds + 1) * ATTEMPTS), what="counted", seconds=60)


def seconds_of(queue: str) -> float:
    """What the jobs of a queue took in one round."""
    return sum(RUNS[queue]) / 1000


def of_rounds(rounds: int) -> dict[str, Any]:
    """The seconds and the attempts of each queue in so many rounds."""
    return {
        name: (pytest.approx(rounds * seconds_of(name), abs=1e-6), rounds * len(runs))
        for name, runs in RUNS.items()
    }


def exact_p99(queue: str) -> float:
    return sorted(RUNS[queue])[ceil(0.99 * len(RUNS[queue])) - 1] / 1000


def run_jobs(server: RedisServer, round_number: int) -> None:
    """Events into the streams, as if a worker had run the jobs: an exporter takes its times from the ids."""
    started = int(time.time() * 1000) + round_number * _SPAN_MS
    with redis.Redis(host="127.0.0.1", port=server.port) as client, client.pipeline() as pipe:
        for queue, runs in RUNS.items():
            events: list[tuple[int, dict[str, str]]] = []
            for number, run in enumerate(runs):
                job = {"jobId": str(round_number * 10_000 + number)}
                end = "completed" if number % 10 else "failed"
                events.append((started, {"event": "active", **job, "prev": "waiting"}))
                events.append((started + run, {"event": end, **job, "prev": "active"}))
            events.sort(key=lambda event: event[0])
            for place, (ms, fields) in enumerate(events):
                pipe.xadd(f"bull:{queue}:events", fields, id=f"{ms}-{place}")
        pipe.execute()


def text_of(address: str) -> str:
    return httpx.get(f"http://{address}/metrics", timeout=30, trust_env=False).text


def counted(address: str) -> int:
    """The attempts that an exporter has counted, in any form."""
    text = text_of(address)
    lines = [line for line in text.splitlines() if line.startswith("bullmq_job_processing_seconds_count")]
    return sum(int(float(line.rsplit(" ", 1)[1])) for line in lines)


def has_counted(address: str, attempts: int) -> bool:
    return counted(address) == attempts


def exporter_of(server: RedisServer, form: str, listen: str = "127.0.0.1:0") -> Exporter:
    """Not started yet."""
    settings = {
        "listen": listen,
        "redis": {"url": server.url},
        "host": {"enabled": False},
        "bullmq": {"queues": list(RUNS), "histograms": form, "event_buckets": BOUNDS},
    }
    return Exporter(ExporterSettings.model_validate(settings))


@contextmanager
def run_time_world() -> Iterator[RunTimeWorld]:
    """Exporters with each form, that have counted one round of jobs."""
    with ExitStack() as stack:
        server = stack.enter_context(start_redis())
        for queue in RUNS:
            server.cli("hset", f"bull:{queue}:meta", "version", "bullmq:6.7.0")
        programs = {form: exporter_of(server, form) for form in FORMS}
        for program in programs.values():
            program.start()
            stack.callback(program.stop)
        world = RunTimeWorld(server, {form: program.address for form, program in programs.items()})
        for address in world.exporters.values():
            wait_until(partial(followed, address), what="followed", seconds=60)
        world.run()
        yield world


def followed(address: str) -> bool:
    """Whether an exporter follows the events of each queue."""
    text = text_of(address)
    return text.count("\nbullmq_job_started_total{") == len(RUNS)


def scrape_config(exporters: Mapping[str, str], version: tuple[int, int]) -> str:
    """Scrapes each of them with its form as the job. `both` is scraped in both forms from 2.45 on;
    `converted`, from 3.5 on, is a classic one that is stored as native histograms of the same bounds."""
    jobs: list[dict[str, Any]] = [{"job_name": form, "address": at} for form, at in exporters.items()]
    for job in jobs:
        if job["job_name"] == "both" and version >= (2, 45):
            name = "always_scrape_classic_histograms" if version >= (3, 0) else "scrape_classic_histograms"
            job[name] = True
    if version >= (3, 5):
        converting = {"convert_classic_histograms_to_nhcb": True, "address": exporters["classic"]}
        jobs.append({"job_name": "converted", **converting})
    for job in jobs:
        job["static_configs"] = [{"targets": [job.pop("address")]}]
    return yaml.safe_dump(
        {"global": {"scrape_interval": "1s", "scrape_timeout": "1s"}, "scrape_configs": jobs}
    )


def prometheus_version() -> tuple[int, int]:
    with start_prometheus("{}") as server:
        major, minor, *_ = server.get("status/buildinfo")["version"].split(".")
    return int(major), int(minor)


@contextmanager
def scraped(world: RunTimeWorld) -> Iterator[Prometheus]:
    """A Prometheus that has each form before and after another round of jobs."""
    config = scrape_config(world.exporters, prometheus_version())
    with start_prometheus(config, flags=["--enable-feature=native-histograms"]) as prometheus:
        jobs = [job["job_name"] for job in yaml.safe_load(config)["scrape_configs"]]
        wait_for_rounds(prometheus, jobs, world.rounds)
        world.run()
        wait_for_rounds(prometheus, jobs, world.rounds)
        yield prometheus


def wait_for_rounds(prometheus: Prometheus, jobs: Sequence[str], rounds: int) -> None:
    """Until it has all attempts of each job, in every form that the job has, in two scrapes: a rate needs
    them."""
    attempts = rounds * ATTEMPTS
    for job in jobs:
        native = f'sum(histogram_count(bullmq_job_processing_seconds{{job="{job}"}})) == {attempts}'
        classic = f'sum(bullmq_job_processing_seconds_count{{job="{job}"}}) == {attempts}'
        if job in ("native", "both", "converted"):
            prometheus.wait_for(native, seconds=60)
        if job == "classic":
            prometheus.wait_for(classic, seconds=60)
    time.sleep(1.5)


def answers(prometheus: Prometheus) -> dict[str, Any]:
    """What it answers to the queries of the scaler: of a step, of a step where there are native histograms,
    and of the slowest jobs."""
    queries = {
        "step": exporter_query("queue", {}, ()),
        "native": exporter_query("queue", {}, (), native=True),
        "slowest": run_time_query(sorted(RUNS), {}),
    }
    at = f"{time.time():.3f}"
    return {
        name: {"query": query, "data": prometheus.get("query", query=query, time=at)}
        for name, query in queries.items()
    }


def main() -> None:
    with run_time_world() as world, scraped(world) as prometheus:
        version = prometheus.get("status/buildinfo")["version"].partition("+")[0]
        found = answers(prometheus)
    for answer in found.values():
        for series in answer["data"]["result"]:
            if "instance" in series["metric"]:
                series["metric"]["instance"] = "exporter:9877"
    RECORDED.mkdir(exist_ok=True)
    (RECORDED / f"{version}.json").write_text(_a_series_a_line(found) + "\n")


def _a_series_a_line(found: Mapping[str, Any]) -> str:
    texts = []
    for name, answer in found.items():
        series = ",\n".join(json.dumps(entry) for entry in answer["data"]["result"])
        data = f'{{"resultType": {json.dumps(answer["data"]["resultType"])}, "result": [\n{series}\n]}}'
        texts.append(f'"{name}": {{"query": {json.dumps(answer["query"])},\n"data": {data}}}')
    return "{\n" + ",\n".join(texts) + "\n}"


if __name__ == "__main__":
    main()
