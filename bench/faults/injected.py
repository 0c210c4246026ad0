"""Lets each fault begin, and end."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Final

from bench.faults.attackers import crowd_of_scrapes, slow_headers, slow_readers, vanishing_scrapers
from bench.faults.plan import Fault, Kind
from bench.faults.starved import without_descriptors, without_disk, without_memory
from bench.faults.stream import STREAM_QUEUES
from bench.faults.world import USER, World, let_in
from bench.programs import Program
from exporter.bullmq.streams.events import COUNTS
from lab.redis import RedisError, RedisServer

_JUMP: Final = 1_000_000
_AHEAD_MS: Final = 30_000
_ABSURD: Final = (("x", "y"), ("event", ""), ("event", "nothing", "jobId", "1" * 10_000), ("", ""))


def begin(world: World, fault: Fault) -> Callable[[], None]:
    """Let it begin; what ends it."""
    undo = ExitStack()
    undo.enter_context(_FAULTS[fault.kind](world, fault))
    return undo.close


# --- our programs ----------------------------------------------------------------------------------------


def _first_stopped(world: World, _: Fault) -> AbstractContextManager[None]:
    return _stopped(world, world.exporters[:1])


def _both_stopped(world: World, _: Fault) -> AbstractContextManager[None]:
    return _stopped(world, world.exporters)


@contextmanager
def _stopped(world: World, programs: Sequence[Program], *, kill: bool = False) -> Iterator[None]:
    world.stopped.update(programs)
    for program in programs:
        program.process.kill() if kill else program.stop()
    yield
    for program in programs:
        program.start()
    world.stopped.difference_update(programs)


def _first_killed(world: World, _: Fault) -> AbstractContextManager[None]:
    return _stopped(world, world.exporters[:1], kill=True)


@contextmanager
def _counters_jump(world: World, fault: Fault) -> Iterator[None]:
    with _stopped(world, world.exporters):
        for state in world.states:
            _add_completed(state, fault.load)
        yield


def _add_completed(state: Path, load: str) -> None:
    """As if this exporter had counted a million jobs more: another's file, or one of long ago."""
    head, *lines = state.read_text().splitlines()
    queues = [json.loads(line) for line in lines]
    [queue] = [queue for queue in queues if queue["name"] == f"{{{load}}}"]
    queue["jobs"]["counts"][COUNTS.index("completed")] += _JUMP
    state.write_text("\n".join([head, *map(json.dumps, queues)]) + "\n")


@contextmanager
def _suspended(process: RedisServer | Program) -> Iterator[None]:
    inner = process if isinstance(process, RedisServer) else process.process
    inner.suspend()
    yield
    inner.resume()


def _exporter_suspended(world: World, _: Fault) -> AbstractContextManager[None]:
    return _suspended(world.exporters[0])


def _scaler_suspended(world: World, _: Fault) -> AbstractContextManager[None]:
    return _suspended(world.scaler)


def _full_disk(world: World, _: Fault) -> AbstractContextManager[None]:
    return without_disk(world.exporters[0].process.pid)


def _no_descriptors(world: World, _: Fault) -> AbstractContextManager[None]:
    return without_descriptors(world.exporters[0].process.pid)


def _no_memory(world: World, _: Fault) -> AbstractContextManager[None]:
    return without_memory(world.exporters[0].process.pid)


# --- Redis and its queues --------------------------------------------------------------------------------


@contextmanager
def _failover(world: World, fault: Fault) -> Iterator[None]:
    master = world.cluster.owner_of(f"bull:{{{fault.load}}}:meta")
    world.cluster.fail_over(world.cluster.replicas_of(master)[0])
    yield


def _hanging_shard(world: World, fault: Fault) -> AbstractContextManager[None]:
    return _suspended(world.cluster.owner_of(f"bull:{{{fault.load}}}:meta"))


def _replica_of(world: World, fault: Fault) -> RedisServer:
    return world.cluster.replicas_of(world.cluster.owner_of(f"bull:{{{fault.load}}}:meta"))[0]


def _hanging_replica(world: World, fault: Fault) -> AbstractContextManager[None]:
    return _suspended(_replica_of(world, fault))


@contextmanager
def _replica_away(world: World, fault: Fault) -> Iterator[None]:
    replica = _replica_of(world, fault)
    replica.kill()
    yield
    replica.restart()
    let_in([replica], world.password.read_text())


@contextmanager
def _new_password(world: World, _: Fault) -> Iterator[None]:
    """All connections end; the file has the new one two seconds later."""
    password = f"of-{time.time():.0f}"
    let_in(world.cluster.nodes, password)
    _kill_clients(world)
    yield
    world.password.write_text(password)


@contextmanager
def _killed_clients(world: World, _: Fault) -> Iterator[None]:
    _kill_clients(world)
    yield


def _kill_clients(world: World) -> None:
    """Those of the exporters: what BullMQ sends again after a lost connection may be done twice."""
    for node in world.cluster.nodes:
        with suppress(RedisError):
            node.cli("client", "kill", "user", USER)


@contextmanager
def _clock_ahead(world: World, _: Fault) -> Iterator[None]:
    """An id of the future: Redis goes on from there, as after its clock was set back."""
    key = f"bull:{STREAM_QUEUES[0]}:events"
    node = world.cluster.owner_of(key)
    last = int(node.cli("xinfo", "stream", key).split("last-generated-id")[1].split()[0].split("-")[0])
    ahead = max(last, int(1000 * time.time())) + _AHEAD_MS
    node.cli("xadd", key, f"{ahead}-0", "event", "drained")
    yield


@contextmanager
def _odd(world: World, _: Fault) -> Iterator[None]:
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
def _paused(world: World, fault: Fault) -> Iterator[None]:
    world.bullmq.pause(f"{{{fault.load}}}")
    yield
    world.bullmq.resume(f"{{{fault.load}}}")


@contextmanager
def _limited(world: World, fault: Fault) -> Iterator[None]:
    world.bullmq.queue(f"{{{fault.load}}}", "setGlobalRateLimit", 1, 4000)
    yield
    world.bullmq.queue(f"{{{fault.load}}}", "removeGlobalRateLimit")


# --- Prometheus, and clients -----------------------------------------------------------------------------


@contextmanager
def _prometheus_restart(world: World, _: Fault) -> Iterator[None]:
    world.prometheus.process.stop()
    yield
    world.prometheus.restart()


@contextmanager
def _prometheus_hangs(world: World, _: Fault) -> Iterator[None]:
    world.prometheus.process.suspend()
    yield
    world.prometheus.process.resume()


def _attack(attack: Callable[[str], AbstractContextManager[None]]) -> _Injection:
    """On the second exporter, which runs all along: its memory shows what is left of them."""
    return lambda world, _: attack(world.exporters[1].address)


_Injection = Callable[[World, Fault], AbstractContextManager[None]]
_FAULTS: Final[Mapping[Kind, _Injection]] = {
    "exporter restart": _first_stopped,
    "exporter away": _first_stopped,
    "both exporters restart": _both_stopped,
    "counters jump": _counters_jump,
    "exporter killed": _first_killed,
    "exporter stands still": _exporter_suspended,
    "scaler stands still": _scaler_suspended,
    "disk full": _full_disk,
    "no more descriptors": _no_descriptors,
    "no more memory": _no_memory,
    "password rotated": _new_password,
    "Redis failover": _failover,
    "shard hangs": _hanging_shard,
    "clients killed": _killed_clients,
    "replica away": _replica_away,
    "replica hangs": _hanging_replica,
    "Redis' clock ahead": _clock_ahead,
    "odd entries and keys": _odd,
    "pause": _paused,
    "rate limit": _limited,
    "Prometheus restart": _prometheus_restart,
    "Prometheus hangs": _prometheus_hangs,
    "slow headers": _attack(slow_headers),
    "vanishing scrapers": _attack(vanishing_scrapers),
    "slow readers": _attack(slow_readers),
    "crowd of scrapes": _attack(crowd_of_scrapes),
}
