"""The causes of conditions, on servers that they may break."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from shutil import rmtree
from socket import create_connection
from typing import Final

from bench.score.world import BUSY, FAILING, LIMIT_BYTES, World
from lab.redis import RedisServer

Act = Callable[[World], object]

_FAILURES: Final = 120  # over the thresholds of the score (50) and of the alert (100)
_CLIENTS: Final = 400
_ROOM: Final = 30  # for the cluster's own connections, and for redis-cli


@dataclass(frozen=True, slots=True)
class Cause:
    """`begin` and `end` of what makes a condition; `seconds` for which it is held, at least until its alert
    should fire; `recovers`: the most seconds until all is well after the end."""

    name: str
    condition: str
    begin: Act
    end: Act
    seconds: float = 20.0
    recovers: float = 60.0


def _all_nodes(act: str) -> Act:
    def each(world: World) -> None:
        for node in world.cluster.nodes:
            getattr(node, act)()

    return each


def _configure(*setting: str) -> Act:
    def each(world: World) -> None:
        for node in world.cluster.nodes:
            node.cli("config", "set", *setting)

    return each


def _kill_bystander(world: World) -> None:
    world.bystander().kill()


def _restart_dead(world: World) -> None:
    for node in world.cluster.nodes:
        if not node.answers:
            node.restart()
    world.cluster.wait_until_ok(seconds=40)


def _fill(world: World) -> None:
    world.bystander().cli("setrange", _filler(world), int(0.9 * LIMIT_BYTES), "x")


def _drain(world: World) -> None:
    world.bystander().cli("del", _filler(world))


def _filler(world: World) -> str:
    """A key of the bystander's."""
    bystander = world.bystander().address
    keys = (f"filler:{{{number}}}" for number in range(1000))
    return next(key for key in keys if world.cluster.owner_of(key).address == bystander)


def _dump(node: RedisServer) -> Path:
    return Path(node.cli("config", "get", "dir").splitlines()[-1]) / "dump.rdb"


def _cannot_save(world: World) -> None:
    node = world.cluster.masters()[0]
    node.cli("config", "set", "stop-writes-on-bgsave-error", "no")
    _dump(node).unlink(missing_ok=True)
    (_dump(node) / "a-file").mkdir(parents=True)
    node.cli("bgsave")


def _can_save(world: World) -> None:
    node = world.cluster.masters()[0]
    rmtree(_dump(node))
    node.cli("bgsave")


def _unlink(world: World) -> None:
    replica = world.cluster.replicas()[0]
    replica.cli("config", "set", "masterauth", "which-the-master-does-not-know")
    replica.cli("client", "kill", "type", "master")


def _link(world: World) -> None:
    for replica in world.cluster.replicas():
        replica.cli("config", "set", "masterauth", "")
    world.cluster.wait_until_ok(seconds=40)


def _fill_clients(world: World) -> None:
    node = world.bystander()
    world.sockets += [create_connection(("127.0.0.1", node.port)) for _ in range(_CLIENTS)]
    node.cli("config", "set", "maxclients", _CLIENTS + _ROOM)


def _empty_clients(world: World) -> None:
    for node in world.cluster.nodes:
        node.cli("config", "set", "maxclients", 10_000)
    while world.sockets:
        world.sockets.pop().close()


def _odd_key(world: World) -> None:
    node = world.cluster.owner_of(f"bull:{FAILING}:meta")
    node.cli("set", f"bull:{FAILING}:prioritized", "odd")


def _right_key(world: World) -> None:
    world.cluster.cli("del", f"bull:{FAILING}:prioritized")


def _fail_jobs(world: World) -> None:
    world.stop_workers(FAILING)
    world.start_worker(FAILING, fail=True)
    world.bullmq.add_bulk(FAILING, _FAILURES)


def _forget_failures(world: World) -> None:
    """The stream's count lasts for an hour; a queue that is gone has none."""
    world.stop_workers(FAILING)
    world.bullmq.obliterate(FAILING)
    world.bullmq.counts(FAILING)
    world.start_worker(FAILING)


def _no_worker(world: World) -> None:
    world.stop_workers(BUSY)
    world.bullmq.add_bulk(BUSY, 1000)


def _worker(world: World) -> None:
    world.start_worker(BUSY)


def _due_without_worker(world: World) -> None:
    world.stop_workers(BUSY)
    world.bullmq.add(BUSY, delay=1000)


def _schedule_without_worker(world: World) -> None:
    world.stop_workers(BUSY)
    world.bullmq.upsert_scheduler(BUSY, "report", every=5000)


def _schedule_behind_full_slots(world: World) -> None:
    world.stop_workers(BUSY)
    world.start_worker(BUSY, hold=True)
    world.bullmq.add_bulk(BUSY, 10)
    world.bullmq.upsert_scheduler(BUSY, "report", every=5000)


def _unschedule_and_free(world: World) -> None:
    world.stop_workers(BUSY)
    _unschedule(world)


def _schedule_and_lose(world: World) -> None:
    """A job that is deleted by hand: BullMQ adds the next one when it ends, so there is none ever more."""
    world.bullmq.upsert_scheduler(BUSY, "report", every=3_600_000)
    world.cluster.cli("zremrangebyrank", f"bull:{BUSY}:delayed", 0, -1)


def _schedule_twice(world: World) -> None:
    for scheduler in ("report", "report-of-old"):
        world.bullmq.queue(BUSY, "upsertJobScheduler", scheduler, {"every": 3_600_000}, {"name": "report"})


def _unschedule(world: World) -> None:
    for scheduler in ("report", "report-of-old"):
        world.bullmq.queue(BUSY, "removeJobScheduler", scheduler)
    if not world.workers.get(BUSY):
        world.start_worker(BUSY)


CAUSES: Final = (
    Cause("a master killed", "cluster_node_unhealthy", _kill_bystander, _restart_dead),
    Cause("every node killed", "redis_unreachable", _all_nodes("kill"), _restart_dead),
    Cause("a node's memory filled", "redis_memory_high", _fill, _drain, 30),
    Cause(
        "no replica of those that a write needs",
        "redis_writes_refused",
        _configure("min-replicas-to-write", "5"),
        _configure("min-replicas-to-write", "0"),
    ),
    Cause("a snapshot that cannot be saved", "redis_save_failing", _cannot_save, _can_save),
    Cause(
        "a policy that evicts",
        "redis_evicts_keys",
        _configure("maxmemory-policy", "allkeys-lru"),
        _configure("maxmemory-policy", "noeviction"),
    ),
    Cause("a replica that its master refuses", "replication_broken", _unlink, _link),
    Cause("clients as many as maxclients", "redis_clients_high", _fill_clients, _empty_clients),
    Cause("a queue's key of another type", "queue_partly_unread", _odd_key, _right_key),
    Cause("no worker, and 1,000 jobs wait", "queue_standing_still", _no_worker, _worker, 90),
    Cause("no worker, and a delayed job is due", "queue_standing_still", _due_without_worker, _worker, 90),
    Cause(
        "no worker for a scheduler of 5 s",
        "queue_standing_still",
        _schedule_without_worker,
        _unschedule,
        100,
        90,
    ),
    Cause(
        "a scheduler of 5 s behind full slots",
        "scheduler_late",
        _schedule_behind_full_slots,
        _unschedule_and_free,
        100,
        90,
    ),
    Cause(
        "the job of a scheduler's next run deleted",
        "scheduler_without_next",
        _schedule_and_lose,
        _unschedule,
        70,
        90,
    ),
    Cause("the same scheduler twice", "scheduler_duplicate", _schedule_twice, _unschedule, 45, 90),
    Cause("120 jobs failed", "failed_jobs_high", _fail_jobs, _forget_failures, 30, 90),
    Cause(
        "5 % of the host's memory available (pretended)",
        "host_memory_low",
        lambda world: world.pretend(available=0.05),
        lambda world: world.pretend(),
        30,
    ),
    Cause(
        "a load of 3 for each core (pretended)",
        "host_load_high",
        lambda world: world.pretend(load_per_core=3.0),
        lambda world: world.pretend(),
        45,
    ),
)
