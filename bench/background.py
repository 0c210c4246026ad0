"""`python -m bench.background`: what the exporter and Redis do while nobody scrapes, at 10,000 queues.

CPU is that of both processes by their own clocks, in % of a core. The floor is one bare socket that asks for
the length of every queue's event stream once a second, in requests of 5,000 commands: the least by which an
event is noticed within a second. `--beside FOLDER` measures the exporter of another working copy in turn
with this one, each alone on the Redis.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from bench.programs import ROOT
from bench.queues import PREFIX, connected, exchange, fill, names
from bench.scrape import exporter_of
from bench.search import spent
from bench.watched import cpu_seconds
from exporter.redis.protocol import MAX_COMMANDS, pack
from lab.redis import RedisServer, start_redis

QUEUES: Final = 10_000
JOBS: Final = 2
SECONDS: Final = 60.0
SETTLE_SECONDS: Final = 25.0  # all streams were read once, and two rounds of discovery are over
MAX_RATIO: Final = 6.0
"""Exporter and Redis together, to the floor's client and Redis."""
_SLOW_US: Final = 1000
_LEAST_MEAN_US: Final = 10.0
_CONFIG: Final = "redis: {timeout_seconds: 9}\n"


class Longest(NamedTuple):
    """The longest command at Redis, in ms and with its first arguments; 0 and none: all were below a ms."""

    ms: float = 0.0
    command: str = ""

    def __str__(self) -> str:
        return f"{self.ms:.1f} ms ({self.command})" if self.ms else "below 1 ms"


class Idle(NamedTuple):
    """Shares of a core, the longest command, and ms of each command."""

    exporter: float
    redis: float
    longest: Longest
    commands: dict[str, float]


def measured(server: RedisServer, pid: int | None, seconds: float, work: Callable[[], None]) -> Idle:
    """What is used in these seconds; of the process with this `pid`, else of this one."""
    server.cli("config", "set", "slowlog-log-slower-than", _SLOW_US)
    server.cli("config", "resetstat")
    server.cli("slowlog", "reset")
    redis = server.process.pid
    began = time.monotonic()
    before = (cpu_seconds(pid) if pid else time.process_time()), cpu_seconds(redis)
    while time.monotonic() - began < seconds:
        work()
    took = time.monotonic() - began
    after = (cpu_seconds(pid) if pid else time.process_time()), cpu_seconds(redis)
    client, used = ((last - first) / took for first, last in zip(before, after, strict=True))
    return Idle(client, used, longest_command(server), spent(server))


def longest_command(server: RedisServer) -> Longest:
    """Of the commands in the slow log, which has those above a ms. One that takes a few us on average, such
    as the length of a key, was interrupted: the machine gave the processor to another."""
    reply = exchange(connected(server.port), pack("SLOWLOG", "GET", 128), 1)[0]
    assert isinstance(reply, list)
    means = {
        name.removeprefix("cmdstat_").partition("|")[0]: float(
            row.partition("usec_per_call=")[2].split(",")[0]
        )
        for name, row in server.facts("info", "commandstats").items()
        if name.startswith("cmdstat_")
    }
    long = (
        Longest(entry[2] / 1000, b" ".join(entry[3][:3]).decode("utf-8", "replace"))
        for entry in reply
        if float(means.get(entry[3][0].decode().lower(), 0)) >= _LEAST_MEAN_US
    )
    return max(long, default=Longest())


def floor(server: RedisServer, queues: int, seconds: float) -> Idle:
    """A bare socket, and the length of each stream once a second."""
    connection = connected(server.port)
    commands = [pack("XLEN", f"{PREFIX}:{name}:events") for name in names(queues)]
    pieces = [commands[start : start + MAX_COMMANDS] for start in range(0, len(commands), MAX_COMMANDS)]
    requests = [(b"".join(piece), len(piece)) for piece in pieces]

    def look() -> None:
        started = time.monotonic()
        for packed, replies in requests:
            exchange(connection, packed, replies)
        time.sleep(max(0.0, 1.0 - (time.monotonic() - started)))

    return measured(server, None, seconds, look)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the figures; 1 if a bound is exceeded."""
    parser = argparse.ArgumentParser(prog="python -m bench.background")
    parser.add_argument("--queues", type=int, default=QUEUES)
    parser.add_argument("--seconds", type=float, default=SECONDS)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--beside", type=Path, action="append", default=[], help="another working copy")
    options = parser.parse_args(arguments)
    folders = [*map(Path.absolute, options.beside), ROOT]
    runs: dict[str, list[Idle]] = {}
    with start_redis() as server:
        fill(server.port, queues=options.queues, jobs_per_queue=JOBS)
        for _ in range(options.rounds):
            runs.setdefault("floor", []).append(floor(server, options.queues, 10.0))
            for folder in folders:
                with exporter_of(server.port, queues=options.queues, config=_CONFIG, folder=folder) as (
                    _,
                    process,
                ):
                    time.sleep(SETTLE_SECONDS)
                    name = "this" if folder == ROOT else folder.name
                    idle = measured(server, process.pid, options.seconds, lambda: time.sleep(0.5))
                    runs.setdefault(name, []).append(idle)
    print(f"{options.queues:,} idle queues, no scrape, {options.seconds:.0f} s; % of a core, median")
    print(f"{'':<16}{'client':>10}{'Redis':>10}  longest command")
    for name, idles in runs.items():
        middle = [statistics.median(column) for column in list(zip(*idles, strict=True))[:2]]
        print(f"{name:<16}{middle[0]:>10.2%}{middle[1]:>10.2%}  {max(idle.longest for idle in idles)}")
        busiest = sorted(idles[-1].commands.items(), key=lambda item: -item[1])[:8]
        print("    ms of Redis in all: " + ", ".join(f"{command} {ms:.0f}" for command, ms in busiest))
    totals = {
        name: statistics.median(each.exporter + each.redis for each in idles) for name, idles in runs.items()
    }
    ratio = totals["this"] / totals["floor"]
    print(f"this / floor: {ratio:.2f} (at most {MAX_RATIO:g})")
    return int(ratio > MAX_RATIO)


if __name__ == "__main__":
    sys.exit(main())
