"""Lets each fault begin, and end."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from random import Random
from typing import Final

import psutil

from bench.faults import redis_faults
from bench.faults.attackers import (
    crowd_of_scrapes,
    endless_bodies,
    garbage,
    slow_headers,
    slow_readers,
    vanishing_scrapers,
    wrong_keys,
    wrong_passwords,
)
from bench.faults.plan import GRACE, LOADS, Fault, Kind
from bench.faults.starved import without_descriptors, without_disk, without_memory
from bench.faults.world import World
from bench.programs import Program
from exporter.bullmq.streams.events import COUNTS
from lab import wires
from lab.wires import BadWire, Send, as_it_is, endless

_JUMP: Final = 1_000_000
_BROKEN: Final = (wires.cut, wires.reset, wires.swallowed, wires.random_bytes, wires.pushes)
_SLOW: Final = (wires.late, wires.slow)
_ENDLESS: Final = (endless(b"$4294967295\r\n", b"x" * 1024), endless(b"*1000000\r\n", b"*0\r\n"))
_JSON: Final = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
_ODD_ANSWERS: Final = (
    *_BROKEN,
    *_SLOW,
    endless(_JSON + b"\r\n", b"["),
    endless(_JSON + b"Content-Length: 2\r\n\r\n{}", b""),
    endless(b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n", b""),
    endless(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 5\r\n\r\nlater", b""),
)


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
def _suspended(program: Program) -> Iterator[None]:
    program.process.suspend()
    yield
    program.process.resume()


def _exporter_suspended(world: World, _: Fault) -> AbstractContextManager[None]:
    return _suspended(world.exporters[0])


def _scaler_suspended(world: World, _: Fault) -> AbstractContextManager[None]:
    return _suspended(world.scaler)


@contextmanager
def _scaler_killed(world: World, fault: Fault) -> Iterator[None]:
    """Its workers get SIGTERM from their shims: jobs that end within the grace period are not done again."""
    for load in LOADS:
        jobs = redis_faults.running_for_longer(world, load, GRACE)
        redis_faults.count_stopped(world, fault, load, jobs)
    scaler = psutil.Process(world.scaler.process.pid)
    world.left += scaler.children(recursive=True)
    with _stopped(world, [world.scaler], kill=True):
        yield


@contextmanager
def _state_not_written(world: World, _: Fault) -> Iterator[None]:
    """There is a folder in the place of the first exporter's file."""
    state = world.states[0]
    kept = state.rename(state.with_suffix(".kept"))
    state.mkdir()
    yield
    state.rmdir()
    kept.rename(state)


@contextmanager
def _scalers_state_locked(world: World, _: Fault) -> Iterator[None]:
    """By another process of its user that does not give it back."""
    lock = world.scaler_state.with_name(world.scaler_state.name + ".lock")
    with lock.open("a") as opened:
        fcntl.flock(opened, fcntl.LOCK_EX)
        yield


@contextmanager
def _scalers_state_gone(world: World, _: Fault) -> Iterator[None]:
    world.scaler_state.unlink(missing_ok=True)
    yield


def _full_disk(world: World, _: Fault) -> AbstractContextManager[None]:
    return without_disk(world.exporters[0].process.pid)


def _no_descriptors(world: World, _: Fault) -> AbstractContextManager[None]:
    return without_descriptors(world.exporters[0].process.pid)


def _no_memory(world: World, _: Fault) -> AbstractContextManager[None]:
    return without_memory(world.exporters[0].process.pid)


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


@contextmanager
def _through(changed: Sequence[BadWire], modes: Sequence[Send], fault: Fault) -> Iterator[None]:
    """What comes over these wires is changed in one way."""
    mode = Random(f"{fault.kind} {fault.begin:.0f}").choice(modes)
    for wire in changed:
        wire.mode = mode
    yield
    for wire in changed:
        wire.mode = as_it_is
        wire.cut()  # some modes never come to an end


def _redis_through(modes: Sequence[Send]) -> _Injection:
    return lambda world, fault: _through(world.wires.redis, modes, fault)


def _odd_prometheus(world: World, fault: Fault) -> AbstractContextManager[None]:
    return _through([world.wires.prometheus], _ODD_ANSWERS, fault)


def _odd_scaler(world: World, fault: Fault) -> AbstractContextManager[None]:
    return _through([world.wires.scaler], _ODD_ANSWERS, fault)


def _wrong_passwords(world: World, _: Fault) -> AbstractContextManager[None]:
    return wrong_passwords(world.guarded.address)


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
    "password rotated": redis_faults.new_password,
    "Redis failover": redis_faults.failover,
    "shard hangs": redis_faults.hanging_shard,
    "clients killed": redis_faults.killed_clients,
    "replica away": redis_faults.replica_away,
    "replica hangs": redis_faults.hanging_replica,
    "Redis' clock ahead": redis_faults.clock_ahead,
    "odd entries and keys": redis_faults.odd,
    "pause": redis_faults.paused,
    "rate limit": redis_faults.limited,
    "Prometheus restart": _prometheus_restart,
    "Prometheus hangs": _prometheus_hangs,
    "slow headers": _attack(slow_headers),
    "vanishing scrapers": _attack(vanishing_scrapers),
    "slow readers": _attack(slow_readers),
    "crowd of scrapes": _attack(crowd_of_scrapes),
    "master killed": redis_faults.master_killed,
    "Redis sleeps": redis_faults.sleeping_shard,
    "slow wire": _redis_through(_SLOW),
    "broken wire": _redis_through(_BROKEN),
    "endless replies": _redis_through(_ENDLESS),
    "wrong passwords": _wrong_passwords,
    "wrong keys": _attack(wrong_keys),
    "scaler killed": _scaler_killed,
    "endless bodies": _attack(endless_bodies),
    "garbage": _attack(garbage),
    "names without queues": redis_faults.names_without_queues,
    "careless queues": redis_faults.careless_queues,
    "writes refused": redis_faults.writes_refused,
    "state file not written": _state_not_written,
    "scaler's state locked": _scalers_state_locked,
    "scaler's state gone": _scalers_state_gone,
    "events trimmed": redis_faults.events_trimmed,
    "odd Prometheus": _odd_prometheus,
    "odd scaler": _odd_scaler,
}
