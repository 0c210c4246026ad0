"""`python -m bench.peers`: a scrape of ours beside those of other exporters, all on one Redis, in turn.

redis_exporter as Debian has it, which reads Redis and no queue; BullMQ's own exportPrometheusMetrics of all
queues; and the forty lines of redis-py and prometheus_client that one writes in an afternoon, with ten counts
of each queue. CPU of each process by its own clock and of Redis, less what both use between scrapes.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, NamedTuple

from bench.queues import fill, names
from bench.ratios import Ratios
from bench.scrape import Scraper, exporter_of
from bench.watched import Watched, rest
from lab.ports import free_port
from lab.process import ChildProcess
from lab.redis import RedisServer, start_redis

QUEUES: Final = 1_000
_JOBS: Final = 20
_ROUNDS, _WARM = 9, 2
_REST_SECONDS: Final = 8.0
_HERE: Final = Path(__file__).parent
_ALONE: Final = "host: {enabled: false}\n"
_OURS: Final = {
    "ours": (QUEUES, ""),
    "ours, no events, no host": (QUEUES, "bullmq: {events: false}\n" + _ALONE),
    "ours, Redis only": (0, "bullmq: {queues: ['none-*'], events: false}\n" + _ALONE),
}
BOUNDS: Final = (
    ("ours, no events, no host", "redis-py, prometheus_client", 0.6),
    ("ours, no events, no host", "BullMQ", 1.3),
    ("ours, Redis only", "redis_exporter", 4.0),
)
"""Ours, a peer, and how many times its CPU ours may be."""


class Figures(NamedTuple):
    """Medians of a scrape: CPU in ms, commands at Redis, lines and bytes; resident MB at the end."""

    own: float
    redis: float
    commands: float
    lines: int
    size: int
    resident: float


@contextmanager
def _running(redis: RedisServer, folder: Path) -> Iterator[dict[str, Watched]]:
    with ExitStack() as stack:
        watched = {}
        for name, (queues, config) in _OURS.items():
            port, process = stack.enter_context(exporter_of(redis.port, queues=queues, config=config))
            watched[name] = Watched(name, port, process.pid, redis.process.pid, gzip=False)
        for name, command in _commands(redis.port).items():
            port = free_port()
            peer = ChildProcess(command(port), name=name, log=folder / "log")
            stack.callback(peer.stop)
            watched[name] = _answering(name, port, peer, redis)
        yield watched


def _commands(redis: int) -> dict[str, Callable[[int], Sequence[str]]]:
    """How the peers are started on a port."""
    unpack = [
        str(_HERE.parent / "scripts" / "redis-exporter.sh"),
        str(_HERE.parent / ".lab" / "redis_exporter"),
    ]
    program = subprocess.run(unpack, check=True, capture_output=True, text=True).stdout.strip()
    queues = names(QUEUES)
    return {
        "redis-py, prometheus_client": lambda port: [
            *(sys.executable, str(_HERE / "plain_exporter.py"), str(redis), str(port), json.dumps(queues)),
        ],
        "BullMQ": lambda port: ["node", str(_HERE / "peers.mjs"), str(redis), str(port), json.dumps(queues)],
        "redis_exporter": lambda port: [
            *(program, "-redis.addr", f"redis://127.0.0.1:{redis}"),
            *("-web.listen-address", f"127.0.0.1:{port}"),
        ],
    }


def _answering(name: str, port: int, process: ChildProcess, redis: RedisServer) -> Watched:
    def answers() -> bool:
        try:
            Scraper(port).scrape()
        except OSError:
            return False
        return True

    process.wait_for(answers, seconds=60)
    return Watched(name, port, process.pid, redis.process.pid, gzip=False)


def _commands_of(redis: RedisServer) -> int:
    return int(redis.facts("info", "stats")["total_commands_processed"])


def measure() -> dict[str, Figures]:
    """Each exporter's figures."""
    commands: dict[str, list[float]] = {}
    with start_redis() as redis, TemporaryDirectory() as folder:
        fill(redis.port, queues=QUEUES, jobs_per_queue=_JOBS)
        with _running(redis, Path(folder)) as running:
            began, before = time.monotonic(), _commands_of(redis)
            rest(list(running.values()), _REST_SECONDS)
            rate = (_commands_of(redis) - before - 1) / (time.monotonic() - began)
            for turn in range(_ROUNDS + _WARM):
                for name, watched in running.items():
                    began, before = time.monotonic(), _commands_of(redis)
                    watched.scrape("scrape", kept=turn >= _WARM)
                    asked = _commands_of(redis) - before - 1 - rate * (time.monotonic() - began)
                    commands.setdefault(name, []).append(asked)
            return {name: _figures(watched, commands[name]) for name, watched in running.items()}


def _figures(watched: Watched, commands: Sequence[float]) -> Figures:
    own, redis, size = (statistics.median(column) for column in zip(*watched.costs["scrape"], strict=True))
    lines = sum(1 for line in watched.body.splitlines() if line and not line.startswith(b"#"))
    return Figures(own, redis, statistics.median(commands), lines, int(size), watched.resident["scrape"])


def main(ratios: Ratios | None = None) -> int:
    """Print the results; 1 if ours costs too many times what a peer does."""
    figures = measure()
    print(f"{QUEUES:,} queues, medians of {_ROUNDS} scrapes without gzip, in turn on one Redis")
    print(f"{'':<30}{'CPU ms':>8}{'Redis ms':>10}{'commands':>10}{'lines':>9}{'kB':>8}{'resident':>10}")
    for name, row in figures.items():
        print(
            f"{name:<30}{row.own:>8.1f}{row.redis:>10.1f}{max(0, row.commands):>10,.0f}{row.lines:>9,}"
            f"{row.size / 1e3:>8,.0f}{row.resident:>7.0f} MB"
        )
    exceeded = False
    for ours, peer, most in BOUNDS:
        ratio = figures[ours].own / figures[peer].own
        exceeded |= ratio > most
        print(f"{ours} / {peer}: {ratio:.2f} (at most {most:g})")
        if ratios is not None:
            ratios[f"peers, {ours} / {peer}"] = ratio
    return int(exceeded)


if __name__ == "__main__":
    sys.exit(main())
