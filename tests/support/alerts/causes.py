"""The causes of the alerts, on servers that they may break."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import Any, Final

from exporter.config.health import WorkThresholds
from exporter.config.settings import ExporterSettings
from exporter.host.collect import collect_host
from exporter.snapshot.host import HostState
from lab.bullmq import BullMQ
from lab.cluster import LocalCluster, start_cluster
from lab.driver import Driver
from lab.redis import RedisServer, start_redis
from service.clock import Deadline

FAILURES: Final = 150
FILLER_BYTES: Final = 900_000
FULL: Final = ("maxmemory 32mb", "maxmemory-policy noeviction")
# While a replica takes over (3 s, whatever the factor), queues of other shards stay readable.
PARTIAL: Final = ("cluster-require-full-coverage no",)


@dataclass
class Host:
    """This machine as the exporter reads it, with a simulated load and available memory.

    It replaces exporter.host.collect, so that a busy machine does not cause alerts.
    """

    name: str = "host"
    load_per_core: float = 0.1
    available: float = 0.5

    def collect(self, deadline: Deadline) -> HostState:
        state = collect_host(deadline)
        return replace(
            state,
            load=(self.load_per_core * state.machine_cores,) * 3,
            memory_available=int(self.available * state.memory_total),
            boot_id=self.name,
        )


@dataclass(frozen=True)
class Cause:
    """The cause of an alert. `begin` and `end` may be called in turn; `ease` and `worsen` make it flap.

    `accompanying` are other alerts that the same cause rightly fires. In seconds, whatever the factor:
    `flap`, the least time between two changes that scrapes can observe, and `settles`, the time that Redis
    and BullMQ need to recover. `remembered` are the unscaled seconds for which the rule's own range keeps it
    true.
    """

    job: str
    alert: str
    what: str
    settings: ExporterSettings
    begin: Callable[[], object]
    end: Callable[[], object] = lambda: None
    ease: Callable[[], object] | None = None
    worsen: Callable[[], object] | None = None
    host: Host = field(default_factory=Host)
    accompanying: frozenset[str] = frozenset()
    flap: float = 1.5
    flaps: bool = True
    settles: float = 1.0
    remembered: float = 0.0

    @property
    def alerts(self) -> frozenset[str]:
        return self.accompanying | {self.alert}


def all_causes(undo: ExitStack, factor: float) -> list[Cause]:
    """Start the servers of all causes; `undo` stops them. `factor` is that of the times."""
    calm = undo.enter_context(start_redis())
    jobs = undo.enter_context(BullMQ(url=calm.url))
    return [
        redis_lost(undo),
        node_lost(undo),
        memory_filled(undo),
        workers_stopped(calm, jobs, factor),
        queues_refused(calm, jobs),
        jobs_failed(calm, jobs),
        jobs_failed_and_trimmed(calm, jobs),
        host_memory_taken(calm, jobs),
        host_loaded(calm, jobs),
        several_failures(undo),
    ]


def redis_lost(undo: ExitStack) -> Cause:
    cluster = undo.enter_context(start_cluster(replicas_per_master=0))
    jobs = undo.enter_context(BullMQ(cluster=cluster.addresses))
    queue = _served(jobs, "{mail}")

    def kill_all() -> None:
        for node in cluster.nodes:
            node.kill()

    def restart_all() -> None:
        for node in cluster.nodes:
            node.restart()

    return Cause(
        job="redis-lost",
        alert="RedisConnectionDown",
        what="all nodes of a cluster killed",
        settings=_settings(cluster, queue),
        begin=kill_all,
        end=restart_all,
        flap=4.0,  # a failure counts for two seconds more where others were before it
        settles=4.0,
    )


def node_lost(undo: ExitStack) -> Cause:
    cluster = undo.enter_context(start_cluster(config=PARTIAL))
    jobs = undo.enter_context(BullMQ(cluster=cluster.addresses))
    queue = _served(jobs, "{mail}")
    node = _bystander(cluster, queue)
    return Cause(
        job="node-lost",
        alert="ClusterNodeDown",
        what="one master of a cluster killed; its replica takes over",
        settings=_settings(cluster, queue),
        begin=node.kill,
        end=node.restart,
        flap=2.5,
        settles=3.0,
    )


def memory_filled(undo: ExitStack) -> Cause:
    server = undo.enter_context(start_redis(config=FULL))
    jobs = undo.enter_context(BullMQ(url=server.url))
    queue = _served(jobs, "mail")

    def fill() -> None:
        for _ in range(32):
            jobs.add(queue, data="x" * FILLER_BYTES, delay=3_600_000)

    return Cause(
        job="memory-filled",
        alert="HighMemoryUsage",
        what="delayed jobs of 29 MB with a maxmemory of 32 MB",
        settings=_settings(server, queue),
        begin=fill,
        end=lambda: jobs.drain(queue),
    )


def workers_stopped(server: RedisServer, jobs: Driver, factor: float) -> Cause:
    queue, holding = "idle", {"hold": True}
    without = max(1.0, WorkThresholds().no_worker_seconds * factor)
    workers = [jobs.start_worker(queue, behaviour=holding)]
    jobs.add_bulk(queue, 50)
    return Cause(
        job="workers-stopped",
        alert="QueueSystemDown",
        what="the only worker stopped while jobs wait",
        settings=_settings(server, queue, health={"thresholds": {"no_worker_seconds": without}}),
        begin=lambda: jobs.stop_worker(workers.pop()),
        end=lambda: workers.append(jobs.start_worker(queue, behaviour=holding)),
        flaps=False,  # it takes some seconds to be found again, which here is more than a cooldown
        settles=3.0,
    )


def queues_refused(server: RedisServer, jobs: Driver) -> Cause:
    queue = _served(jobs, "refused")
    server.cli("acl", "setuser", "exporter", "on", ">secret", "+@all", "&*", "~*")
    return Cause(
        job="queues-refused",
        alert="QueueSystemDown",
        what="Redis refuses the exporter the queues' keys (ACL)",
        settings=_settings(server, queue, redis={"username": "exporter", "password": "secret"}),
        begin=lambda: server.cli("acl", "setuser", "exporter", "resetkeys"),
        end=lambda: server.cli("acl", "setuser", "exporter", "~*"),
    )


def jobs_failed(server: RedisServer, jobs: Driver) -> Cause:
    queue = "failing"
    jobs.start_worker(queue, concurrency=20, behaviour={"fail": True})
    return Cause(
        job="jobs-failed",
        alert="HighFailedJobs",
        what=f"{FAILURES} jobs fail and are kept",
        settings=_settings(server, queue, events=False),  # the counter would hold for an hour
        begin=lambda: _fail(jobs, queue, FAILURES),
        end=lambda: _clean(jobs, queue),
    )


def jobs_failed_and_trimmed(server: RedisServer, jobs: Driver) -> Cause:
    queue = "trimming"
    jobs.start_worker(queue, concurrency=20, behaviour={"fail": True})
    return Cause(
        job="jobs-trimmed",
        alert="HighFailedJobs",
        what=f"{FAILURES} jobs fail and are removed at once",
        settings=_settings(server, queue),
        begin=lambda: jobs.add_bulk(queue, FAILURES, removeOnFail=True),
        remembered=3600.0,
    )


def host_memory_taken(server: RedisServer, jobs: Driver) -> Cause:
    host = Host("host-memory")
    return Cause(
        job="host-memory",
        alert="SystemMemoryLow",
        what="5% of memory available (simulated)",
        settings=_settings(server, _served(jobs, "beside-memory")),
        begin=lambda: setattr(host, "available", 0.05),
        end=lambda: setattr(host, "available", 0.5),
        host=host,
    )


def host_loaded(server: RedisServer, jobs: Driver) -> Cause:
    host = Host("host-load")
    return Cause(
        job="host-load",
        alert="HighSystemLoad",
        what="a load of 3 for each core (simulated)",
        settings=_settings(server, _served(jobs, "beside-load")),
        begin=lambda: setattr(host, "load_per_core", 3.0),
        end=lambda: setattr(host, "load_per_core", 0.1),
        host=host,
    )


def several_failures(undo: ExitStack) -> Cause:
    """100 less 20 for the node, 15 for memory, 15 for load, 10 for failed jobs; without the last it is 50."""
    cluster = undo.enter_context(start_cluster(replicas_per_master=0, config=(*PARTIAL, *FULL)))
    jobs = undo.enter_context(BullMQ(cluster=cluster.addresses))
    queue, host = "{mail}", Host()
    jobs.start_worker(queue, concurrency=20, behaviour={"fail": True})
    node, full = _bystander(cluster, queue), cluster.owner_of(f"bull:{queue}:meta")

    def begin() -> None:
        node.kill()
        full.cli("setrange", "filler:{mail}", 30 * FILLER_BYTES, "x")
        host.load_per_core = 1.5  # above the exporter's threshold, below the alert's
        _fail(jobs, queue, 60)

    def end() -> None:
        node.restart()
        full.cli("del", "filler:{mail}")
        host.load_per_core = 0.1
        _clean(jobs, queue)

    return Cause(
        job="troubles",
        alert="HealthScoreCritical",
        what="a node killed, memory filled, 60 jobs failed, load (simulated): a score of 40",
        settings=_settings(cluster, queue, events=False, health={"thresholds": {"host_load_per_core": 1.0}}),
        begin=begin,
        end=end,
        ease=lambda: _clean(jobs, queue),
        worsen=lambda: _fail(jobs, queue, 60),
        host=host,
        accompanying=frozenset({"ClusterNodeDown", "HighMemoryUsage"}),
    )


def _settings(
    where: RedisServer | LocalCluster,
    queue: str,
    *,
    events: bool = True,
    redis: Mapping[str, Any] | None = None,
    health: Mapping[str, Any] | None = None,
) -> ExporterSettings:
    """The settings of an exporter for one queue, with the shortest discovery interval."""
    address = {"url": where.url} if isinstance(where, RedisServer) else {"cluster": where.addresses}
    return ExporterSettings.model_validate(
        {
            "listen": "127.0.0.1:0",
            "redis": address | dict(redis or {}),
            "bullmq": {
                "queues": [queue],
                "scan": False,
                "events": events,
                "discovery_interval_seconds": 1,
            },
            "health": dict(health or {}),
        }
    )


def _served(jobs: Driver, queue: str) -> str:
    """A queue whose jobs are completed at once."""
    jobs.start_worker(queue, concurrency=5)
    jobs.add_bulk(queue, 20)
    jobs.wait_for_counts(queue, {"completed": 20})
    return queue


def _fail(jobs: Driver, queue: str, count: int) -> None:
    jobs.add_bulk(queue, count)
    jobs.wait_for_counts(queue, {"failed": count})


def _clean(jobs: Driver, queue: str) -> None:
    jobs.queue(queue, "clean", 0, 1000, "failed")


def _bystander(cluster: LocalCluster, queue: str) -> RedisServer:
    """A master that does not own the queue's keys."""
    owner = cluster.owner_of(f"bull:{queue}:meta")
    return next(node for node in cluster.masters() if node is not owner)
