"""One trial: a real Redis, exporter, Prometheus and scaler, BullMQ's jobs, and workers that are processes."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import httpx

from bench.programs import ROOT, job_times, running_exporter, running_scaler, scrapes, status_of, worker_runs
from bench.trial.recording import Look, Recording
from bench.trial.scenarios import Arrival, Plant, Scenario, arrivals
from lab.bullmq import BullMQ
from lab.deadline import wait_until
from lab.prometheus import start_prometheus
from lab.redis import RedisServer, start_redis

QUEUE: Final = "mail"
TARGET: Final = "mailer"
_RUN_KEY: Final = "trial:run_ms"
_DONE_SECONDS: Final = 240.0


@dataclass
class _World:
    """What runs. `log` is the scaler's, `began` the unix time at the end of the lead."""

    redis: RedisServer
    bullmq: BullMQ
    status: httpx.Client
    log: Path
    began: float
    looks: list[Look] = field(default_factory=list)
    ended: threading.Event = field(default_factory=threading.Event)

    @property
    def now(self) -> float:
        return time.time() - self.began


def run(scenario: Scenario, plant: Plant) -> Recording:
    """Run it in real time: the lead, the scenario, and until all jobs are done."""
    with _world(scenario, plant) as world:
        watcher = threading.Thread(target=_watch, args=(world,))
        watcher.start()
        jobs = arrivals(scenario)
        try:
            _play(world, scenario, jobs)
            with suppress(TimeoutError):  # those that are not done are lost, and reported
                world.bullmq.wait_for_counts(QUEUE, {"completed": len(jobs)}, seconds=_DONE_SECONDS)
        finally:
            world.ended.set()
            watcher.join()
        times = job_times(world.redis, QUEUE, world.began)
        ran = world.redis.cli("lrange", f"ran:{QUEUE}", 0, -1).split()
        return Recording(
            scenario,
            plant,
            times,
            tuple(world.looks),
            tuple((began, end) for _, began, end in _workers(world)),
            lost=len(jobs) - len(times),
            repeated=len(ran) - len(set(ran)),
        )


@contextmanager
def _world(scenario: Scenario, plant: Plant) -> Iterator[_World]:
    with TemporaryDirectory(prefix="oxherd-trial-") as folder, start_redis() as redis:
        redis.cli("set", _RUN_KEY, round(1000 * scenario.run_seconds))
        home = Path(folder)
        with (
            BullMQ(6, url=redis.url) as bullmq,
            running_exporter(_exporter_settings(redis.url), home) as exporter,
        ):
            bullmq.counts(QUEUE)  # creates the queue
            with start_prometheus(scrapes(plant.interval, exporter)) as prometheus:
                prometheus.wait_for(f'bullmq_job_completed_total{{queue="{QUEUE}"}}')
                settings = _settings(plant, redis.address, prometheus.url, exporter, home)
                with running_scaler(settings, home) as (status, scaler):
                    yield _World(redis, bullmq, status, scaler.log, time.time() + scenario.lead)


def _exporter_settings(redis: str) -> Mapping[str, Any]:
    return {"redis": {"url": redis}, "bullmq": {"queues": [QUEUE]}}


def _settings(plant: Plant, redis: str, prometheus: str, exporter: str, folder: Path) -> Mapping[str, Any]:
    target: dict[str, Any] = {
        "name": TARGET,
        "queues": [QUEUE],
        "min_workers": 1,
        "max_workers": plant.max_workers,
        "worker_concurrency": plant.concurrency,
        "wait_slo_seconds": plant.slo,
        "start_cost_seconds": plant.start_cost,
        "processes": {
            "command": ["node", str(ROOT / "lab" / "node" / "worker.mjs")],
            "environment": {
                "WORKER_QUEUE": QUEUE,
                "WORKER_REDIS": redis,
                "WORKER_CONCURRENCY": str(plant.concurrency),
                "WORKER_JOB_MS_KEY": _RUN_KEY,
                "WORKER_START_MS": "-".join(f"{1000 * seconds:.0f}" for seconds in plant.start),
            },
            "grace_seconds": 30,
            "ready_seconds": plant.start[1],
        },
    }
    return {
        "interval_seconds": plant.interval,
        "state_file": str(folder / "state.json"),
        "exporter_url": f"http://{exporter}",
        "prometheus": {"urls": [prometheus], "timeout_seconds": 2},
        "targets": [target],
        "log": {"format": "json"},
    }


def _watch(world: _World) -> None:
    """A look each second."""
    while not world.ended.wait(1.0 - world.now % 1.0):
        counts, view = world.bullmq.counts(QUEUE), status_of(world.status)
        target = view["targets"][0] if view and view["targets"] else None
        if view is None or target is None or target["ready"] is None or target["desired"] is None:
            continue
        waiting = sum(counts.get(state, 0) for state in ("waiting", "wait", "paused", "prioritized"))
        look = Look(
            round(world.now, 2),
            round(view["time"] - world.began, 2),
            waiting,
            counts["active"],
            target["desired"],
            target["ready"],
            target["reason"],
            target["sentence"],
            target["inputs"],
            tuple(target["notes"]),
        )
        world.looks.append(look)


def _play(world: _World, scenario: Scenario, jobs: list[Arrival]) -> None:
    """Add each job and begin and end each disturbance at its time."""
    events = sorted(
        [(disturbance.begin, index, True) for index, disturbance in enumerate(scenario.disturbances)]
        + [(disturbance.end, index, False) for index, disturbance in enumerate(scenario.disturbances)]
    )
    restarts = []
    moments = sorted({job.at for job in jobs} | {at for at, _, _ in events} | {scenario.seconds})
    jobs, added = sorted(jobs, key=lambda job: job.at), 0
    for moment in moments:
        time.sleep(max(0.0, moment - world.now))
        while events and events[0][0] <= moment:
            _, index, begins = events.pop(0)
            restarts += _disturb(world, scenario, index, begins=begins)
        due = [job for job in jobs[added:] if job.at <= moment]
        if due:
            added += len(due)
            batch = [{"name": "job", "data": {"factor": round(job.factor, 3)}} for job in due]
            world.bullmq.queue(QUEUE, "addBulk", batch)
    for restart in restarts:
        restart.join()


def _disturb(world: _World, scenario: Scenario, index: int, *, begins: bool) -> list[threading.Thread]:
    """Begin or end it; the thread of a rolling restart."""
    disturbance = scenario.disturbances[index]
    match disturbance.kind:
        case "run":
            seconds = scenario.run_seconds * (disturbance.value if begins else 1.0)
            world.redis.cli("set", _RUN_KEY, round(1000 * seconds))
        case "limit" if begins:
            world.bullmq.queue(QUEUE, "setGlobalRateLimit", int(disturbance.value), 1000)
        case "limit":
            world.bullmq.queue(QUEUE, "removeGlobalRateLimit")
        case "pause":
            world.bullmq.queue(QUEUE, "pause" if begins else "resume")
        case "restart" if begins:
            thread = threading.Thread(target=_restart, args=(world,))
            thread.start()
            return [thread]
    return []


def _restart(world: _World) -> None:
    """SIGTERM to each worker that runs now; to the next one when as many as are requested are ready again."""
    for pid in [pid for pid, _, ended in _workers(world) if ended is None]:
        with suppress(ProcessLookupError):  # it was scaled in meanwhile
            os.kill(pid, signal.SIGTERM)
        with suppress(TimeoutError):
            wait_until(partial(_ready_again, world, world.now), what="all are ready", seconds=40, every=0.5)


def _ready_again(world: _World, since: float) -> bool:
    """Whether the scaler has looked a while after `since`, and saw as many ready workers as it requested."""
    look = world.looks[-1]
    return look.decided > since + 2 and look.ready >= look.requested


def _workers(world: _World) -> list[tuple[int, float, float | None]]:
    """The pid of each worker process, when it started and when it ended."""
    return [
        (run.pid, run.began - world.began, run.ended and run.ended - world.began)
        for run in worker_runs(world.log)
    ]
