"""BullMQ's workers as processes: scaled out and in while jobs run; none is lost, repeated or stalled."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from exporter.config.settings import ExporterSettings
from exporter.run import Exporter
from lab.bullmq import BullMQ
from lab.deadline import wait_until
from lab.redis import RedisServer
from scaler.busy import BusyLookup, ExporterBusy, WorkerJobs
from scaler.config.settings import ProcessSettings
from scaler.model import Applied
from scaler.targets.process import ProcessTarget
from service.clock import Deadline
from service.outcome import Ok

pytestmark = pytest.mark.timeout(120)  # up to 8 s alone, of workers that start and end

ROOT = Path(__file__).parents[3]
WORKER = ROOT / "lab" / "node" / "worker.mjs"
SOON = Deadline.after(3600)
COMMANDS = {"plain": ("node", str(WORKER)), "behind-a-shell": ("sh", "-c", f"node {WORKER}; exit $?")}


def settings(
    redis: RedisServer, queue: str, *, job_ms: int, command: tuple[str, ...] = ("node", str(WORKER))
) -> ProcessSettings:
    return ProcessSettings(
        command=command,
        environment={
            "WORKER_QUEUE": queue,
            "WORKER_REDIS": redis.address,
            "WORKER_JOB_MS": str(job_ms),
            "WORKER_CONCURRENCY": "2",
        },
        grace_seconds=20,
        ready_seconds=0.5,
    )


@contextmanager
def workers(given: ProcessSettings, busy: BusyLookup | None = None) -> Iterator[ProcessTarget]:
    target = ProcessTarget("bull", given, busy=busy)
    try:
        yield target
    finally:
        target.close()
        assert left() == []


def left() -> list[int]:
    """Processes that have the worker's path in their command."""
    pids = []
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            pids += [child.pid] if any(str(WORKER) in word for word in child.cmdline()) else []
    return pids


def named(bullmq: BullMQ, queue: str) -> set[str]:
    """Workers that BullMQ itself knows by the name that the target gave them."""
    return {worker["rawname"].rpartition(":w:")[2] for worker in bullmq.queue(queue, "getWorkers")}


def until_named(bullmq: BullMQ, queue: str, names: set[str]) -> None:
    wait_until(lambda: named(bullmq, queue) == names, what=f"{names} are there", seconds=60)


def ran(redis: RedisServer, queue: str) -> list[str]:
    return redis.cli("lrange", f"ran:{queue}", 0, -1).split()


def stalled(redis: RedisServer, queue: str) -> int:
    """Events of a job that lost its worker."""
    return redis.cli("xrange", f"bull:{queue}:events", "-", "+").split().count("stalled")


@pytest.mark.parametrize("how", ["plain", "behind-a-shell"])
def test_one_to_four_to_one_while_jobs_run(redis_server: RedisServer, how: str) -> None:
    queue = f"scaled-{how}"
    command = COMMANDS[how]
    jobs = 300
    with (
        BullMQ(6, url=redis_server.url) as bullmq,
        workers(settings(redis_server, queue, job_ms=150, command=command)) as target,
    ):
        bullmq.add_bulk(queue, jobs)
        assert target.scale(0, 1, SOON) == Applied(1)
        wait_until(lambda: len(ran(redis_server, queue)) > 2, what="the first works", seconds=60)
        assert target.scale(1, 4, SOON) == Applied(4)
        everyone = {"bull-1", "bull-2", "bull-3", "bull-4"}
        wait_until(lambda: named(bullmq, queue) == everyone, what="all four are there", seconds=60)
        assert target.scale(4, 1, SOON) == Applied(1)
        wait_until(lambda: len(named(bullmq, queue)) == 1, what="three have gone", seconds=60)
        assert len(ran(redis_server, queue)) < jobs, "there were too few jobs to see anything"
        assert target.scale(1, 4, SOON) == Applied(4)
        bullmq.wait_for_counts(queue, {"completed": jobs, "active": 0, "failed": 0}, seconds=60)
        assert sorted(map(int, ran(redis_server, queue))) == list(range(1, jobs + 1))
        assert stalled(redis_server, queue) == 0


def test_workers_are_replaced_while_jobs_run_and_no_job_is_repeated(redis_server: RedisServer) -> None:
    given, jobs = settings(redis_server, "replaced", job_ms=150), 400
    with BullMQ(6, url=redis_server.url) as bullmq, workers(given) as target:
        target.scale(0, 3, SOON)
        until_named(bullmq, "replaced", {"bull-1", "bull-2", "bull-3"})
        before = set(pids().values())
        bullmq.add_bulk("replaced", jobs)
        changed = given.environment | {"WORKER_JOB_MS": "151"}
        target.change(given.model_copy(update={"environment": changed}), None)
        wait_until(
            lambda: len(pids()) == 3 and not before & set(pids().values()), what="all are new", seconds=60
        )
        bullmq.wait_for_counts("replaced", {"completed": jobs, "active": 0, "failed": 0}, seconds=60)
        assert sorted(map(int, ran(redis_server, "replaced"))) == list(range(1, jobs + 1))
        assert stalled(redis_server, "replaced") == 0


def test_jobs_in_hand_are_finished_when_the_scaler_closes(redis_server: RedisServer) -> None:
    with BullMQ(6, url=redis_server.url) as bullmq:
        bullmq.add_bulk("closing", 50)
        with workers(settings(redis_server, "closing", job_ms=500)) as target:
            target.scale(0, 2, SOON)
            bullmq.wait_for_counts("closing", {"active": 4}, seconds=30)
        counts = bullmq.counts("closing")
        done = ran(redis_server, "closing")
        assert (counts["active"], counts["failed"]) == (0, 0)
        assert counts["completed"] == len(done) == len(set(done)) == 50 - counts["waiting"]
        assert stalled(redis_server, "closing") == 0


SCALER = """
import signal, sys
from scaler.config.settings import ProcessSettings
from scaler.targets.process import BusyLookup, ProcessTarget
from service.clock import Deadline
settings = ProcessSettings.model_validate_json(sys.argv[1])
ProcessTarget("bull", settings).scale(0, 2, Deadline.after(5))
signal.pause()
"""


def test_jobs_in_hand_are_finished_when_the_scaler_is_killed(redis_server: RedisServer) -> None:
    given = settings(redis_server, "killed", job_ms=1500)
    with BullMQ(6, url=redis_server.url) as bullmq:
        bullmq.add_bulk("killed", 50)
        scaler = subprocess.Popen([sys.executable, "-c", SCALER, given.model_dump_json()], cwd=ROOT)
        try:
            bullmq.wait_for_counts("killed", {"active": 4}, seconds=30)
            family = psutil.Process(scaler.pid).children(recursive=True)
        finally:
            scaler.send_signal(signal.SIGKILL)
            scaler.wait()
        wait_until(
            lambda: not any(process.is_running() for process in family), what="nobody is left", seconds=60
        )
        counts = bullmq.counts("killed")
        done = ran(redis_server, "killed")
        assert (counts["active"], counts["failed"]) == (0, 0)
        assert counts["completed"] == len(done) == len(set(done)) == 50 - counts["waiting"]


def pids() -> dict[str, int]:
    """The worker processes that run, by their names."""
    found = {}
    for pid in left():
        with suppress(psutil.Error):
            process = psutil.Process(pid)
            name = process.environ().get("OXHERD_WORKER")  # one that ends has none any more
            if process.name() == "node" and name is not None:
                found[name] = pid
    return found


def test_by_the_exporter_the_youngest_worker_stays_if_it_is_the_busy_one(redis_server: RedisServer) -> None:
    """Its job takes longer than the grace: were it sent away, the job would be killed and run again."""
    exporter = Exporter(
        ExporterSettings.model_validate(
            {
                "listen": "127.0.0.1:0",
                "redis": {"url": redis_server.url},
                "bullmq": {"queues": ["youngest"]},
            }
        )
    )
    exporter.start()
    busy = ExporterBusy(f"http://{exporter.address}", "bull", ["youngest"])
    given = settings(redis_server, "youngest", job_ms=8000).model_copy(update={"grace_seconds": 1.0})
    try:
        with BullMQ(6, url=redis_server.url) as bullmq, workers(given, busy=busy) as target:
            for count in (1, 2, 3):
                target.scale(count - 1, count, SOON)
                everyone = {f"bull-{number}" for number in range(1, count + 1)}
                until_named(bullmq, "youngest", everyone)
            oldest = [pids()[name] for name in ("bull-1", "bull-2")]
            for pid in oldest:
                os.kill(pid, signal.SIGSTOP)
            bullmq.add("youngest")
            bullmq.wait_for_counts("youngest", {"active": 1}, seconds=30)
            for pid in oldest:
                os.kill(pid, signal.SIGCONT)
            assert redis_server.cli("hget", "bull:youngest:1", "pb") == "bull-3"
            wait_until(lambda: target.idle(SOON) == Ok(2), what="the exporter reports the job", seconds=30)
            assert target.scale(3, 2, SOON) == Applied(2)
            bullmq.wait_for_counts("youngest", {"completed": 1}, seconds=60)
            assert "bull-3" in named(bullmq, "youngest")
            assert ran(redis_server, "youngest") == ["1"]
            assert stalled(redis_server, "youngest") == 0
    finally:
        exporter.stop()


def test_the_idle_worker_goes_and_the_busy_one_stays(redis_server: RedisServer) -> None:
    with BullMQ(6, url=redis_server.url) as bullmq:
        jobs: dict[str, int] = {}
        busy: BusyLookup = lambda deadline: WorkerJobs(jobs, complete=True)  # noqa: E731
        with workers(settings(redis_server, "idle", job_ms=3000), busy=busy) as target:
            target.scale(0, 2, SOON)
            wait_until(lambda: len(named(bullmq, "idle")) == 2, what="both are there", seconds=60)
            bullmq.add("idle")
            bullmq.wait_for_counts("idle", {"active": 1})
            worker = redis_server.cli("hget", "bull:idle:1", "pb")
            jobs[worker] = 1
            assert target.idle(SOON) == Ok(1)
            assert target.scale(2, 1, SOON) == Applied(1)
            wait_until(lambda: named(bullmq, "idle") == {worker}, what="the idle one has gone")
            assert bullmq.counts("idle")["active"] == 1
            bullmq.wait_for_counts("idle", {"completed": 1})
            assert ran(redis_server, "idle") == ["1"]
            outcome = target.read(SOON)
            assert isinstance(outcome, Ok)
            assert (outcome.value.requested, outcome.value.ready) == (1, 1)
