"""What runs in a soak: a cluster, two exporters, Prometheus, the scaler and its workers; and its faults."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx

from bench.faults.outcome import Look, Outcome
from bench.faults.plan import GRACE, INTERVAL, LOADS, SLO, START, START_COST, Arrival, Fault, Load
from bench.programs import ROOT, Program, job_times, running_scaler, scrapes, status_of, worker_runs
from exporter.bullmq.streams.events import COUNTS
from lab.bullmq import BullMQ
from lab.cluster import LocalCluster, start_cluster
from lab.prometheus import Prometheus, start_prometheus

_JUMP: Final = 1_000_000
_PATIENCE: Final = 90.0
"""Seconds to wait for BullMQ: a shard hangs, or is failed over."""
_NODE_TIMEOUT_MS: Final = 15_000  # a shard that hangs is not failed over


@dataclass
class World:
    """`began`: the unix time of the beginning; the looks are of each load by its name."""

    cluster: LocalCluster
    bullmq: BullMQ
    exporters: Sequence[Program]
    states: Sequence[Path]
    prometheus: Prometheus
    status: httpx.Client
    scaler: Program
    began: float
    looks: dict[str, list[Look]] = field(default_factory=lambda: {load.name: [] for load in LOADS})
    ended: threading.Event = field(default_factory=threading.Event)
    added: dict[str, int] = field(default_factory=lambda: {load.name: 0 for load in LOADS})

    @property
    def now(self) -> float:
        return time.time() - self.began

    def add(self, jobs: Sequence[Arrival]) -> None:
        """Add each job at its time. On a thread and a connection of its own: a shard may hang."""
        with BullMQ(6, cluster=self.cluster.addresses) as bullmq:
            for job in jobs:
                if self.ended.wait(max(0.0, job.at - self.now)):
                    return
                bullmq.call(
                    "queue",
                    queue=job.load.queue,
                    method="add",
                    arguments=["job", {"factor": round(job.factor, 3)}, {}],
                    seconds=_PATIENCE,
                )
                self.added[job.load.name] += 1

    def watch(self) -> None:
        """A look at each queue each second, until `ended`."""
        with BullMQ(6, cluster=self.cluster.addresses) as bullmq:
            while not self.ended.wait(1.0 - self.now % 1.0):
                view = status_of(self.status)
                for target in view["targets"] if view else ():
                    if target["desired"] is not None and target["ready"] is not None:
                        self._look(bullmq, target)

    def _look(self, bullmq: BullMQ, target: Mapping[str, Any]) -> None:
        counts: dict[str, int] = bullmq.call(
            "queue",
            queue=f"{{{target['name']}}}",
            method="getJobCounts",
            arguments=[],
            seconds=_PATIENCE,
        )
        waiting = sum(counts.get(state, 0) for state in ("waiting", "wait", "paused", "prioritized"))
        look = Look(
            self.now, waiting, counts["active"], target["desired"], target["ready"], target["sentence"]
        )
        self.looks[target["name"]].append(look)

    def outcome(self, load: Load) -> Outcome:
        """What has happened to a load's jobs and workers."""
        ran = self.cluster.cli("lrange", f"ran:{load.queue}", 0, -1).split()
        runs = [run for run in worker_runs(self.scaler.log) if run.worker.startswith(f"{load.name}-")]
        return Outcome(
            load,
            job_times(self.cluster, load.queue, self.began),
            self.looks[load.name],
            added=self.added[load.name],
            failed=self.bullmq.counts(load.queue).get("failed", 0),
            repeated=sorted({job for job in ran if ran.count(job) > 1}),
            killed=[
                f"{run.worker} ended at {run.ended - self.began:.0f} s: {run.status}"
                for run in runs
                if run.ended is not None and "SIGKILL" in (run.status or "")
            ],
            starts=len(runs),
        )


@contextmanager
def running_world(folder: Path) -> Iterator[World]:
    """All of it, once the scaler has taken a step."""
    with ExitStack() as undo:
        cluster = undo.enter_context(start_cluster(node_timeout_ms=_NODE_TIMEOUT_MS))
        bullmq = undo.enter_context(BullMQ(6, cluster=cluster.addresses))
        for load in LOADS:
            bullmq.counts(load.queue)  # creates the queue
        states = [folder / f"exporter-{number}.state" for number in (1, 2)]
        exporters = []
        for number, state in enumerate(states, 1):
            program = Program("exporter", _exporter(cluster, state), folder, f"exporter-{number}")
            undo.callback(program.stop)
            exporters.append(program)
        scraped = scrapes(INTERVAL, *(program.address for program in exporters))
        prometheus = undo.enter_context(start_prometheus(scraped))
        prometheus.wait_for(f"count(bullmq_job_completed_total) == {len(exporters) * len(LOADS)}")
        settings = _scaler(cluster, prometheus, exporters[0], folder)
        status, scaler = undo.enter_context(running_scaler(settings, folder))
        yield World(cluster, bullmq, exporters, states, prometheus, status, scaler, time.time())


def _exporter(cluster: LocalCluster, state: Path) -> Mapping[str, Any]:
    queues = [load.queue for load in LOADS]
    return {
        "redis": {"cluster": cluster.addresses},
        "bullmq": {"queues": queues, "state_file": str(state)},
    }


def _scaler(
    cluster: LocalCluster, prometheus: Prometheus, exporter: Program, folder: Path
) -> Mapping[str, Any]:
    return {
        "interval_seconds": INTERVAL,
        "state_file": str(folder / "scaler.state"),
        "exporter_url": f"http://{exporter.address}",
        "prometheus": {"urls": [prometheus.url], "timeout_seconds": 2},
        "targets": [_target(load, cluster) for load in LOADS],
        "log": {"format": "json"},
    }


def _target(load: Load, cluster: LocalCluster) -> Mapping[str, Any]:
    return {
        "name": load.name,
        "queues": [load.queue],
        "min_workers": 1,
        "max_workers": load.most,
        "worker_concurrency": load.concurrency,
        "wait_slo_seconds": SLO,
        "start_cost_seconds": START_COST,
        "processes": {
            "command": ["node", str(ROOT / "lab" / "node" / "worker.mjs")],
            "environment": {
                "WORKER_QUEUE": load.queue,
                "WORKER_REDIS": ",".join(cluster.addresses),
                "WORKER_CONCURRENCY": str(load.concurrency),
                "WORKER_JOB_MS": str(round(1000 * load.run)),
                "WORKER_START_MS": "-".join(f"{1000 * seconds:.0f}" for seconds in START),
            },
            "grace_seconds": GRACE,
            "ready_seconds": START[1],
        },
    }


# --- faults ----------------------------------------------------------------------------------------------


def begin(world: World, fault: Fault) -> Callable[[], None]:
    """Let it begin; what ends it."""
    queue = f"{{{fault.load}}}"
    match fault.kind:
        case "exporter restart" | "exporter away":
            return _stopped(world.exporters[:1])
        case "both exporters restart":
            return _stopped(world.exporters)
        case "counters jump":
            start = _stopped(world.exporters)
            for state in world.states:
                _add_completed(state, fault.load)
            return start
        case "Redis failover":
            master = world.cluster.owner_of(f"bull:{queue}:meta")
            world.cluster.fail_over(world.cluster.replicas_of(master)[0])
            return lambda: None
        case "shard hangs":
            node = world.cluster.owner_of(f"bull:{queue}:meta")
            node.suspend()
            return node.resume
        case "Prometheus restart":
            world.prometheus.process.stop()
            return world.prometheus.restart
        case "pause":
            world.bullmq.pause(queue)
            return lambda: world.bullmq.resume(queue)
        case "rate limit":
            world.bullmq.queue(queue, "setGlobalRateLimit", 1, 4000)
            return lambda: world.bullmq.queue(queue, "removeGlobalRateLimit")
        case "scaler stands still":
            world.scaler.process.suspend()
            return world.scaler.process.resume


def _stopped(programs: Sequence[Program]) -> Callable[[], None]:
    for program in programs:
        program.stop()

    def start() -> None:
        for program in programs:
            program.start()

    return start


def _add_completed(state: Path, load: str) -> None:
    """As if this exporter had counted a million jobs more: another's file, or one of long ago."""
    head, *lines = state.read_text().splitlines()
    queues = [json.loads(line) for line in lines]
    [queue] = [queue for queue in queues if queue["name"] == f"{{{load}}}"]
    queue["jobs"]["counts"][COUNTS.index("completed")] += _JUMP
    state.write_text("\n".join([head, *map(json.dumps, queues)]) + "\n")
