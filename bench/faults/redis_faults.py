"""What goes wrong with the cluster of a soak, and what is written into it."""

from __future__ import annotations

import base64
import socket
import subprocess
import time
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from typing import Final

from bench.faults.plan import LOADS, SECONDS, Fault, Load
from bench.faults.stream import STREAM_QUEUES
from bench.faults.world import CARELESS, USER, World, let_in
from lab.deadline import wait_until
from lab.programs import find_program
from lab.redis import RedisError, RedisServer

_AHEAD_MS: Final = 30_000
_ABSURD: Final = (("x", "y"), ("event", ""), ("event", "nothing", "jobId", "1" * 10_000), ("", ""))
_CARELESS_QUEUES: Final = 15_000
_NAMES: Final = 500
_MAKE: Final = """
for n = 1, ARGV[2] do
  local queue = ARGV[1] .. '-' .. n
  redis.call('hset', queue .. ':meta', 'opts.maxLenEvents', 10000, 'version', 'bullmq:6.0.0')
  redis.call('set', queue .. ':id', n)
  redis.call('xadd', queue .. ':events', '*', 'event', 'added', 'jobId', '1', 'name', 'job')
end
"""
_UNMAKE: Final = """
for n = 1, ARGV[2] do
  local queue = ARGV[1] .. '-' .. n
  redis.call('del', queue .. ':meta', queue .. ':id', queue .. ':events')
end
"""
_PATIENT_SECONDS: Final = 90.0
_RUNNING: Final = """
local jobs = {}
for _, id in ipairs(redis.call('lrange', KEYS[1], 0, -1)) do
  local at = redis.call('hmget', 'bull:' .. ARGV[1] .. ':' .. id, 'processedOn', 'data')
  if at[1] and at[2] then
    jobs[#jobs + 1] = id .. ' ' .. at[1] .. ' ' .. cjson.decode(at[2]).factor
  end
end
return jobs
"""


def _owner(world: World, fault: Fault) -> RedisServer:
    return world.cluster.owner_of(f"bull:{{{fault.load}}}:meta")


def running(world: World, load: Load) -> list[tuple[str, float]]:
    """The load's jobs that run now, and the seconds that each still has to run."""
    found = world.cluster.cli("eval", _RUNNING, 1, f"bull:{load.queue}:active", load.queue).splitlines()
    jobs = []
    for line in found:
        job, began, factor = line.split()
        jobs.append((job, int(began) / 1000 + load.run * float(factor) - time.time()))
    return jobs


def running_for_longer(world: World, load: Load, seconds: float) -> list[str]:
    """The jobs that run now and will not have ended in so many seconds, but for two of them."""
    return [job for job, left in running(world, load) if left > seconds - 2.0]


@contextmanager
def suspended(server: RedisServer) -> Iterator[None]:
    server.suspend()
    yield
    server.resume()


@contextmanager
def failover(world: World, fault: Fault) -> Iterator[None]:
    world.cluster.fail_over(_replica_of(world, fault))
    yield


def hanging_shard(world: World, fault: Fault) -> AbstractContextManager[None]:
    return suspended(_owner(world, fault))


def _replica_of(world: World, fault: Fault) -> RedisServer:
    return world.cluster.replicas_of(_owner(world, fault))[0]


def hanging_replica(world: World, fault: Fault) -> AbstractContextManager[None]:
    return suspended(_replica_of(world, fault))


@contextmanager
def replica_away(world: World, fault: Fault) -> Iterator[None]:
    replica = _replica_of(world, fault)
    replica.kill()
    yield
    replica.restart()
    let_in([replica], world.password.read_text())


@contextmanager
def new_password(world: World, _: Fault) -> Iterator[None]:
    """All connections end; the file has the new one two seconds later."""
    password = f"of-{time.time():.0f}"
    let_in(world.cluster.nodes, password)
    _kill_clients(world)
    yield
    world.password.write_text(password)


@contextmanager
def killed_clients(world: World, _: Fault) -> Iterator[None]:
    _kill_clients(world)
    yield


def _kill_clients(world: World) -> None:
    """Those of the exporters: what BullMQ sends again after a lost connection may be done twice."""
    for node in world.cluster.nodes:
        with suppress(RedisError):
            node.cli("client", "kill", "user", USER)


@contextmanager
def clock_ahead(world: World, _: Fault) -> Iterator[None]:
    """An id of the future: Redis goes on from there, as after its clock was set back."""
    key = f"bull:{STREAM_QUEUES[0]}:events"
    node = world.cluster.owner_of(key)
    last = int(node.cli("xinfo", "stream", key).split("last-generated-id")[1].split()[0].split("-")[0])
    ahead = max(last, int(1000 * time.time())) + _AHEAD_MS
    node.cli("xadd", key, f"{ahead}-0", "event", "drained")
    yield


@contextmanager
def odd(world: World, _: Fault) -> Iterator[None]:
    """Entries that no library writes, and a queue whose keys have other types and endless numbers."""
    node = world.cluster.owner_of("bull:{odd}:meta")
    for fields in _ABSURD:
        world.cluster.owner_of(f"bull:{STREAM_QUEUES[1]}:events").cli(
            "xadd", f"bull:{STREAM_QUEUES[1]}:events", "*", *fields
        )
    node.cli("hset", "bull:{odd}:meta", "version", "bullmq:6.0.0", "opts.maxLenEvents", "9" * 5000)
    node.cli("hset", "bull:{odd}:meta", "concurrency", "9" * 400)
    node.cli("xadd", "bull:{odd}:events", "*", "event", "added", "jobId", "1")
    node.cli("set", "bull:{odd}:id", "9" * 5000)
    node.cli("set", "bull:{odd}:delayed", "not BullMQ's")
    yield
    for key in ("meta", "events", "id", "delayed"):
        node.cli("del", f"bull:{{odd}}:{key}")


@contextmanager
def paused(world: World, fault: Fault) -> Iterator[None]:
    world.bullmq.pause(f"{{{fault.load}}}")
    yield
    world.bullmq.resume(f"{{{fault.load}}}")


@contextmanager
def limited(world: World, fault: Fault) -> Iterator[None]:
    world.bullmq.queue(f"{{{fault.load}}}", "setGlobalRateLimit", 1, 4000)
    yield
    world.bullmq.queue(f"{{{fault.load}}}", "removeGlobalRateLimit")


# --- a shard that dies, sleeps or refuses ----------------------------------------------------------------


@contextmanager
def master_killed(world: World, fault: Fault) -> Iterator[None]:
    """SIGKILL; it comes back, empty, once its replica is the master. What it had not replicated is gone."""
    master, replica = _owner(world, fault), _replica_of(world, fault)
    for queue in STREAM_QUEUES:
        if world.cluster.owner_of(f"bull:{queue}:active") is master:
            world.stream.running_at_kills[queue] += int(master.cli("llen", f"bull:{queue}:active"))
    _count_running(world, fault)
    world.masters_killed.append((fault.load, world.now))
    master.kill()
    yield
    wait_until(
        lambda: _owner_is(world, fault, replica),
        what=f"{replica.address} is the master",
        seconds=_PATIENT_SECONDS,
        every=0.5,
    )
    _count_running(world, fault)  # those that the replica believes to run
    master.restart()
    let_in([master], world.password.read_text())


def _owner_is(world: World, fault: Fault, server: RedisServer) -> bool:
    try:
        return _owner(world, fault) is server
    except (RedisError, StopIteration):  # nobody has its slots
        return False


def _count_running(world: World, fault: Fault) -> None:
    """What BullMQ may let begin again, once for this fault."""
    [load] = [load for load in LOADS if load.name == fault.load]
    count_stopped(world, fault, load, (job for job, _ in running(world, load)))


def count_stopped(world: World, fault: Fault, load: Load, jobs: Iterable[str]) -> None:
    """Jobs of a load that BullMQ may let begin again for this fault: each once."""
    known = world.running_at_fault.setdefault((fault.kind, fault.begin), set())
    new = set(jobs) - known
    known |= new
    world.jobs_stopped[load.name].update(new)


@contextmanager
def sleeping_shard(world: World, fault: Fault) -> Iterator[None]:
    """DEBUG SLEEP: it answers nobody, and then everybody."""
    server = _owner(world, fault)
    command = [find_program("redis-cli"), "-p", str(server.port), "debug", "sleep", str(SECONDS[fault.kind])]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL):
        yield


@contextmanager
def writes_refused(world: World, fault: Fault) -> Iterator[None]:
    """MISCONF: a snapshot cannot be written, as its file is a folder."""
    server = _owner(world, fault)
    _count_running(world, fault)
    blocked = server.directory / "dump.rdb"
    blocked.unlink(missing_ok=True)
    (blocked / "x").mkdir(parents=True)
    server.cli("config", "set", "save", "1 1")
    with suppress(RedisError):  # it is saving already
        server.cli("bgsave")
    wait_until(lambda: _refuses(server), what="writes are refused")
    _count_running(world, fault)
    yield
    (blocked / "x").rmdir()
    blocked.rmdir()
    server.cli("config", "set", "save", "")
    _saved(server)
    wait_until(lambda: not _refuses(server), what="writes are taken")
    blocked.unlink(missing_ok=True)


def _saved(server: RedisServer) -> None:
    with suppress(RedisError):  # it is saving already
        server.cli("bgsave")
    wait_until(
        lambda: server.facts("info", "persistence")["rdb_last_bgsave_status"] == "ok",
        what="it is saved",
        seconds=_PATIENT_SECONDS,
    )


def _refuses(server: RedisServer) -> bool:
    return server.facts("info", "persistence")["rdb_last_bgsave_status"] != "ok"


# --- what is written, and who connects -------------------------------------------------------------------


@contextmanager
def careless_queues(world: World, _: Fault) -> Iterator[None]:
    """Far more queues than are watched, of an application with one for each customer."""
    prefix = f"bull:{CARELESS}"
    arguments = 1, f"{prefix}:x", prefix, _CARELESS_QUEUES
    world.cluster.cli("eval", _MAKE, *arguments)
    yield
    world.cluster.cli("eval", _UNMAKE, *arguments)


@contextmanager
def names_without_queues(world: World, fault: Fault) -> Iterator[None]:
    """Connections that are called as those of workers are, of queues that nobody made."""
    server = _owner(world, fault)
    with ExitStack() as opened:
        for number in range(_NAMES):
            connection = socket.create_connection((server.host, server.port), timeout=5.0)
            opened.enter_context(connection)
            queue = base64.b64encode(f"{CARELESS}-{number}".encode()).decode()
            connection.sendall(f"CLIENT SETNAME bull:{queue}\r\n".encode())
        yield


@contextmanager
def events_trimmed(world: World, _: Fault) -> Iterator[None]:
    """Nobody has read the last of them."""
    for queue in STREAM_QUEUES[2:]:
        world.cluster.cli("xtrim", f"bull:{queue}:events", "maxlen", 0)
    yield
