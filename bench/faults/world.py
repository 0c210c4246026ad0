"""What runs in a soak: a cluster, two exporters, Prometheus with the shipped rules, the scaler with its
workers, and a stream of short jobs."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from operator import itemgetter
from pathlib import Path
from typing import Any, Final

import bcrypt
import httpx
import psutil

from bench.faults.outcome import Look, Outcome
from bench.faults.plan import GRACE, INTERVAL, LOADS, SECONDS, SLO, START, START_COST, Arrival, Load
from bench.faults.steady import Fired, Footprint
from bench.faults.stream import STREAM_QUEUES, StreamLoad
from bench.programs import ROOT, Program, job_times, running_scaler, scrapes, status_of, worker_runs
from lab.bullmq import BullMQ
from lab.cluster import LocalCluster, start_cluster
from lab.driver import DriverError
from lab.ports import free_port
from lab.prometheus import Prometheus, start_prometheus
from lab.redis import RedisServer
from lab.wires import BadWire, bad_wire

USER: Final = "watcher"
"""Whom the exporters are to Redis; the password changes."""
CARELESS: Final = "{careless}"
"""What the names of queues begin with that a careless application makes."""
SCRAPER: Final = ("scraper", "a-password-of-the-soak")
"""The user of the guarded exporter, and the password."""
_SCALER_STATE: Final = "scaler.state"
_KEY: Final = "a-key-of-the-soak"
_MOST_QUEUES: Final = 500
_RESCAN: Final = 15  # seconds: careless queues are gone again after 45
_UNHEARD_SECONDS: Final = (1.0, 0.2)
"""What a master was told so long before it was killed, and so long after somebody looked at the clock, its
replica may not have."""
_CLOSING_SECONDS: Final = SECONDS["master killed"] + GRACE + 2 * INTERVAL
"""From when a master was killed, of whatever shard: until its replica is there, BullMQ closes no worker,
with a job or without; what is done again for it is another line."""
_RULES: Final = ROOT / "deploy" / "prometheus" / "rules"
_WATCH_SECONDS: Final = 5.0
_PATIENCE: Final = 90.0
"""Seconds to wait for BullMQ: a shard hangs, or is failed over."""
_NODE_TIMEOUT_MS: Final = 15_000  # a shard that hangs is not failed over


@dataclass
class World:
    """`began`: the unix time of the beginning; the looks are of each load by its name."""

    cluster: LocalCluster
    bullmq: BullMQ
    exporters: Sequence[Program]
    guarded: Program
    states: Sequence[Path]
    prometheus: Prometheus
    status: httpx.Client
    scaler: Program
    began: float
    stream: StreamLoad
    password: Path
    wires: Wires
    scaler_state: Path
    looks: dict[str, list[Look]] = field(default_factory=lambda: {load.name: [] for load in LOADS})
    ended: threading.Event = field(default_factory=threading.Event)
    added: dict[str, dict[str, float]] = field(default_factory=lambda: {load.name: {} for load in LOADS})
    footprints: list[Footprint] = field(default_factory=list)
    stopped: set[Program] = field(default_factory=set)  # by a fault, for now
    died: list[str] = field(default_factory=list)  # programs that ended by themselves
    left: list[psutil.Process] = field(default_factory=list)  # that should have ended with a scaler
    jobs_stopped: dict[str, Counter[str]] = field(
        default_factory=lambda: {load.name: Counter() for load in LOADS}
    )
    running_at_fault: dict[tuple[str, float], set[str]] = field(default_factory=dict)
    masters_killed: list[tuple[str, float]] = field(default_factory=list)  # of which load, and when

    @property
    def now(self) -> float:
        return time.time() - self.began

    def add(self, jobs: Sequence[Arrival]) -> None:
        """Add each job at its time. On a thread and a connection of its own: a shard may hang."""
        with BullMQ(6, cluster=self.cluster.addresses) as bullmq:
            for number, job in enumerate(jobs):
                if self.ended.wait(max(0.0, job.at - self.now)):
                    return
                name = (
                    f"{job.load.name}-{number}"  # an id of ours: what is sent again is one job all the same
                )
                given = {"factor": round(job.factor, 3)}, {"jobId": name}
                while not self._added(bullmq, job.load.queue, given):
                    if self.ended.wait(1.0):
                        return
                self.added[job.load.name][name] = self.now

    @staticmethod
    def _added(bullmq: BullMQ, queue: str, given: Sequence[object]) -> bool:
        try:
            bullmq.call("queue", queue=queue, method="add", arguments=["job", *given], seconds=_PATIENCE)
        except DriverError:  # Redis refuses writes
            return False
        return True

    def watch(self) -> None:
        """A look at each queue each second, until `ended`."""
        with BullMQ(6, cluster=self.cluster.addresses) as bullmq:
            while not self.ended.wait(1.0 - self.now % 1.0):
                view = status_of(self.status)
                for target in view["targets"] if view else ():
                    if target["desired"] is not None and target["ready"] is not None:
                        with suppress(DriverError):  # nobody has the queue's slot
                            self._look(bullmq, target)

    def watch_programs(self) -> None:
        """Their memory and descriptors every few seconds, and whether they run, until `ended`."""
        while not self.ended.wait(_WATCH_SECONDS):
            for name, program in self.programs.items():
                if program in self.stopped:
                    continue
                if not program.process.is_running():
                    self.stopped.add(program)
                    self.died.append(f"{name} ended by itself at {self.now:.0f} s: {program.process.tail(3)}")
                    continue
                try:
                    process = psutil.Process(program.process.pid)
                    used = process.memory_info().rss, process.num_fds()
                except psutil.Error:  # it was stopped just now
                    continue
                self.footprints.append(Footprint(name, process.pid, self.now, *used))

    @property
    def programs(self) -> dict[str, Program]:
        """Those that are watched, by name."""
        exporters = {f"exporter-{number}": program for number, program in enumerate(self.exporters, 1)}
        return {**exporters, "guarded": self.guarded, "scaler": self.scaler}

    def fired(self) -> list[Fired]:
        """The alerts that fired since the beginning, each from its first moment to its last."""
        fired: list[Fired] = []
        for name, moments in self._history('ALERTS{alertstate="firing"}', "alertname").items():
            begin = last = moments[0]
            for at in [*moments[1:], float("inf")]:
                if at - last > 3 * INTERVAL:
                    fired.append(Fired(name, begin, last))
                    begin = at
                last = at
        return fired

    def failed_scrapes(self) -> list[tuple[str, float]]:
        """The exporters whose scrape failed, and when."""
        failed = self._history('up{job="oxherd"} == 0', "instance")
        return [(exporter, at) for exporter, moments in failed.items() for at in moments]

    def _history(self, expression: str, label: str) -> dict[str, list[float]]:
        """The moments (seconds from the beginning) at which it had series, by the value of a label."""
        given = {"query": expression, "step": str(INTERVAL), "end": str(time.time())}
        found = self.prometheus.get("query_range", start=str(self.began), **given)["result"]
        moments: dict[str, set[float]] = {}
        for series in found:
            times = {at - self.began for at, _ in series["values"]}
            moments.setdefault(series["metric"][label], set()).update(times)
        return {name: sorted(times) for name, times in moments.items()}

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
        ran = Counter(self.cluster.cli("lrange", f"ran:{load.queue}", 0, -1).split())
        runs = [run for run in worker_runs(self.scaler.log) if run.worker.startswith(f"{load.name}-")]
        kills = [at for name, at in self.masters_killed if name == load.name]
        before, after = _UNHEARD_SECONDS
        return Outcome(
            load,
            job_times(self.cluster, load.queue, self.began),
            self.looks[load.name],
            added=frozenset(self.added[load.name]),
            failed=frozenset(self.cluster.cli("zrange", f"bull:{load.queue}:failed", 0, -1).split()),
            begun=ran,
            killed=[
                f"{run.worker} ended at {run.ended - self.began:.0f} s: {run.status}"
                for run in runs
                if run.ended is not None
                and "SIGKILL" in (run.status or "")
                and not any(
                    kill <= run.ended - self.began <= kill + _CLOSING_SECONDS
                    for _, kill in self.masters_killed
                )
            ],
            starts=len(runs),
            stopped=self.jobs_stopped[load.name],
            unseen=[
                (begin, sum(job.startswith(f"{load.name}-") for job in jobs))
                for (_, begin), jobs in sorted(self.running_at_fault.items(), key=itemgetter(0))
            ],
            unheard=frozenset(
                job
                for job, at in self.added[load.name].items()
                if any(kill - before <= at <= kill + after for kill in kills)
            ),
        )

    def orphans(self) -> list[str]:
        """A line for each process of a killed scaler that runs on."""
        return [f"{one.pid} outlived its scaler" for one in self.left if one.is_running()]


@dataclass(frozen=True, slots=True)
class Wires:
    """From the second exporter to each node, to the scaler, and from the scaler to Prometheus."""

    redis: Sequence[BadWire]
    scaler: BadWire
    prometheus: BadWire


def let_in(nodes: Sequence[RedisServer], password: str) -> None:
    """The exporters' user has this password only."""
    for node in nodes:
        node.cli("acl", "setuser", USER, "on", "resetpass", f">{password}", "~*", "&*", "+@all")


@contextmanager
def running_world(folder: Path, rate: float) -> Iterator[World]:
    """All of it, once the scaler has taken a step."""
    with ExitStack() as undo:
        cluster = undo.enter_context(
            start_cluster(node_timeout_ms=_NODE_TIMEOUT_MS, config=["enable-debug-command local"])
        )
        bullmq = undo.enter_context(BullMQ(6, cluster=cluster.addresses))
        for queue in (*(load.queue for load in LOADS), *STREAM_QUEUES):
            bullmq.counts(queue)  # creates the queue
        password = folder / "password"
        password.write_text("first")
        let_in(cluster.nodes, "first")
        states = [folder / f"exporter-{number}.state" for number in (1, 2)]
        redis_wires = [undo.enter_context(bad_wire(node.host, node.port)) for node in cluster.nodes]
        scaler_wire = undo.enter_context(bad_wire("127.0.0.1", free_port()))
        exporters = []
        for number, state in enumerate(states, 1):
            settings = _exporter(cluster, state, password)
            if number == 2:
                settings["redis"]["address_map"] = _mapped(cluster, redis_wires)
                settings["api"] = {"key": _KEY, "scaler_url": f"http://{scaler_wire.address}"}
            program = Program("exporter", settings, folder, f"exporter-{number}")
            undo.callback(program.stop)
            exporters.append(program)
        guarded = Program("exporter", _guarded(cluster, password, folder), folder, "guarded")
        undo.callback(guarded.stop)
        scraped = scrapes(INTERVAL, *(program.address for program in exporters))
        scraped += _GUARDED_SCRAPE.format(
            interval=INTERVAL, exporter=guarded.address, user=SCRAPER[0], password=SCRAPER[1]
        )
        rules = [str(_RULES / name) for name in ("oxherd.yml", "oxherd-extra.yml")]
        prometheus = undo.enter_context(start_prometheus(f"{scraped}\nrule_files: {rules}\n"))
        queues = len(LOADS) + len(STREAM_QUEUES)
        followed = 'bullmq_job_completed_total{queue!="{odd}"}'
        prometheus.wait_for(f"count({followed}) == {len(exporters) * queues}")
        prometheus.wait_for('count(up{job="oxherd"} == 1) == 3')
        prometheus_wire = undo.enter_context(bad_wire("127.0.0.1", prometheus.port))
        asked = f"http://{prometheus_wire.address}"
        status, scaler = undo.enter_context(
            running_scaler(_scaler(cluster, asked, exporters[0], folder), folder)
        )
        scaler_wire.leads_to("127.0.0.1", int(scaler.address.rpartition(":")[2]))
        stream = StreamLoad(cluster.addresses, rate)
        undo.callback(stream.close)
        yield World(
            cluster,
            bullmq,
            exporters,
            guarded,
            states,
            prometheus,
            status,
            scaler,
            time.time(),
            stream,
            password,
            Wires(redis_wires, scaler_wire, prometheus_wire),
            folder / _SCALER_STATE,
        )


_GUARDED_SCRAPE: Final = """
  - job_name: guarded
    scrape_interval: {interval}s
    scrape_timeout: {interval}s
    basic_auth: {{username: {user}, password: {password}}}
    static_configs: [{{targets: ["{exporter}"], labels: {{job: oxherd}}}}]
"""


def _mapped(cluster: LocalCluster, wires: Sequence[BadWire]) -> Mapping[str, str]:
    return {node.address: wire.address for node, wire in zip(cluster.nodes, wires, strict=True)}


def _exporter(cluster: LocalCluster, state: Path, password: Path) -> dict[str, Any]:
    queues = [*(load.queue for load in LOADS), *STREAM_QUEUES, "{odd}", f"{CARELESS}-*"]
    return {
        "redis": {"cluster": cluster.addresses, "username": USER, "password_file": str(password)},
        "bullmq": {
            "queues": queues,
            "state_file": str(state),
            "max_queues": _MOST_QUEUES,
            "rescan_interval_seconds": _RESCAN,
        },
    }


def _guarded(cluster: LocalCluster, password: Path, folder: Path) -> Mapping[str, Any]:
    """Of one queue, with a user."""
    user, secret = SCRAPER
    web = folder / "web.yml"
    hashed = bcrypt.hashpw(secret.encode(), bcrypt.gensalt(10)).decode()
    web.write_text(json.dumps({"basic_auth_users": {user: hashed}}))
    return {
        "redis": {"cluster": cluster.addresses, "username": USER, "password_file": str(password)},
        "bullmq": {"queues": ["{odd}"], "scan": False},
        "web_config_file": str(web),
    }


def _scaler(cluster: LocalCluster, prometheus: str, exporter: Program, folder: Path) -> Mapping[str, Any]:
    return {
        "interval_seconds": INTERVAL,
        "state_file": str(folder / _SCALER_STATE),
        "exporter_url": f"http://{exporter.address}",
        "prometheus": {"urls": [prometheus], "timeout_seconds": 2},
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
